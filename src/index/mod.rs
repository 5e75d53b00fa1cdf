//! `core index`: brings a log's search index up to date, teaches its ranking by the log's clicks, and tells its sizes.
//!
//! The index in use serves on until the new one is whole; a build that is killed leaves nothing but a folder that the next
//! build removes.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::journal::words::bytes;
use crate::journal::{Cell, Event, Journal, Progress, Table, stop};
use crate::recipe::{Fingerprint, Recipe};
use crate::search::{Engine, How, Observations, Part, Ranking, Stats, Update, index_dir};
use crate::store::{Lock, LogInfo, Search, Split, Store, person_split, training_ends_ms};

/// What a person who stopped a build is told.
const ADVICE: &str = "the index in use was left as it is; run the same command again";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Bring the index up to date with the store; anew, whatever is there.
    Build {
        /// Start from nothing.
        anew: bool,
    },
    /// Tell its sizes.
    Stats,
}

/// What the index is like, and what was done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The log.
    pub log: String,
    /// What a build did; none when only sizes were asked for.
    pub update: Option<Update>,
    /// Whether clicks were learnt from in this call.
    pub fitted: bool,
    /// Seconds that building took, learning left out.
    pub build_s: f64,
    /// Sizes.
    pub stats: Stats,
    /// Weights, and how well they agree with clicks.
    pub ranking: Ranking,
}

impl Report {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = [
            "log",
            "docs",
            "added",
            "docs_per_s",
            "segments",
            "text_bytes",
            "vector_bytes",
            "encoder",
            "dimension",
            "shards",
            "fitted_on",
            "pairs",
            "agreement",
            "before",
        ];
        let mut table = Table::new("index", "", &columns);
        let size = |n: u64| Cell::shown(n, bytes(n));
        let added = self.update.map(|u| u.added).filter(|n| *n > 0);
        table.row([
            self.log.as_str().into(),
            self.stats.docs.into(),
            self.update.map(|u| u.added).into(),
            added.map(|n| n as f64 / self.build_s.max(1e-9)).into(),
            self.stats.segments.into(),
            size(self.stats.text_bytes),
            size(self.stats.vector_bytes),
            self.stats.encoder.name.as_str().into(),
            self.stats.encoder.dimension.into(),
            self.stats.shards.into(),
            self.ranking.fitted_on.as_deref().into(),
            self.ranking.pairs.into(),
            self.ranking.agreement.into(),
            self.ranking.agreement_before.into(),
        ]);
        table
    }
}

/// Builds the index of a log, or tells its sizes.
///
/// # Errors
/// No such log; another build under way; a full disk; `Stopped` after Ctrl-C. To tell sizes: no index, or a damaged one.
pub fn run(workspace: &Path, recipe: &Recipe, log: &str, job: Job) -> Result<Report> {
    let dir = index_dir(workspace, log);
    match job {
        Job::Stats => {
            let (stats, ranking) = Engine::look(&dir)?;
            Ok(Report { log: log.to_owned(), update: None, fitted: false, build_s: 0.0, stats, ranking })
        }
        Job::Build { anew } => Journal::record(workspace, "index", log, &recipe.to_toml(), |journal| {
            build(workspace, recipe, log, anew, journal)
        }),
    }
}

fn build(workspace: &Path, recipe: &Recipe, log: &str, anew: bool, journal: &Journal) -> Result<Report> {
    let dir = index_dir(workspace, log);
    let store = Store::open(workspace)?;
    let log = store.log(log)?;
    let _alone = Lock::take(workspace, &format!("index-{}", log.name))?;
    let docs = store.docs(&log)?;
    let started = Instant::now();
    let bars = Bars::new(journal, docs.len());
    let (mut engine, update) = Engine::update(&dir, &docs, &recipe.search, anew, |part, n| {
        bars.inc(part, n);
        stop::check(ADVICE)
    })?;
    let build_s = started.elapsed().as_secs_f64();
    bars.finish(&match update.how {
        How::Unchanged => format!("{} documents, up to date", engine.len()),
        _ => format!("{} of {} documents, {:.0} a second", update.added, engine.len(), update.added as f64 / build_s),
    });
    drop(docs);
    let key = lesson(recipe, &log);
    let fitted = engine.ranking().key != key;
    if fitted {
        let (ranking, satisfaction) = learn(&store, recipe, &log, &engine, journal)?;
        engine = engine.refit(&dir, Ranking { key, ..ranking }, &satisfaction)?;
    }
    let (stats, ranking) = (engine.stats().clone(), engine.ranking().clone());
    let report = Report { log: log.name, update: Some(update), fitted, build_s, stats, ranking };
    journal.emit(&Event::Report {
        title: "index".into(),
        fingerprint: engine.fingerprint().to_owned(),
        body: serde_json::to_value(&report)?,
    })?;
    Ok(report)
}

/// What the ranking is learnt from: equal keys, equal weights.
fn lesson(recipe: &Recipe, log: &LogInfo) -> String {
    let mut f = Fingerprint::default();
    f.add(log.origin.as_bytes());
    f.add(format!("{} {} {} {}", log.sessions, log.searches, log.docs, recipe.seed).as_bytes());
    f.add(format!("{:?}", recipe.mine).as_bytes());
    f.hex()
}

/// Learns from the clicks of people and weeks that are trained on.
fn learn(
    store: &Store,
    recipe: &Recipe,
    log: &LogInfo,
    engine: &Engine,
    journal: &Journal,
) -> Result<(Ranking, Vec<f32>)> {
    let progress = journal.progress("clicks", log.sessions as u64);
    let cut_ms = training_ends_ms(recipe, store.time_span(log)?);
    let mut seen = Observations::new(engine, recipe.seed)?;
    store.for_each_session(log, |session| {
        stop::check(ADVICE)?;
        progress.inc(1);
        if person_split(recipe, &session.user) == Split::Train {
            let early = session.searches.iter().filter(|s| s.time_ms <= cut_ms);
            early.for_each(|s| seen.add(&s.query, page(s, recipe.mine.success_dwell_s)));
        }
        Ok(())
    })?;
    let ranking = seen.ranking(engine, &log.name)?;
    progress.finish(&format!("{} pairs of documents", ranking.pairs));
    Ok((ranking, seen.satisfaction()))
}

/// What was shown, and whether it was stayed with; a click whose dwell is not known counts as a stay.
fn page(search: &Search, success_dwell_s: f64) -> impl Iterator<Item = (&str, bool)> {
    search.shown.iter().map(move |doc| {
        let mut clicks = search.clicks.iter().filter(|click| click.doc == *doc);
        (doc.as_str(), clicks.any(|click| click.dwell_s.is_none_or(|s| f64::from(s) >= success_dwell_s)))
    })
}

/// A line for each part of a build, one after the other.
struct Bars<'a> {
    journal: &'a Journal,
    docs: usize,
    now: Mutex<(Part, Progress)>,
}

impl<'a> Bars<'a> {
    fn new(journal: &'a Journal, docs: usize) -> Self {
        Self { journal, docs, now: Mutex::new((Part::Texts, journal.progress("index", docs as u64))) }
    }

    fn inc(&self, part: Part, n: u64) {
        let mut now = self.now.lock().expect("no holder of the line panics");
        if now.0 != part {
            let name = match part {
                Part::Texts => "index",
                Part::Encoding => "encode",
                Part::Vectors => "vectors",
            };
            *now = (part, self.journal.progress(name, self.docs as u64));
        }
        now.1.inc(n);
    }

    fn finish(self, summary: &str) {
        self.now.into_inner().expect("no holder of the line panics").1.finish(summary);
    }
}
