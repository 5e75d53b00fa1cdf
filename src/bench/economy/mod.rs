//! `core bench economy`: what a reward costs, from online to offline. GRPO, and MPO that syncs its sampler after every step, after
//! some, or never, are points on one curve: reward against wall-clock, tokens with a gradient, syncs and reward calls.
//!
//! All start from the same model, take as many optimizer steps on as many prompts, and are paid by the same ratio. Their
//! checkpoints answer the same held-out searches greedily; the time of judging counts for nobody.

mod curve;
mod picture;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bench::trained;
use crate::journal::{Event, Journal};
use crate::judge::Comparison;
use crate::model::shipped::BASE;
use crate::recipe::{Recipe, Reward};
use crate::train::{Existing, Options, Task};
use crate::{index, mine, simulate};

/// Checkpoints of a run that are judged.
const POINTS: u64 = 8;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Optimizer steps between two syncs, one run each; those beyond the recipe's steps are offline.
    pub sync: Vec<u64>,
    /// Where to draw the curves; none for nowhere.
    pub plot: Option<PathBuf>,
}

/// One checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimizer steps.
    pub step: u64,
    /// Seconds since training began, evaluation left out.
    pub seconds: f64,
    /// Tokens that a gradient was computed for.
    pub gradient_tokens: f64,
    /// Times the sampler took up the policy.
    pub syncs: u64,
    /// Answers judged.
    pub reward_calls: f64,
    /// Mean ratio of greedy answers to held-out searches, in its logarithm.
    pub reward: f64,
    /// Share of rewrites worth more than their query.
    pub improvement_rate: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `grpo`, `mpo sync 1`, …
    pub name: String,
    /// Its checkpoints, step 0 first.
    pub points: Vec<Point>,
    /// Reward of the last one against that of the start, over people.
    pub over_start: Option<Comparison>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Held-out searches.
    pub searches: usize,
    /// One a run.
    pub rows: Vec<Row>,
}

/// Measures.
///
/// # Errors
/// Those of every step of the loop; `Stopped` after Ctrl-C, with logs and checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    Journal::record(workspace, "bench", "economy", &recipe.to_toml(), |journal| {
        simulate::run(workspace, recipe, simulate::Part::default(), false)?;
        index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
        mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
        let start = format!("{}-sft", recipe.name);
        fit(workspace, recipe, &start, Task::Sft { log: &recipe.name }, BASE)?;
        let judge = curve::Judge::open(workspace, recipe, &start)?;
        let mut rows = Vec::new();
        for (name, recipe, task) in variants(recipe, &plan.sync) {
            let run = format!("{}-economy-{}", recipe.name, name.replace(' ', "-"));
            fit(workspace, &recipe, &run, task(&recipe.name), &start)?;
            let (points, over_start) = judge.curve(&run, journal)?;
            rows.push(Row { name, points, over_start });
        }
        let report = Report { recipe: recipe.name.clone(), searches: judge.searches(), rows };
        if let Some(file) = &plan.plot {
            picture::draw(file, &report)?;
        }
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "economy".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

fn fit(workspace: &Path, recipe: &Recipe, name: &str, task: Task, init: &str) -> Result<f64> {
    trained(workspace, recipe, &Options { name, task, init: Some(init), existing: Existing::Renew })
}

/// A run: its name, its recipe, its task on a log.
type Variant = (String, Recipe, fn(&str) -> Task<'_>);

fn variants(recipe: &Recipe, sync: &[u64]) -> Vec<Variant> {
    let mut recipe = recipe.clone();
    let steps = recipe.mpo.steps;
    // Everything is judged once, at the end, from checkpoints that are all kept.
    recipe.train.save_every = steps.div_ceil(POINTS);
    (recipe.train.keep, recipe.train.eval_every) = (POINTS as usize + 2, steps);
    let of_mpo = sync.iter().map(|sync| {
        let mut own = recipe.clone();
        own.mpo.sync_every = (*sync).clamp(1, steps);
        let name = if *sync >= steps { "mpo offline".to_owned() } else { format!("mpo sync {sync}") };
        (name, own, (|log| Task::Mpo { log }) as fn(&str) -> Task<'_>)
    });
    let mut grpo = recipe.clone();
    let (g, m) = (&mut grpo.grpo, &recipe.mpo);
    (g.steps, g.lr, g.prompts, g.num_generations) = (m.steps, m.lr, m.groups, m.num_generations);
    (g.temperature, g.max_completion_length, g.decoding) = (m.temperature, m.max_completion_length, m.decoding);
    (g.num_iterations, g.resample, g.sft) = (1, 0, 0.0);
    let nothing =
        Reward { posterior: 0.0, relevance: 0.0, hit: 0.0, decision: 0.0, format: 0.0, ..grpo.reward.clone() };
    grpo.reward = Reward { ratio: 1.0, ..nothing };
    let of_grpo = ("grpo".to_owned(), grpo, (|log| Task::Grpo { log, tags: false }) as fn(&str) -> Task<'_>);
    [of_grpo].into_iter().chain(of_mpo).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_take_as_many_steps_on_as_many_prompts_and_differ_in_when_they_sync() {
        let rows = variants(&Recipe::default(), &[1, 40, 9_999]);
        let names: Vec<&str> = rows.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["grpo", "mpo sync 1", "mpo sync 40", "mpo offline"]);
        let (grpo, last) = (&rows[0].1, &rows[3].1);
        assert_eq!((grpo.grpo.steps, grpo.grpo.prompts), (last.mpo.steps, last.mpo.groups));
        assert_eq!((last.mpo.sync_every, grpo.reward.ratio, grpo.reward.hit), (last.mpo.steps, 1.0, 0.0));
    }
}
