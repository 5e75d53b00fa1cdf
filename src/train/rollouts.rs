//! Rollouts: a policy's own completions of training prompts, judged, and turned into what [`super::grpo`] learns from.
//!
//! A rollout is a pure function of seed, step and policy, so a resumed run samples what an uninterrupted one would have.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::Rng;
use rand::seq::SliceRandom;

use super::advantages::{Aggregation, Scale, advantages};
use super::grpo::{self, Counts, Importance, Loss, Rollout};
use crate::journal::{Event, Sampled};
use crate::judge::reward::{Asked, PARTS, Parts, Rewarder, Said, foreign, total};
use crate::model::{Cancel, Completion, Decoding, Group, Policy, Tokenizer};
use crate::recipe::{Grpo, ImportanceLevel, LossType, Recipe, ScaleRewards, stream};
use crate::rewriter::{Answerable, Decoder, Whose};
use crate::store::{ExampleRow, Store};
use crate::task::{Target, context_line};

/// Where prompts come from and what judges their completions.
pub(super) struct Rollouts {
    rows: Vec<ExampleRow>,
    prompts: Vec<Vec<u32>>,
    rewarder: Rewarder,
    /// The queries that an index answers, of those that may be learnt from.
    answerable: Answerable,
    decoder: Decoder,
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
    /// Prompts of a log's training examples.
    ///
    /// # Errors
    /// No index of the log; no query in it that an index answers; a prompt that cannot be encoded.
    pub fn new(
        workspace: &Path,
        rows: &[ExampleRow],
        tokenizer: &Tokenizer,
        reference: Option<Policy>,
        recipe: &Recipe,
    ) -> Result<Self> {
        let longest = recipe.train.max_prompt_tokens;
        let prompts =
            rows.iter().map(|row| tokenizer.prompt(&row.context, &row.query, longest)).collect::<Result<_>>()?;
        let rewarder = Rewarder::open(workspace, recipe)?;
        let store = Store::open_existing(workspace)?;
        let answerable = Answerable::read(&store, recipe, &store.log(&recipe.name)?, Whose::Training)?;
        let (decoding, most) = (recipe.grpo.decoding, recipe.grpo.max_completion_length);
        let decoder = Decoder::new(decoding, tokenizer, answerable.spellings(), most)?;
        let rows = rows.to_vec();
        Ok(Self { rows, prompts, rewarder, answerable, decoder, reference, recipe: recipe.clone() })
    }

    /// Samples and judges for an optimizer step (from 0), at a step at which a rollout begins.
    ///
    /// # Errors
    /// Those of decoding and of judging; no completion of any prompt could be judged.
    pub fn sample(&self, policy: &Policy, step: u64) -> Result<Batch> {
        let (g, weights) = (&self.recipe.grpo, self.rewarder.weights());
        let mut kept: Vec<Judged> = Vec::new();
        let (mut drawn, mut dropped) = (0, 0);
        let mut spare: Vec<Judged> = Vec::new();
        for round in 0..=g.resample {
            let missing = g.prompts - kept.len();
            let places = self.places(step, drawn, missing);
            drawn += places.len();
            let seed = stream(self.recipe.seed, "rollout", &[step, round as u64]).random();
            for judged in self.judged(policy, &places, seed)? {
                // DAPO's dynamic sampling: a group without any difference has no gradient.
                let same = judged.same(&weights);
                dropped += usize::from(same);
                if same { &mut spare } else { &mut kept }.push(judged);
            }
            if kept.len() == g.prompts {
                break;
            }
        }
        // Too few differ: the batch is filled up, so that statistics speak of as many groups as the recipe says.
        let missing = g.prompts - kept.len();
        kept.extend(spare.into_iter().take(missing));
        let mut batch = self.batch(policy, &kept)?;
        batch.values.insert("resampled_groups".into(), (drawn - kept.len()) as f64);
        batch.values.insert("frac_reward_zero_std".into(), dropped as f64 / drawn.max(1) as f64);
        Ok(batch)
    }

    /// `n` prompts of a step, behind those drawn already: a fresh shuffle for each pass over the data.
    fn places(&self, step: u64, drawn: usize, n: usize) -> Vec<usize> {
        let rollout = step / self.recipe.grpo.num_iterations;
        let per_rollout = self.recipe.grpo.prompts * (1 + self.recipe.grpo.resample);
        let first = rollout as usize * per_rollout + drawn;
        let mut pass = usize::MAX;
        let mut order: Vec<usize> = Vec::new();
        let place = |at: usize| {
            if at / self.rows.len() != pass {
                pass = at / self.rows.len();
                order = (0..self.rows.len()).collect();
                order.shuffle(&mut stream(self.recipe.seed, "rollout prompts", &[pass as u64]));
            }
            order[at % self.rows.len()]
        };
        (first..first + n).map(place).collect()
    }

