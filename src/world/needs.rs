//! Needs: what a person wants, how it follows from what was watched, and how much a video answers it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::{Weighted, chance, pick};
use super::lexicon::Lexicon;
use super::people::Person;
use super::videos::{Hidden, Topic};
use crate::recipe::World as Settings;

/// Share of needs that ask for one facet; the others take any.
const FACET_SHARE: f64 = 0.5;
/// Of the needs that follow the history: those about the last watched video, and about an earlier one; the rest come from
/// lasting interests.
const FROM_LAST: f64 = 0.6;
const FROM_EARLIER: f64 = 0.2;
/// What a video of the right sense and another facet is worth.
const OTHER_FACET_GRADE: f64 = 0.4;

/// What is wanted. Indices are the world's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Videos of one sense of a head, of one facet or of any.
    Sense {
        /// The sense.
        sense: usize,
        /// The facet, where it matters.
        facet: Option<usize>,
    },
    /// An answer that is the same for everybody of a place.
    Functional {
        /// The functional query.
        entry: usize,
        /// The person's place.
        place: usize,
    },
}

/// A need, hidden from everything but the world and the analysis of its experiments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What is wanted.
    pub want: Want,
    /// The history points to another sense of the same head.
    pub against_history: bool,
    /// Its (head, sense) pair was held back from the first weeks.
    pub new_pair: bool,
}

impl Need {
    /// How much a video answers this need: 1 fully, 0.4 the right thing from another side, 0 not.
    pub(super) fn grade(&self, video: &Hidden) -> f64 {
        match (self.want, video.topic) {
            (Want::Sense { sense, facet }, Topic::Sense(s)) if s == sense => match facet {
                Some(f) if f != video.facet => OTHER_FACET_GRADE,
                _ => 1.0,
            },
            (Want::Functional { entry, place }, Topic::Functional { entry: e, place: p }) if e == entry => {
                if p.is_none_or(|p| p == place) { 1.0 } else { OTHER_FACET_GRADE }
            }
            _ => 0.0,
        }
    }
}

/// What needs and browsing are drawn from at one moment.
pub(super) struct Wishes<'a> {
    pub lexicon: &'a Lexicon,
    pub settings: &'a Settings,
    pub person: &'a Person,
    /// All senses by how often they are wanted.
    pub senses: &'a Weighted,
    /// Senses held back from the first weeks.
    pub held_back: &'a [bool],
    /// Whether held-back senses may be wanted by now.
    pub open: bool,
}

impl Wishes<'_> {
    pub(super) fn allowed(&self, sense: usize) -> bool {
        self.open || !self.held_back[sense]
    }

    /// One of the person's interests, the first ones more often.
    pub(super) fn interest(&self, rng: &mut ChaCha8Rng) -> usize {
        let liked: Vec<usize> = self.person.interests.iter().copied().filter(|s| self.allowed(*s)).collect();
        let by_rank = Weighted::new((0..liked.len()).map(|i| 1.0 / (1.0 + i as f64)));
        let place = by_rank.draw(rng);
        liked.get(place).copied().unwrap_or_else(|| self.any(rng))
    }

    /// Any sense, popular ones more often.
    pub(super) fn any(&self, rng: &mut ChaCha8Rng) -> usize {
        // Some sense of each head is always allowed, so this ends; the bound is for worlds of one or two heads.
        for _ in 0..1_000 {
            let sense = self.senses.draw(rng);
            if self.allowed(sense) {
                return sense;
            }
        }
        (0..self.held_back.len()).find(|s| self.allowed(*s)).unwrap_or(0)
    }

    /// Another sense of the same head.
    fn sibling(&self, rng: &mut ChaCha8Rng, sense: usize) -> Option<usize> {
        let head = &self.lexicon.of_head[self.lexicon.senses[sense].head];
        let others: Vec<usize> = head.iter().copied().filter(|s| *s != sense && self.allowed(*s)).collect();
        pick(rng, &others).copied()
    }

    /// The next need, given the senses of the watched videos, newest first.
    pub(super) fn need(&self, rng: &mut ChaCha8Rng, watched: &[usize]) -> Need {
        if chance(rng, self.settings.functional_share) {
            let entry = rng.random_range(0..self.lexicon.functional.len());
            let want = Want::Functional { entry, place: self.person.place };
            return Need { want, against_history: false, new_pair: false };
        }
        let against = chance(rng, self.settings.against_history_share);
        let from: f64 = rng.random();
        let tempting = watched.first().copied();
        let contrary = tempting.filter(|_| against).and_then(|s| self.sibling(rng, s));
        let followed = match (watched, from) {
            ([last, ..], f) if f < FROM_LAST => *last,
            ([_, earlier @ ..], f) if f < FROM_LAST + FROM_EARLIER && !earlier.is_empty() => {
                pick(rng, earlier).copied().unwrap_or_default()
            }
            _ => self.interest(rng),
        };
        let sense = contrary.unwrap_or(followed);
        let facets = self.lexicon.category_of(sense).facets.len();
        let facet = rng.random_range(0..facets);
        let facet = chance(rng, FACET_SHARE).then_some(facet);
        let new_pair = self.held_back[sense];
        Need { want: Want::Sense { sense, facet }, against_history: contrary.is_some(), new_pair }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_follow_sense_and_facet_and_place() {
        let video = |topic, facet| Hidden { topic, facet, told: true, quality: 1.0 };
        let need = |want| Need { want, against_history: false, new_pair: false };
        let review = need(Want::Sense { sense: 3, facet: Some(1) });
        assert_eq!(review.grade(&video(Topic::Sense(3), 1)), 1.0);
        assert_eq!(review.grade(&video(Topic::Sense(3), 2)), OTHER_FACET_GRADE);
        assert_eq!(review.grade(&video(Topic::Sense(4), 1)), 0.0);
        assert_eq!(need(Want::Sense { sense: 3, facet: None }).grade(&video(Topic::Sense(3), 2)), 1.0);
        let weather = need(Want::Functional { entry: 0, place: 5 });
        let answer = |place| video(Topic::Functional { entry: 0, place }, 0);
        assert_eq!(weather.grade(&answer(None)), 1.0);
        assert_eq!(weather.grade(&answer(Some(5))), 1.0);
        assert_eq!(weather.grade(&answer(Some(6))), OTHER_FACET_GRADE);
    }
}
