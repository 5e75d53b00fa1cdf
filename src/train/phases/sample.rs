//! A phase's answers: sampled by the policy as it stands, scored in one batch.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result};
use rand::Rng;
use rand::seq::SliceRandom;

use super::pairs::{self, Paired};
use super::{CHUNK, Kept, Phase, Phases, SHOWN};
use crate::journal::{Event, Progress, Sampled, stop};
use crate::judge::reward::{Ratio, Said};
use crate::model::{Completion, Decoding, Group, Policy};
use crate::recipe::stream;
use crate::task::Target;
use crate::train::rollouts::{Rewriting, read_rewrite};

/// A prompt with its answers and what each is worth.
struct Judged {
    place: usize,
    completions: Vec<Completion>,
    said: Vec<Said>,
    ratios: Vec<Option<Ratio>>,
}

impl Phases {
    /// Samples, scores and pairs for a phase.
    ///
    /// # Errors
    /// Those of decoding and of scoring; `Stopped` after Ctrl-C.
    pub(super) fn sample(&self, policy: &Policy, number: u64) -> Result<Phase> {
        let places = self.places(number);
        let progress = Progress::on_screen("sample", places.len() as u64);
        let mut judged = Vec::new();
        for (chunk, places) in places.chunks(CHUNK).enumerate() {
            stop::check("the newest step is saved; the same command goes on from it (`core train` with --resume)")?;
            let seed = stream(self.recipe.seed, "phase", &[number, chunk as u64]).random();
            judged.extend(self.answers(policy, places, seed)?);
            progress.inc(places.len() as u64);
        }
        let answers: Vec<(usize, &Said)> =
            judged.iter().flat_map(|j| j.said.iter().map(|said| (j.place, said))).collect();
        let (ratios, mut values) = self::judged(&self.source, &answers)?;
        let mut ratios = ratios.into_iter();
        for j in &mut judged {
            j.ratios = ratios.by_ref().take(j.said.len()).collect();
        }
        progress.finish(&format!("{} answers to {} prompts", answers_in(&judged), judged.len()));
        let paired: Vec<Paired> =
            judged.iter().map(|j| pairs::pair(&j.completions, &j.ratios, &self.recipe.mpo)).collect();
        values.extend(self.source.statistics(judged.iter().flat_map(|j| j.said.iter().map(|said| (j.place, said)))));
        values.extend(completions(&judged, &paired));
        values.extend(self.forced(policy)?);
        let kept = self.referenced(policy, &judged, paired)?;
        // One group is enough to see a server that samples from something else.
        let far = judged.first().map(|j| self.sampler.difference(policy, &self.prompts[j.place], &j.completions));
        if let Some(far) = far.transpose()?.flatten() {
            values.insert("sampling/sampling_logp_difference/mean".into(), far);
        }
        let shown = judged.iter().take(SHOWN).map(|j| self.event(j, number, policy));
        let mut events = shown.collect::<Result<Vec<Event>>>()?;
        events.extend(self.sampler.news());
        Ok(Phase { number, kept, values, events })
    }

    /// The prompts of a phase: a fresh shuffle for each pass over the searches.
    fn places(&self, number: u64) -> Vec<usize> {
        let (m, all) = (&self.recipe.mpo, self.source.len());
        let first = number * m.sync_every;
        let steps = m.sync_every.min(m.steps.saturating_sub(first));
        let (first, n) = (first as usize * m.groups, steps as usize * m.groups);
        let (mut pass, mut order) = (usize::MAX, Vec::new());
        let place = |at: usize| {
            if at / all != pass {
                pass = at / all;
                order = (0..all).collect::<Vec<usize>>();
                order.shuffle(&mut stream(self.recipe.seed, "phase prompts", &[pass as u64]));
            }
            order[at % all]
        };
        (first..first + n).map(place).collect()
    }

    fn answers(&self, policy: &Policy, places: &[usize], seed: u64) -> Result<Vec<Judged>> {
        let m = &self.recipe.mpo;
        let repeated = places.iter().flat_map(|at| std::iter::repeat_n(self.prompts[*at].clone(), m.num_generations));
        let prompts: Vec<Vec<u32>> = repeated.collect();
        let decoding = Decoding::sampled(m.max_completion_length, m.temperature, policy.tokenizer.end_tokens());
        let completions = self.sampler.generate(policy, &prompts, &decoding, seed)?;
        let groups = completions.chunks(m.num_generations).zip(places);
        let judged = groups.map(|(completions, place)| {
            let said = completions.iter().map(|c| read_rewrite(&policy.tokenizer, c)).collect::<Result<_>>()?;
            Ok(Judged { place: *place, completions: completions.to_vec(), said, ratios: Vec::new() })
        });
        judged.collect()
    }

    /// The groups with a pair in them, each with the reference's log-probabilities: computed once a phase.
    fn referenced(&self, policy: &Policy, judged: &[Judged], paired: Vec<Paired>) -> Result<Vec<Kept>> {
        let with_pairs = judged.iter().zip(paired).filter(|(_, paired)| !paired.pairs.is_empty());
        let groups: Vec<(Group, Vec<(usize, usize)>)> = with_pairs
            .map(|(j, paired)| {
                let completions = paired.places.iter().map(|at| j.completions[*at].ids.clone()).collect();
                (Group { prompt: self.prompts[j.place].clone(), completions }, paired.pairs)
            })
            .collect();
        let reference = self.reference.as_ref().unwrap_or(policy);
        let mut kept = Vec::with_capacity(groups.len());
        for chunk in groups.chunks(CHUNK) {
            let all: Vec<Group> = chunk.iter().map(|(group, _)| group.clone()).collect();
            let mut scores = reference.score(&all, 1.0)?.into_iter();
            for (group, pairs) in chunk {
                let reference = scores.by_ref().take(group.tokens_of_completions()).collect();
                let Group { prompt, completions } = group.clone();
                kept.push(Kept { prompt, completions, pairs: pairs.clone(), reference });
            }
        }
        Ok(kept)
    }

