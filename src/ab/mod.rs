//! A simulated online experiment: the same people in the same weeks, with and without a rewriter.
//!
//! Each person lives both arms with the same random numbers (what they need, how they phrase it, what they look
//! at), so a difference comes from what was shown. Only what a log would hold is counted, and only people whose
//! searches were never trained on take part.

mod metrics;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Journal, stop};
use crate::judge::{Comparison, compare};
use crate::logs::Context;
use crate::recipe::Recipe;
use crate::rewriter::{Outcome, Rewriter};
use crate::search::{Engine, index_dir};
use crate::store::{Split, Store, person_split};
use crate::world::{Page, World};

use metrics::{METRICS, Tally};

/// One metric of the experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Name, such as `vv10s_per_person`.
    pub metric: String,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Over all searches.
    pub all: Option<Comparison>,
    /// Over the searches that the rewriter rewrote, or would have in the control.
    pub impacted: Option<Comparison>,
}

/// What an experiment found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The rewriter in the treatment.
    pub treatment: String,
    /// People in both arms.
    pub people: usize,
    /// Weeks simulated.
    pub weeks: u32,
    /// Share of the control's searches that the rewriter would have rewritten.
    pub rewritten_share: f64,
    /// One row a metric.
    pub rows: Vec<Row>,
}

/// Simulates the weeks after the log for every held-out person, in both arms.
///
/// # Errors
/// No index or log yet; a model that fails; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, treatment: &str) -> Result<Report> {
    Journal::record(workspace, "ab", treatment, &recipe.to_toml(), |journal| {
        experiment(workspace, recipe, treatment, journal)
    })
}

fn experiment(workspace: &Path, recipe: &Recipe, treatment: &str, journal: &Journal) -> Result<Report> {
    // The log must be there: the experiment's weeks follow it.
    Store::open_existing(workspace)?.log(&recipe.name)?;
    let engine = Engine::open(&index_dir(workspace, &recipe.name))?;
    let world = World::new(recipe)?;
    let rewriter = Rewriter::open(workspace, recipe, treatment)?;
    let people: Vec<usize> =
        (0..world.people()).filter(|&p| person_split(recipe, &world.user_id(p)) != Split::Train).collect();
    let progress = journal.progress("a/b", people.len() as u64);
    let tallies = people
        .par_iter()
        .map(|&person| {
            stop::check("an experiment is not resumable; run the same command again")?;
            let pair = (
                live(&world, &engine, &rewriter, recipe, person, false)?,
                live(&world, &engine, &rewriter, recipe, person, true)?,
            );
            progress.inc(1);
            Ok(pair)
        })
        .collect::<Result<Vec<(Tally, Tally)>>>()?;
    let report = summarise(recipe, rewriter.name(), &tallies);
    progress.finish(&format!("{} people × 2 arms", people.len()));
    let body = serde_json::to_value(&report).context("a report is plain data")?;
    journal.emit(&Event::Report { title: "ab".into(), fingerprint: treatment.to_owned(), body })?;
    Ok(report)
}

/// One person's weeks in one arm.
fn live(
    world: &World,
    engine: &Engine,
    rewriter: &Rewriter,
    recipe: &Recipe,
    person: usize,
    treated: bool,
) -> Result<Tally> {
    let search = |context: &Context, query: &str| -> Result<Page> {
        // The control asks too, without using the answer: that is how impacted searches are known in both arms.
        let outcome = rewriter.rewrite(&[(context, query)])?.pop();
        let rewritten = outcome.and_then(|o: Outcome| o.rewrite);
        let used = rewritten.as_deref().filter(|_| treated);
        let hits = engine.search(query, used, &recipe.search)?;
        Ok(Page { shown: hits.into_iter().map(|hit| hit.doc).collect(), rewritten })
    };
    let weeks = recipe.world.weeks..recipe.world.weeks + recipe.ab.weeks;
    let sessions = world.simulate_person(person, weeks, &search)?;
    Ok(Tally::of(&sessions, &recipe.mine))
}

fn summarise(recipe: &Recipe, treatment: &str, tallies: &[(Tally, Tally)]) -> Report {
    let compared = |pick: &dyn Fn(&Tally) -> crate::judge::Ratio| {
        let pairs: Vec<_> = tallies.iter().map(|(control, treated)| (pick(control), pick(treated))).collect();
        compare(&pairs, recipe.ab.resamples, recipe.seed)
    };
    let rows = METRICS.iter().map(|metric| Row {
        metric: metric.name.into(),
        more_is_better: metric.more_is_better,
        all: compared(&|tally| tally.all[metric.index]),
        impacted: compared(&|tally| tally.impacted[metric.index]),
    });
    let (rewritten, searches) = tallies.iter().fold((0, 0), |(r, s), (c, _)| (r + c.rewritten, s + c.searches));
    Report {
        treatment: treatment.to_owned(),
        people: tallies.len(),
        weeks: recipe.ab.weeks,
        rewritten_share: rewritten as f64 / searches.max(1) as f64,
        rows: rows.collect(),
    }
}
