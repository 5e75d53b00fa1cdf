//! The arms of an experiment, and one person's weeks in one of them.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use rand::Rng;

use super::memory::Memory;
use super::metrics::Lived;
use super::said::Said;
use crate::model::runs::RELEASE;
use crate::recipe::{Recipe, stream};
use crate::rewriter::{Answerable, RULES, Rewriter, in_use_or_newest, newest_run};
use crate::search::ServedPages;
use crate::world::{Asked, Page, World};

/// The name of the arm that knows what people want.
pub(super) const ORACLE: &str = "oracle";
const DAY_MS: i64 = 86_400_000;

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

/// The model that is tried when none is named: the release in use for a log, or the newest run where none is or where a release
/// is the control.
///
/// # Errors
/// A workspace without either.
pub fn model(workspace: &Path, log: &str, control: &str) -> Result<String> {
    match control.split([':', '@']).next() {
        Some(RELEASE) => newest_run(workspace),
        _ => in_use_or_newest(workspace, log),
    }
}

/// Everything there is to try: every rule, a model where there is one, and the oracle.
#[must_use]
pub fn everything(workspace: &Path, log: &str, control: &str) -> Vec<String> {
    let model = model(workspace, log, control).ok();
    let all = RULES.into_iter().map(str::to_owned).chain(model).chain([ORACLE.to_owned()]);
    all.filter(|name| name != control && name != "never").collect()
}

/// Which side a person is on, by a seeded hash of the person.
pub(super) fn treated(recipe: &Recipe, person: usize) -> bool {
    stream(recipe.seed, "ab.arm", &[person as u64]).random()
}

/// Everything that people of all arms meet.
pub(super) struct Stage<'a> {
    world: &'a World,
    pages: ServedPages<'a>,
    recipe: &'a Recipe,
    /// The queries of the log's fake index.
    valid: &'a Answerable,
    control: &'a Arm,
    treatments: &'a [Arm],
    /// Weeks of the world, 0 the first logged one.
    pub weeks: Range<u32>,
    /// Time that each treatment's rewrites took, and how many they were.
    spent: Vec<Spent>,
}

/// A sum of times.
#[derive(Default)]
struct Spent {
    micros: AtomicU64,
    count: AtomicU64,
}

impl<'a> Stage<'a> {
    /// An experiment of `recipe.ab.weeks` from week `first` on.
    pub fn new(
        world: &'a World,
        pages: ServedPages<'a>,
        recipe: &'a Recipe,
        valid: &'a Answerable,
        control: &'a Arm,
        treatments: &'a [Arm],
        first: u32,
    ) -> Self {
        let spent = treatments.iter().map(|_| Spent::default()).collect();
        Self { world, pages, recipe, valid, control, treatments, weeks: first..first + recipe.ab.weeks, spent }
    }

    /// Whether an arm is the oracle's.
    pub fn is_oracle(&self, treatment: usize) -> bool {
        matches!(self.treatments[treatment], Arm::Oracle)
    }

    /// Mean milliseconds of a treatment's rewrites.
    pub fn mean_ms(&self, treatment: usize) -> f64 {
        let Spent { micros, count } = &self.spent[treatment];
        micros.load(Ordering::Relaxed) as f64 / 1e3 / count.load(Ordering::Relaxed).max(1) as f64
    }

    /// One person's weeks, in the arm of a treatment or, with none, in the control's.
    ///
    /// A search counts as impacted by a treatment where its rewrite differs from the control's. The control's people are
    /// therefore asked for every treatment's rewrite, a treatment's for the control's, and only the arm's own is used.
    /// `memory` is the person's own.
    pub fn live(&self, person: usize, arm: Option<usize>, memory: &Memory) -> Result<Lived> {
        let asked: Vec<usize> = arm.map_or_else(|| (0..self.treatments.len()).collect(), |one| vec![one]);
        // One entry a search, in the order in which the person asks.
        let differs: RefCell<Vec<Vec<bool>>> = RefCell::default();
        let said = Cell::new(Said::default());
        let search = |question: Asked| -> Result<Page> {
            let moment = (question.context, question.query);
            let control = memory.recall(None, moment, || self.control.rewrite(self.world, question))?;
            let one = |arm: &usize| match &self.treatments[*arm] {
                Arm::Oracle => self.ask(*arm, question),
                Arm::Rewriter(_) => memory.recall(Some(*arm), moment, || self.ask(*arm, question)),
            };
            let rewrites = asked.iter().map(one).collect::<Result<Vec<_>>>()?;
            differs.borrow_mut().push(rewrites.iter().map(|rewrite| *rewrite != control).collect());
            let used = if arm.is_some() { rewrites.into_iter().next().flatten() } else { control };
            said.set(said.get().add(question.need.want, used.as_deref(), |text| self.valid.holds(text)));
            let Asked { indexed_ms, query, .. } = question;
            let page = self.pages.page(indexed_ms, query, used.as_deref(), self.recipe)?;
            Ok(Page { shown: page.into_iter().map(|place| place.doc).collect(), rewritten: used })
        };
        let mut lived = Lived::new(self.recipe.ab.looks as usize, asked.len());
        for (life, week) in (0..self.recipe.ab.lives).flat_map(|life| self.weeks.clone().map(move |week| (life, week)))
        {
            let sessions = self.world.simulate_life(person, life, week..week + 1, &search)?;
            let mut differs = differs.take().into_iter();
            for sim in &sessions {
                let own: Vec<_> = differs.by_ref().take(sim.session.searches.len()).collect();
                lived.add(self.part(week, sim.session.start_ms), sim, &own, &self.recipe.mine);
            }
        }
        lived.said = said.get();
        Ok(lived)
    }

    fn ask(&self, treatment: usize, question: Asked) -> Result<Option<String>> {
        let started = Instant::now();
        let rewrite = self.treatments[treatment].rewrite(self.world, question)?;
        self.spent[treatment].micros.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.spent[treatment].count.fetch_add(1, Ordering::Relaxed);
        Ok(rewrite)
    }

    /// Which of the looks, from 0, is the first to see a session of this week.
    fn part(&self, week: u32, start_ms: i64) -> usize {
        // Weeks begin on Mondays; 1 January 1970 was a Thursday.
        let weekday = (start_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) as u32;
        let day = 7 * (week - self.weeks.start) + weekday;
        (day * self.recipe.ab.looks / (7 * self.recipe.ab.weeks)) as usize
    }
}

/// Days of the experiment that are over at look `index`, counted from 0: what [`Stage::part`] puts into it and before.
pub(super) fn days(recipe: &Recipe, index: u32) -> u32 {
    (7 * recipe.ab.weeks * (index + 1)).div_ceil(recipe.ab.looks)
}