    /// A prompt with all its answers, for people.
    fn event(&self, judged: &Judged, number: u64, policy: &Policy) -> Result<Event> {
        let known: Vec<f64> = judged.ratios.iter().flatten().map(|ratio| ratio.value).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let sampled =
            judged.completions.iter().zip(&judged.said).zip(&judged.ratios).map(|((completion, said), ratio)| {
                let parts = ratio.and_then(|ratio| ratio.scored).map_or_else(Vec::new, |s| {
                    vec![("S_pos", s.positive), ("S_neg", s.negative), ("S_rand", s.random)]
                });
                Ok(Sampled {
                    output: match said {
                        Said::Rewrite(text) => text.clone(),
                        Said::Reject => Target::Reject.to_string(),
                        Said::Faulty => policy.tokenizer.decode(&completion.ids, false)?,
                    },
                    reward: ratio.map(|ratio| ratio.value),
                    parts: parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                    advantage: ratio.map_or(0.0, |ratio| ratio.value - mean),
                    unsaid: false,
                })
            });
        let [query, context, target] = self.source.shown(judged.place);
        let sampled = sampled.collect::<Result<_>>().context("showing a phase")?;
        Ok(Event::Rollout { step: number * self.recipe.mpo.sync_every + 1, query, context, target, sampled })
    }
}

/// Values by name.
type Statistics = BTreeMap<String, f64>;

fn answers_in(judged: &[Judged]) -> usize {
    judged.iter().map(|j| j.said.len()).sum()
}

/// The ratios of answers, and what they are like on the whole: `reward`, `reward_std`, `S_pos`, `S_neg`, `S_rand`; and
/// `improvement_rate`, the share of rewrites worth more than their query itself (CoRe).
pub(super) fn judged(source: &Rewriting, answers: &[(usize, &Said)]) -> Result<(Vec<Option<Ratio>>, Statistics)> {
    let alone = Said::Reject;
    let queries: Vec<(usize, &Said)> = answers.iter().map(|(place, _)| (*place, &alone)).collect();
    // One pass: the queries themselves stand beside their rewrites.
    let (mut ratios, scored) = source.ratios(&[answers, &queries].concat())?;
    let of_queries = ratios.split_off(answers.len());
    let mut values = BTreeMap::new();
    let mut say = |name: &str, list: &[f64]| {
        if !list.is_empty() {
            values.insert(name.to_owned(), list.iter().sum::<f64>() / list.len() as f64);
        }
    };
    let known: Vec<f64> = ratios.iter().flatten().map(|ratio| ratio.value).collect();
    say("reward", &known);
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let variance = known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / known.len().saturating_sub(1).max(1) as f64;
    say("reward_std", &[variance.sqrt()]);
    for (name, of) in [
        ("S_pos", (|s| s.positive) as fn(&crate::judge::reward::ratio::Scored) -> f64),
        ("S_neg", |s| s.negative),
        ("S_rand", |s| s.random),
    ] {
        say(name, &ratios.iter().flatten().filter_map(|ratio| ratio.scored.as_ref().map(of)).collect::<Vec<_>>());
    }
    let rewrites = answers.iter().zip(&ratios).zip(&of_queries).filter(|(((_, said), _), _)| **said != Said::Reject);
    let better = rewrites.filter_map(|((_, own), query)| Some(f64::from(u8::from((*own)?.value > (*query)?.value))));
    say("improvement_rate", &better.collect::<Vec<_>>());
    say("reward_calls", &[answers.len() as f64]);
    say("scored_pairs", &[scored as f64]);
    Ok((ratios, values))
}

/// What the completions are like, and what became of their groups.
fn completions(judged: &[Judged], paired: &[Paired]) -> Statistics {
    let all = || judged.iter().flat_map(|j| &j.completions);
    let n = all().count().max(1) as f64;
    let groups = judged.len().max(1) as f64;
    let distinct = |j: &Judged| j.completions.iter().map(|c| &c.ids).collect::<HashSet<_>>().len() as f64;
    let faulty = judged.iter().flat_map(|j| &j.said).filter(|said| **said == Said::Faulty).count();
    let missing = judged.iter().flat_map(|j| &j.ratios).filter(|ratio| ratio.is_none()).count();
    let values = [
        ("completions/mean_length", all().map(|c| c.ids.len() as f64).sum::<f64>() / n),
        ("completions/clipped_ratio", all().filter(|c| !c.finished).count() as f64 / n),
        ("completions/faulty", faulty as f64 / n),
        ("completions/unique", judged.iter().map(distinct).sum::<f64>() / n),
        ("completions/unanimous_groups", judged.iter().filter(|j| distinct(j) == 1.0).count() as f64 / groups),
        ("rewards/missing", missing as f64 / n),
        ("frac_reward_zero_std", paired.iter().filter(|p| p.pairs.is_empty()).count() as f64 / groups),
        ("pairs", paired.iter().map(|p| p.pairs.len() as f64).sum()),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
