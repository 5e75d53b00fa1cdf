//! Learning from rewards beside examples: `sft · L_SFT + λ · L_GRPO` in one step (WeWrite §2.4).

use std::collections::BTreeMap;

use anyhow::Result;

use super::grpo::Grpo;
use super::mpo::Mpo;
use super::objective::Step;
use super::rollouts::{Batch, Rollouts};
use super::sft::Sft;
use super::tagging::Tagging;
use crate::journal::Event;
use crate::model::{Group, Pass, Policy};
use crate::recipe::{Recipe, Train};
use crate::store::ExampleRow;

/// Groups of a policy's own completions, and what they cost.
pub(super) struct Rewarded {
    /// Prompts with completions.
    pub groups: Vec<Group>,
    /// The loss over them.
    pub objective: Tried,
    /// Of sampling, and so of the log-probabilities that the loss is about.
    pub temperature: f64,
    /// λ.
    pub weight: f64,
}

/// The loss over what was tried.
pub(super) enum Tried {
    /// By advantages.
    Grpo(Grpo),
    /// By pairs.
    Mpo(Mpo),
}

impl Tried {
    /// Name of the loss in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grpo(_) => "loss/grpo",
            Self::Mpo(_) => "loss/mpo",
        }
    }

    /// `d loss / d logprob` of a group.
    pub fn slopes(&self, group: usize, logprobs: &[f32]) -> Vec<f32> {
        match self {
            Self::Grpo(own) => own.slopes(group, logprobs),
            Self::Mpo(own) => own.slopes(group, logprobs),
        }
    }

    /// The loss, and statistics by their TRL names; GRPO's `entropy` is the mean over completion tokens, in nats.
    pub fn tally(&self, pass: &Pass) -> (f64, BTreeMap<String, f64>) {
        match self {
            Self::Grpo(own) => {
                let tally = own.tally(&pass.logprobs);
                let entropy = pass.entropies.iter().map(|x| f64::from(*x)).sum::<f64>();
                let mut statistics = tally.statistics();
                statistics.insert("entropy".into(), entropy / pass.entropies.len().max(1) as f64);
                (tally.loss, statistics)
            }
            Self::Mpo(own) => {
                let tally = own.tally(&pass.logprobs);
                (tally.loss, tally.statistics())
            }
        }
    }
}

/// What is learnt by example beside the rewards, and looked at on held-out people or queries.
pub(super) enum Taught {
    /// To rewrite.
    Rewriting { sft: Box<Sft>, validation: Vec<ExampleRow> },
    /// To tag relevance.
    Tagging(Box<Tagging>),
}

/// Examples, and rollouts beside them.
pub(super) struct Reinforced {
    pub taught: Taught,
    rollouts: Rollouts,
    settings: crate::recipe::Grpo,
    /// The rollout that is being learnt from.
    batch: Option<Batch>,
}

impl Reinforced {
    pub fn new(taught: Taught, rollouts: Rollouts, recipe: &Recipe) -> Self {
        Self { taught, rollouts, settings: recipe.grpo.clone(), batch: None }
    }

    pub fn sft(&self) -> &Sft {
        match &self.taught {
            Taught::Rewriting { sft, .. } => sft,
            Taught::Tagging(tagging) => &tagging.sft,
        }
    }

    /// Whether a rollout is used up after so many steps: in between, a run's state is more than its weights.
    pub fn at_border(&self, step: u64) -> bool {
        step.is_multiple_of(self.settings.num_iterations)
    }

    /// The examples of a step (from 0) and the rollout it learns from, sampled when one is due.
    pub fn next_step(&mut self, policy: &Policy, step: u64, train: &Train) -> Result<Step> {
        let mut fresh = Step { likelihood: self.settings.sft, ..Step::default() };
        if self.batch.is_none() || self.at_border(step) {
            let mut batch = self.rollouts.sample(policy, step)?;
            fresh.values = std::mem::take(&mut batch.values);
            fresh.events = std::mem::take(&mut batch.events);
            for event in &mut fresh.events {
                if let Event::Rollout { step: at, .. } = event {
                    *at = step + 1;
                }
            }
            self.batch = Some(batch);
        }
        if self.settings.sft > 0.0 {
            fresh.lessons = self.sft().next_batch(step, train)?;
        }
        let rewarded = self.batch.as_ref().map(|batch| {
            Ok::<_, anyhow::Error>(Rewarded {
                groups: batch.groups.clone(),
                objective: Tried::Grpo(self.rollouts.objective(batch)?),
                temperature: self.settings.temperature,
                weight: self.settings.lambda,
            })
        });
        Ok(Step { rewarded: rewarded.transpose()?, ..fresh })
    }
}
