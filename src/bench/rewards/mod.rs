//! `core bench rewards`: what learning from rewards adds to learning by example, one reward and one setting at a time.
//!
//! Every row starts from the same fine-tuned model and takes as long: examples alone go on for as many steps as the first run
//! on rewards took time. Answers are judged by the recipe's own rewards on held-out people, whatever a row was trained for, and all
//! rows take part in one simulated experiment.

mod measure;
mod table;
mod variants;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{of_seed, relevance, trained};
use crate::ab;
use crate::fake;
use crate::journal::{Event, Journal};
use crate::judge::{Comparison, Design};
use crate::model::shipped::BASE;
use crate::recipe::Recipe;
use crate::train::{Existing, Options, Task};
use crate::{index, mine, simulate};

pub use variants::Set;
use variants::{Kind, Variant};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Worlds, each of its own seed from the recipe's on.
    pub seeds: u64,
    /// Which rows.
    pub set: Set,
    /// These of them alone, by their names, beside the first, whose time is everybody's; none for all.
    pub only: Vec<String>,
    /// Whether to leave out the simulated experiment.
    pub no_ab: bool,
}

/// One row in one world, or over all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was trained.
    pub name: String,
    /// Seconds of training on top of the fine-tuned model.
    pub seconds: f64,
    /// The recipe's reward of greedy answers to held-out people, against the fine-tuned model's.
    pub reward: Option<Comparison>,
    /// Reciprocal rank at 10 of what satisfied, against the fine-tuned model's.
    pub mrr: Option<Comparison>,
    /// Share of answers that are what the person typed next.
    pub exact_match: f64,
    /// Share of queries left alone.
    pub reject_rate: f64,
    /// Of these, those where the person was content.
    pub reject_precision: Option<f64>,
    /// Of the rewrites, those that are valid queries.
    pub index_hit_rate: Option<f64>,
    /// Words of rewrites that stand neither in the query nor in the context.
    pub off_context: Option<f64>,
    /// Mean of log(1 + searches) of the rewrites: popular queries drift upwards.
    pub popularity: Option<f64>,
    /// CoRe's ratio (its logarithm) of greedy answers to held-out people, against the fine-tuned model's.
    pub ratio: Option<Comparison>,
    /// Words of a rewrite.
    pub words: Option<f64>,
    /// Satisfied views a search in the experiment, relative to the plain path; with its interval.
    pub vv10s: Option<Comparison>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Seeds of the worlds.
    pub seeds: Vec<u64>,
    /// Rows over all worlds, people of all of them as the unit.
    pub rows: Vec<Row>,
    /// The same of each world.
    pub by_seed: Vec<(u64, Vec<Row>)>,
}

