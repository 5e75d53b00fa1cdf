//! The words of a log, and which of them somebody may have meant who typed another.

use std::collections::{BTreeSet, HashMap};

use crate::logs::{Doc, words};
use crate::rewriter::Typed;

/// A word of so many documents is a word,
const MIN_DOCS: u32 = 3;
/// and one of so many queries.
const MIN_QUERIES: u32 = 5;
/// Shorter words are a slip away from too many others.
const MIN_LETTERS: usize = 3;

/// Known words, by what is left of them without any one letter (the idea of SymSpell).
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    words: Vec<String>,
    /// A word, or one without a letter → its places.
    shortened: HashMap<String, Vec<u32>>,
}

impl Vocabulary {
    /// Of titles and tags, and of the queries that may be learnt from.
    #[must_use]
    pub fn of(docs: &[Doc], typed: &Typed) -> Self {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for doc in docs {
            let texts = std::iter::once(&doc.title).chain(&doc.tags);
            for word in texts.flat_map(|text| words(text)).collect::<BTreeSet<_>>() {
                *counts.entry(word).or_default() += 1;
            }
        }
        let shown = counts.into_iter().filter(|(_, docs)| *docs >= MIN_DOCS).map(|(word, _)| word);
        let heard = typed.words().filter(|word| typed.all(word) >= MIN_QUERIES).map(str::to_owned);
        let known: BTreeSet<String> = shown.chain(heard).collect();
        let mut vocabulary = Self { words: known.into_iter().collect(), shortened: HashMap::new() };
        for (place, word) in (0..).zip(&vocabulary.words) {
            for part in without_a_letter(word).chain([word.clone()]) {
                vocabulary.shortened.entry(part).or_default().push(place);
            }
        }
        vocabulary
    }

    /// All of them, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn holds(&self, word: &str) -> bool {
        self.words.binary_search_by(|known| known.as_str().cmp(word)).is_ok()
    }

    /// Words that are one slip away (a letter lost, doubled, wrong, or two swapped) from one that nobody knows, in order; none
    /// for a known or a very short one.
    #[must_use]
    pub fn near(&self, word: &str) -> Vec<&str> {
        if self.holds(word) || word.chars().count() < MIN_LETTERS {
            return Vec::new();
        }
        let parts = without_a_letter(word).chain([word.to_owned()]);
        let places: BTreeSet<u32> = parts.filter_map(|part| self.shortened.get(&part)).flatten().copied().collect();
        let candidates = places.into_iter().map(|place| self.words[place as usize].as_str());
        candidates.filter(|known| strsim::osa_distance(word, known) == 1).collect()
    }
}

fn without_a_letter(word: &str) -> impl Iterator<Item = String> {
    word.char_indices().map(|(at, letter)| [&word[..at], &word[at + letter.len_utf8()..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let doc = |title: &str| Doc { title: title.into(), tags: vec!["Car".into(), "Cat".into()], ..Doc::default() };
        let docs: Vec<Doc> = (0..3).map(|_| doc("Jaguar jaguar engine")).chain([doc("seldom")]).collect();
        let typed: Vec<&str> = (0..5).map(|_| "weather today").chain(["jagaur", "seldom"]).collect();
        Vocabulary::of(&docs, &Typed::of(&typed))
    }

    #[test]
    fn a_word_is_what_many_titles_or_many_queries_have() {
        let known: Vec<String> = vocabulary().words().map(str::to_owned).collect();
        assert_eq!(known, ["car", "cat", "engine", "jaguar", "today", "weather"]);
    }

    #[test]
    fn what_nobody_knows_may_be_a_slip_of_what_is_known() {
        let vocabulary = vocabulary();
        for slip in ["jagaur", "jagur", "jaguarr", "jaguat", "ajguar"] {
            assert_eq!(vocabulary.near(slip), ["jaguar"], "{slip}");
        }
        for other in ["jaguar", "car", "jgr", "seldom", "ca", "", "jagr", "ärger"] {
            assert!(vocabulary.near(other).is_empty(), "{other}");
        }
    }
}
