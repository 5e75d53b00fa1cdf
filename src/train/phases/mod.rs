//! Semi-online phases (CoRe; arXiv 2506.21495): the policy as it stands samples once for several steps, all answers are scored
//! in one batch, and the best are set against the worst of each prompt.
//!
//! A phase is a pure function of seed, number and policy. It is written beside the checkpoints before its first step, so that a
//! run can be stopped and gone on with in the middle of one, however long it is.

mod file;
mod pairs;
mod sample;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::checkpoint::Fingerprint;
use super::mpo::{self, Counts, Mpo, Pairs, RunningMean};
use super::objective::Step;
use super::reinforced::{Rewarded, Tried};
use super::rollouts::{Rewriting, Sampler};
use crate::journal::Event;
use crate::judge::reward::Said;
use crate::model::{Cancel, Decoding, Group, Policy, Reluctant};
use crate::recipe::{Recipe, stream};
use crate::rewriter::Decoder;
use crate::store::ExampleRow;
use crate::task::Target;

/// Prompts sampled for at once: bounds the memory of decoding.
const CHUNK: usize = 32;
/// Groups of a phase that go to the journal to be looked at.
const SHOWN: usize = 16;

/// A prompt with its chosen and rejected answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    prompt: Vec<u32>,
    completions: Vec<Vec<u32>>,
    /// By their places among the completions.
    pairs: Vec<(usize, usize)>,
    /// Log-probabilities under the reference, one a token.
    reference: Vec<f32>,
}

/// All that a phase learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Phase {
    number: u64,
    kept: Vec<Kept>,
    /// Statistics by name.
    values: BTreeMap<String, f64>,
    events: Vec<Event>,
}

/// Where phases come from.
pub(super) struct Phases {
    source: Rewriting,
    prompts: Vec<Vec<u32>>,
    sampler: Sampler,
    /// Of held-out searches, by the policy here.
    decoder: Decoder,
    /// The model the run started from; none where departure is measured from the policy that samples.
    reference: Option<Policy>,
    /// Held-out searches, looked at only.
    pub validation: Vec<ExampleRow>,
    held_out: Rewriting,
    recipe: Recipe,
    /// Of the run, and what it is.
    dir: PathBuf,
    fingerprint: Fingerprint,
    phase: Option<Phase>,
    /// δ of BCO's term.
    delta: RunningMean,
}

/// What a run on pairs reads and writes.
pub(super) struct Parts {
    /// Searches to try.
    pub source: Rewriting,
    /// Held-out searches of which a ratio can be taken.
    pub held_out: Rewriting,
    /// Held-out examples.
    pub validation: Vec<ExampleRow>,
    /// Who answers.
    pub sampler: Sampler,
    /// How held-out searches are answered.
    pub decoder: Decoder,
    /// See [`crate::recipe::Reference`].
    pub reference: Option<Policy>,
    /// Of the run.
    pub dir: PathBuf,
    /// What the run is: a phase of another is not gone on with.
    pub fingerprint: Fingerprint,
}

impl Phases {
    /// # Errors
    /// No search of which a ratio can be taken; a prompt that cannot be encoded.
    pub fn new(parts: Parts, tokenizer: &crate::model::Tokenizer, recipe: &Recipe) -> Result<Self> {
        let Parts { source, held_out, validation, sampler, decoder, reference, dir, fingerprint } = parts;
        ensure!(
            source.len() > 0,
            "no search of a training person has documents that were stayed with and others that were passed over: the \
             ratio has nothing to go by. Does the log say what was shown?"
        );
        let prompts = source.prompts(tokenizer, recipe.train.max_prompt_tokens)?;
        let (recipe, delta) = (recipe.clone(), RunningMean::default());
        Ok(Self {
            source,
            prompts,
            sampler,
            decoder,
            reference,
            validation,
            held_out,
            recipe,
            dir,
            fingerprint,
            phase: None,
            delta,
        })
    }

    /// Searches that are tried.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Groups as large as one of a step can be.
    pub fn largest_batch(&self) -> Vec<Group> {
        let m = &self.recipe.mpo;
        let longest = self.prompts.iter().max_by_key(|prompt| prompt.len()).cloned().unwrap_or_default();
        let completions = vec![vec![0; m.max_completion_length]; 2 * m.top];
        vec![Group { prompt: longest, completions }; m.groups]
    }

    /// How often every search has been tried after so many steps.
    pub fn epoch(&self, step: u64) -> f64 {
        let sampled = step.div_ceil(self.recipe.mpo.sync_every) * self.recipe.mpo.sync_every;
        (sampled as usize * self.recipe.mpo.groups) as f64 / self.source.len() as f64
    }

    /// The groups of a step (from 0); the phase they belong to is read or made when its first one is due.
    pub fn next_step(&mut self, policy: &Policy, step: u64) -> Result<Step> {
        let m = self.recipe.mpo.clone();
        let (number, within) = (step / m.sync_every, step % m.sync_every);
        let mut fresh = Step::default();
        if self.phase.as_ref().is_none_or(|phase| phase.number != number) {
            let phase = match file::read(&self.dir, number, &self.fingerprint)? {
                Some(phase) => phase,
                None => {
                    ensure!(
                        within == 0,
                        "the answers of phase {number} are gone from {}: start over with --fresh",
                        self.dir.display()
                    );
                    let phase = self.sample(policy, number)?;
                    file::write(&self.dir, &phase, &self.fingerprint)?;
                    phase
                }
            };
            self.phase = Some(phase);
        }
        let phase = self.phase.as_ref().context("a phase was just made")?;
        if within == 0 {
            fresh.values = phase.values.clone();
            fresh.events = phase.events.clone();
        }
        let groups = groups_of(phase, &self.recipe, within);
        fresh.values.insert("phase".into(), (number + 1) as f64);
        fresh.values.insert("groups".into(), groups.len() as f64);
        if !groups.is_empty() {
            fresh.rewarded = Some(self.rewarded(&groups)?);
        }
        Ok(fresh)
    }

