//! What can be learnt from, behind one face: lessons for a step, and how far the model has come.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::evaluate::{self, Sample};
use super::phases::Phases;
use super::pretrain::Stream;
use super::reinforced::{Reinforced, Rewarded, Taught, Tried};
use super::sft::Sft;
use super::tagging::Tagging;
use crate::journal::Event;
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

/// All that one optimizer step learns from.
#[derive(Default)]
pub(super) struct Step {
    /// To be made likely, in micro-batches.
    pub lessons: Vec<Lessons>,
    /// Weight of making them likely.
    pub likelihood: f64,
    /// What was tried and judged.
    pub rewarded: Option<Rewarded>,
    /// Statistics of what was tried, by their TRL names.
    pub values: BTreeMap<String, f64>,
    /// What was tried, to look at.
    pub events: Vec<Event>,
}

impl Step {
    /// Tokens read.
    pub fn tokens(&self) -> usize {
        let rewarded = self.rewarded.iter().flat_map(|rewarded| &rewarded.groups);
        self.lessons.iter().map(Lessons::tokens).sum::<usize>() + rewarded.map(Group::tokens).sum::<usize>()
    }
}

/// What a run learns.
pub(super) enum Objective {
    /// To read: documents without an end.
    Pretrain(Stream),
    /// To rewrite: a log's mined examples, and held-out ones to look at.
    Sft { sft: Sft, validation: Vec<ExampleRow> },
    /// To earn rewards by the policy's own tries, examples beside them.
    Grpo(Box<Reinforced>),
    /// To prefer the better of the policy's own answers, phase by phase.
    Mpo(Box<Phases>),
    /// To tag relevance: a log's annotations.
    Tagging(Box<Tagging>),
}

impl Objective {
    /// Examples there are; none of a stream.
    pub fn examples(&self) -> usize {
        match self {
            Self::Pretrain(_) => 0,
            Self::Sft { sft, .. } => sft.len(),
            Self::Grpo(own) => own.sft().len(),
            Self::Mpo(phases) => phases.len(),
            Self::Tagging(tagging) => tagging.sft.len(),
        }
    }

    /// What a step (from 0) learns from: a pure function of seed, step and, where it tries itself, the policy, so that a resumed
    /// run reads on exactly where it was.
    pub fn next_step(&mut self, policy: &Policy, step: u64, train: &Train) -> Result<Step> {
        let lessons = match self {
            Self::Pretrain(stream) => stream.next_batch(step, train)?,
            Self::Sft { sft, .. } => sft.next_batch(step, train)?,
            Self::Tagging(tagging) => tagging.sft.next_batch(step, train)?,
            Self::Grpo(own) => return own.next_step(policy, step, train),
            Self::Mpo(phases) => return phases.next_step(policy, step),
        };
        Ok(Step { lessons, likelihood: 1.0, ..Step::default() })
    }

    /// Whether weights and optimizer are all there is of a run after so many steps.
    pub fn at_border(&self, step: u64) -> bool {
        if let Self::Grpo(own) = self { own.at_border(step) } else { true }
    }

    /// Groups as large as a micro-batch's can be.
    pub fn largest_batch(&self, train: &Train) -> Vec<Group> {
        match self {
            Self::Pretrain(stream) => stream.largest_batch(train),
            Self::Sft { sft, .. } => sft.largest_batch(train),
            Self::Grpo(own) => own.sft().largest_batch(train),
            Self::Mpo(phases) => phases.largest_batch(),
            Self::Tagging(tagging) => tagging.sft.largest_batch(train),
        }
    }

    /// How often the data has been seen after so many steps; none where nothing comes twice.
    pub fn epoch(&self, step: u64, train: &Train) -> Option<f64> {
        match self {
            Self::Pretrain(_) => None,
            Self::Sft { sft, .. } => Some(sft.epoch(step, train)),
            Self::Grpo(own) => Some(own.sft().epoch(step, train)),
            Self::Mpo(phases) => Some(phases.epoch(step)),
            Self::Tagging(tagging) => Some(tagging.sft.epoch(step, train)),
        }
    }

    /// What a checkpoint holds beside weights and moments.
    pub fn beside(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Tagging(tagging) => tagging.settings.save(folder),
            Self::Grpo(own) => match &own.taught {
                Taught::Tagging(tagging) => tagging.settings.save(folder),
                Taught::Rewriting { .. } => Ok(()),
            },
            Self::Mpo(phases) => phases.save(folder),
            Self::Pretrain(_) | Self::Sft { .. } => Ok(()),
        }
    }

    /// What is left to do with the last checkpoint; a sentence about it.
    pub fn close(&self, policy: &Policy, folder: &Path) -> Result<Option<String>> {
        let tagging = match self {
            Self::Tagging(tagging) => tagging,
            Self::Grpo(own) => match &own.taught {
                Taught::Tagging(tagging) => tagging,
                Taught::Rewriting { .. } => return Ok(None),
            },
            Self::Pretrain(_) | Self::Sft { .. } | Self::Mpo(_) => return Ok(None),
        };
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
            Self::Grpo(own) => match &own.taught {
                Taught::Rewriting { validation, .. } => {
                    evaluate::evaluate(policy, validation, train.eval_examples, train.max_prompt_tokens)
                }
                Taught::Tagging(tagging) => tagging.evaluate(policy, train.eval_examples),
            },
            Self::Mpo(phases) => {
                let (rows, longest) = (&phases.validation, train.max_prompt_tokens);
                let (mut values, samples) = evaluate::evaluate(policy, rows, train.eval_examples, longest)?;
                values.extend(phases.evaluate(policy)?);
                Ok((values, samples))
            }
            Self::Tagging(tagging) => tagging.evaluate(policy, train.eval_examples),
        }
    }

    /// Hears what the log-probabilities of a step were.
    pub fn learnt(&mut self, tried: &Tried, logprobs: &[f32]) {
        if let (Self::Mpo(phases), Tried::Mpo(mpo)) = (self, tried) {
            phases.learnt(mpo, logprobs);
        }
    }

    /// Takes up what a checkpoint holds beside weights and moments.
    pub fn restore(&mut self, folder: &Path) -> Result<()> {
        if let Self::Mpo(phases) = self { phases.restore(folder) } else { Ok(()) }
    }
}
