//! In which texts a word stands: what rules know of words that go together.

use std::collections::{HashMap, HashSet};

/// Texts by word, in rising order.
#[derive(Debug, Clone, Default)]
pub(super) struct Postings {
    texts: HashMap<String, Vec<u32>>,
    count: usize,
}

impl Postings {
    /// Indexes texts, each given as its words.
    pub(super) fn of<I: IntoIterator<Item = String>>(texts: impl IntoIterator<Item = I>) -> Self {
        let mut postings = Self::default();
        for (number, text) in (0_u32..).zip(texts) {
            for word in text.into_iter().collect::<HashSet<_>>() {
                postings.texts.entry(word).or_default().push(number);
            }
            postings.count += 1;
        }
        postings
    }

    /// Texts in all.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The texts with a word; none for a word that stands nowhere.
    pub(super) fn with(&self, word: &str) -> Option<&[u32]> {
        self.texts.get(word).map(Vec::as_slice)
    }

    /// The rarest word that stands anywhere, the first of equals: the head of a query.
    pub(super) fn rarest<'a>(&self, words: impl IntoIterator<Item = &'a String>) -> Option<&'a String> {
        let known = words.into_iter().filter(|word| self.texts.contains_key(*word));
        known.min_by_key(|word| self.texts[*word].len())
    }
}

/// How many texts two lists share.
pub(super) fn shared(a: &[u32], b: &[u32]) -> usize {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.iter().filter(|text| long.binary_search(text).is_ok()).count()
}
