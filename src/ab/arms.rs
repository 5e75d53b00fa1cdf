//! The arms of an experiment, and one person's weeks in one of them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use rand::Rng;

use super::metrics::Tally;
use crate::recipe::{Recipe, stream};
use crate::rewriter::Rewriter;
use crate::search::Engine;
use crate::world::{Asked, Page, World};

/// The name of the arm that knows what people want.
pub(super) const ORACLE: &str = "oracle";

/// Where an arm's rewrites come from.
pub(super) enum Arm {
    Rewriter(Box<Rewriter>),
    /// Names sense and facet of the need, and leaves alone what must be left alone: the ceiling of any rewriter.
    Oracle,
}

impl Arm {
    /// Opens an arm by a rewriter's name, or as the oracle.
    ///
    /// # Errors
    /// Those of [`Rewriter::open`].
    pub fn open(workspace: &Path, recipe: &Recipe, name: &str) -> Result<Self> {
        match name {
            ORACLE => Ok(Self::Oracle),
            _ => Ok(Self::Rewriter(Box::new(Rewriter::open(workspace, recipe, name)?))),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Rewriter(rewriter) => rewriter.name(),
            Self::Oracle => ORACLE,
        }
    }

    fn rewrite(&self, world: &World, asked: Asked) -> Result<Option<String>> {
        match self {
            Self::Rewriter(rewriter) => {
                let outcome = rewriter.rewrite(&[(asked.context, asked.query)])?.pop();
                Ok(outcome.and_then(|outcome| outcome.rewrite))
            }
            Self::Oracle => Ok(world.oracle_rewrite(asked.need)),
        }
    }
}

/// Which side a person is on, by a seeded hash of the person.
pub(super) fn treated(recipe: &Recipe, person: usize) -> bool {
    stream(recipe.seed, "ab.arm", &[person as u64]).random()
}

/// Everything that people of both arms meet.
pub(super) struct Stage<'a> {
    pub world: &'a World,
    pub engine: &'a Engine,
    pub recipe: &'a Recipe,
    pub control: &'a Arm,
    pub treatment: &'a Arm,
    /// Time that the treatment's rewrites took, and how many they were.
    pub spent: Spent,
}

/// A sum of times.
#[derive(Default)]
pub(super) struct Spent {
    micros: AtomicU64,
    count: AtomicU64,
}

impl Spent {
    fn add(&self, since: Instant) {
        self.micros.fetch_add(since.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Mean milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e3 / self.count.load(Ordering::Relaxed).max(1) as f64
    }
}

impl Stage<'_> {
    /// One person's weeks after the log, in one arm.
    ///
    /// A search counts as impacted where the two arms' rewrites differ; both are therefore asked in either arm, and only
    /// the arm's own is used.
    pub fn live(&self, person: usize, treated: bool) -> Result<Tally> {
        let search = |asked: Asked| -> Result<Page> {
            let started = Instant::now();
            let treatment = self.treatment.rewrite(self.world, asked)?;
            self.spent.add(started);
            let control = self.control.rewrite(self.world, asked)?;
            let impacted = (treatment != control).then(|| treatment.clone().unwrap_or_default());
            let used = if treated { treatment } else { control };
            let hits = self.engine.search_as_of(asked.indexed_ms, asked.query, used.as_deref(), &self.recipe.search)?;
            Ok(Page { shown: hits.into_iter().map(|hit| hit.doc).collect(), rewritten: impacted })
        };
        let weeks = self.recipe.world.weeks..self.recipe.world.weeks + self.recipe.ab.weeks;
        Ok(Tally::of(&self.world.simulate_person(person, weeks, &search)?, &self.recipe.mine))
    }
}
