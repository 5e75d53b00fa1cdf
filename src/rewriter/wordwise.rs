//! Decoding within the words of a request: those that were typed or watched, and what a typed word nobody knows may have meant.
//!
//! A query with a slip in it is not left alone: of a word that nobody knows and that was not watched, the known words a slip away
//! stand in its place, and which of them was meant is the model's choice, as is all that is said beside it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use super::Vocabulary;
use crate::logs::{Context, words};
use crate::model::{Tokenizer, WordTrie};
use crate::recipe::Fingerprint;
use crate::task::{Target, Template, spaced};

/// A log's words, and how a model spells them.
pub struct Wordwise {
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    spellings: HashMap<String, Vec<u32>>,
    reject: Vec<u32>,
    end: u32,
}

impl Wordwise {
    /// Spells every known word once.
    ///
    /// # Errors
    /// A tokenizer that carries no template, or one in which words are not always spelt alike.
    pub fn new(tokenizer: &Tokenizer, vocabulary: Vocabulary) -> Result<Self> {
        ensure!(
            tokenizer.task_template()? == Template::Plain,
            "a model with a chat template spells a word by where it stands: decode it freely, constrained or mixed (rewriting.decoding)"
        );
        let known: Vec<&str> = vocabulary.words().collect();
        let spell = |word: &&str| Ok(((*word).to_owned(), tokenizer.encode_plain(&spaced(word))?));
        let spellings = known.par_iter().map(spell).collect::<Result<_>>()?;
        let reject = tokenizer.completion(&Target::Reject)?;
        let end = *reject.last().context("a completion has an end")?;
        Ok(Self { vocabulary, tokenizer: tokenizer.clone(), spellings, reject, end })
    }

    /// What may be said to a request; nothing is kept from being said where texts have no blanks between words.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn allowed(&self, context: &Context, query: &str) -> Result<Option<WordTrie>> {
        let typed: BTreeSet<String> = words(query).collect();
        let has_blanks = |text: &str| words(text).count() == text.split_whitespace().count();
        if !query.is_ascii() && !has_blanks(query) {
            return Ok(None);
        }
        let watched = context.watched.iter().flat_map(|seen| std::iter::once(&seen.title).chain(&seen.tags));
        let said = watched.chain(&context.queries).chain(&context.place).flat_map(|text| words(text));
        let watched: BTreeSet<String> = said.collect();
        let (mut all, mut slipped) = (watched.clone(), false);
        for word in &typed {
            // What was watched is no slip, however rare.
            let near = if watched.contains(word) { Vec::new() } else { self.vocabulary.near(word) };
            slipped |= !near.is_empty();
            match near.is_empty() {
                true => drop(all.insert(word.clone())),
                false => all.extend(near.into_iter().map(str::to_owned)),
            }
        }
        let spelt = all.iter().map(|word| self.spelling(word)).collect::<Result<Vec<_>>>()?;
        let alone = (!slipped).then_some(self.reject.as_slice());
        WordTrie::new(spelt.iter().map(|tokens| &**tokens), alone, self.end).map(Some)
    }

    fn spelling(&self, word: &str) -> Result<Cow<'_, [u32]>> {
        match self.spellings.get(word) {
            Some(tokens) => Ok(Cow::Borrowed(tokens)),
            None => Ok(Cow::Owned(self.tokenizer.encode_plain(&spaced(word))?)),
        }
    }

    /// Tells its words from others'.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut print = Fingerprint::default();
        for word in self.vocabulary.words() {
            print.add(word.as_bytes());
            print.add(b"\n");
        }
        print.hex()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::logs::{Doc, Seen};
    use crate::model::{Cancel, Config, Decoding, Policy};
    use crate::recipe::ModelShape;
    use crate::rewriter::{Decoder, Typed};
    use crate::task::SPECIAL_TOKENS;

    fn policy(seed: u64) -> Policy {
        let texts = [" jaguar car", " jaguar cat", " car price"];
        let tokenizer = Tokenizer::train(texts.iter(), 300, &SPECIAL_TOKENS).unwrap();
        let shape = ModelShape { hidden: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48, vocab: 300 };
        Policy::from_scratch(Config::scratch(&shape, 300), tokenizer, seed, &Device::Cpu).unwrap()
    }

    fn vocabulary() -> Vocabulary {
        let doc = Doc { title: "Jaguar engine mercury planet".into(), ..Doc::default() };
        Vocabulary::of(&vec![doc; 3], &Typed::default())
    }

    #[test]
    fn nothing_is_said_but_what_was_typed_watched_or_meant() {
        let seen = Seen { title: "Sports-car, Review!".into(), tags: vec!["cat".into()] };
        let context = Context { watched: vec![seen], queries: vec!["old query".into()], place: None };
        let may = ["sports", "car", "review", "cat", "old", "query", "jaguar", "test"];
        let (mut rewrites, mut rejects) = (0, 0);
        for (seed, query) in (0..30).zip(["Jagaur test", "Jaguar test"].into_iter().cycle()) {
            let policy = policy(seed);
            let decoder = Decoder::words(&policy.tokenizer, vocabulary()).unwrap();
            let requests = vec![(&context, query); 4];
            let settings = Decoding::sampled(40, 2.0, policy.tokenizer.end_tokens());
            let settings = decoder.settings(&requests, settings).unwrap();
            let prompts = vec![policy.tokenizer.prompt(&context, query, 400).unwrap(); 4];
            for said in decoder.generate(&policy, &prompts, &settings, seed, &Cancel::default()).unwrap() {
                match policy.tokenizer.read_completion(&said.ids).unwrap() {
                    _ if !said.finished => {}
                    Target::Reject => {
                        rejects += 1;
                        assert_eq!(query, "Jaguar test", "a slip is not left alone");
                    }
                    Target::Rewrite(text) => {
                        rewrites += 1;
                        assert!(text.split(' ').all(|word| may.contains(&word)), "{text:?}");
                    }
                }
            }
        }
        assert!(rewrites > 5 && rejects > 5, "{rewrites} {rejects}");
    }

    #[test]
    fn words_are_spelt_as_a_completion_spells_them() {
        let tokenizer = policy(1).tokenizer;
        let wordwise = Wordwise::new(&tokenizer, vocabulary()).unwrap();
        for text in ["jaguar car price", "mercury 2024 x", "cat"] {
            let spelt: Vec<u32> =
                text.split(' ').flat_map(|word| wordwise.spelling(word).unwrap().into_owned()).collect();
            let completion = tokenizer.completion(&Target::Rewrite(text.into())).unwrap();
            assert_eq!(spelt, completion[..completion.len() - 1]);
        }
    }

    #[test]
    fn texts_without_blanks_are_free_and_chat_templates_refused() {
        let wordwise = Wordwise::new(&policy(1).tokenizer, vocabulary()).unwrap();
        assert!(wordwise.allowed(&Context::default(), "光良第一次").unwrap().is_none());
        assert!(wordwise.allowed(&Context::default(), "jaguar").unwrap().is_some());
        assert!(wordwise.allowed(&Context::default(), "?!").unwrap().is_some());
        let chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        let chat = Tokenizer::train([" jaguar"].iter(), 300, &chat).unwrap();
        let refused = Wordwise::new(&chat, vocabulary()).err().unwrap().to_string();
        assert!(refused.contains("chat template"), "{refused}");
    }
}
