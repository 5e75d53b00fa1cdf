//! A simulated online experiment: the weeks after the log, with one rewriter or another.
//!
//! Only people whose searches were never trained on take part, and only what a log would hold is counted. A person has
//! the same random numbers in every arm (what they need, how they phrase it, what they look at). People are hashed to
//! one arm each, as in an experiment on a site; or, which a simulation can and a site cannot, each lives all arms. Several
//! treatments share one control, which is lived once.

mod arms;
mod looks;
mod memory;
mod metrics;
mod null;
mod said;
mod summary;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use crate::journal::{Event, Journal, stop};
use crate::judge::{Design, Experiment};
use crate::recipe::{Recall, Recipe, Usage};
use crate::rewriter::{Answerable, Whose};
use crate::search::fake::{FakeIndex, fake_path};
use crate::search::{Engine, ServedPages};
use crate::store::{Split, Store, person_split};
use crate::world::World;

use arms::{Arm, ORACLE, Stage};
pub use arms::{everything, model};
use memory::Memory;
use metrics::Lived;
pub use null::rejections;
pub use table::{null_table, text};

/// What is compared. An arm is the name of a rewriter, or `oracle`.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// What the treatments are held against; `never` for the plain search path.
    pub control: &'a str,
    /// What is tried.
    pub treatments: Vec<String>,
    /// Who is in which arm.
    pub design: Design,
    /// First weeks of one experiment each, counted from 1 at the start of the log; none for the recipe's own.
    pub weeks: Vec<u32>,
}

/// Simulates the weeks after the log for every held-out person.
///
/// # Errors
/// No index or log yet; rewrites that are read from a fake index which is not built; an arm that cannot be opened; a week of the
/// log itself; a model that fails; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Experiment> {
    let first = starts(recipe, plan)?;
    let name = format!("{} against {}", plan.treatments.join(", "), plan.control);
    Journal::record(workspace, "ab", &name, &recipe.to_toml(), |journal| {
        let experiment = experiment(workspace, recipe, plan, &first, journal)?;
        let body = serde_json::to_value(&experiment).context("an experiment is plain data")?;
        journal.emit(&Event::Report { title: "ab".into(), fingerprint: name.clone(), body })?;
        Ok(experiment)
    })
}

/// First weeks of the experiments, 0 the first logged one.
fn starts(recipe: &Recipe, plan: &Plan) -> Result<Vec<u32>> {
    let (logged, all) = (recipe.world.weeks, recipe.world.weeks + recipe.world.weeks_after);
    let last = all + 1 - recipe.ab.weeks;
    if let Some(week) = plan.weeks.iter().find(|week| **week <= logged || **week > last) {
        let text = format!(
            "week {week}: the log holds weeks 1 to {logged}, and the world ends with week {all} (world.weeks_after); \
             give first weeks from {} to {last}",
            logged + 1,
        );
        return Err(Usage(text).into());
    }
    if plan.weeks.is_empty() {
        return Ok(vec![logged + recipe.ab.after_weeks]);
    }
    Ok(plan.weeks.iter().map(|week| week - 1).collect())
}

fn experiment(workspace: &Path, recipe: &Recipe, plan: &Plan, starts: &[u32], journal: &Journal) -> Result<Experiment> {
    // The log must be there: the experiment's weeks follow it.
    let store = Store::open_existing(workspace)?;
    let valid = Answerable::find(&store, recipe, &store.log(&recipe.name)?, Whose::Everyone)?;
    let engine = Engine::of_log(workspace, recipe, &recipe.name)?;
    let fake = match recipe.serve.recall {
        Recall::Index => None,
        Recall::Fake => Some(FakeIndex::open(&fake_path(workspace, &recipe.name))?),
    };
    let pages = ServedPages { engine: &engine, fake: fake.as_ref() };
    let world = World::new(recipe)?;
    let control = Arm::open(workspace, recipe, plan.control)?;
    // Every lift is told as a share of the oracle's, so it is lived even where nobody asked for it.
    let unasked = (!plan.treatments.iter().any(|name| name == ORACLE)).then_some(Arm::Oracle);
    let asked = plan.treatments.iter().map(|name| Arm::open(workspace, recipe, name));
    let treatments = asked.chain(unasked.map(Ok)).collect::<Result<Vec<_>>>()?;
    let people: Vec<usize> =
        (0..world.people()).filter(|&p| person_split(recipe, &world.user_id(p)) != Split::Train).collect();
    let mut trials = Vec::new();
    for first in starts {
        let stage = Stage::new(&world, pages, recipe, &valid, &control, &treatments, *first);
        let progress = journal.progress("a/b", people.len() as u64);
        let live = |&person: &usize| {
            stop::check("an experiment is not resumable; run the same command again")?;
            let life = Life::of(&stage, recipe, person, treatments.len(), plan.design)?;
            progress.inc(1);
            Ok(life)
        };
        let lives = people.par_iter().map(live).collect::<Result<Vec<Life>>>()?;
        progress.finish(&format!("{} people from week {} on", people.len(), first + 1));
        trials.push((stage, lives));
    }
    Ok(summary::experiment(recipe, plan, &control, &treatments, &trials))
}

/// A person's weeks, told once for each arm that was lived.
struct Life {
    treated: bool,
    /// Lived by everybody: the control's own people count in it, and the oracle is held against it.
    control: Lived,
    /// Lived by those who are in it; the oracle by everybody.
    treatments: Vec<Option<Lived>>,
}

impl Life {
    /// The oracle is the last of the arms that were not asked for, or among those that were.
    fn of(stage: &Stage, recipe: &Recipe, person: usize, arms: usize, design: Design) -> Result<Self> {
        let treated = arms::treated(recipe, person);
        let memory = Memory::default();
        let lives_all = treated || design == Design::Paired;
        let lived = (0..arms)
            .map(|arm| (lives_all || stage.is_oracle(arm)).then(|| stage.live(person, Some(arm), &memory)).transpose());
        let treatments = lived.collect::<Result<_>>()?;
        Ok(Self { treated, control: stage.live(person, None, &memory)?, treatments })
    }
}
