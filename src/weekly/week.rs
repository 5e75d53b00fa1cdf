//! One week: lived, mined, tuned, gated.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Loop, state};
use crate::journal::{Event, Reader};
use crate::judge::{Week, Weeks};
use crate::model::runs;
use crate::recipe::Recipe;
use crate::rewriter::release;
use crate::train::{Existing, Options, Task};
use crate::{gate, mine, train};

impl Loop<'_> {
    /// The week after those that are done.
    pub(super) fn week(&self, done: &Weeks) -> Result<Week> {
        let week = done.weeks + 1;
        let under_way = state::under_way(self.workspace, &self.recipe, &self.fingerprint)?
            .with_context(|| format!("the log {:?} of this loop is gone: start over with --fresh", self.recipe.name))?;
        // A log of this week says what was in use when it was lived; the gate may have put something else in use since.
        let incumbent = if under_way.week == week {
            under_way.release
        } else {
            let now = release::in_use(self.workspace, &self.recipe.name)?.context("a loop begins with a release")?;
            self.live(week, now.id)?;
            now.id
        };
        let lived = self.look_at(week)?;
        let recipe = self.of_window();
        let mined = mine::run(self.workspace, &recipe, &recipe.name, mine::Source::Store)?;
        let candidate = self.run_name(week, "");
        let start = runs::release_dir(self.workspace, incumbent).display().to_string();
        self.tune(&recipe, &candidate, &start)?;
        let ungated = self.ungated(&recipe, done, &candidate)?;
        let plan =
            gate::Plan::Models { incumbent: release::name(incumbent), candidate: candidate.clone(), release: true };
        let verdict = gate::run(self.workspace, &recipe, &plan)?;
        let in_use = verdict.release.unwrap_or(incumbent);
        let first = done.rows.first().map_or(incumbent, |row| row.incumbent);
        let lifts = self.lifts(week, [in_use, first], &candidate, ungated.as_deref())?;
        self.forget(week)?;
        Ok(Week {
            week,
            incumbent,
            searches: lived.searches,
            examples: [mined.train, mined.held_out],
            verdict,
            in_use,
            improvement_rate: self.improvement(&candidate)?,
            drift: lived.drift,
            lift: lifts.in_use,
            candidate_lift: lifts.candidate,
            first_lift: lifts.first,
            ungated_lift: lifts.ungated,
            ungated,
        })
    }

    /// The recipe by which a window is read: its last week is held out.
    fn of_window(&self) -> Recipe {
        let mut recipe = self.recipe.clone();
        recipe.mine.held_out_time = 1.0 / f64::from(recipe.weekly.window);
        recipe
    }

    fn run_name(&self, week: u32, ending: &str) -> String {
        format!("{}-{week:03}{ending}", self.recipe.name)
    }

    fn tune(&self, recipe: &Recipe, name: &str, init: &str) -> Result<()> {
        let task = Task::Mpo { log: &recipe.name };
        let options = Options { name, task, init: Some(init), existing: Existing::Renew };
        train::run(self.workspace, recipe, &options).map(drop)
    }

    /// The model that is trained every week and never held back, by the name it opens under: the candidate itself as long as
    /// the gate has refused nothing.
    fn ungated(&self, recipe: &Recipe, done: &Weeks, candidate: &str) -> Result<Option<String>> {
        if !recipe.weekly.ungated {
            return Ok(None);
        }
        let before = done.rows.last().and_then(|row| row.ungated.clone());
        let apart = done.rows.iter().any(|row| !row.promoted());
        let Some(before) = before.filter(|_| apart) else { return Ok(Some(candidate.to_owned())) };
        let name = self.run_name(done.weeks + 1, "-ungated");
        self.tune(recipe, &name, &before)?;
        Ok(Some(name))
    }

    /// Lets go of the runs of two weeks ago: releases have weights of their own.
    fn forget(&self, week: u32) -> Result<()> {
        for ending in ["", "-ungated"] {
            let Some(old) = week.checked_sub(2).filter(|old| *old > 0) else { continue };
            let dir = runs::run_dir(self.workspace, &self.run_name(old, ending))?;
            if dir.exists() {
                std::fs::remove_dir_all(&dir).with_context(|| format!("cannot delete {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Share of rewrites worth more than their query, phase by phase, as the run's training told it.
    fn improvement(&self, run: &str) -> Result<Vec<f64>> {
        let reader = Reader::open(self.workspace)?;
        let mut rates = BTreeMap::new();
        // A run that was killed and gone on with is several in the journal; what came later counts.
        let mut own: Vec<i64> =
            reader.runs()?.into_iter().filter(|r| r.verb == "train" && r.name == run).map(|r| r.id).collect();
        own.sort_unstable();
        for id in own {
            for logged in reader.events(id, 0, usize::MAX)? {
                if let Event::Metrics { step, split, values, .. } = logged.event
                    && split == "train"
                    && let Some(rate) = values.get("improvement_rate")
                {
                    rates.insert(step, *rate);
                }
            }
        }
        Ok(rates.into_values().collect())
    }
}
