//! `core bench aging`: what a model loses by growing old.
//!
//! Models are taught alike, each on one week of a drifting world, and meet held-out people in the week after the last one, all
//! behind one ranking that has learnt from that last week. So what differs is their age alone: held against no rewriting, week
//! after week, an old model can gain while it ages, as the ranking ages too.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ab;
use crate::bench::{of_seed, trained};
use crate::fake;
use crate::journal::{Cell, Event, Journal, Table};
use crate::judge::{Design, Experiment, Lift};
use crate::model::shipped::BASE;
use crate::recipe::{Recipe, Usage};
use crate::simulate::Part;
use crate::train::{Existing, Options, Task};
use crate::{index, mine, simulate};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Weeks that a model each is taught on, from 1; none for the first and the last of the log.
    pub taught: Vec<u32>,
    /// Worlds of so many seeds.
    pub seeds: u64,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The world's seed; none for the mean of all.
    pub seed: Option<u64>,
    /// The week it was taught on, from 1; none for no rewriting.
    pub taught: Option<u32>,
    /// VV10s per search against the oldest model; none for that one.
    pub over_oldest: Option<Lift>,
    /// What it changes over no rewriting, as a share of what the oracle does.
    pub of_oracle: Option<f64>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// The week in which all were met, from 1.
    pub week: u32,
    /// Held-out people who lived it with every model, in all worlds.
    pub people: usize,
    /// A row a model and one without, world by world; then the means, where there are several worlds.
    pub rows: Vec<Row>,
}

