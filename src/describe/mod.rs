//! `core world describe`: what a log is like, beside published figures; what the world alone knows comes from the hidden
//! tables.
//!
//! Everything that a log can say is read from the log, so any log can be described. It is read once, from person to person;
//! what needs all people at once (distinct queries, drift) SQLite sorts on disk. Memory stays flat.

mod curves;
mod drift;
mod dwell;
mod hidden;
mod people;
mod plot;
mod published;
mod rows;
mod sheet;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde::Serialize;

use crate::journal::{Progress, Table, stop};
use crate::recipe::Recipe;
use crate::store::{LogInfo, LogKind, Store};
use crate::truth::Truth;
use curves::Curves;
use drift::Queries;
use hidden::Hidden;
use people::People;
use rows::Measured;

pub use published::Figure;
pub use sheet::{Row, Unit};

const DAY_MS: i64 = 86_400_000;
const ADVICE: &str = "describing changes nothing; run the same command again";

/// What a log is like.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The log.
    pub log: String,
    /// `world`, `ubi` or `served`.
    pub kind: String,
    /// What it was made from.
    pub origin: String,
    /// Ours beside the published figures.
    pub rows: Vec<Row>,
    /// What `--plot` draws.
    pub curves: Curves,
    /// Pictures that were written.
    pub pictures: Vec<PathBuf>,
    /// Why rows from the hidden tables are missing from the description of a simulated log.
    pub complaint: Option<String>,
}

impl Report {
    /// The rows.
    #[must_use]
    pub fn table(&self) -> Table {
        sheet::table(format!("{} ({}, {})", self.log, self.kind, self.origin), &self.rows)
    }

    /// What is missing, as an error, once the rest was printed.
    ///
    /// # Errors
    /// The hidden tables of a simulated log are not there, or are of another simulation.
    pub fn whole(&self) -> Result<()> {
        self.complaint.as_ref().map_or(Ok(()), |complaint| Err(anyhow!("{complaint}")))
    }
}

/// Describes a log, and draws its curves into the folder `plot`.
///
/// # Errors
/// No such log, one without searches, a damaged file; a folder that cannot be written; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, log: &str, plot: Option<&Path>) -> Result<Report> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(log)?;
    let Some((first, last)) = store.time_span(&log)? else {
        bail!("the log {:?} holds no searches: there is nothing to describe", log.name);
    };
    let from_ms = first.div_euclid(DAY_MS) * DAY_MS;
    let simulated = log.kind == LogKind::World.as_str();
    let truth = simulated.then(|| Truth::open(workspace, &log)).transpose();
    let complaint = truth.as_ref().err().map(|error| format!("{error:#}"));
    let (people, hidden) = read_people(&store, &log, from_ms, recipe, truth.ok().flatten().as_ref())?;
    let queries = read_queries(&store, &log, from_ms, &people)?;
    let births = store.births(&log, from_ms, people.weeks.len() * 7)?;
    let measured = Measured {
        log: &log,
        days: (last - first + DAY_MS) as f64 / DAY_MS as f64,
        people: &people,
        queries: &queries,
        half_life_days: drift::half_life_days(&births.published, &births.clicks_by_age),
        hidden: hidden.as_ref(),
    };
    let rows = rows::rows(&measured)?;
    let curves = Curves::new(&measured);
    let pictures = plot.map(|folder| plot::draw(folder, &log.name, &curves)).transpose()?.unwrap_or_default();
    let LogInfo { name, kind, origin, .. } = log;
    Ok(Report { log: name, kind, origin, rows, curves, pictures, complaint })
}

fn read_people(
    store: &Store,
    log: &LogInfo,
    from_ms: i64,
    recipe: &Recipe,
    truth: Option<&Truth>,
) -> Result<(People, Option<Hidden>)> {
    let mut people = People::new(from_ms, recipe.mine.fail_dwell_s);
    let mut hidden = truth.map(|_| Hidden::new(from_ms));
    let progress = Progress::on_screen("sessions", log.sessions as u64);
    store.for_each_session(log, |session| {
        stop::check(ADVICE)?;
        progress.inc(1);
        people.add(&session);
        match (&mut hidden, truth) {
            (Some(hidden), Some(truth)) => hidden.add(&session, truth),
            _ => Ok(()),
        }
    })?;
    people.close();
    progress.finish(&format!("{} searches", people.searches));
    Ok((people, hidden))
}

fn read_queries(store: &Store, log: &LogInfo, from_ms: i64, people: &People) -> Result<Queries> {
    let progress = Progress::on_screen("queries", people.searches);
    let mut queries = Queries::new(&people.weeks);
    store.for_each_query_day(log, from_ms, |day| {
        stop::check(ADVICE)?;
        progress.inc(day.count);
        queries.add(day);
        Ok(())
    })?;
    queries.close();
    progress.finish(&format!("{} distinct", queries.distinct));
    Ok(queries)
}
