//! The curve of a run: what each of its checkpoints is worth, and what it had cost by then.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::Point;
use crate::journal::{Event, Journal, Reader, stop};
use crate::judge::reward::{Rewarder, Said, Searched, Side};
use crate::judge::{Comparison, Ratio, compare};
use crate::model::runs;
use crate::recipe::Recipe;
use crate::rewriter::Rewriter;

/// Searches answered at once.
const CHUNK: usize = 64;

/// Judges checkpoints alike.
pub(super) struct Judge<'a> {
    workspace: &'a Path,
    recipe: Recipe,
    rewarder: Rewarder,
    searched: Vec<Searched>,
    /// What the model is worth that all runs start from.
    start: Worth,
}

/// What a model's greedy answers are worth.
#[derive(Default)]
struct Worth {
    /// The ratio of each answer.
    ratios: Vec<f64>,
    improvement_rate: Option<f64>,
}

impl Worth {
    fn mean(&self) -> f64 {
        self.ratios.iter().sum::<f64>() / self.ratios.len().max(1) as f64
    }
}

/// What a run had cost when an event was written.
#[derive(Clone, Copy, Default)]
struct Cost {
    seconds: f64,
    gradient_tokens: f64,
    syncs: u64,
    reward_calls: f64,
}

impl<'a> Judge<'a> {
    pub fn open(workspace: &'a Path, recipe: &Recipe, start: &str) -> Result<Self> {
        let rewarder = Rewarder::open(workspace, recipe)?;
        let searched = rewarder.searched(workspace, Side::HeldOut, recipe.gate.examples, recipe.ratio.mended)?;
        let mut judge = Self { workspace, recipe: recipe.clone(), rewarder, searched, start: Worth::default() };
        judge.start = judge.worth(start)?;
        Ok(judge)
    }

    pub fn searches(&self) -> usize {
        self.searched.len()
    }

    fn worth(&self, name: &str) -> Result<Worth> {
        let rewriter = Rewriter::open(self.workspace, &self.recipe, name)?;
        let mut said = Vec::with_capacity(self.searched.len());
        for some in self.searched.chunks(CHUNK) {
            stop::check("what was trained is kept; run the same command again")?;
            let requests: Vec<_> = some.iter().map(|s| (&s.row.context, s.row.query.as_str())).collect();
            let outcomes = rewriter.rewrite(&requests)?;
            said.extend(outcomes.into_iter().map(|outcome| outcome.rewrite.map_or(Said::Reject, Said::Rewrite)));
        }
        let alone = vec![Said::Reject; said.len()];
        let of = |said: &[Said]| -> Result<Vec<f64>> {
            let answers: Vec<_> =
                self.searched.iter().zip(said).map(|(s, said)| (&s.evidence, s.row.query.as_str(), said)).collect();
            let (ratios, _) = self.rewarder.ratios(&answers)?;
            ratios.into_iter().map(|ratio| Ok(ratio.context("the evidence was drawn for its ratio")?.value)).collect()
        };
        let (own, queries) = (of(&said)?, of(&alone)?);
        let rewrites = said.iter().zip(own.iter().zip(&queries)).filter(|(said, _)| **said != Said::Reject);
        let better: Vec<bool> = rewrites.map(|(_, (own, query))| own > query).collect();
        let rate = better.iter().filter(|better| **better).count() as f64 / better.len() as f64;
        Ok(Worth { ratios: own, improvement_rate: (!better.is_empty()).then_some(rate) })
    }

    /// A model against the one that all start from, person by person.
    fn over_start(&self, worth: &Worth) -> Option<Comparison> {
        let mut people: BTreeMap<&str, (Ratio, Ratio)> = BTreeMap::new();
        for (searched, (before, after)) in self.searched.iter().zip(self.start.ratios.iter().zip(&worth.ratios)) {
            let both = people.entry(&searched.row.user).or_default();
            both.0.add(*before);
            both.1.add(*after);
        }
        compare(&people.into_values().collect::<Vec<_>>(), self.recipe.ab.resamples, self.recipe.seed)
    }

    /// Every checkpoint of a run, the start first; and the last one against the start.
    pub fn curve(&self, run: &str, journal: &Journal) -> Result<(Vec<Point>, Option<Comparison>)> {
        let costs = self.costs(run)?;
        let dir = runs::run_dir(self.workspace, run)?;
        let steps = runs::steps(&dir)?;
        let progress = journal.progress("judge", steps.len() as u64);
        let point = |step, cost: Cost, worth: &Worth| Point {
            step,
            seconds: cost.seconds,
            gradient_tokens: cost.gradient_tokens,
            syncs: cost.syncs,
            reward_calls: cost.reward_calls,
            reward: worth.mean(),
            improvement_rate: worth.improvement_rate,
        };
        let (mut points, mut over_start) = (vec![point(0, Cost::default(), &self.start)], None);
        for step in steps {
            let folder = runs::step_dir(&dir, step);
            let cost = costs.iter().rev().find(|(at, _)| *at <= step).map(|(_, cost)| *cost).unwrap_or_default();
            let worth = self.worth(&folder.display().to_string())?;
            points.push(point(step, cost, &worth));
            over_start = self.over_start(&worth);
            progress.inc(1);
        }
        progress.finish(&format!("{} checkpoints of {run}", points.len() - 1));
        Ok((points, over_start))
    }

    /// What the run had cost after each step, as its journal tells. Seconds run from the run's start, reading the log included.
    fn costs(&self, run: &str) -> Result<Vec<(u64, Cost)>> {
        let reader = Reader::open(self.workspace)?;
        let info = reader.runs()?.into_iter().find(|r| r.verb == "train" && r.name == run && r.events > 3);
        let info = info.with_context(|| format!("the journal has no run {run}: delete its folder and start again"))?;
        let (mut cost, mut costs) = (Cost::default(), Vec::new());
        for logged in reader.events(info.id, 0, usize::MAX)? {
            let Event::Metrics { step, split, values, .. } = logged.event else { continue };
            if split != "train" {
                continue;
            }
            cost.seconds = (logged.time_ms - info.started_ms) as f64 / 1e3;
            cost.gradient_tokens = values.get("num_tokens").copied().unwrap_or(cost.gradient_tokens);
            // A step that samples says how many answers were judged for it.
            if let Some(calls) = values.get("reward_calls") {
                cost.syncs += 1;
                cost.reward_calls += calls;
            }
            costs.push((step, cost));
        }
        Ok(costs)
    }
}
