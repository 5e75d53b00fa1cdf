//! Free, constrained and mixed decoding over one log's valid queries, for serving and for rollouts alike.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use super::{Vocabulary, Wordwise};
use crate::logs::Context;
use crate::model::{self, Cancel, Completion, Group, Policy, Reluctant, Tokenizer, Trie};
use crate::recipe::Decoding;
use crate::task::Target;

/// How one model's answers are decoded.
#[derive(Clone)]
pub struct Decoder {
    decoding: Decoding,
    /// `<reject>` and the valid queries as completions; none for free decoding.
    valid: Option<Arc<Trie>>,
    reject: Vec<u32>,
    too_long: usize,
    words: Option<Arc<Wordwise>>,
}

impl Decoder {
    /// Anything may be said.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn free(tokenizer: &Tokenizer) -> Result<Self> {
        let reject = tokenizer.completion(&Target::Reject)?;
        Ok(Self { decoding: Decoding::Free, valid: None, reject, too_long: 0, words: None })
    }

    /// Within the words of each request.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn words(tokenizer: &Tokenizer, vocabulary: Vocabulary) -> Result<Self> {
        let words = Some(Arc::new(Wordwise::new(tokenizer, vocabulary)?));
        Ok(Self { decoding: Decoding::Words, words, ..Self::free(tokenizer)? })
    }

    /// Over valid queries, in any order; one that takes more than `max_new_tokens` with its end is left out. Queries without
    /// a word are too. With none at all `<reject>` is left.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn new(decoding: Decoding, tokenizer: &Tokenizer, valid: &[String], max_new_tokens: usize) -> Result<Self> {
        let mut decoder = Self { decoding, ..Self::free(tokenizer)? };
        if decoding == Decoding::Free {
            return Ok(decoder);
        }
        let spelt = valid.par_iter().filter(|query| !query.trim().is_empty());
        let all =
            spelt.map(|query| tokenizer.completion(&Target::Rewrite(query.clone()))).collect::<Result<Vec<_>>>()?;
        let before = all.len();
        let mut kept: Vec<_> = all.into_iter().filter(|completion| completion.len() <= max_new_tokens).collect();
        decoder.too_long = before - kept.len();
        kept.push(decoder.reject.clone());
        decoder.valid = Some(Arc::new(Trie::new(kept).context("the valid queries cannot be kept in a trie")?));
        Ok(decoder)
    }

    /// The mode.
    #[must_use]
    pub fn decoding(&self) -> Decoding {
        self.decoding
    }

    /// The completions that may be said; none for free decoding.
    #[must_use]
    pub fn valid(&self) -> Option<&Trie> {
        self.valid.as_deref()
    }

    /// The words of the log that it was made for; none unless it decodes within words.
    #[must_use]
    pub fn wordwise(&self) -> Option<&Wordwise> {
        self.words.as_deref()
    }

    /// Settings under which [`Decoder::generate`] answers these requests, in their order.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn settings(&self, requests: &[(&Context, &str)], settings: model::Decoding) -> Result<model::Decoding> {
        let Some(words) = &self.words else { return Ok(settings) };
        let allowed = requests.iter().map(|(context, query)| words.allowed(context, query));
        Ok(settings.within_words(allowed.collect::<Result<_>>()?))
    }

    /// Spellings of valid queries that were left out for their length.
    #[must_use]
    pub fn too_long(&self) -> usize {
        self.too_long
    }

    /// Decodes one completion per prompt, as [`Policy::generate_until`] does. Where decoding is constrained, or mixed and the
    /// free answer was not valid, [`Completion::logprobs`] is empty. The second draw of mixed decoding takes its random stream
    /// from the prompt's place among those that need one; greedy answers never depend on who shares the call.
    ///
    /// # Errors
    /// Those of [`Policy::generate_until`].
    pub fn generate(
        &self,
        policy: &Policy,
        prompts: &[Vec<u32>],
        settings: &model::Decoding,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<Vec<Completion>> {
        let within = |trie: &Arc<Trie>| settings.clone().within(trie.clone());
        match (&self.valid, self.decoding) {
            (Some(trie), Decoding::Constrained) => policy.generate_until(prompts, &within(trie), seed, cancel),
            (Some(trie), Decoding::Mixed) => {
                let mut said = policy.generate_until(prompts, settings, seed, cancel)?;
                let mut missed = Vec::new();
                for (at, completion) in said.iter().enumerate() {
                    if !self.is_valid(trie, &policy.tokenizer, completion)? {
                        missed.push(at);
                    }
                }
                if missed.is_empty() || cancel.is_set() {
                    return Ok(said);
                }
                let again: Vec<Vec<u32>> = missed.iter().map(|at| prompts[*at].clone()).collect();
                let mut rewrites = within(trie);
                if let Some(reluctant) = &mut rewrites.reluctant {
                    // It is held against all that is said below, not only what was asked for.
                    reluctant.least = 1.0;
                }
                let others = policy.generate_until(&again, &rewrites, seed, cancel)?;
                let others = self.or_rejects(policy, again, others, settings)?;
                for (at, other) in missed.into_iter().zip(others) {
                    let forwards = said[at].forwards + other.forwards;
                    said[at] = Completion { forwards, ..other };
                }
                Ok(said)
            }
            _ => policy.generate_until(prompts, settings, seed, cancel),
        }
    }

    /// Whether a free answer is `<reject>` or a valid query, by whatever tokens it is spelt.
    fn is_valid(&self, trie: &Trie, tokenizer: &Tokenizer, completion: &Completion) -> Result<bool> {
        if !completion.finished {
            return Ok(false);
        }
        Ok(trie.holds(&completion.ids)
            || trie.holds(&tokenizer.completion(&tokenizer.read_completion(&completion.ids)?)?))
    }

    /// Puts `<reject>` in the place of completions beside which it has its share of probability, half unless the settings name one.
    fn or_rejects(
        &self,
        policy: &Policy,
        prompts: Vec<Vec<u32>>,
        said: Vec<Completion>,
        settings: &model::Decoding,
    ) -> Result<Vec<Completion>> {
        let least = settings.reluctant.as_ref().map_or(0.5, |reluctant| reluctant.least);
        let reluctant = Reluctant { ids: self.reject.clone(), least };
        let pair = |(prompt, said): (Vec<u32>, &Completion)| {
            let completions = vec![said.ids.clone(), self.reject.clone()];
            Group { prompt, completions }
        };
        let groups: Vec<Group> = prompts.into_iter().zip(&said).map(pair).collect();
        let logprobs = policy.score(&groups, 1.0)?;
        let mut left = logprobs.as_slice();
        let mut sum = |tokens: usize| {
            let (of_one, rest) = left.split_at(tokens);
            left = rest;
            of_one.iter().map(|&lp| f64::from(lp)).sum::<f64>()
        };
        let better = said.into_iter().map(|said| {
            let (own, reject) = (sum(said.ids.len()), sum(self.reject.len()));
            let forwards = said.forwards + 1;
            if said.finished && reluctant.prevails(reject, own) {
                return Completion { ids: self.reject.clone(), forwards, ..said };
            }
            Completion { forwards, ..said }
        });
        Ok(better.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use candle_core::Device;

    use super::*;
    use crate::model::Config;
    use crate::recipe::ModelShape;
    use crate::task::SPECIAL_TOKENS;

    const VALID: [&str; 6] = ["jaguar", "jaguar car", "Jaguar  car price", "光良第一次", "a", "mercury planet"];

    /// Random weights, for the plain template or, without our markers, for the chat template.
    fn policy(seed: u64, plain: bool) -> Policy {
        let special = if plain { &SPECIAL_TOKENS[..] } else { &["<|endoftext|>", "<|im_start|>", "<|im_end|>"] };
        let tokenizer = Tokenizer::train([" jaguar car", " jaguar cat", " car price"].iter(), 300, special).unwrap();
        let shape = ModelShape { hidden: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48, vocab: 300 };
        Policy::from_scratch(Config::scratch(&shape, 300), tokenizer, seed, &Device::Cpu).unwrap()
    }

    fn decoder(decoding: Decoding, policy: &Policy, valid: &[&str]) -> Decoder {
        let valid: Vec<String> = valid.iter().map(|text| (*text).to_owned()).collect();
        Decoder::new(decoding, &policy.tokenizer, &valid, 24).unwrap()
    }

    fn prompts(policy: &Policy, n: usize) -> Vec<Vec<u32>> {
        let prompt = |query: &str| policy.tokenizer.prompt(&Context::default(), query, 400).unwrap();
        (0..n).map(|i| prompt(["jaguar", "mercury", "so", "光良"][i % 4])).collect()
    }

    fn say(decoder: &Decoder, policy: &Policy, n: usize, temperature: f64, seed: u64) -> Vec<Completion> {
        let settings = model::Decoding::sampled(24, temperature, policy.tokenizer.end_tokens());
        decoder.generate(policy, &prompts(policy, n), &settings, seed, &Cancel::default()).unwrap()
    }

    fn read(policy: &Policy, said: &[Completion]) -> Vec<Target> {
        said.iter().map(|completion| policy.tokenizer.read_completion(&completion.ids).unwrap()).collect()
    }

    #[test]
    fn every_answer_is_valid_or_a_reject_whatever_the_weights_template_and_temperature() {
        let mut found = BTreeSet::new();
        for (seed, plain) in (0..12).flat_map(|seed| [(seed, true), (seed, false)]) {
            let policy = policy(seed, plain);
            // What a template makes of a spelling is what the model can say.
            let spelt = |text: &str| if plain { text.to_lowercase() } else { text.to_owned() };
            let one_blank = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut wanted: BTreeSet<Option<String>> = VALID.iter().map(|text| Some(spelt(&one_blank(text)))).collect();
            wanted.insert(None);
            for decoding in [Decoding::Constrained, Decoding::Mixed] {
                let decoder = decoder(decoding, &policy, &VALID);
                for temperature in [0.0, 0.7, 1.0, 4.0] {
                    let said = say(&decoder, &policy, 16, temperature, seed);
                    for (completion, answer) in said.iter().zip(read(&policy, &said)) {
                        let answer = answer.text().map(str::to_owned);
                        assert!(completion.finished && wanted.contains(&answer), "{decoding:?}: {answer:?}");
                        found.insert((plain, answer));
                    }
                }
            }
        }
        // Random weights have no opinion: one that starts the other, the other, and no rewrite all come.
        for (plain, said) in
            [true, false].into_iter().flat_map(|p| [(p, Some("jaguar")), (p, Some("jaguar car")), (p, None)])
        {
            assert!(found.contains(&(plain, said.map(str::to_owned))), "{said:?} is not among {found:?}");
        }
    }

    #[test]
    fn without_valid_queries_reject_is_said_unasked() {
        for plain in [true, false] {
            let policy = policy(1, plain);
            let decoder = decoder(Decoding::Constrained, &policy, &["  "]);
            let said = say(&decoder, &policy, 3, 1.0, 0);
            assert!(said.iter().all(|completion| completion.forwards == 0));
            assert_eq!(read(&policy, &said), vec![Target::Reject; 3]);
        }
    }

    #[test]
    fn queries_longer_than_an_answer_may_be_are_left_out() {
        let policy = policy(1, true);
        let long = "w o r d ".repeat(20);
        let decoder = decoder(Decoding::Constrained, &policy, &["jaguar", &long]);
        assert_eq!((decoder.too_long(), decoder.valid().unwrap().len()), (1, 2));
        assert!(decoder.valid().unwrap().longest() <= 24);
    }

    #[test]
    fn mixed_keeps_what_was_valid_and_else_says_the_likelier_of_constrained_and_reject() {
        let (mut rewrites, mut rejects) = (0, 0);
        for seed in 0..40 {
            let policy = policy(seed, true);
            let mixed = decoder(Decoding::Mixed, &policy, &VALID);
            let constrained = say(&decoder(Decoding::Constrained, &policy, &VALID), &policy, 4, 0.0, seed);
            let reject = policy.tokenizer.completion(&Target::Reject).unwrap();
            let said = say(&mixed, &policy, 4, 0.0, seed);
            for ((prompt, said), constrained) in prompts(&policy, 4).into_iter().zip(said).zip(constrained) {
                let logprob = |ids: &Vec<u32>| {
                    let group = Group { prompt: prompt.clone(), completions: vec![ids.clone()] };
                    policy.score(&[group], 1.0).unwrap().iter().sum::<f32>()
                };
                let likelier = logprob(&constrained.ids) >= logprob(&reject);
                assert_eq!(said.ids, if likelier { constrained.ids } else { reject.clone() });
                assert!(said.forwards > constrained.forwards + 1, "a second try is not free");
                rewrites += usize::from(said.ids != reject);
                rejects += usize::from(said.ids == reject);
            }
        }
        assert!(rewrites > 0 && rejects > 0, "{rewrites} {rejects}");
    }

    #[test]
    fn what_mixed_decodes_again_is_left_alone_by_the_share_that_is_asked_of_reject() {
        let policy = policy(3, true);
        let mixed = decoder(Decoding::Mixed, &policy, &VALID);
        let (prompt, reject) = (prompts(&policy, 1), mixed.reject.clone());
        let ids = policy.tokenizer.completion(&Target::Rewrite("jaguar car".into())).unwrap();
        let said = Completion { ids: ids.clone(), logprobs: Vec::new(), finished: true, forwards: 2 };
        let completions = vec![ids.clone(), reject.clone()];
        let all = policy.score(&[Group { prompt: prompt[0].clone(), completions }], 1.0).unwrap();
        let (own, other) = all.split_at(ids.len());
        let share = 1.0 / (1.0 + f64::from(own.iter().sum::<f32>() - other.iter().sum::<f32>()).exp());
        let ends_in = |share: Option<f64>| {
            let reluctant = share.map(|least| Reluctant { ids: reject.clone(), least });
            let settings = model::Decoding { reluctant, ..model::Decoding::greedy(24, vec![]) };
            mixed.or_rejects(&policy, prompt.clone(), vec![said.clone()], &settings).unwrap().remove(0).ids
        };
        let (above, below) = (share + (1.0 - share) / 2.0, share / 2.0);
        assert_eq!((ends_in(Some(above)), ends_in(Some(below))), (ids.clone(), reject.clone()), "{share}");
        assert_eq!(ends_in(None), if share >= 0.5 { reject.clone() } else { ids });
    }

    #[test]
    fn a_free_answer_is_judged_by_its_words_and_kept_where_they_are_valid() {
        let policy = policy(1, true);
        let mixed = decoder(Decoding::Mixed, &policy, &VALID);
        let end = policy.tokenizer.end_tokens()[0];
        let canonical = policy.tokenizer.completion(&Target::Rewrite("jaguar car".into())).unwrap();
        let letters: Vec<u32> =
            " jaguar car".chars().flat_map(|c| policy.tokenizer.encode_plain(&c.to_string()).unwrap()).collect();
        let other = policy.tokenizer.completion(&Target::Rewrite("jaguars".into())).unwrap();
        let spelt = [letters, vec![end]].concat();
        assert_ne!(spelt, canonical);
        for (ids, kept) in [(canonical.clone(), true), (spelt, true), (mixed.reject.clone(), true), (other, false)] {
            // Where one completion alone may be said, it is what free decoding says.
            let only = Arc::new(Trie::new(vec![ids.clone()]).unwrap());
            let settings = model::Decoding::greedy(24, policy.tokenizer.end_tokens()).within(only);
            let said =
                mixed.generate(&policy, &prompts(&policy, 1), &settings, 0, &Cancel::default()).unwrap().remove(0);
            assert_eq!((said.ids == ids, said.forwards == 0), (kept, kept));
        }
        let cut = model::Decoding::greedy(canonical.len() - 1, policy.tokenizer.end_tokens());
        let cut = cut.within(Arc::new(Trie::new(vec![canonical]).unwrap()));
        let said = mixed.generate(&policy, &prompts(&policy, 1), &cut, 0, &Cancel::default()).unwrap().remove(0);
        assert!(said.forwards > 0, "what did not end is not kept");
    }
}
