//! A/A runs: two arms without a difference, again and again. What share of them calls one significant?
//!
//! Each run is another world, with other people, searched through its own index, and people hashed to two arms that both
//! search without a rewriter. A sound test calls about one in twenty of them significant at the 5 % level.

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

use super::arms::{self, Arm, Stage};
use super::metrics::{METRICS, Tally};
use crate::journal::{Cell, Progress, Table, stop};
use crate::judge::{Ratio, compare_groups};
use crate::recipe::Recipe;
use crate::rewriter::Rewriter;
use crate::search::Engine;
use crate::world::World;

/// The level at which a difference is called significant.
const LEVEL: f64 = 0.05;

/// What A/A runs gave.
#[derive(Debug, Clone, Serialize)]
pub struct Null {
    /// Runs.
    pub runs: usize,
    /// People of each.
    pub people: usize,
    /// The level of the test.
    pub level: f64,
    /// Share of runs whose main metric (`vv10s_per_search`) had p below the level.
    pub share_significant: f64,
    /// The same for every metric.
    pub by_metric: Vec<(String, f64)>,
}

impl Null {
    /// One row a metric.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!("{} A/A runs of {} people; share with p < {}", self.runs, self.people, self.level);
        let mut table = Table::new("aa", title, &["metric", "share_significant"]);
        for (metric, share) in &self.by_metric {
            table.row([metric.as_str().into(), Cell::shown(*share, format!("{:.1}%", 100.0 * share))]);
        }
        table
    }
}

/// Runs the world of `recipe` under `runs` other seeds, without a rewriter in either arm.
///
/// # Errors
/// No runs; a temporary folder that cannot be written; `Stopped` after Ctrl-C.
pub fn rejections(recipe: &Recipe, runs: usize) -> Result<Null> {
    ensure!(runs > 0, "0 A/A runs say nothing: give a number above 0");
    let progress = Progress::on_screen("a/a", runs as u64);
    let of_run = |run: usize| -> Result<Vec<f64>> {
        stop::check("A/A runs are not resumable; run the same command again")?;
        let seed = recipe.seed.wrapping_add(1 + run as u64);
        let ps = one(&Recipe { seed, ..recipe.clone() })?;
        progress.inc(1);
        Ok(ps)
    };
    let of_runs = (0..runs).into_par_iter().map(of_run).collect::<Result<Vec<_>>>()?;
    progress.finish(&format!("{runs} runs"));
    let share = |metric: usize| of_runs.iter().filter(|ps| ps[metric] < LEVEL).count() as f64 / runs as f64;
    let by_metric: Vec<_> = METRICS.iter().map(|m| (m.name.to_owned(), share(m.index))).collect();
    Ok(Null { runs, people: recipe.world.people, level: LEVEL, share_significant: by_metric[0].1, by_metric })
}

/// The p-value of each metric in one world.
fn one(recipe: &Recipe) -> Result<Vec<f64>> {
    let world = World::new(recipe)?;
    let folder = std::env::temp_dir().join(format!("core-aa-{}-{}", std::process::id(), recipe.seed));
    let made = Engine::build(&folder, world.docs(), &recipe.search, |_| ()).context("indexing the world of an A/A run");
    let ps = made.and_then(|engine| {
        let never = Arm::Rewriter(Box::new(Rewriter::Never));
        let (control, treatment) = (&never, &never);
        let spent = arms::Spent::default();
        let stage = Stage { world: &world, engine: &engine, recipe, control, treatment, spent };
        let lives = (0..world.people()).map(|person| {
            let treated = arms::treated(recipe, person);
            Ok((treated, stage.live(person, treated)?))
        });
        Ok(p_values(recipe, &lives.collect::<Result<Vec<(bool, Tally)>>>()?))
    });
    let _ = std::fs::remove_dir_all(&folder);
    ps
}

/// A metric that cannot be compared (nobody searched) is not significant.
fn p_values(recipe: &Recipe, lives: &[(bool, Tally)]) -> Vec<f64> {
    let of = |index: usize, arm: bool| -> Vec<Ratio> {
        lives.iter().filter(|(treated, _)| *treated == arm).map(|(_, tally)| tally.all[index]).collect()
    };
    let p = |index: usize| compare_groups(&of(index, false), &of(index, true), recipe.ab.resamples, recipe.seed);
    METRICS.iter().map(|m| p(m.index).map_or(1.0, |c| c.p)).collect()
}