    fn judged(&self, policy: &Policy, places: &[usize], seed: u64) -> Result<Vec<Judged>> {
        let g = &self.recipe.grpo;
        let each = g.num_generations;
        let prompts: Vec<Vec<u32>> =
            places.iter().flat_map(|at| std::iter::repeat_n(self.prompts[*at].clone(), each)).collect();
        let decoding = Decoding::sampled(g.max_completion_length, g.temperature, policy.tokenizer.end_tokens());
        let completions = self.decoder.generate(policy, &prompts, &decoding, seed, &Cancel::default())?;
        let said = completions.iter().map(|c| said(&policy.tokenizer, c)).collect::<Result<Vec<_>>>()?;
        let asked = places.iter().flat_map(|at| std::iter::repeat_n(Asked::of(&self.rows[*at]), each));
        let parts = self.rewarder.judge(&asked.zip(&said).collect::<Vec<_>>())?;
        let groups = completions.chunks(each).zip(said.chunks(each)).zip(parts.chunks(each)).zip(places);
        let judged = groups.map(|(((completions, said), parts), place)| Judged {
            place: *place,
            completions: completions.to_vec(),
            said: said.to_vec(),
            parts: parts.to_vec(),
        });
        Ok(judged.collect())
    }

    fn batch(&self, policy: &Policy, judged: &[Judged]) -> Result<Batch> {
        let (g, weights) = (&self.recipe.grpo, self.rewarder.weights());
        let rewards: Vec<Vec<Option<f64>>> =
            judged.iter().flat_map(|judged| judged.parts.iter().map(|parts| parts.to_vec())).collect();
        ensure!(
            rewards.iter().flatten().any(Option::is_some),
            "no completion has any reward: give a part of [reward] a weight that the log can speak to"
        );
        let aggregation =
            if self.recipe.reward.normalize { Aggregation::NormalizeThenSum } else { Aggregation::SumThenNormalize };
        let found = advantages(&rewards, &weights, g.num_generations, scale(g), aggregation)?;
        let groups: Vec<Group> = judged
            .iter()
            .map(|judged| Group {
                prompt: self.prompts[judged.place].clone(),
                completions: judged.completions.iter().map(|c| c.ids.clone()).collect(),
            })
            .collect();
        let by_group = |flat: Vec<f32>| {
            let mut flat = flat.into_iter();
            groups.iter().map(|group| flat.by_ref().take(group.tokens_of_completions()).collect()).collect()
        };
        let reference: Option<Vec<Vec<f32>>> = match &self.reference {
            Some(reference) if g.beta > 0.0 => Some(by_group(reference.score(&groups, g.temperature)?)),
            _ => None,
        };
        // The policy itself is the one that sampled until it has been updated.
        let old: Option<Vec<Vec<f32>>> = match g.num_iterations {
            1 => None,
            _ => Some(by_group(policy.score(&groups, g.temperature)?)),
        };
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
        for (i, name) in PARTS.iter().enumerate() {
            let known: Vec<f64> = judged.iter().flat_map(|j| &j.parts).filter_map(|parts| parts[i]).collect();
            if !known.is_empty() {
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                let spread = known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (known.len().max(2) - 1) as f64;
                values.insert(format!("rewards/{name}/mean"), mean);
                values.insert(format!("rewards/{name}/std"), spread.sqrt());
            }
        }
        let all: Vec<(&Completion, &Said, usize)> = judged
            .iter()
            .flat_map(|j| j.completions.iter().zip(&j.said).map(|(completion, said)| (completion, said, j.place)))
            .collect();
        let n = all.len().max(1) as f64;
        let share =
            |is: &dyn Fn(&Completion, &Said) -> bool| all.iter().filter(|(c, s, _)| is(c, s)).count() as f64 / n;
        let lengths: Vec<f64> = all.iter().map(|(c, _, _)| c.ids.len() as f64).collect();
        let mut say = |name: &str, value: f64| values.insert(name.to_owned(), value);
        say("completions/mean_length", lengths.iter().sum::<f64>() / n);
        say("completions/min_length", lengths.iter().copied().fold(f64::INFINITY, f64::min));
        say("completions/max_length", lengths.iter().copied().fold(0.0, f64::max));
        say("completions/clipped_ratio", share(&|c, _| !c.finished));
        say("completions/faulty", share(&|_, s| *s == Said::Faulty));
        say("reject_rate", share(&|_, s| *s == Said::Reject));
        let unjudged = judged.iter().flat_map(|j| &j.parts).filter(|parts| parts.iter().all(Option::is_none)).count();
        say("rewards/missing", unjudged as f64 / n);
        let distinct = |j: &Judged| j.completions.iter().map(|c| &c.ids).collect::<HashSet<_>>().len() as f64;
        let groups = judged.len().max(1) as f64;
        say("completions/unique", judged.iter().map(distinct).sum::<f64>() / n);
        say("completions/unanimous_groups", judged.iter().filter(|j| distinct(j) == 1.0).count() as f64 / groups);
        let rewrites = all.iter().filter_map(|(_, said, place)| match said {
            Said::Rewrite(text) => Some((text.as_str(), &self.rows[*place])),
            _ => None,
        });
        let rewrites: Vec<_> = rewrites.collect();
        if !rewrites.is_empty() {
            let n = rewrites.len() as f64;
            let valid = rewrites.iter().filter(|(text, _)| self.answerable.holds(text)).count();
            let drift = rewrites.iter().map(|(text, row)| foreign(&row.context, &row.query, text)).sum::<f64>();
            let searches = rewrites.iter().map(|(text, _)| f64::from(self.rewarder.posterior(text).searches).ln_1p());
            say("index_hit_rate", valid as f64 / n);
            say("off_context", drift / n);
            say("popularity", searches.sum::<f64>() / n);
        }
        values
    }