/// Measures.
///
/// # Errors
/// Those of every step of the loop; `Stopped` after Ctrl-C, with logs and checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    // Before anything is trained: a name that no row has.
    variants::some_of(plan.set, &plan.only)?;
    Journal::record(workspace, "bench", "rewards", &recipe.to_toml(), |journal| {
        let seeds: Vec<u64> = (0..plan.seeds).map(|n| recipe.seed + n).collect();
        let mut worlds = Vec::new();
        for seed in &seeds {
            worlds.push(world(workspace, &of_seed(recipe, *seed), plan, journal)?);
        }
        let rows = measure::rows(&worlds.iter().collect::<Vec<_>>(), recipe);
        let by_seed = seeds.iter().zip(&worlds).map(|(seed, world)| (*seed, measure::rows(&[world], recipe))).collect();
        let report = Report { recipe: recipe.name.clone(), seeds, rows, by_seed };
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "rewards".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

/// All rows of one world.
fn world(workspace: &Path, recipe: &Recipe, plan: &Plan, journal: &Journal) -> Result<Vec<measure::Measured>> {
    simulate::run(workspace, recipe, simulate::Part::default(), false)?;
    index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
    mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
    let start = format!("{}-rewards-sft", recipe.name);
    let started = fit(workspace, recipe, &start, Task::Sft { log: &recipe.name }, BASE)?;
    let tagged = match plan.set {
        Set::Relevance => {
            relevance::annotate(workspace, recipe, journal)?;
            fit(workspace, recipe, &variants::tagger(recipe), Task::Tagging { log: &recipe.name }, BASE)?
        }
        Set::Rewards | Set::Settings | Set::Core => 0.0,
    };
    let mut trained = vec![(variants::START.to_owned(), start.clone(), 0.0)];
    let mut budget = None;
    for variant in variants::some_of(plan.set, &plan.only)? {
        let name = format!("{}-rewards-{}", recipe.name, variant.name);
        let seconds = match variant.kind {
            Kind::Rewards => {
                fit(workspace, &variant.recipe(recipe), &name, Task::Grpo { log: &recipe.name, tags: false }, &start)?
            }
            Kind::Pairs => fit(workspace, &variant.recipe(recipe), &name, Task::Mpo { log: &recipe.name }, &start)?,
            Kind::Examples => {
                let recipe = go_on(recipe, started, &variant, budget.context("a run on rewards comes first")?);
                fit(workspace, &recipe, &name, Task::Sft { log: &recipe.name }, &start)?
            }
            Kind::Mixed => {
                let recipe = mixed(recipe, [started, tagged], budget.context("a run on rewards comes first")?);
                fit(workspace, &recipe, &name, Task::Tagging { log: &recipe.name }, &start)?
            }
        };
        budget = budget.or(Some(seconds));
        trained.push((variant.name.to_owned(), name, seconds));
    }
    let mut measured = measure::all(workspace, recipe, &trained, journal)?;
    if !plan.no_ab {
        let treatments: Vec<String> = trained.iter().map(|(_, run, _)| run.clone()).collect();
        let tried = ab::Plan { control: "never", treatments, design: Design::Paired, weeks: Vec::new() };
        fake::Do::for_serving(workspace, recipe)?;
        let experiment = ab::run(workspace, recipe, &tried)?;
        measure::lifts(&mut measured, &experiment);
    }
    Ok(measured)
}

/// Trains a run unless it is there already; the seconds it took in all.
fn fit(workspace: &Path, recipe: &Recipe, name: &str, task: Task, init: &str) -> Result<f64> {
    trained(workspace, recipe, &Options { name, task, init: Some(init), existing: Existing::Renew })
}

/// The recipe of a run on examples alone that takes about `seconds`, at the pace of the one it starts from, which took `started`.
fn go_on(recipe: &Recipe, started: f64, variant: &Variant, seconds: f64) -> Recipe {
    let pace = started / recipe.train.steps as f64;
    let mut recipe = variant.recipe(recipe);
    recipe.train.steps = ((seconds / pace.max(1e-6)).round() as u64).max(1);
    recipe.train.lr = recipe.grpo.lr.max(recipe.train.lr * recipe.train.lr_floor);
    recipe.train.from_scratch = None;
    recipe
}

/// The recipe of a run on examples and annotations, half of its groups each, that takes about `seconds`, at the paces of the
/// runs on either alone.
fn mixed(recipe: &Recipe, [started, tagged]: [f64; 2], seconds: f64) -> Recipe {
    let of_group = |seconds: f64, steps: u64, batch: usize| seconds / (steps as f64 * batch as f64);
    let (train, mut own) = (&recipe.train, recipe.relevance.clone());
    let pace = (of_group(started, train.steps, train.batch) + of_group(tagged, own.steps, own.batch)) / 2.0;
    own.mix = 0.5;
    own.steps = ((seconds / (pace * own.batch as f64).max(1e-6)).round() as u64).max(1);
    own.lr = recipe.grpo.lr.max(train.lr * train.lr_floor);
    Recipe { relevance: own, ..recipe.clone() }
}
