//! Needs: what a person wants, how it follows from what was watched, and how much a video answers it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::World;
use super::draw::{Weighted, chance, pick};
use super::people::{Person, Spell};
use super::videos::{Hidden, START_MS, Topic, WEEK_MS};
use crate::recipe::stream;

/// Share of needs that ask for one facet; the others take any.
const FACET_SHARE: f64 = 0.35;
/// Of the needs that follow the history: those about the last watched video, and about an earlier one; the rest come from
/// lasting interests.
const FROM_LAST: f64 = 0.6;
const FROM_EARLIER: f64 = 0.2;
/// What a video of the right sense and another facet is worth.
const OTHER_FACET_GRADE: f64 = 0.4;
/// Of the habits: a video watched again and again, and a functional need; the rest are for a sense.
const HABIT_VIDEO: f64 = 0.65;
const HABIT_FUNCTIONAL: f64 = 0.2;

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
    /// One video that the person knows of.
    Video {
        /// Its number.
        video: usize,
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
    /// The person asks for it again and again, in the same words.
    pub habit: bool,
}

impl Need {
    pub(super) fn of(want: Want) -> Self {
        Self { want, against_history: false, new_pair: false, habit: false }
    }

    /// How much a video answers this need: 1 fully, 0.4 the right thing from another side, 0 not.
    pub(super) fn grade(&self, hidden: &[Hidden], video: usize) -> f64 {
        let side = |right: bool| if right { 1.0 } else { OTHER_FACET_GRADE };
        match (self.want, hidden[video].topic) {
            (Want::Sense { sense, facet }, Topic::Sense(s)) if s == sense => {
                side(facet.is_none_or(|f| f == hidden[video].facet))
            }
            (Want::Video { video: known }, topic) => {
                // Another video of the same kind is better than none.
                let alike = topic == hidden[known].topic && hidden[video].facet == hidden[known].facet;
                if known == video || alike { side(known == video) } else { 0.0 }
            }
            (Want::Functional { entry, place }, Topic::Functional { entry: e, place: p }) if e == entry => {
                side(p.is_none_or(|p| p == place))
            }
            _ => 0.0,
        }
    }
}

/// What needs and browsing are drawn from at one moment.
pub(super) struct Wishes<'a> {
    pub world: &'a World,
    pub person: &'a Person,
    pub week: u32,
    /// Whether held-back senses may be wanted by now.
    pub open: bool,
}

