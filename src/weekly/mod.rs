//! `core weekly`: the loop that CoRe runs every week. What is in use is logged in the drifting world; the log is mined, MPO tunes
//! what is in use on it, the gate decides, and the next week meets the decision.
//!
//! Every week trains on people of the weeks before, is gated on other people in the week itself, and is told by an experiment in
//! the week after. Whatever the moment at which it is killed, it goes on to the same releases: each step finds what is there.

mod compare;
mod live;
mod picture;
mod state;
mod week;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::journal::{Event, Journal};
use crate::judge::Weeks;
use crate::model::shipped::BASE;
use crate::recipe::Recipe;
use crate::rewriter::release;
use crate::search::Engine;
use crate::store::{Lock, Store};
use crate::train::{Existing, Options, Task};
use crate::world::World;
use crate::{index, mine, simulate, train};

/// How many weeks, and what is to be told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Weeks of the loop.
    pub weeks: u32,
    /// Start over instead of going on.
    pub fresh: bool,
    /// Where to draw the lifts; none for nowhere.
    pub plot: Option<PathBuf>,
}

/// What every week needs.
struct Loop<'a> {
    workspace: &'a Path,
    recipe: Recipe,
    world: World,
    engine: Engine,
    journal: &'a Journal,
    fingerprint: String,
}

/// Runs the weeks that are not done yet.
///
/// # Errors
/// Those of the steps; `Stopped` after Ctrl-C, with everything done so far kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Weeks> {
    ensure!((1..=500).contains(&plan.weeks), "--weeks is {}: use 1 to 500", plan.weeks);
    let recipe = of_weeks(recipe, plan.weeks)?;
    Journal::record(workspace, "weekly", &recipe.name, &recipe.to_toml(), |journal| {
        let _alone = Lock::take(workspace, &format!("weekly-{}", recipe.name))?;
        let done = weeks(workspace, &recipe, plan, journal)?;
        if let Some(file) = &plan.plot {
            picture::draw(file, &done)?;
            journal.note(format!("drawn into {}", file.display()))?;
        }
        Ok(done)
    })
}

/// The recipe of a loop of so many weeks: the world goes on for all of them and one more, in a log of its own.
fn of_weeks(recipe: &Recipe, weeks: u32) -> Result<Recipe> {
    let mut recipe = recipe.clone();
    recipe.name = format!("{}-weekly", recipe.name);
    recipe.world.weeks_after = weeks + recipe.ab.weeks;
    recipe.ab.after_weeks = 0;
    recipe.mpo.lr = recipe.weekly.lr.unwrap_or(recipe.mpo.lr);
    recipe.ratio.reject = recipe.weekly.reject.unwrap_or(recipe.ratio.reject);
    ensure!(
        recipe.weekly.window <= recipe.world.weeks + 1,
        "weekly.window is {}: the world has logged world.weeks = {} weeks before the first one",
        recipe.weekly.window,
        recipe.world.weeks
    );
    Recipe::parse(&recipe.to_toml(), "of the weekly loop")
}

fn weeks(workspace: &Path, recipe: &Recipe, plan: &Plan, journal: &Journal) -> Result<Weeks> {
    let fingerprint = state::fingerprint(recipe);
    let mut done = match plan.fresh {
        true => None,
        false => state::earlier(workspace, &fingerprint)?,
    }
    .unwrap_or_else(|| Weeks::new(&recipe.name, plan.weeks));
    if done.weeks >= plan.weeks {
        journal.note("every week is there already; --fresh starts over")?;
        return Ok(done);
    }
    let under_way = state::under_way(workspace, recipe, &fingerprint)?.filter(|_| !plan.fresh);
    if under_way.is_none() {
        if done.weeks > 0 {
            bail!("the log {:?} is not the one that week {} left: start over with --fresh", recipe.name, done.weeks);
        }
        begin(workspace, recipe, plan.fresh)?;
    }
    let engine = Engine::of_log(workspace, recipe, &recipe.name)?;
    let (world, recipe) = (World::new(recipe)?, recipe.clone());
    let own = Loop { workspace, recipe, world, engine, journal, fingerprint };
    let progress = journal.progress("weeks", u64::from(plan.weeks));
    progress.inc(u64::from(done.weeks));
    while done.weeks < plan.weeks {
        let week = own.week(&done)?;
        done.push(week);
        let body = serde_json::to_value(&done).context("weeks are plain data")?;
        let fingerprint = own.fingerprint.clone();
        journal.emit(&Event::Report { title: "weekly".into(), fingerprint, body })?;
        progress.inc(1);
    }
    progress.finish(&format!("{} of {} weeks promoted", done.promoted, done.weeks));
    Ok(done)
}

/// Logs the weeks before the first, without rewriting, and releases a model that was taught on them by example.
fn begin(workspace: &Path, recipe: &Recipe, fresh: bool) -> Result<()> {
    simulate::run(workspace, recipe, simulate::Part::default(), fresh)?;
    index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
    mine::run(workspace, recipe, &recipe.name, mine::Source::Store)?;
    let name = format!("{}-sft", recipe.name);
    let (task, existing) = (Task::Sft { log: &recipe.name }, if fresh { Existing::Replace } else { Existing::Renew });
    train::run(workspace, recipe, &Options { name: &name, task, init: Some(BASE), existing })?;
    let reason = "the first of a weekly loop: there was nothing to hold it against";
    let first = release::release(workspace, &recipe.name, &name, reason, None)?;
    let mut store = Store::open(workspace)?;
    let log = store.log(&recipe.name)?;
    // From here on the log says what was in use when it was written.
    store.rename_origin(&log, &state::origin(&state::fingerprint(recipe), 0, first.id, &log.origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_tuned_by_settings_of_its_own_where_the_recipe_has_some() {
        let of = |text: &str| of_weeks(&Recipe::parse(text, "x").unwrap(), 3).unwrap();
        let plain = of("name = 'r'\n[mpo]\nlr = 2e-4\n[ratio]\nreject = 0.3\n");
        assert_eq!((plain.name.as_str(), plain.mpo.lr, plain.ratio.reject), ("r-weekly", 2e-4, 0.3));
        let own = of("[mpo]\nlr = 2e-4\n[ratio]\nreject = 0.3\n[weekly]\nlr = 1e-4\nreject = 0.0\n");
        assert_eq!((own.mpo.lr, own.ratio.reject), (1e-4, 0.0));
    }
}
