//! A simulated online experiment: the weeks after the log, with one rewriter or another.
//!
//! Only people whose searches were never trained on take part, and only what a log would hold is counted. A person has
//! the same random numbers in either arm (what they need, how they phrase it, what they look at). People are hashed to
//! one arm each, as in an experiment on a site; or, which a simulation can and a site cannot, each lives both arms.

mod arms;
mod metrics;
mod null;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Journal, stop};
use crate::judge::{Comparison, Ratio, compare, compare_groups};
use crate::recipe::Recipe;
use crate::search::{Engine, index_dir};
use crate::store::{Split, Store, person_split};
use crate::world::World;

use arms::{Arm, Stage};
use metrics::{METRICS, Tally};
pub use null::{Null, rejections};

/// Who is in which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Everybody in one arm, by a hash of the person.
    Hashed,
    /// Everybody in both arms: the difference has less noise.
    Paired,
}

/// What is compared. An arm is the name of a rewriter, or `oracle`.
#[derive(Debug, Clone)]
pub struct Arms<'a> {
    /// What the treatment is held against; `never` for the plain search path.
    pub control: &'a str,
    /// What is tried.
    pub treatment: &'a str,
    /// Who is in which arm.
    pub design: Design,
}

/// One metric of the experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Name, such as `vv10s_per_search`.
    pub metric: String,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Over all searches.
    pub all: Option<Comparison>,
    /// Over the searches where the arms' rewrites differ, or would have.
    pub impacted: Option<Comparison>,
    /// What the oracle changes over the same control, over all searches of the same people in both arms.
    pub oracle_difference: Option<f64>,
}

impl Row {
    /// The treatment's difference as a share of the oracle's.
    #[must_use]
    pub fn share_of_oracle(&self) -> Option<f64> {
        let oracle = self.oracle_difference.filter(|d| *d != 0.0)?;
        Some(self.all?.difference / oracle)
    }
}

/// What an experiment found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What the treatment was held against.
    pub control: String,
    /// The rewriter in the treatment.
    pub treatment: String,
    /// Who was in which arm.
    pub design: Design,
    /// People in the experiment.
    pub people: usize,
    /// Weeks simulated.
    pub weeks: u32,
    /// Share of the control's searches where the arms' rewrites differ.
    pub rewritten_share: f64,
    /// Mean milliseconds that the treatment's rewriter took for a search.
    pub rewrite_ms: f64,
    /// One row a metric.
    pub rows: Vec<Row>,
}

/// Simulates the weeks after the log for every held-out person.
///
/// # Errors
/// No index or log yet; an arm that cannot be opened; a model that fails; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, arms: &Arms) -> Result<Report> {
    let name = format!("{} against {}", arms.treatment, arms.control);
    Journal::record(workspace, "ab", &name, &recipe.to_toml(), |journal| experiment(workspace, recipe, arms, journal))
}

fn experiment(workspace: &Path, recipe: &Recipe, names: &Arms, journal: &Journal) -> Result<Report> {
    // The log must be there: the experiment's weeks follow it.
    Store::open_existing(workspace)?.log(&recipe.name)?;
    let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?;
    let world = World::new(recipe)?;
    let [control, treatment] = [names.control, names.treatment].map(|name| Arm::open(workspace, recipe, name));
    let (control, treatment) = (control?, treatment?);
    let against = |treatment| Stage {
        world: &world,
        engine: &engine,
        recipe,
        control: &control,
        treatment,
        spent: arms::Spent::default(),
    };
    let (stage, ceiling) = (against(&treatment), against(&Arm::Oracle));
    let people: Vec<usize> =
        (0..world.people()).filter(|&p| person_split(recipe, &world.user_id(p)) != Split::Train).collect();
    let progress = journal.progress("a/b", people.len() as u64);
    let lives = people
        .par_iter()
        .map(|&person| {
            stop::check("an experiment is not resumable; run the same command again")?;
            let life = Life::of(&stage, &ceiling, person, names.design)?;
            progress.inc(1);
            Ok(life)
        })
        .collect::<Result<Vec<Life>>>()?;
    progress.finish(&format!("{} people", people.len()));
    let report = summarise(&stage, names.design, &lives);
    let body = serde_json::to_value(&report).context("a report is plain data")?;
    let fingerprint = format!("{} against {}", names.treatment, names.control);
    journal.emit(&Event::Report { title: "ab".into(), fingerprint, body })?;
    Ok(report)
}

/// A person's weeks, told once for each arm that was lived.
struct Life {
    treated: bool,
    /// Lived by everybody: the control's own people count in it, and the oracle is held against it.
    control: Tally,
    /// Lived by those who are in it.
    treatment: Option<Tally>,
    oracle: Tally,
}

impl Life {
    fn of(stage: &Stage, ceiling: &Stage, person: usize, design: Design) -> Result<Self> {
        let treated = arms::treated(stage.recipe, person);
        let control = stage.live(person, false)?;
        let treatment = (treated || design == Design::Paired).then(|| stage.live(person, true)).transpose()?;
        Ok(Self { treated, control, treatment, oracle: ceiling.live(person, true)? })
    }
}

fn summarise(stage: &Stage, design: Design, lives: &[Life]) -> Report {
    let recipe = stage.recipe;
    let compared = |pick: &dyn Fn(&Tally) -> Ratio| match design {
        Design::Paired => {
            let pairs = lives.iter().filter_map(|life| Some((pick(&life.control), pick(life.treatment.as_ref()?))));
            compare(&pairs.collect::<Vec<_>>(), recipe.ab.resamples, recipe.seed)
        }
        Design::Hashed => {
            let before: Vec<_> = lives.iter().filter(|life| !life.treated).map(|life| pick(&life.control)).collect();
            let after: Vec<_> = lives.iter().filter_map(|life| life.treatment.as_ref().map(pick)).collect();
            compare_groups(&before, &after, recipe.ab.resamples, recipe.seed)
        }
    };
    let rows = METRICS.iter().map(|metric| {
        let of_all = |tally: &Tally| tally.all[metric.index];
        let pairs: Vec<_> = lives.iter().map(|life| (of_all(&life.control), of_all(&life.oracle))).collect();
        Row {
            metric: metric.name.into(),
            more_is_better: metric.more_is_better,
            all: compared(&of_all),
            impacted: compared(&|tally| tally.impacted[metric.index]),
            oracle_difference: compare(&pairs, 1, recipe.seed).map(|c| c.difference),
        }
    });
    let rows = rows.collect();
    let (rewritten, searches) =
        lives.iter().fold((0, 0), |(r, s), life| (r + life.control.rewritten, s + life.control.searches));
    Report {
        control: stage.control.name().to_owned(),
        treatment: stage.treatment.name().to_owned(),
        design,
        people: lives.len(),
        weeks: recipe.ab.weeks,
        rewritten_share: rewritten as f64 / searches.max(1) as f64,
        rewrite_ms: stage.spent.mean_ms(),
        rows,
    }
}
