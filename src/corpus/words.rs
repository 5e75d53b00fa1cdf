//! Words to make documents of: lists of common words, words coined from their pieces, and those that are kept out.
//!
//! Every word of the built-in worlds is kept out, so that what a base does in them it cannot have read. Their lists are read
//! here for that alone.

use std::collections::HashSet;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::page::Page;

const ENGLISH: &str = include_str!("../../datasets/words-en/words.txt");
const CHINESE: &str = include_str!("../../datasets/words-zh/words.txt");

/// What the built-in worlds' people and titles say.
const OF_WORLDS: [&str; 10] = [
    include_str!("../../datasets/world-en/categories.tsv"),
    include_str!("../../datasets/world-en/senses.tsv"),
    include_str!("../../datasets/world-en/functional.tsv"),
    include_str!("../../datasets/world-en/places.tsv"),
    include_str!("../../datasets/world-en/products.tsv"),
    include_str!("../../datasets/world-zh/categories.tsv"),
    include_str!("../../datasets/world-zh/senses.tsv"),
    include_str!("../../datasets/world-zh/functional.tsv"),
    include_str!("../../datasets/world-zh/places.tsv"),
    include_str!("../../datasets/world-zh/products.tsv"),
];

/// The words of one language.
pub(super) struct Words {
    common: Vec<&'static str>,
    kept_out: HashSet<String>,
    /// What stands between words.
    pub glue: &'static str,
    /// What lists keep out is kept out of the middle of a text too, as there is nothing between words.
    unspaced: bool,
}

impl Words {
    pub fn english() -> Self {
        Self::new(ENGLISH, " ", false)
    }

    pub fn chinese() -> Self {
        Self::new(CHINESE, "", true)
    }

    fn new(list: &'static str, glue: &'static str, unspaced: bool) -> Self {
        let kept_out = kept_out();
        let common = list.lines().filter(|word| !kept_out.contains(*word)).collect();
        Self { common, kept_out, glue, unspaced }
    }

    /// A word: four times in ten one that nobody has used, coined of two others' front and back.
    pub fn word(&self, rng: &mut ChaCha8Rng) -> String {
        loop {
            let word = if rng.random_bool(0.4) { self.coined(rng) } else { self.common(rng).to_owned() };
            if self.permits(&word) {
                return word;
            }
        }
    }

    /// So many words, no two alike.
    pub fn distinct(&self, n: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut words: Vec<String> = Vec::with_capacity(n);
        while words.len() < n {
            let word = self.word(rng);
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }

    /// Words with what stands between them in this language.
    pub fn join<S: AsRef<str>>(&self, words: &[S]) -> String {
        let said = words.iter().map(AsRef::as_ref).filter(|word| !word.is_empty());
        said.collect::<Vec<_>>().join(self.glue)
    }

    /// Whether a text of the document's own is none of the worlds'.
    pub fn permits(&self, word: &str) -> bool {
        !self.kept_out.contains(word)
    }

    /// Whether no text of a page holds a head or another word of the worlds.
    pub fn allows(&self, page: &Page) -> bool {
        page.texts().all(|text| {
            if self.unspaced {
                let letters: Vec<char> = text.chars().collect();
                let spans = (2..=4).flat_map(|n| letters.windows(n));
                spans.map(|span| span.iter().collect::<String>()).all(|span| self.permits(&span))
            } else {
                text.split(' ').all(|word| self.permits(word))
            }
        })
    }

    fn common(&self, rng: &mut ChaCha8Rng) -> &'static str {
        self.common.choose(rng).copied().unwrap_or_default()
    }

    fn coined(&self, rng: &mut ChaCha8Rng) -> String {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        let (front, back) = (letters(self.common(rng)), letters(self.common(rng)));
        let most = if self.unspaced { 1 } else { 5 };
        let share = |n: usize, rng: &mut ChaCha8Rng| rng.random_range(most.min(2)..=most).min(n);
        let (first, last) = (share(front.len(), rng), share(back.len(), rng));
        front[..first].iter().chain(&back[back.len() - last..]).collect()
    }
}

/// Every word of the lists, in both the form they have there and word by word.
fn kept_out() -> HashSet<String> {
    let rows = OF_WORLDS.iter().flat_map(|file| file.lines().skip(1));
    let entries = rows.flat_map(|row| row.split(['\t', ','])).map(str::to_lowercase);
    let words = entries.flat_map(|entry| {
        let mut all: Vec<String> = entry.split([' ', '_']).map(str::to_owned).collect();
        all.push(entry);
        all
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    #[test]
    fn no_word_of_the_worlds_is_ever_drawn() {
        let mut rng = stream(1, "words", &[]);
        for words in [Words::english(), Words::chinese()] {
            assert!(words.common.len() > 6_000, "{}", words.common.len());
            assert!(!words.permits("jaguar") && !words.permits("苹果"));
            assert!((0..20_000).map(|_| words.word(&mut rng)).all(|word| words.permits(&word)));
        }
    }

    #[test]
    fn many_words_are_new_and_none_is_empty() {
        let (words, mut rng) = (Words::english(), stream(2, "words", &[]));
        let drawn: HashSet<String> = (0..20_000).map(|_| words.word(&mut rng)).collect();
        assert!(drawn.len() > 12_000, "{}", drawn.len());
        assert!(drawn.iter().all(|word| word.len() >= 3 && word.len() <= 10));
    }
}
