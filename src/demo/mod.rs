//! `core demo`: the whole loop on the built-in world, from nothing to a report.
//!
//! simulate → index → mine → train → rewrite held-out searches → A/B. Each step finds what is already there and goes on
//! from it, so a demo that was killed resumes, and a second one only prints its report.

mod next;
mod report;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Journal, Reader};
use crate::judge::{Design, Experiment};
use crate::model::runs;
use crate::model::shipped::{self, BASE};
use crate::recipe::Recipe;
use crate::rewriter::RULES;
use crate::search::{Engine, index_dir};
use crate::store::Store;
use crate::train::{Existing, Options, Task};
use crate::{ab, evaluate, fake, index, mine, simulate, train};

/// Everything the demo found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name and seed.
    pub recipe: String,
    /// Randomness of the whole loop.
    pub seed: u64,
    /// The simulated log.
    pub log: simulate::Summary,
    /// What was mined from it.
    pub mined: mine::Summary,
    /// What was trained, from the base.
    pub trained: train::Summary,
    /// What was trained from nothing, where that was asked for.
    pub scratch: Option<train::Summary>,
    /// Scores on held-out searches.
    pub held_out: evaluate::Report,
    /// The experiment, every rewriter against none.
    pub ab: Experiment,
}

/// How the demo is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Start over.
    pub fresh: bool,
    /// Train a second model, from nothing.
    pub from_scratch: bool,
}

/// Runs what is missing and prints the report. `source` names the recipe: a preset or a TOML file.
///
/// # Errors
/// Those of the recipe and of the steps; `Stopped` after Ctrl-C, with everything done so far kept.
pub fn run(workspace: &Path, source: &str, flags: Flags, json: bool) -> Result<()> {
    let recipe = Recipe::load(source)?;
    let report = Journal::record(workspace, "demo", &recipe.name, &recipe.to_toml(), |journal| {
        steps(workspace, &recipe, flags, journal)
    })?;
    report::print(workspace, source, &recipe, &report, json)
}

/// Name of the demo's training run.
fn run_name(recipe: &Recipe) -> String {
    format!("{}-sft", recipe.name)
}

/// Name of the run that starts from nothing.
fn scratch_name(recipe: &Recipe) -> String {
    format!("{}-scratch", recipe.name)
}

fn steps(workspace: &Path, recipe: &Recipe, flags: Flags, journal: &Journal) -> Result<Report> {
    let Flags { fresh, from_scratch } = flags;
    // Everything the numbers depend on is in the recipe: an unchanged one has an unchanged report.
    let fingerprint =
        format!("{} {} {from_scratch} {}", env!("CARGO_PKG_VERSION"), shipped::identity(), recipe.to_toml());
    if !fresh && let Some(report) = earlier(workspace, recipe, &fingerprint)? {
        eprintln!("  everything is there already; --fresh starts over");
        return Ok(report);
    }
    let log = simulate::run(workspace, recipe, simulate::Part::default(), fresh)?;
    // A second report must equal the first, and this is of one run.
    let log = simulate::Summary { cost: None, ..log };
    // The search path learns from the same people and weeks as the model does; held-out ones meet what it learnt.
    index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
    let mined = mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
    // A checkpoint of an older recipe or log is the demo's own, so the demo may replace it.
    let existing = if fresh { Existing::Replace } else { Existing::Renew };
    let task = Task::Sft { log: &recipe.name };
    let train = |name: &str, init| train::run(workspace, recipe, &Options { name, task, init, existing });
    let (name, scratch_name) = (run_name(recipe), scratch_name(recipe));
    let trained = train(&name, Some(BASE))?;
    let scratch = from_scratch.then(|| train(&scratch_name, None)).transpose()?;
    let models = [name.as_str()].into_iter().chain(scratch.as_ref().map(|_| scratch_name.as_str()));
    let rewriters: Vec<&str> = RULES.into_iter().chain(models).collect();
    let held_out = evaluate::run(workspace, recipe, &rewriters)?;
    let tried = rewriters.iter().copied().filter(|name| *name != "never").chain(["oracle"]);
    let treatments = tried.map(str::to_owned).collect();
    let plan = ab::Plan { control: "never", treatments, design: Design::Paired, weeks: Vec::new() };
    fake::Do::for_serving(workspace, recipe)?;
    let ab = ab::run(workspace, recipe, &plan)?;
    let report = Report { recipe: recipe.name.clone(), seed: recipe.seed, log, mined, trained, scratch, held_out, ab };
    let body = serde_json::to_value(&report)?;
    journal.emit(&Event::Report { title: "demo".into(), fingerprint, body })?;
    Ok(report)
}

/// The report of the same recipe, when what it tells of is still there.
fn earlier(workspace: &Path, recipe: &Recipe, fingerprint: &str) -> Result<Option<Report>> {
    let Some(body) = Reader::open(workspace)?.report("demo", fingerprint)? else { return Ok(None) };
    // One that another build wrote in another shape is made anew.
    let Ok(mut report) = serde_json::from_value::<Report>(body) else { return Ok(None) };
    let newest = runs::latest(&runs::run_dir(workspace, &run_name(recipe))?)?;
    let Some((checkpoint, _)) = newest.filter(|(_, step)| *step == report.trained.steps) else { return Ok(None) };
    let log = Store::open_existing(workspace)?.find_log(&recipe.name)?;
    if log.is_none_or(|log| log.searches != report.log.searches)
        || Engine::open(&index_dir(workspace, &recipe.name), &recipe.search).is_err()
    {
        return Ok(None);
    }
    // The workspace may have been moved since.
    report.trained.checkpoint = checkpoint;
    Ok(Some(report))
}