    fn rewarded(&self, groups: &[&Kept]) -> Result<Rewarded> {
        let m = &self.recipe.mpo;
        let settings = mpo::Settings { beta: m.beta, sigmoid: m.sigmoid, bco_pair: m.bco_pair, sft: m.sft };
        let pairs = groups.iter().map(|kept| Pairs {
            lengths: kept.completions.iter().map(Vec::len).collect(),
            pairs: kept.pairs.clone(),
            reference: kept.reference.clone(),
        });
        let pairs: Vec<Pairs> = pairs.collect();
        let counts = Counts::of(&pairs);
        let delta = if m.running_delta { self.delta.mean() } else { 0.0 };
        let objective = Mpo::new(settings, pairs, counts)?.with_delta(delta);
        let of = |kept: &&Kept| Group { prompt: kept.prompt.clone(), completions: kept.completions.clone() };
        let groups = groups.iter().map(of).collect();
        Ok(Rewarded { groups, objective: Tried::Mpo(objective), temperature: 1.0, weight: 1.0 })
    }

    /// Hears what a step's log-probabilities were.
    pub fn learnt(&mut self, objective: &Mpo, logprobs: &[f32]) {
        self.delta.update(&objective.rewards(logprobs));
    }

    /// `improvement_rate` and the mean ratio of held-out searches, answered greedily; and what [`Self::forced`] finds.
    pub fn evaluate(&self, policy: &Policy) -> Result<BTreeMap<String, f64>> {
        let mut values = self.held_out(policy, None)?;
        values.extend(self.forced(policy)?);
        Ok(values)
    }

    /// `improvement_rate/forced`: the share of all held-out searches whose own ratio is beaten where something must be said to
    /// each, greedily. CoRe's policy leaves nothing alone; over what a policy chooses to say the rate rises by choosing less.
    fn forced(&self, policy: &Policy) -> Result<Option<(String, f64)>> {
        let ids = policy.tokenizer.completion(&Target::Reject)?;
        let rate = self.held_out(policy, Some(Reluctant { ids, least: 1.0 }))?.remove("improvement_rate");
        Ok(rate.map(|rate| ("improvement_rate/forced".into(), rate)))
    }

    fn held_out(&self, policy: &Policy, reluctant: Option<Reluctant>) -> Result<BTreeMap<String, f64>> {
        let (held_out, tokenizer) = (&self.held_out, &policy.tokenizer);
        let prompts = held_out.prompts(tokenizer, self.recipe.train.max_prompt_tokens)?;
        let greedy = Decoding::greedy(self.recipe.mpo.max_completion_length, tokenizer.end_tokens());
        let decoding = Decoding { reluctant, ..greedy };
        let completions = self.decoder.generate(policy, &prompts, &decoding, 0, &Cancel::default())?;
        let said =
            completions.iter().map(|c| super::rollouts::read_rewrite(tokenizer, c)).collect::<Result<Vec<_>>>()?;
        let answers: Vec<(usize, &Said)> = said.iter().enumerate().collect();
        Ok(sample::judged(held_out, &answers)?.1)
    }
}

/// The groups of a step within its phase: an equal share of a shuffle of all.
fn groups_of<'a>(phase: &'a Phase, recipe: &Recipe, within: u64) -> Vec<&'a Kept> {
    let m = &recipe.mpo;
    let first = phase.number * m.sync_every;
    let steps = m.sync_every.min(m.steps.saturating_sub(first)).max(1);
    let mut order: Vec<usize> = (0..phase.kept.len()).collect();
    order.shuffle(&mut stream(recipe.seed, "phase order", &[phase.number]));
    let at = |step: u64| (step as usize * order.len()) / steps as usize;
    order[at(within)..at(within + 1)].iter().map(|place| &phase.kept[*place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_learnt_from_once_a_phase_in_shares_that_are_equal() {
        let kept = |n: u32| Kept { prompt: vec![n], completions: vec![], pairs: vec![], reference: vec![] };
        let phase = Phase { number: 1, kept: (0..23).map(kept).collect(), values: BTreeMap::new(), events: Vec::new() };
        let mut recipe = Recipe::default();
        (recipe.mpo.steps, recipe.mpo.sync_every) = (14, 10);
        // Four steps are left of the second phase.
        let steps: Vec<Vec<u32>> =
            (0..4).map(|within| groups_of(&phase, &recipe, within).iter().map(|k| k.prompt[0]).collect()).collect();
        assert!(steps.iter().all(|step| (5..=6).contains(&step.len())), "{steps:?}");
        let mut all = steps.concat();
        all.sort_unstable();
        assert_eq!(all, (0..23).collect::<Vec<_>>());
    }
}
