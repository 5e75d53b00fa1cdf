//! What a base model reads before it is taught anything: documents in which only reading what stands before helps.
//!
//! Every document draws a world of its own (heads, senses, words, titles, people), shows some of it, and asks. Nothing of it
//! comes again, so there is nothing to remember but how to look things up. The built-in worlds' own words are kept out
//! ([`words`]). A document is a pure function of seed, set and number: a stream without an end that can be entered anywhere.

mod drills;
mod fresh;
mod page;
mod slips;
mod watching;
mod words;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::recipe::{Pretrain, stream};
use page::Page;
pub use page::{Ask, Document, Kind, Part};
use words::Words;

/// Which documents: those of one set never come in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// To learn from.
    Train,
    /// To look at while learning.
    HeldOut,
    /// For probes.
    Probe,
}

impl Set {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "corpus train",
            Self::HeldOut => "corpus held out",
            Self::Probe => "corpus probe",
        }
    }
}

/// The stream.
pub struct Corpus {
    seed: u64,
    settings: Pretrain,
    english: Words,
    chinese: Words,
}

/// What one document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Worlds,
    Recall,
    Repeat,
    Typos,
    Split,
}

impl Corpus {
    /// Reads the embedded word lists.
    #[must_use]
    pub fn new(settings: &Pretrain, seed: u64) -> Self {
        Self { seed, settings: settings.clone(), english: Words::english(), chinese: Words::chinese() }
    }

    /// Document `number` of a set.
    #[must_use]
    pub fn document(&self, set: Set, number: u64) -> Document {
        // A Chinese text may spell a kept-out word across two of its own; such a document is drawn again.
        let drawn = (0..).map(|attempt| {
            let mut rng = stream(self.seed, set.name(), &[number, attempt]);
            let words = if rand::Rng::random_bool(&mut rng, self.settings.chinese_share) {
                &self.chinese
            } else {
                &self.english
            };
            let theme = self.theme(&mut rng);
            (words, self.of_theme(theme, words, &mut rng))
        });
        let mut allowed = drawn.filter(|(words, page)| words.allows(page));
        allowed.next().expect("most documents are allowed").1.finish()
    }

    /// A question about `pairs` pairs of words, of which the one asked for was shown `distance` pairs before the end: copying
    /// by distance and by distractors. Always answerable.
    #[must_use]
    pub fn recall(&self, number: u64, pairs: usize, distance: usize) -> Document {
        let mut rng = stream(self.seed, "corpus recall", &[number, pairs as u64, distance as u64]);
        let mut page = Page::new(usize::MAX);
        drills::recall_at(&self.english, pairs, distance, &mut page, &mut rng);
        page.finish()
    }

    fn theme(&self, rng: &mut ChaCha8Rng) -> Theme {
        let s = &self.settings;
        let themes = [
            (Theme::Worlds, s.worlds),
            (Theme::Recall, s.recall),
            (Theme::Repeat, s.repeat),
            (Theme::Typos, s.typos),
            (Theme::Split, s.split),
        ];
        themes.choose_weighted(rng, |(_, weight)| *weight).map_or(Theme::Worlds, |(theme, _)| *theme)
    }

    fn of_theme(&self, theme: Theme, words: &Words, rng: &mut ChaCha8Rng) -> Page {
        let mut page = Page::new(self.settings.max_chars);
        match theme {
            Theme::Worlds => watching::write(words, &mut page, rng),
            Theme::Recall => drills::recall(words, &mut page, rng),
            Theme::Repeat => drills::repeat(words, &mut page, rng),
            Theme::Typos => drills::typos(words, &mut page, rng),
            Theme::Split => drills::split(words, &mut page, rng),
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Piece;

    fn corpus() -> Corpus {
        Corpus::new(&Pretrain::default(), 7)
    }

    fn text(document: &Document) -> String {
        let parts = document.parts.iter().map(|part| match &part.piece {
            Piece::Marker(marker) => (*marker).to_owned(),
            Piece::Text(text) => text.clone(),
        });
        parts.collect()
    }

    #[test]
    fn a_document_is_the_same_whenever_it_is_asked_for_and_sets_share_none() {
        let (a, b) = (corpus(), corpus());
        for n in 0..50 {
            assert_eq!(a.document(Set::Train, n), b.document(Set::Train, n));
            assert_ne!(a.document(Set::Train, n), a.document(Set::HeldOut, n));
        }
    }

    #[test]
    fn every_kind_of_question_comes_in_both_languages() {
        let corpus = corpus();
        let documents: Vec<Document> = (0..3_000).map(|n| corpus.document(Set::Train, n)).collect();
        for kind in Kind::ALL {
            let asks = documents.iter().filter(|d| d.asks.iter().any(|ask| ask.kind == kind));
            let (ascii, other): (Vec<_>, Vec<_>) = asks.partition(|d| text(d).is_ascii());
            assert!(ascii.len() > 20 && other.len() > 5, "{kind:?}: {} and {}", ascii.len(), other.len());
        }
    }

    #[test]
    fn what_is_to_be_answered_stands_before_or_is_to_be_left_alone() {
        let corpus = corpus();
        let mut checked = 0;
        for document in (0..1_500).map(|n| corpus.document(Set::Train, n)) {
            for ask in &document.asks {
                let Some(answer) = ask.target.text() else { continue };
                let before: String = document.parts[..ask.answer_at].iter().map(Part::words).collect();
                // Between Chinese words nothing stands, so letters have to do there.
                let units: Vec<String> = match answer.is_ascii() {
                    true => answer.split(' ').map(str::to_owned).collect(),
                    false => answer.chars().map(String::from).collect(),
                };
                for unit in units.iter().filter(|unit| *unit != " ") {
                    assert!(before.contains(unit), "{:?}: {unit:?} of {answer:?} is new in {before:?}", ask.kind);
                }
                checked += 1;
            }
        }
        assert!(checked > 1_500, "{checked}");
    }
}