/// Measures.
///
/// # Errors
/// A week that is none of the log's; those of every step of the loop; `Stopped` after Ctrl-C, with logs and checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    let last = recipe.world.weeks;
    let mut taught = if plan.taught.is_empty() { vec![1, last] } else { plan.taught.clone() };
    taught.sort_unstable();
    taught.dedup();
    if taught.len() < 2 || taught.iter().any(|week| !(1..=last).contains(week)) {
        let text = format!("weeks {taught:?}: give two or more of the log's weeks, 1 to world.weeks = {last}");
        return Err(Usage(text).into());
    }
    Journal::record(workspace, "bench", "aging", &recipe.to_toml(), |journal| {
        let mut report = Report { recipe: recipe.name.clone(), week: last + 1, people: 0, rows: Vec::new() };
        for seed in (0..plan.seeds).map(|n| recipe.seed + n) {
            let met = met(workspace, &of_seed(recipe, seed), &taught)?;
            report.people += met.trials.first().map_or(0, |trial| trial.people);
            report.rows.extend(rows(seed, &taught, &met)?);
        }
        if plan.seeds > 1 {
            let models = taught.iter().copied().map(Some).chain([None]);
            let means: Vec<Row> = models.map(|taught| mean(&report.rows, taught)).collect();
            report.rows.extend(means);
        }
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "aging".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

/// One world: younger models, and none, against the oldest.
fn met(workspace: &Path, recipe: &Recipe, taught: &[u32]) -> Result<Experiment> {
    let mut models = Vec::new();
    let mut newest = recipe.clone();
    for week in taught {
        newest.name = format!("{}-week{week}", recipe.name);
        let part = Part { weeks: Some(*week), without: week - 1, people: None };
        simulate::run(workspace, &newest, part, false)?;
        mine::run(workspace, &newest, &newest.name, mine::Source::Store)?;
        let name = format!("{}-sft", newest.name);
        let task = Task::Sft { log: &newest.name };
        trained(workspace, &newest, &Options { name: &name, task, init: Some(BASE), existing: Existing::Renew })?;
        models.push(name);
    }
    index::run(workspace, &newest, &newest.name, index::Job::Build { anew: false })?;
    let oldest = models.remove(0);
    let treatments = models.into_iter().chain(["never".to_owned()]).collect();
    let plan = ab::Plan { control: &oldest, treatments, design: Design::Paired, weeks: Vec::new() };
    fake::Do::for_serving(workspace, &newest)?;
    ab::run(workspace, &newest, &plan)
}

/// A world's rows, the oldest model's first and no rewriting last.
fn rows(seed: u64, taught: &[u32], met: &Experiment) -> Result<Vec<Row>> {
    let trial = met.trials.first().context("an experiment has a trial")?;
    let found: Vec<_> = trial.treatments.iter().filter_map(|treatment| treatment.rows.first()).collect();
    let none = found.last().context("no rewriting is among the treatments")?;
    // All differences are from the oldest model.
    let by_oracle = none.oracle_difference.zip(none.all).map(|(oracle, none)| oracle - none.difference);
    let of_oracle = |difference: f64| Some((difference - none.all?.difference) / by_oracle.filter(|by| *by != 0.0)?);
    let oldest =
        Row { seed: Some(seed), taught: taught.first().copied(), over_oldest: None, of_oracle: of_oracle(0.0) };
    let others = found.iter().enumerate().map(|(place, row)| Row {
        seed: Some(seed),
        taught: taught.get(place + 1).copied(),
        over_oldest: row.all.as_ref().and_then(Lift::of),
        of_oracle: row.all.and_then(|all| of_oracle(all.difference)),
    });
    Ok(std::iter::once(oldest).chain(others).collect())
}

/// Of a model in all worlds.
fn mean(rows: &[Row], taught: Option<u32>) -> Row {
    let own = || rows.iter().filter(move |row| row.taught == taught);
    let shares: Option<Vec<f64>> = own().map(|row| row.of_oracle).collect();
    Row {
        seed: None,
        taught,
        over_oldest: pooled(own().map(|row| row.over_oldest)),
        of_oracle: shares.map(|s| s.iter().sum::<f64>() / s.len() as f64),
    }
}

/// The mean of independent lifts. Its interval is as wide as the root of the sum of their squared widths says, over their number.
fn pooled(lifts: impl Iterator<Item = Option<Lift>>) -> Option<Lift> {
    let lifts: Vec<Lift> = lifts.collect::<Option<_>>()?;
    let n = lifts.len() as f64;
    let percent = lifts.iter().map(|lift| lift.percent).sum::<f64>() / n;
    let wide = |end: fn(&Lift) -> f64| lifts.iter().map(|l| (end(l) - l.percent).powi(2)).sum::<f64>().sqrt() / n;
    Some(Lift { percent, low: percent - wide(|l| l.low), high: percent + wide(|l| l.high) })
}

impl Report {
    /// A row a model.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!("{}: VV10s per search in week {}, {} held-out people", self.recipe, self.week, self.people);
        let columns = ["seed", "taught on week", "weeks old", "over the oldest, %", "of oracle"];
        let mut table = Table::new("aging", title, &columns);
        for row in &self.rows {
            table.row([
                row.seed.map_or("all".into(), |seed| seed.to_string().into()),
                row.taught.map_or("no rewriting".into(), |week| week.to_string().into()),
                row.taught.map_or("–".into(), |week| (self.week - week).to_string().into()),
                row.over_oldest.map_or("–".into(), |l| Cell::shown(l.percent, l.words())),
                row.of_oracle.map_or("–".into(), |s| Cell::shown(s, format!("{:.1} %", 100.0 * s))),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_of_worlds_is_narrower_than_theirs() {
        let of = |percent| Some(Lift { percent, low: percent - 0.6, high: percent + 0.8 });
        let mean = pooled([of(1.0), of(2.0), of(0.0), of(1.0)].into_iter()).unwrap();
        assert_eq!(mean.percent, 1.0);
        assert!((mean.low - 0.7).abs() < 1e-12 && (mean.high - 1.4).abs() < 1e-12, "{mean:?}");
        assert_eq!(pooled([of(1.0), None].into_iter()), None);
    }

    #[test]
    fn every_model_learns_from_its_own_week_and_is_met_in_one_week() {
        let dir = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos, recipe.world.weeks, recipe.ab.resamples) = (60, 600, 3, 50);
        (recipe.train.steps, recipe.train.eval_every) = (2, 2);
        let report = run(dir.path(), &recipe, &Plan { taught: vec![3, 1], seeds: 1 }).unwrap();
        assert_eq!(report.week, 4);
        let rows: Vec<_> = report.rows.iter().map(|row| (row.taught, row.over_oldest.is_some())).collect();
        assert_eq!(rows, [(Some(1), false), (Some(3), true), (None, true)]);
        let none = report.rows.last().unwrap();
        assert!(report.rows.iter().all(|row| row.of_oracle.is_some()) && report.people > 3, "{report:?}");
        assert_eq!(none.of_oracle, Some(0.0));
        let store = crate::store::Store::open_existing(dir.path()).unwrap();
        let week = 7 * 86_400_000;
        for (log, weeks) in [("tiny-week1", 1), ("tiny-week3", 1)] {
            let (first, last) = store.time_span(&store.log(log).unwrap()).unwrap().unwrap();
            assert!(last - first <= weeks * week, "{log}");
        }
        let error = run(dir.path(), &recipe, &Plan { taught: vec![4, 1], seeds: 1 }).unwrap_err().to_string();
        assert!(error.contains("world.weeks = 3"), "{error}");
    }
}
