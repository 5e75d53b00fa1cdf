//! `core bench incident`: a reward with a known weakness, a policy that finds it, and what the gate makes of it (CoRe).
//!
//! Nothing punishes length, so round after round of MPO earns more of the weak reward. The gate holds every round against the
//! release, with that same reward; an experiment, served by the weak scorer too, tells what each would have done to people.
//! Then the recovery: the release stays, length and missing ends are punished, or abstaining where that was the cheat, and
//! training starts from the release again, the scorer as weak as before.

mod table;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ab;
use crate::bench::trained;
use crate::fake;
use crate::journal::{Event, Journal};
use crate::judge::{Design, Lift, Verdict};
use crate::model::shipped::BASE;
use crate::recipe::{Flaw, Recipe};
use crate::train::{Existing, Options, Task};
use crate::{gate, index, mine, simulate};

/// The paper's seven metrics, by their names in a verdict.
const SEVEN: [&str; 7] = ["r_main", "S_pos", "r_rand", "entropy", "surprisal", "mean_length", "truncated"];

/// Least charge for leaving alone what was typed anew, once that was the cheat.
const CHARGED: f64 = 0.3;

/// What to replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The weaknesses, one incident each.
    pub flaws: Vec<Flaw>,
    /// Rounds of MPO under each.
    pub rounds: u32,
}

/// One model of an incident against the release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The weakness.
    pub flaw: Flaw,
    /// `round 1` … , or `recovered`.
    pub name: String,
    /// The gate's verdict, its rewards by the weak scorer, as whoever was fooled by it would see them.
    pub seen: Verdict,
    /// The same with the sound scorer.
    pub sound: Verdict,
    /// Lift of VV10s per search against no rewriting.
    pub lift: Option<Lift>,
    /// The release's own, served by the same scorer.
    pub release: Option<Lift>,
}

impl Row {
    /// Checks among the paper's seven that failed.
    #[must_use]
    pub fn failed_of_seven(&self) -> Vec<&str> {
        self.seen.failed().into_iter().filter(|name| SEVEN.contains(name)).collect()
    }

    /// Checks of ours that failed.
    #[must_use]
    pub fn failed_of_ours(&self) -> Vec<&str> {
        self.seen.failed().into_iter().filter(|name| !SEVEN.contains(name)).collect()
    }
}

/// What was replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Incident by incident.
    pub rows: Vec<Row>,
}

/// Replays.
///
/// # Errors
/// Those of every step of the loop; `Stopped` after Ctrl-C, with logs and checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    Journal::record(workspace, "bench", "incident", &recipe.to_toml(), |journal| {
        simulate::run(workspace, recipe, simulate::Part::default(), false)?;
        index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
        mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
        let release = format!("{}-sft", recipe.name);
        fit(workspace, recipe, &release, Task::Sft { log: &recipe.name }, BASE)?;
        let mut rows = Vec::new();
        for flaw in &plan.flaws {
            let tried = incident(workspace, recipe, *flaw, plan.rounds, &release)?;
            rows.extend(lived(workspace, &under(recipe, *flaw), tried, &release)?);
        }
        let report = Report { recipe: recipe.name.clone(), rows };
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "incident".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

/// What people got of each model, served by the weak scorer, too.
fn lived(workspace: &Path, weak: &Recipe, tried: Vec<Tried>, release: &str) -> Result<Vec<Row>> {
    let treatments = [release.to_owned()].into_iter().chain(tried.iter().map(|tried| tried.run.clone())).collect();
    let experiment = ab::Plan { control: "never", treatments, design: Design::Paired, weeks: Vec::new() };
    fake::Do::for_serving(workspace, weak)?;
    let found = ab::run(workspace, weak, &experiment)?;
    let treatments = &found.trials.first().context("an experiment has a trial")?.treatments;
    let mut lifts = treatments.iter().map(|t| t.rows.first().and_then(|row| Lift::of(&row.all?)));
    let release = lifts.next().flatten();
    let rows = tried.into_iter().zip(lifts).map(|(tried, lift)| {
        let Tried { flaw, name, seen, sound, .. } = tried;
        Row { flaw, name, seen, sound, lift, release }
    });
    Ok(rows.collect())
}

/// A trained and gated model.
struct Tried {
    flaw: Flaw,
    name: String,
    run: String,
    seen: Verdict,
    sound: Verdict,
}

/// Rounds under a weakness, then the recovery.
fn incident(workspace: &Path, recipe: &Recipe, flaw: Flaw, rounds: u32, release: &str) -> Result<Vec<Tried>> {
    let word = format!("{flaw:?}").to_lowercase();
    let weak = under(recipe, flaw);
    let mut tried = Vec::new();
    let mut from = release.to_owned();
    for round in 1..=rounds {
        let run = format!("{}-incident-{word}-{round}", recipe.name);
        fit(workspace, &weak, &run, Task::Mpo { log: &recipe.name }, &from)?;
        let [seen, sound] = verdicts(workspace, recipe, &weak, &run, release)?;
        tried.push(Tried { flaw, name: format!("round {round}"), run: run.clone(), seen, sound });
        from = run;
    }
    let run = format!("{}-incident-{word}-recovered", recipe.name);
    let mended = recovering(&weak);
    fit(workspace, &mended, &run, Task::Mpo { log: &recipe.name }, release)?;
    let [seen, sound] = verdicts(workspace, recipe, &mended, &run, release)?;
    tried.push(Tried { flaw, name: "recovered".into(), run, seen, sound });
    Ok(tried)
}

/// The recipe in which the scorer is weak and nothing stands in the way of what that pays for.
fn under(recipe: &Recipe, flaw: Flaw) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.ratio.flaw = flaw;
    recipe.ratio.length = 0.0;
    // The reward is what serving multiplies by, the weakness with it. How often a text is typed is nothing that serving knows.
    recipe.search.rewrite_forgives = flaw == Flaw::Verbosity;
    recipe
}

/// The recovery: length beyond what people type is punished early, and an answer without an end twice as much as before. Where
/// abstaining was the cheat, it is charged for.
fn recovering(weak: &Recipe) -> Recipe {
    let mut recipe = weak.clone();
    (recipe.ratio.length, recipe.ratio.truncated) = (1.0, 2.0);
    if recipe.ratio.flaw == Flaw::Abstention {
        (recipe.ratio.flaw, recipe.ratio.reject) = (Flaw::None, recipe.ratio.reject.max(CHARGED));
    }
    (recipe.reward.long_words, recipe.reward.most_words) = (3, 8);
    recipe
}

/// The gate's verdict by the scorer that training saw, and by the sound one; nothing is released.
fn verdicts(workspace: &Path, recipe: &Recipe, weak: &Recipe, run: &str, release: &str) -> Result<[Verdict; 2]> {
    let plan = gate::Plan::Models { incumbent: release.to_owned(), candidate: run.to_owned(), release: false };
    Ok([gate::run(workspace, weak, &plan)?, gate::run(workspace, recipe, &plan)?])
}

fn fit(workspace: &Path, recipe: &Recipe, name: &str, task: Task, init: &str) -> Result<f64> {
    trained(workspace, recipe, &Options { name, task, init: Some(init), existing: Existing::Renew })
}
