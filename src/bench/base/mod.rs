//! `core bench base`: what a base model can read, and what comes of it after fine-tuning on the world's log.
//!
//! Two kinds of questions. *Reading*: documents of the pre-training kind that no training ever draws. *Rewriting*: first queries
//! of held-out people in the weeks after the log, for which the hidden truth has one right answer ([`crate::world::Probe`]),
//! asked of the base after fine-tuning, of a model trained from nothing and of three rules; in worlds of several seeds.

mod questions;
mod reading;
mod table;
mod tally;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{of_seed, trained};
use crate::journal::{Event, Journal};
use crate::model::shipped::{self, BASE};
use crate::model::{Policy, device};
use crate::recipe::Recipe;
use crate::rewriter::Rewriter;
use crate::train::{Existing, Options, Task};
use crate::{index, mine, simulate};

pub use reading::Reading;
use tally::{METRICS, Tally};
pub use tally::{Share, System};

/// Rules beside the base, by the names that open them.
const RULES: [&str; 3] = ["never", "copy-rule", "association"];
/// Requests answered at once.
const CHUNK: usize = 64;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The base: `base`, the program's own, or a checkpoint folder.
    pub model: String,
    /// Worlds, each of its own seed from the recipe's on; 0 asks for reading alone.
    pub seeds: u64,
    /// Whether a model trained from nothing stands beside.
    pub scratch: bool,
    /// Rewriters that stand beside in every world, by the names that open them: what came of the fine-tuned model since, say.
    pub beside: Vec<String>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The base.
    pub model: String,
    /// Its parameters.
    pub parameters: usize,
    /// Seeds of the worlds.
    pub seeds: Vec<u64>,
    /// Seconds of fine-tuning in each world.
    pub sft_seconds: Vec<f64>,
    /// The base after fine-tuning, all worlds together: share answered right, by question.
    #[serde(flatten)]
    pub after: BTreeMap<String, Option<f64>>,
    /// Answers of the base before any fine-tuning.
    pub reading: Vec<Reading>,
    /// All rewriters after fitting, over all worlds; the base first.
    pub systems: Vec<System>,
    /// The same of each world alone.
    pub by_seed: Vec<(u64, Vec<System>)>,
    /// The tables as a card prints them.
    pub markdown: String,
}

/// Measures.
///
/// # Errors
/// Those of every step of the loop; nobody held out. `Stopped` after Ctrl-C, with logs and checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    Journal::record(workspace, "bench", "base", &recipe.to_toml(), |journal| {
        let folder = if plan.model == BASE { shipped::folder(workspace)? } else { plan.model.clone().into() };
        let policy = Policy::load(&folder, &device::open()?)?.with_precision(recipe.train.precision).frozen();
        let reading = reading::run(&policy, recipe, journal)?;
        let (mut tallies, mut seconds) = (Vec::new(), Vec::new());
        let seeds: Vec<u64> = (0..plan.seeds).map(|n| recipe.seed + n).collect();
        for &seed in &seeds {
            let (of_world, spent) = in_world(workspace, &of_seed(recipe, seed), plan, journal)?;
            tallies.push(of_world);
            seconds.push(spent);
        }
        let systems = tally::systems(&tallies, recipe.ab.resamples, recipe.seed);
        let alone = |tally: &Vec<Tally>| tally::systems(std::slice::from_ref(tally), recipe.ab.resamples, recipe.seed);
        let by_seed = seeds.iter().copied().zip(tallies.iter().map(alone)).collect();
        let mut report = Report {
            model: plan.model.clone(),
            parameters: policy.parameters(),
            sft_seconds: seconds,
            after: flat(&systems),
            seeds,
            reading,
            systems,
            by_seed,
            markdown: String::new(),
        };
        report.markdown = table::markdown(&report);
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "base".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

/// `unseen_exact_match`, … of the base, and `copy_rule_unseen_exact_match`, … of the others.
fn flat(systems: &[System]) -> BTreeMap<String, Option<f64>> {
    let named = systems.iter().enumerate().flat_map(|(place, system)| {
        let prefix = if place == 0 { String::new() } else { system.rewriter.replace([' ', '-'], "_") + "_" };
        METRICS
            .iter()
            .zip(&system.shares)
            .map(move |(metric, share)| (format!("{prefix}{metric}"), share.map(|s| s.value)))
    });
    named.collect()
}

/// One world: log, examples, fine-tuning, questions. The base's tally comes first; and the seconds of its fine-tuning.
fn in_world(workspace: &Path, recipe: &Recipe, plan: &Plan, journal: &Journal) -> Result<(Vec<Tally>, f64)> {
    simulate::run(workspace, recipe, simulate::Part::default(), false)?;
    index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
    mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
    let tuned = format!("{}-bench-base", recipe.name);
    let scratch = format!("{}-bench-scratch", recipe.name);
    let task = Task::Sft { log: &recipe.name };
    let existing = Existing::Renew;
    let seconds = trained(workspace, recipe, &Options { name: &tuned, task, init: Some(&plan.model), existing })?;
    let mut names = vec![tuned.as_str()];
    names.extend(RULES);
    if plan.scratch {
        trained(workspace, recipe, &Options { name: &scratch, task, init: None, existing })?;
        names.push(&scratch);
    }
    names.extend(plan.beside.iter().map(String::as_str));
    let asked = questions::ask(workspace, recipe, journal)?;
    ensure!(!asked.is_empty(), "nobody is held out: raise mine.held_out_people or world.people");
    let mut tallies = Vec::new();
    for name in names {
        let rewriter = Rewriter::open(workspace, recipe, name)?;
        let label = match name {
            name if name == tuned => "base".to_owned(),
            name if name == scratch => "from scratch".to_owned(),
            _ => rewriter.name().to_owned(),
        };
        let mut tally = Tally::new(label);
        for some in asked.chunks(CHUNK) {
            let requests: Vec<_> = some.iter().map(|q| (&q.context, q.query.as_str())).collect();
            let started = Instant::now();
            let answers = rewriter.rewrite(&requests)?;
            tally.seconds += started.elapsed().as_secs_f64();
            some.iter().zip(answers).for_each(|(question, answer)| tally.count(question, &answer.target()));
        }
        tallies.push(tally);
    }
    Ok((tallies, seconds))
}
