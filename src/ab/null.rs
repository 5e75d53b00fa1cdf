//! A/A runs: two arms without a difference, again and again. What share of them calls one significant?
//!
//! Each run is another world, with other people, searched through its own index, and people hashed to two arms that both
//! search without a rewriter. A sound test calls about one in twenty of them significant at the 5 % level, also when each
//! run is looked at before its end.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use super::arms::{self, Arm, Stage};
use super::looks::looks;
use super::memory::Memory;
use super::metrics::{Lived, METRICS, Metric};
use crate::journal::{Event, Journal, stop};
use crate::judge::{Decision, Estimate, Null, NullMetric, Ratio, compare_groups};
use crate::recipe::Recipe;
use crate::rewriter::{Answerable, Rewriter};
use crate::search::{Engine, ServedPages};
use crate::world::World;

/// What one run said of one metric.
#[derive(Debug, Clone, Copy, Default)]
struct Verdict {
    at_end: bool,
    any_look_uncorrected: bool,
    any_look_corrected: bool,
    /// Whether the log could tell the metric at all.
    told: bool,
}

/// Runs the world of `recipe` under `runs` other seeds, without a rewriter in either arm.
///
/// # Errors
/// No runs; a folder that cannot be written; `Stopped` after Ctrl-C.
pub fn rejections(workspace: &Path, recipe: &Recipe, runs: usize) -> Result<Null> {
    ensure!(runs > 0, "0 A/A runs say nothing: give a number above 0");
    let name = format!("{runs} A/A runs of {}", recipe.name);
    Journal::record(workspace, "ab", &name, &recipe.to_toml(), |journal| {
        let null = tally(recipe, runs, journal)?;
        let body = serde_json::to_value(&null)?;
        journal.emit(&Event::Report { title: "aa".into(), fingerprint: name.clone(), body })?;
        Ok(null)
    })
}

fn tally(recipe: &Recipe, runs: usize, journal: &Journal) -> Result<Null> {
    let progress = journal.progress("a/a", runs as u64);
    let of_run = |run: usize| -> Result<Vec<Verdict>> {
        stop::check("A/A runs are not resumable; run the same command again")?;
        let seed = recipe.seed.wrapping_add(1 + run as u64);
        let verdicts = one(&Recipe { seed, ..recipe.clone() })?;
        progress.inc(1);
        Ok(verdicts)
    };
    let of_runs = (0..runs).into_par_iter().map(of_run).collect::<Result<Vec<_>>>()?;
    progress.finish(&format!("{runs} runs"));
    let row = |metric: &Metric| {
        let share = |said: fn(&Verdict) -> bool| {
            of_runs.iter().filter(|verdicts| said(&verdicts[metric.index])).count() as f64 / runs as f64
        };
        NullMetric {
            metric: metric.name.into(),
            at_end: share(|v| v.at_end),
            any_look_uncorrected: share(|v| v.any_look_uncorrected),
            any_look_corrected: share(|v| v.any_look_corrected),
        }
    };
    let told = |metric: &&Metric| of_runs.iter().any(|verdicts| verdicts[metric.index].told);
    let by_metric: Vec<_> = METRICS.iter().filter(told).map(row).collect();
    let share_significant = by_metric.first().map_or(0.0, |main| main.at_end);
    let (level, looks) = (recipe.ab.level, recipe.ab.looks);
    Ok(Null { runs, people: recipe.world.people, level, looks, share_significant, by_metric })
}

/// The verdicts of one world, by metric.
fn one(recipe: &Recipe) -> Result<Vec<Verdict>> {
    let world = World::new(recipe)?;
    let folder = std::env::temp_dir().join(format!("core-aa-{}-{}", std::process::id(), recipe.seed));
    let made = Engine::build(&folder, world.docs(), &recipe.search, |_| ()).context("indexing the world of an A/A run");
    let verdicts = made.and_then(|engine| {
        let (control, treatments, nothing) = (plain(), [plain()], Answerable::default());
        let first = recipe.world.weeks + recipe.ab.after_weeks;
        let stage = Stage::new(
            &world,
            ServedPages { engine: &engine, fake: None },
            recipe,
            &nothing,
            &control,
            &treatments,
            first,
        );
        let lives = (0..world.people()).map(|person| {
            let treated = arms::treated(recipe, person);
            Ok((treated, stage.live(person, treated.then_some(0), &Memory::default())?))
        });
        let lives = lives.collect::<Result<Vec<_>>>()?;
        Ok(METRICS.iter().map(|metric| verdict(recipe, metric, &lives)).collect())
    });
    let _ = std::fs::remove_dir_all(&folder);
    verdicts
}

fn plain() -> Arm {
    Arm::Rewriter(Box::new(Rewriter::Never))
}

/// A metric that cannot be compared (nobody searched) is not significant.
fn verdict(recipe: &Recipe, metric: &Metric, lives: &[(bool, Lived)]) -> Verdict {
    let of = |arm: bool, parts: usize| -> Vec<Ratio> {
        lives.iter().filter(|(treated, _)| *treated == arm).map(|(_, lived)| metric.of(&lived.until(parts))).collect()
    };
    let end = compare_groups(&of(false, usize::MAX), &of(true, usize::MAX), recipe.ab.resamples, recipe.seed);
    let looks = looks(recipe, metric.more_is_better, |parts| {
        Some((0.0, Estimate::of_groups(&of(false, parts), &of(true, parts))?))
    });
    Verdict {
        at_end: end.is_some_and(|c| c.p < recipe.ab.level),
        any_look_uncorrected: looks.iter().any(|look| look.p < recipe.ab.level),
        any_look_corrected: looks.iter().any(|look| matches!(look.decision, Decision::Better | Decision::Worse)),
        told: metric.told(&lives.iter().map(|(_, lived)| lived.all()).collect::<Vec<_>>()),
    }
}
