//! Rollouts: a policy's own completions of training prompts, judged, and turned into what [`super::grpo`] learns from.
//!
//! A rollout is a pure function of seed, step and policy, so a resumed run samples what an uninterrupted one would have. What is
//! asked, and what an answer earns, is a [`Source`]'s business.

mod rewriting;
mod sampler;
mod settings;
mod tagging;
mod unsaid;

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use rand::Rng;
use rand::seq::SliceRandom;

use super::advantages::{Aggregation, advantages};
use super::grpo::{self, Counts, Rollout};
use crate::journal::{Event, Sampled};
use crate::judge::reward::{Said, total};
use crate::model::{Completion, Decoding, Group, Policy, Tokenizer};
use crate::recipe::{Recipe, stream};
use crate::task::Target;

pub(super) use rewriting::{Rewriting, read as read_rewrite};
pub(super) use sampler::Sampler;
pub(super) use tagging::{Tags, pair};

/// Rewards of one completion, a part each; `None` where a part does not apply or could not be had.
type Parts = Vec<Option<f64>>;

/// What is asked and how answers are judged.
pub(super) enum Source {
    /// To rewrite searches.
    Rewriting(Box<Rewriting>),
    /// To tag the relevance of documents.
    Tags(Tags),
}

/// Where prompts come from and what judges their completions.
pub(super) struct Rollouts {
    source: Source,
    prompts: Vec<Vec<u32>>,
    sampler: Sampler,
    /// The model the run started from; only where the divergence from it counts.
    reference: Option<Policy>,
    recipe: Recipe,
}

/// A judged batch of groups, to be learnt from in `grpo.num_iterations` steps.
pub(super) struct Batch {
    /// Prompts and completions.
    pub groups: Vec<Group>,
    /// What is constant about them while the policy moves.
    pub rollouts: Vec<Rollout>,
    /// Statistics by their TRL names.
    pub values: BTreeMap<String, f64>,
    /// For people to look at.
    pub events: Vec<Event>,
}

/// A prompt with its judged completions.
struct Judged {
    place: usize,
    completions: Vec<Completion>,
    said: Vec<Said>,
    parts: Vec<Parts>,
    /// Whether the last completion was put there, and not sampled.
    unsaid: bool,
}

impl Judged {
    /// Whether every completion earned the same, so that nothing can be learnt from the group.
    fn same(&self, weights: &[f64]) -> bool {
        let totals: Vec<Option<f64>> = self.parts.iter().map(|parts| total(parts, weights)).collect();
        let differs = |x: &Option<f64>| match (x, &totals[0]) {
            (Some(a), Some(b)) => (a - b).abs() > 1e-8,
            (a, b) => a.is_some() != b.is_some(),
        };
        !totals.iter().any(differs)
    }
}

impl Rollouts {
    /// Of prompts, one for each question of a source.
    pub fn new(
        source: Source,
        prompts: Vec<Vec<u32>>,
        sampler: Sampler,
        reference: Option<Policy>,
        recipe: &Recipe,
    ) -> Self {
        Self { source, prompts, sampler, reference, recipe: recipe.clone() }
    }

    /// Samples and judges for an optimizer step (from 0), at a step at which a rollout begins.
    ///
    /// # Errors
    /// Those of decoding and of judging; no completion of any prompt could be judged.
    pub fn sample(&self, policy: &Policy, step: u64) -> Result<Batch> {
        let (g, weights) = (&self.recipe.grpo, self.source.weights());
        let (mut kept, mut spare): (Vec<Judged>, Vec<Judged>) = Default::default();
        let (mut drawn, mut dropped) = (0, 0);
        for round in 0..=g.resample {
            let places = self.places(step, drawn, g.prompts - kept.len());
            drawn += places.len();
            let seed = stream(self.recipe.seed, "rollout", &[step, round as u64]).random();
            let mut judged = self.judged(policy, &places, seed)?;
            dropped += judged.iter().filter(|group| group.same(&weights)).count();
            if g.unsaid {
                self.put_unsaid(policy, &mut judged)?;
            }
            for group in judged {
                // DAPO's dynamic sampling: a group without any difference has no gradient.
                if group.same(&weights) { &mut spare } else { &mut kept }.push(group);
            }
            if kept.len() == g.prompts {
                break;
            }
        }
        // Too few differ: the batch is filled up, so that statistics speak of as many groups as the recipe says.
        let missing = g.prompts - kept.len();
        kept.extend(spare.into_iter().take(missing));
        let mut batch = self.batch(policy, &kept)?;
        batch.values.insert("reward_calls".into(), (drawn * g.num_generations) as f64);
        batch.values.insert("resampled_groups".into(), (drawn - kept.len()) as f64);
        batch.values.insert("unsaid_groups".into(), kept.iter().filter(|group| group.unsaid).count() as f64);
        batch.values.insert("frac_reward_zero_std".into(), dropped as f64 / drawn.max(1) as f64);
        // One group is enough to see a server that samples from something else.
        let far =
            kept.first().map(|group| self.sampler.difference(policy, &self.prompts[group.place], &group.completions));
        if let Some(far) = far.transpose()?.flatten() {
            batch.values.insert("sampling/sampling_logp_difference/mean".into(), far);
        }
        batch.events.extend(self.sampler.news());
        Ok(batch)
    }

