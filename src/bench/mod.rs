//! `core bench`: speed on fixed work, for comparison with peers that do the same; and how good each stage of search is.
//!
//! Steps of training and decoding run on random weights and random ids, but through the code paths of training: sampling,
//! reference pass, gradient and update. Search runs on the world's documents and its people's queries.

pub mod aging;
pub mod base;
mod client;
mod compare;
pub mod decoding;
pub mod economy;
pub mod fake;
pub mod incident;
mod machine;
pub mod relevance;
pub mod rewards;
mod scratch;
mod search;
pub mod serving;
mod stages;
mod timing;
mod work;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::journal::{Event, Reader, Table};
use crate::recipe::Recipe;
use crate::train::{self, Options};

pub use compare::{Comparison, Pair, compare};
pub use timing::{Case, Layout, Shape, Work};

/// The recipe with another seed, and a name of its own, so that logs and runs lie side by side.
fn of_seed(recipe: &Recipe, seed: u64) -> Recipe {
    let name = if seed == recipe.seed { recipe.name.clone() } else { format!("{}-s{seed}", recipe.name) };
    Recipe { name, seed, ..recipe.clone() }
}

/// Trains, and tells the seconds: of this call where it did all steps, else of all calls that took one of them.
fn trained(workspace: &Path, recipe: &Recipe, options: &Options) -> Result<f64> {
    let started = Instant::now();
    let summary = train::run(workspace, recipe, options)?;
    let seconds = started.elapsed().as_secs_f64();
    if summary.steps_now == summary.steps { Ok(seconds) } else { training_seconds(workspace, options.name) }
}

/// How long a training run took, those that it went on from included. Calls that found it done are not, nor what an older run
/// of the name took.
fn training_seconds(workspace: &Path, run: &str) -> Result<f64> {
    let reader = Reader::open(workspace)?;
    let mut total = 0;
    for call in reader.runs()?.iter().filter(|r| r.verb == "train" && r.name == run) {
        let events = reader.events(call.id, 0, usize::MAX)?;
        let step = |event: &Event| match event {
            Event::Metrics { step, split, .. } if split == "train" => Some(*step),
            _ => None,
        };
        let Some(first) = events.iter().find_map(|logged| step(&logged.event)) else { continue };
        total += call.duration_ms(call.started_ms).unwrap_or(0);
        // The newest calls come first: behind this one lies another run.
        if first == 1 {
            break;
        }
    }
    Ok(total as f64 / 1e3)
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// The time of a step; of so many steps, or of as many as about ten seconds hold.
    Step(Case, Option<usize>),
    /// nDCG@10 after each stage of search.
    Stages,
    /// Building and asking an index, beside plain Tantivy and SQLite's FTS5.
    Search {
        /// Documents; the recipe's world when not said.
        docs: Option<usize>,
        /// Queries.
        queries: usize,
    },
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of a step.
    Step(timing::Report),
    /// Of the stages.
    Stages(stages::Report),
    /// Of the index.
    Search(search::Report),
}

impl Report {
    /// As a person reads it.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Self::Step(report) => report.table(),
            Self::Stages(report) => report.table(),
            Self::Search(report) => report.table(),
        }
    }
}

/// Does the work and measures it.
///
/// # Errors
/// Too little memory for a shape; those of simulating and indexing. `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, job: Job) -> Result<Report> {
    Ok(match job {
        Job::Step(case, steps) => Report::Step(timing::run(case, steps)?),
        Job::Stages => Report::Stages(stages::run(workspace, recipe)?),
        Job::Search { docs, queries } => Report::Search(search::run(workspace, recipe, docs, queries)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    fn small() -> Recipe {
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos, recipe.ab.resamples) = (60, 600, 50);
        recipe
    }

    #[test]
    fn a_run_took_what_the_calls_took_that_trained_it() {
        let dir = tempfile::tempdir().unwrap();
        let call = |steps: std::ops::Range<u64>, slow: bool| {
            let body = |journal: &Journal| {
                if slow {
                    std::thread::sleep(std::time::Duration::from_millis(700));
                }
                steps.clone().try_for_each(|step| {
                    let values = std::collections::BTreeMap::new();
                    journal.emit(&Event::Metrics { step, steps: 9, split: "train".into(), values })
                })
            };
            Journal::record(dir.path(), "train", "tuned", "", body).unwrap();
        };
        call(1..9, true);
        call(1..5, false);
        call(5..9, false);
        call(9..9, true);
        let seconds = training_seconds(dir.path(), "tuned").unwrap();
        assert!(seconds < 0.7, "neither an older run nor a call without a step counts: {seconds}");
        call(1..2, true);
        assert!(training_seconds(dir.path(), "tuned").unwrap() >= 0.7);
    }

    #[test]
    fn every_stage_of_every_path_is_judged() {
        let dir = tempfile::tempdir().unwrap();
        let Report::Stages(report) = run(dir.path(), &small(), Job::Stages).unwrap() else { panic!("stages") };
        assert_eq!(report.rows.len(), 9);
        assert!(report.searches > 50 && report.people > 3, "{report:?}");
        assert_eq!(report.fitted_on.as_deref(), Some("tiny"));
        for row in &report.rows {
            assert!((0.0..=1.0).contains(&row.ndcg), "{row:?}");
            assert_eq!(row.over_before.is_none(), row.stage == "recall");
            assert_eq!(row.over_plain.is_none(), row.path == "plain");
        }
        // Configuration A leaves the first two stages as they are.
        assert_eq!(report.rows[3].ndcg, report.rows[0].ndcg);
        assert_eq!(report.rows[4].ndcg, report.rows[1].ndcg);
        assert_eq!(report.table().rows.len(), 9);
    }

    #[test]
    fn every_system_answers_the_same_queries() {
        let dir = tempfile::tempdir().unwrap();
        let job = Job::Search { docs: Some(400), queries: 50 };
        let Report::Search(report) = run(dir.path(), &small(), job).unwrap() else { panic!("search") };
        let systems: Vec<&str> = report.rows.iter().map(|r| r.system.as_str()).collect();
        assert!(systems.contains(&"tantivy") && systems.contains(&"sqlite fts5"), "{systems:?}");
        assert_eq!((report.docs, report.queries), (400, 50));
        for row in &report.rows {
            assert!(row.answered > 0.5 && row.queries_per_s > 0.0 && row.median_ms <= row.p99_ms, "{row:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left over");
    }
}
