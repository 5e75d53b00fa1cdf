//! What can be learnt from, behind one face: lessons for a step, and how far the model has come.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::evaluate::{self, Sample};
use super::pretrain::Stream;
use super::sft::Sft;
use super::tagging::Tagging;
use crate::model::{Group, Policy};
use crate::recipe::Train;
use crate::store::ExampleRow;

/// Groups of a micro-batch, and how much each completion token counts, group by group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Lessons {
    pub groups: Vec<Group>,
    pub weights: Vec<Vec<f32>>,
}

impl Lessons {
    /// Sum of all weights.
    pub fn total(&self) -> f64 {
        self.weights.iter().flatten().map(|w| f64::from(*w)).sum()
    }

    /// Takes others in.
    pub fn extend(&mut self, others: Self) {
        self.groups.extend(others.groups);
        self.weights.extend(others.weights);
    }

    pub fn tokens(&self) -> usize {
        self.groups.iter().map(Group::tokens).sum()
    }
}

/// What a run learns.
pub(super) enum Objective {
    /// To read: documents without an end.
    Pretrain(Stream),
    /// To rewrite: a log's mined examples, and held-out ones to look at.
    Sft { sft: Sft, validation: Vec<ExampleRow> },
    /// To tag relevance: a log's annotations.
    Tagging(Box<Tagging>),
}

impl Objective {
    /// Examples there are; none of a stream.
    pub fn examples(&self) -> usize {
        match self {
            Self::Pretrain(_) => 0,
            Self::Sft { sft, .. } => sft.len(),
            Self::Tagging(tagging) => tagging.sft.len(),
        }
    }

    /// The micro-batches of a step (from 0): a pure function of seed and step, so that a resumed run reads on exactly where
    /// it was.
    pub fn next_batch(&self, step: u64, train: &Train) -> Result<Vec<Lessons>> {
        match self {
            Self::Pretrain(stream) => stream.next_batch(step, train),
            Self::Sft { sft, .. } => sft.next_batch(step, train),
            Self::Tagging(tagging) => tagging.sft.next_batch(step, train),
        }
    }

    /// Groups as large as a micro-batch's can be.
    pub fn largest_batch(&self, train: &Train) -> Vec<Group> {
        match self {
            Self::Pretrain(stream) => stream.largest_batch(train),
            Self::Sft { sft, .. } => sft.largest_batch(train),
            Self::Tagging(tagging) => tagging.sft.largest_batch(train),
        }
    }

    /// How often the data has been seen after so many steps; none where nothing comes twice.
    pub fn epoch(&self, step: u64, train: &Train) -> Option<f64> {
        match self {
            Self::Pretrain(_) => None,
            Self::Sft { sft, .. } => Some(sft.epoch(step, train)),
            Self::Tagging(tagging) => Some(tagging.sft.epoch(step, train)),
        }
    }

    /// What a checkpoint holds beside weights and moments.
    pub fn beside(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Tagging(tagging) => tagging.settings.save(folder),
            _ => Ok(()),
        }
    }

    /// What is left to do with the last checkpoint; a sentence about it.
    pub fn close(&self, policy: &Policy, folder: &Path) -> Result<Option<String>> {
        let Self::Tagging(tagging) = self else { return Ok(None) };
        let temperature = tagging.calibrate(policy, folder)?;
        Ok(Some(format!("labels are likeliest at temperature {temperature:.3} on the validation pairs")))
    }

    /// Metrics on what is not trained on, and some answers to look at.
    pub fn evaluate(&self, policy: &Policy, train: &Train) -> Result<(BTreeMap<String, f64>, Vec<Sample>)> {
        match self {
            Self::Pretrain(stream) => stream.evaluate(policy, train),
            Self::Sft { validation, .. } => {
                evaluate::evaluate(policy, validation, train.eval_examples, train.max_prompt_tokens)
            }
            Self::Tagging(tagging) => tagging.evaluate(policy, train.eval_examples),
        }
    }
}