    /// `n` prompts of a step, behind those drawn already: a fresh shuffle for each pass over the data.
    fn places(&self, step: u64, drawn: usize, n: usize) -> Vec<usize> {
        let (g, all) = (&self.recipe.grpo, self.prompts.len());
        let first = (step / g.num_iterations) as usize * g.prompts * (1 + g.resample) + drawn;
        let mut pass = usize::MAX;
        let mut order: Vec<usize> = Vec::new();
        let place = |at: usize| {
            if at / all != pass {
                pass = at / all;
                order = (0..all).collect();
                order.shuffle(&mut stream(self.recipe.seed, "rollout prompts", &[pass as u64]));
            }
            order[at % all]
        };
        (first..first + n).map(place).collect()
    }

    fn judged(&self, policy: &Policy, places: &[usize], seed: u64) -> Result<Vec<Judged>> {
        let g = &self.recipe.grpo;
        let each = g.num_generations;
        let asked: Vec<usize> = places.iter().flat_map(|at| std::iter::repeat_n(*at, each)).collect();
        let prompts: Vec<Vec<u32>> = asked.iter().map(|at| self.prompts[*at].clone()).collect();
        let decoding = Decoding::sampled(g.max_completion_length, g.temperature, policy.tokenizer.end_tokens());
        let completions = self.sampler.generate(policy, &prompts, &decoding, seed)?;
        let read = |completion: &Completion| self.source.read(&policy.tokenizer, completion);
        let said = completions.iter().map(read).collect::<Result<Vec<_>>>()?;
        let parts = self.source.judge(&asked.into_iter().zip(&said).collect::<Vec<_>>())?;
        let groups = completions.chunks(each).zip(said.chunks(each)).zip(parts.chunks(each)).zip(places);
        let judged = groups.map(|(((completions, said), parts), place)| Judged {
            place: *place,
            completions: completions.to_vec(),
            said: said.to_vec(),
            parts: parts.to_vec(),
            unsaid: false,
        });
        Ok(judged.collect())
    }

    fn batch(&self, policy: &Policy, judged: &[Judged]) -> Result<Batch> {
        let (g, weights) = (&self.recipe.grpo, self.source.weights());
        let rewards: Vec<Parts> = judged.iter().flat_map(|judged| judged.parts.clone()).collect();
        ensure!(
            rewards.iter().flatten().any(Option::is_some),
            "no completion has any reward: give a part of [reward] a weight that the log can speak to"
        );
        let aggregation =
            if self.recipe.reward.normalize { Aggregation::NormalizeThenSum } else { Aggregation::SumThenNormalize };
        let found = advantages(&rewards, &weights, g.num_generations, settings::scale(g), aggregation)?;
        let groups: Vec<Group> = judged
            .iter()
            .map(|judged| Group {
                prompt: self.prompts[judged.place].clone(),
                completions: judged.completions.iter().map(|c| c.ids.clone()).collect(),
            })
            .collect();
        let by_group = |policy: &Policy| -> Result<Vec<Vec<f32>>> {
            let mut flat = policy.score(&groups, g.temperature)?.into_iter();
            Ok(groups.iter().map(|group| flat.by_ref().take(group.tokens_of_completions()).collect()).collect())
        };
        let reference = self.reference.as_ref().filter(|_| g.beta > 0.0).map(by_group).transpose()?;
        // The policy itself is the one that sampled until it has been updated; so it counts where a server sampled for it, too,
        // whose engine rounds otherwise (docs/rewards.md).
        let old = (g.num_iterations > 1).then(|| by_group(policy)).transpose()?;
        let rollouts = groups.iter().zip(found.values.chunks(g.num_generations)).enumerate();
        let rollouts = rollouts.map(|(i, (group, advantages))| Rollout {
            lengths: group.completions.iter().map(Vec::len).collect(),
            advantages: advantages.to_vec(),
            old: old.as_ref().map(|old| old[i].clone()),
            reference: reference.as_ref().map(|reference| reference[i].clone()),
        });
        let rollouts = rollouts.collect();
        let mut values = found.statistics;
        values.extend(self.statistics(judged));
        let events = self.events(judged, &found.values, &policy.tokenizer)?;
        Ok(Batch { groups, rollouts, values, events })
    }