impl Wishes<'_> {
    pub(super) fn allowed(&self, sense: usize) -> bool {
        self.world.timeline.born[sense] <= self.week && (self.open || !self.world.held_back[sense])
    }

    /// One of the person's interests, the first ones more often.
    pub(super) fn interest(&self, rng: &mut ChaCha8Rng) -> usize {
        let liked: Vec<usize> = self.person.interests.iter().copied().filter(|s| self.allowed(*s)).collect();
        let by_rank = Weighted::new((0..liked.len()).map(|i| 1.0 / (1.0 + i as f64)));
        let place = by_rank.draw(rng);
        liked.get(place).copied().unwrap_or_else(|| self.any(rng))
    }

    /// Any sense, those that this week wants more often.
    pub(super) fn any(&self, rng: &mut ChaCha8Rng) -> usize {
        let wanted = self.world.timeline.wanted(self.week);
        // Most senses are allowed; the bound is for worlds of one or two heads.
        for _ in 0..1_000 {
            let sense = wanted.draw(rng);
            if self.allowed(sense) {
                return sense;
            }
        }
        (0..self.world.held_back.len()).find(|s| self.allowed(*s)).unwrap_or(0)
    }

    /// Another sense of the same head.
    fn sibling(&self, rng: &mut ChaCha8Rng, sense: usize) -> Option<usize> {
        let lexicon = &self.world.lexicon;
        let head = &lexicon.of_head[lexicon.senses[sense].head];
        let others: Vec<usize> = head.iter().copied().filter(|s| *s != sense && self.allowed(*s)).collect();
        pick(rng, &others).copied()
    }

    /// The next need at `now_ms`, given the senses of the watched videos, newest first; and the spell of the habit that it
    /// is, if it is one.
    pub(super) fn need(&self, rng: &mut ChaCha8Rng, watched: &[usize], now_ms: i64) -> (Need, Option<Spell>) {
        let settings = &self.world.settings;
        let kind: f64 = rng.random();
        let [habit, known] = [settings.habit_share, settings.habit_share + settings.known_share];
        if kind < habit {
            let by_rank = Weighted::new((0..self.person.habits.len()).map(|i| 1.0 / (1.0 + i as f64)));
            let spell = self.person.habits[by_rank.draw(rng)];
            return (self.habit(spell), Some(spell));
        }
        let need = if kind < known {
            let sense = watched.first().copied().filter(|_| chance(rng, FROM_LAST));
            let sense = sense.unwrap_or_else(|| self.interest(rng));
            self.known(sense, now_ms, rng)
        } else if kind < known + settings.functional_share {
            let entry = rng.random_range(0..self.world.lexicon.functional.len());
            Need::of(Want::Functional { entry, place: self.person.place })
        } else {
            self.sense(rng, watched)
        };
        (need, None)
    }

    /// A need that lasts as long as its spell does.
    fn habit(&self, spell: Spell) -> Need {
        let mut rng = stream(self.world.seed, "world.habit", &spell.key);
        let kind: f64 = rng.random();
        // What a spell is about must be the same in all its weeks, so neither interests, which may change within it, nor
        // what is still held back are asked.
        let since = Wishes { week: spell.since, open: false, ..*self };
        let sense = since.any(&mut rng);
        let need = if kind < HABIT_VIDEO {
            since.known(sense, START_MS + i64::from(spell.since) * WEEK_MS, &mut rng)
        } else if kind < HABIT_VIDEO + HABIT_FUNCTIONAL {
            let entry = rng.random_range(0..self.world.lexicon.functional.len());
            Need::of(Want::Functional { entry, place: self.person.place })
        } else {
            self.about(sense, &mut rng)
        };
        Need { habit: true, ..need }
    }

    /// A video of a sense that was published before; any video of the sense when nobody has filmed it yet.
    fn known(&self, sense: usize, now_ms: i64, rng: &mut ChaCha8Rng) -> Need {
        match self.world.video_about(sense, now_ms, rng) {
            Some(video) => Need { new_pair: self.world.held_back[sense], ..Need::of(Want::Video { video }) },
            None => self.about(sense, rng),
        }
    }

    /// Videos of a sense: what follows from the history, goes against it, or is in the air.
    fn sense(&self, rng: &mut ChaCha8Rng, watched: &[usize]) -> Need {
        let settings = &self.world.settings;
        let against = chance(rng, settings.against_history_share);
        let trending = chance(rng, settings.trending_share);
        let from: f64 = rng.random();
        let contrary = watched.first().filter(|_| against).and_then(|s| self.sibling(rng, *s));
        let followed = match (watched, from) {
            _ if trending => self.any(rng),
            ([last, ..], f) if f < FROM_LAST => *last,
            ([_, earlier @ ..], f) if f < FROM_LAST + FROM_EARLIER && !earlier.is_empty() => {
                pick(rng, earlier).copied().unwrap_or_default()
            }
            _ => self.interest(rng),
        };
        Need { against_history: contrary.is_some(), ..self.about(contrary.unwrap_or(followed), rng) }
    }

    /// Videos of one sense, of any facet or of one.
    fn about(&self, sense: usize, rng: &mut ChaCha8Rng) -> Need {
        let facet = rng.random_range(0..self.world.lexicon.category_of(sense).facets.len());
        let facet = chance(rng, FACET_SHARE).then_some(facet);
        Need { new_pair: self.world.held_back[sense], ..Need::of(Want::Sense { sense, facet }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_follow_sense_and_facet_and_place() {
        let video = |topic, facet| Hidden { topic, facet, told: true, quality: 1.0, price: 1.0 };
        let grade = |want, video| Need::of(want).grade(&[video], 0);
        let review = Want::Sense { sense: 3, facet: Some(1) };
        assert_eq!(grade(review, video(Topic::Sense(3), 1)), 1.0);
        assert_eq!(grade(review, video(Topic::Sense(3), 2)), OTHER_FACET_GRADE);
        assert_eq!(grade(review, video(Topic::Sense(4), 1)), 0.0);
        assert_eq!(grade(Want::Sense { sense: 3, facet: None }, video(Topic::Sense(3), 2)), 1.0);
        let weather = Want::Functional { entry: 0, place: 5 };
        let answer = |place| video(Topic::Functional { entry: 0, place }, 0);
        assert_eq!(grade(weather, answer(None)), 1.0);
        assert_eq!(grade(weather, answer(Some(5))), 1.0);
        assert_eq!(grade(weather, answer(Some(6))), OTHER_FACET_GRADE);
    }

    #[test]
    fn a_known_video_is_the_answer_and_one_like_it_is_half_of_one() {
        let video = |sense, facet| Hidden { topic: Topic::Sense(sense), facet, told: true, quality: 1.0, price: 1.0 };
        let all = [video(3, 1), video(3, 1), video(3, 2), video(4, 1)];
        let need = Need::of(Want::Video { video: 0 });
        assert_eq!([0, 1, 2, 3].map(|v| need.grade(&all, v)), [1.0, OTHER_FACET_GRADE, 0.0, 0.0]);
    }
}