    /// Every group, with its rewards and advantages.
    fn events(&self, judged: &[Judged], advantages: &[f64], tokenizer: &Tokenizer) -> Result<Vec<Event>> {
        let (g, weights) = (&self.recipe.grpo, self.rewarder.weights());
        let groups = judged.iter().zip(advantages.chunks(g.num_generations)).map(|(judged, advantages)| {
            let row = &self.rows[judged.place];
            let sampled = judged.completions.iter().zip(&judged.said).zip(&judged.parts).zip(advantages);
            let sampled = sampled.map(|(((completion, said), parts), advantage)| {
                Ok(Sampled {
                    output: match said {
                        Said::Rewrite(text) => text.clone(),
                        Said::Reject => Target::Reject.to_string(),
                        Said::Faulty => tokenizer.decode(&completion.ids, false)?,
                    },
                    reward: total(parts, &weights),
                    parts: PARTS.iter().zip(parts).filter_map(|(n, p)| Some(((*n).to_owned(), (*p)?))).collect(),
                    advantage: *advantage,
                })
            });
            Ok(Event::Rollout {
                step: 0,
                query: row.query.clone(),
                context: context_line(&row.context),
                target: Target::from_option(row.target.as_deref()).to_string(),
                sampled: sampled.collect::<Result<_>>().context("showing a rollout")?,
            })
        });
        groups.collect()
    }

    /// The objective over a batch's groups.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn objective(&self, batch: &Batch) -> Result<grpo::Grpo> {
        grpo::Grpo::new(settings(&self.recipe.grpo), batch.rollouts.clone(), Counts::of(&batch.rollouts))
    }
}

/// What a completion says to whoever has to judge it.
fn said(tokenizer: &Tokenizer, completion: &Completion) -> Result<Said> {
    if !completion.finished {
        return Ok(Said::Faulty);
    }
    Ok(match tokenizer.read_completion(&completion.ids)? {
        Target::Rewrite(text) => Said::Rewrite(text),
        // An end without anything before it is read as a reject in serving, but it is not what a model was taught to say.
        Target::Reject if completion.ids.len() < 2 => Said::Faulty,
        Target::Reject => Said::Reject,
    })
}

fn scale(g: &Grpo) -> Scale {
    match g.scale_rewards {
        ScaleRewards::Group => Scale::Group,
        ScaleRewards::Batch => Scale::Batch,
        ScaleRewards::None => Scale::None,
    }
}

fn settings(g: &Grpo) -> grpo::Settings {
    grpo::Settings {
        loss: match g.loss_type {
            LossType::Grpo => Loss::Grpo,
            LossType::Bnpo => Loss::Bnpo,
            LossType::Dapo => Loss::Dapo,
            LossType::DrGrpo => Loss::DrGrpo,
            LossType::Cispo => Loss::Cispo,
        },
        importance: match g.importance_sampling_level {
            ImportanceLevel::Token => Importance::Token,
            ImportanceLevel::Sequence => Importance::Sequence,
        },
        beta: g.beta,
        epsilon_low: g.epsilon,
        epsilon_high: g.epsilon_high,
        delta: None,
        max_completion_length: g.max_completion_length,
    }
}
