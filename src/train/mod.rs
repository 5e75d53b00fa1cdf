//! One training loop ([`trainer`]), one file per objective.

pub mod advantages;
pub mod grpo;
pub mod likelihood;
pub mod mpo;
pub mod optim;

mod asked;
mod augment;
mod beside;
mod checkpoint;
mod distant;
mod evaluate;
mod objective;
mod phases;
mod pretrain;
mod reinforced;
mod renaming;
mod rollouts;
mod sample;
mod sft;
mod start;
mod tagging;
mod taught;
mod trainer;
mod unheard;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, Table};
use crate::model::runs;
use crate::recipe::Recipe;
use crate::store::Lock;

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Name of the run and of its folder under `runs/`.
    pub name: &'a str,
    /// What is learnt.
    pub task: Task<'a>,
    /// A checkpoint folder or hub name to start from; none trains from nothing. With `lora.rank` above 0 its weights
    /// stay as they are and an adapter is trained.
    pub init: Option<&'a str>,
    /// What to do about checkpoints that are already there.
    pub existing: Existing,
}

/// What is learnt, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// To read a context, from documents made on the fly ([`crate::corpus`]).
    Pretrain,
    /// To rewrite, from the mined examples of a log.
    Sft {
        /// Name of the log.
        log: &'a str,
    },
    /// For rewards, the examples beside them (`[grpo]`, `[reward]`).
    Grpo {
        /// Name of the log.
        log: &'a str,
        /// Whether labels of relevance are earned for, and not rewrites.
        tags: bool,
    },
    /// By pairs of the policy's own answers, in phases (`[mpo]`, `[ratio]`).
    Mpo {
        /// Name of the log.
        log: &'a str,
    },
    /// To tag the relevance of documents, from the annotations of a log.
    Tagging {
        /// Name of the log.
        log: &'a str,
    },
}

/// What to do about checkpoints that a run's folder already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, and say which flags there are.
    Refuse,
    /// Go on from the newest, to the same numbers as an uninterrupted run.
    Resume,
    /// Go on from the newest when the same recipe and data made it, else start over: for runs that a program owns.
    Renew,
    /// Delete them and start over.
    Replace,
}

/// What a run made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// Folder of the newest checkpoint.
    pub checkpoint: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Steps done by this call; 0 when everything was there already.
    pub steps_now: u64,
    /// Parameters trained.
    pub parameters: usize,
    /// Training examples; 0 where documents are made on the fly.
    pub examples: usize,
}

impl Summary {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = ["checkpoint", "steps", "steps_now", "parameters", "examples"];
        let mut table = Table::new("train", "", &columns);
        table.row([
            self.checkpoint.display().to_string().into(),
            self.steps.into(),
            self.steps_now.into(),
            self.parameters.into(),
            self.examples.into(),
        ]);
        table
    }
}

/// Trains, from what is there already.
///
/// # Errors
/// No examples; a checkpoint of another recipe; a non-finite loss; a full disk. `Stopped` after Ctrl-C, with a
/// checkpoint saved.
pub fn run(workspace: &Path, recipe: &Recipe, options: &Options) -> Result<Summary> {
    Journal::record(workspace, "train", options.name, &recipe.to_toml(), |journal| {
        let dir = runs::run_dir(workspace, options.name)?;
        let _alone = Lock::take(workspace, &format!("train-{}", options.name))?;
        let recipe = of_start(recipe, options);
        start::prepare(workspace, &recipe, options, dir, journal)?.train(journal)
    })
}

/// The recipe with the steps that suit what is learnt and what the run starts from.
fn of_start(recipe: &Recipe, options: &Options) -> Recipe {
    let mut recipe = recipe.clone();
    if let Task::Grpo { tags, .. } = options.task {
        (recipe.train.steps, recipe.train.lr, recipe.train.from_scratch) = (recipe.grpo.steps, recipe.grpo.lr, None);
        if tags {
            recipe.train.batch = recipe.relevance.batch;
        }
        return recipe;
    }
    if let Task::Mpo { .. } = options.task {
        (recipe.train.steps, recipe.train.lr, recipe.train.from_scratch) = (recipe.mpo.steps, recipe.mpo.lr, None);
        return recipe;
    }
    if let Task::Tagging { .. } = options.task {
        let (train, own) = (&mut recipe.train, &recipe.relevance);
        (train.steps, train.batch, train.lr, train.from_scratch) = (own.steps, own.batch, own.lr, None);
        return recipe;
    }
    if let (None, Some(scratch)) = (options.init, recipe.train.from_scratch.take()) {
        (recipe.train.steps, recipe.train.lr) = (scratch.steps, scratch.lr);
    }
    recipe
}
