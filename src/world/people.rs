//! The people: where they live, what they like in a week, how they search.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::log_normal;
use super::lexicon::Lexicon;
use super::timeline::Timeline;
use crate::recipe::{World as Settings, stream};

/// Habits that a person has at a time.
const HABITS: usize = 2;

/// One person in one week. Everything is drawn from the person's own streams; interests and habits, each for its own time,
/// change from week to week, the rest never does.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Index into the lexicon's places.
    pub place: usize,
    /// Senses liked, strongest first; 3 to 6 of them, or fewer when two are the same.
    pub interests: Vec<usize>,
    /// What is asked for again and again, most often first.
    pub habits: Vec<Spell>,
    /// Multiplies the sessions of a week; its mean over people is 1.
    pub activity: f64,
    /// Multiplies the shares of words that leave the sense open and of colloquial words; its mean over people is 1.
    pub terseness: f64,
    /// Exponent on the chance to look at a rank: below 1 is someone who looks further down than the published table.
    pub haste: f64,
    /// Chance to try once more after a page without an answer.
    pub persistence: f64,
}

/// A time during which one interest or habit stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spell {
    /// Key of everything that is drawn for it: `[person, slot, number]`.
    pub key: [u64; 3],
    /// The week in which it began; 0 when that was before the log.
    pub since: u32,
}

/// How long each of something's spells lasts, in weeks, and where in the first one the log begins.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    weeks: u32,
    phase: u32,
}

impl Rhythm {
    fn new(mean_weeks: f64, rng: &mut ChaCha8Rng) -> Self {
        let most = (2.0 * mean_weeks - 1.0).round().max(1.0) as u32;
        let weeks = rng.random_range(1..=most);
        Self { weeks, phase: rng.random_range(0..weeks) }
    }

    /// In closed form, so that a late week costs no more than an early one.
    fn spell(self, person: usize, slot: usize, week: u32) -> Spell {
        let number = (week + self.phase) / self.weeks;
        let since = (number * self.weeks).saturating_sub(self.phase);
        Spell { key: [person as u64, slot as u64, u64::from(number)], since }
    }
}

impl Person {
    /// Person number `index` as they are in a week.
    pub(super) fn new(
        lexicon: &Lexicon,
        settings: &Settings,
        timeline: &Timeline,
        seed: u64,
        index: usize,
        week: u32,
    ) -> Self {
        let mut rng = stream(seed, "world.person", &[index as u64]);
        let place = rng.random_range(0..lexicon.places.len());
        let sigma: f64 = 0.8;
        let activity = log_normal(&mut rng, (-sigma * sigma / 2.0).exp(), sigma);
        let terseness = rng.random_range(0.5..1.5);
        let haste = rng.random_range(0.7..1.2);
        let persistence = (settings.persistence * rng.random_range(0.75..1.25)).min(1.0);
        // Two fields of interest, so that what one likes tells something about what one means.
        let fields = [0; 2].map(|_| lexicon.senses[timeline.wanted(0).draw(&mut rng)].category);
        let count = rng.random_range(3..=6);
        let mut spell = |slot| Rhythm::new(settings.interest_weeks, &mut rng).spell(index, slot, week);
        let liked: Vec<Spell> = (0..count).map(&mut spell).collect();
        let habits = (0..HABITS).map(spell).collect();
        let mut interests: Vec<usize> = Vec::new();
        for spell in liked {
            let mut rng = stream(seed, "world.interest", &spell.key);
            let sense = interest(lexicon, timeline, fields, spell.since, &mut rng);
            if !interests.contains(&sense) {
                interests.push(sense);
            }
        }
        Self { place, interests, habits, activity, terseness, haste, persistence }
    }
}

/// A sense to like from a week on, mostly of one of the fields.
fn interest(lexicon: &Lexicon, timeline: &Timeline, fields: [usize; 2], week: u32, rng: &mut ChaCha8Rng) -> usize {
    let field = &lexicon.of_category[fields[rng.random_range(0..fields.len())]];
    let known: Vec<usize> = field.iter().copied().filter(|s| timeline.born[*s] <= week).collect();
    let any = timeline.wanted(week).draw(rng);
    let place = (rng.random::<f64>() * known.len() as f64) as usize;
    match known.get(place) {
        Some(close) if rng.random::<f64>() < 0.75 => *close,
        _ => any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(weeks: f64, person: usize, week: u32) -> Person {
        let settings = Settings { heads: 40, interest_weeks: weeks, ..Settings::default() };
        let lexicon = Lexicon::new(&settings).unwrap();
        let timeline = Timeline::new(&lexicon, &settings, 12, 7);
        Person::new(&lexicon, &settings, &timeline, 7, person, week)
    }

    #[test]
    fn interests_change_over_the_weeks_and_the_person_stays_the_same() {
        let changed = |weeks: f64, week: u32| -> f64 {
            let of = |p: usize| {
                let (first, then) = (at(weeks, p, 0), at(weeks, p, week));
                assert_eq!((first.place, first.activity, first.haste), (then.place, then.activity, then.haste));
                let gone = first.interests.iter().filter(|s| !then.interests.contains(s)).count();
                gone as f64 / first.interests.len() as f64
            };
            (0..40).map(of).sum::<f64>() / 40.0
        };
        let (one, five) = (changed(6.0, 1), changed(6.0, 5));
        assert!(0.03 < one && one < 0.4 && five > one + 0.15, "{one} {five}");
        assert!(changed(1_000.0, 5) < 0.05);
    }

    #[test]
    fn spells_follow_each_other_without_gaps() {
        let rhythm = Rhythm { weeks: 3, phase: 2 };
        let spells: Vec<(u64, u32)> = (0..6).map(|w| rhythm.spell(1, 2, w)).map(|s| (s.key[2], s.since)).collect();
        assert_eq!(spells, [(0, 0), (1, 1), (1, 1), (1, 1), (2, 4), (2, 4)]);
    }
}