    /// Means of the parts and of what the completions are like.
    fn statistics(&self, judged: &[Judged]) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for (i, name) in self.source.parts().iter().enumerate() {
            let known: Vec<f64> = judged.iter().flat_map(|j| &j.parts).filter_map(|parts| parts[i]).collect();
            if !known.is_empty() {
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                let spread = known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (known.len().max(2) - 1) as f64;
                values.insert(format!("rewards/{name}/mean"), mean);
                values.insert(format!("rewards/{name}/std"), spread.sqrt());
            }
        }
        let all = || judged.iter().flat_map(|j| j.completions.iter().zip(&j.said));
        let n = all().count().max(1) as f64;
        let share = |is: &dyn Fn(&Completion, &Said) -> bool| all().filter(|(c, s)| is(c, s)).count() as f64 / n;
        let lengths = || all().map(|(c, _)| c.ids.len() as f64);
        let mut say = |name: &str, value: f64| values.insert(name.to_owned(), value);
        say("completions/mean_length", lengths().sum::<f64>() / n);
        say("completions/min_length", lengths().fold(f64::INFINITY, f64::min));
        say("completions/max_length", lengths().fold(0.0, f64::max));
        say("completions/clipped_ratio", share(&|c, _| !c.finished));
        say("completions/faulty", share(&|_, s| *s == Said::Faulty));
        let unjudged = judged.iter().flat_map(|j| &j.parts).filter(|parts| parts.iter().all(Option::is_none)).count();
        say("rewards/missing", unjudged as f64 / n);
        let distinct = |j: &Judged| j.completions.iter().map(|c| &c.ids).collect::<HashSet<_>>().len() as f64;
        let groups = judged.len().max(1) as f64;
        say("completions/unique", judged.iter().map(distinct).sum::<f64>() / n);
        say("completions/unanimous_groups", judged.iter().filter(|j| distinct(j) == 1.0).count() as f64 / groups);
        if let Source::Rewriting(rewriting) = &self.source {
            values.extend(rewriting.statistics(judged.iter().flat_map(|j| j.said.iter().map(|said| (j.place, said)))));
        }
        values
    }

    /// Every group, with its rewards and advantages.
    fn events(&self, judged: &[Judged], advantages: &[f64], tokenizer: &Tokenizer) -> Result<Vec<Event>> {
        let weights = self.source.weights();
        let groups = judged.iter().zip(advantages.chunks(self.recipe.grpo.num_generations));
        let groups = groups.map(|(judged, advantages)| {
            let last = judged.completions.len() - 1;
            let sampled = judged.completions.iter().zip(&judged.said).zip(&judged.parts).zip(advantages).enumerate();
            let sampled = sampled.map(|(i, (((completion, said), parts), advantage))| {
                let known = self.source.parts().iter().zip(parts);
                Ok(Sampled {
                    output: match said {
                        Said::Rewrite(text) => text.clone(),
                        Said::Reject => Target::Reject.to_string(),
                        Said::Faulty => tokenizer.decode(&completion.ids, false)?,
                    },
                    reward: total(parts, &weights),
                    parts: known.filter_map(|(name, part)| Some(((*name).to_owned(), (*part)?))).collect(),
                    advantage: *advantage,
                    unsaid: judged.unsaid && i == last,
                })
            });
            let [query, context, target] = self.source.shown(judged.place);
            let sampled = sampled.collect::<Result<_>>().context("showing a rollout")?;
            Ok(Event::Rollout { step: 0, query, context, target, sampled })
        });
        groups.collect()
    }

    /// The objective over a batch's groups.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn objective(&self, batch: &Batch) -> Result<grpo::Grpo> {
        let settings = settings::of(&self.recipe.grpo);
        grpo::Grpo::new(settings, batch.rollouts.clone(), Counts::of(&batch.rollouts))
    }
}

impl Source {
    /// Names of the parts of a reward.
    fn parts(&self) -> &'static [&'static str] {
        match self {
            Self::Rewriting(_) => &rewriting::PARTS,
            Self::Tags(_) => &tagging::PARTS,
        }
    }

    /// Their weights.
    fn weights(&self) -> Vec<f64> {
        match self {
            Self::Rewriting(rewriting) => rewriting.weights(),
            Self::Tags(tags) => tags.weights(),
        }
    }

    fn read(&self, tokenizer: &Tokenizer, completion: &Completion) -> Result<Said> {
        match self {
            Self::Rewriting(_) => rewriting::read(tokenizer, completion),
            Self::Tags(_) => tagging::read(tokenizer, completion),
        }
    }

    fn judge(&self, answers: &[(usize, &Said)]) -> Result<Vec<Parts>> {
        match self {
            Self::Rewriting(rewriting) => rewriting.judge(answers),
            Self::Tags(tags) => Ok(tags.judge(answers)),
        }
    }

    /// Query, context and right answer of a prompt, for people.
    fn shown(&self, place: usize) -> [String; 3] {
        match self {
            Self::Rewriting(rewriting) => rewriting.shown(place),
            Self::Tags(tags) => tags.shown(place),
        }
    }
}
