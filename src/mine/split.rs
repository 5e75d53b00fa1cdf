//! The split by person and time, drawn before anything trains, and the cap on rejects on each side.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::recipe::Recipe;
use crate::store::{ExampleRow, Split};

/// Where an example may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Train,
    HeldOut,
    Unused,
}

/// Decides sides. The same recipe puts a person on the same side in every log.
pub(super) struct Splitter {
    seed: u64,
    held_out_people: f64,
    /// Training ends here (inclusive), Unix milliseconds.
    cut_ms: i64,
}

impl Splitter {
    /// For a log whose first and last search are at `span`.
    pub(super) fn new(recipe: &Recipe, span: Option<(i64, i64)>) -> Self {
        let (first, last) = span.unwrap_or_default();
        let late_ms = (last.saturating_sub(first) as f64 * recipe.mine.held_out_time) as i64;
        Self { seed: recipe.seed, held_out_people: recipe.mine.held_out_people, cut_ms: last - late_ms }
    }

    /// The side of an example whose query was typed at `time_ms` and whose outcome was known at `known_ms`.
    ///
    /// Training people up to the cut train, held-out people after it are held out. The rest is unused: the two other
    /// quadrants, and what lies across the cut, since its target was typed in the weeks held out.
    pub(super) fn side(&self, user: &str, time_ms: i64, known_ms: i64) -> Side {
        match (self.is_held_out(user), time_ms.max(known_ms) <= self.cut_ms, time_ms > self.cut_ms) {
            (false, true, _) => Side::Train,
            (true, _, true) => Side::HeldOut,
            _ => Side::Unused,
        }
    }

    fn is_held_out(&self, user: &str) -> bool {
        let draw = hash(self.seed, "mine people", user.as_bytes());
        // The top 53 bits as a number in [0, 1).
        ((draw >> 11) as f64) * (0.5_f64).powi(53) < self.held_out_people
    }

    /// Keeps at most `per_rewrite` rejects for each rewrite on each side, by a seeded draw; says how many went.
    pub(super) fn cap_rejects(&self, examples: &mut Vec<ExampleRow>, per_rewrite: f64) -> usize {
        let before = examples.len();
        for (side, name) in [(Split::Train, "mine rejects train"), (Split::HeldOut, "mine rejects held out")] {
            let rewrites = examples.iter().filter(|e| e.split == side && e.target.is_some()).count();
            let rejects = examples.iter().filter(|e| e.split == side && e.target.is_none()).count();
            let keep = rejects.min((rewrites as f64 * per_rewrite).round() as usize);
            let mut rng = ChaCha8Rng::seed_from_u64(hash(self.seed, name, b""));
            let mut kept = vec![false; rejects];
            for index in rand::seq::index::sample(&mut rng, rejects, keep) {
                kept[index] = true;
            }
            let mut kept = kept.into_iter();
            examples.retain(|e| e.split != side || e.target.is_some() || kept.next().unwrap_or(false));
        }
        before - examples.len()
    }
}

/// A hash that no library version changes: FNV-1a over seed, stream name and bytes, finished as `SplitMix64` does.
fn hash(seed: u64, stream: &str, bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for &b in seed.to_le_bytes().iter().chain(stream.as_bytes()).chain(&[0]).chain(bytes) {
        h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitter(held_out_people: f64, held_out_time: f64) -> Splitter {
        let mut recipe = Recipe::default();
        recipe.mine.held_out_people = held_out_people;
        recipe.mine.held_out_time = held_out_time;
        Splitter::new(&recipe, Some((1_000, 2_000)))
    }

    #[test]
    fn an_example_across_the_cut_belongs_to_neither_side() {
        // The cut is at 1750.
        let (all_train, all_held) = (splitter(0.0, 0.25), splitter(1.0, 0.25));
        assert_eq!(all_train.side("u", 1_700, 1_750), Side::Train);
        assert_eq!(all_train.side("u", 1_700, 1_751), Side::Unused);
        assert_eq!(all_train.side("u", 1_751, 1_760), Side::Unused);
        assert_eq!(all_held.side("u", 1_751, 1_760), Side::HeldOut);
        assert_eq!(all_held.side("u", 1_750, 1_760), Side::Unused);
        assert_eq!(all_held.side("u", 1_100, 1_200), Side::Unused);
    }

    #[test]
    fn shares_of_nothing_and_everything_do_what_they_say() {
        assert_eq!(splitter(0.0, 0.0).side("u", 2_000, 2_000), Side::Train);
        assert_eq!(splitter(1.0, 1.0).side("u", 1_001, 1_500), Side::HeldOut);
        // A log without any search has no span and asks for no side; making its splitter must not fail.
        assert_eq!(Splitter::new(&Recipe::default(), None).cut_ms, 0);
    }

    #[test]
    fn about_the_asked_share_of_people_is_held_out_even_if_their_names_are_alike() {
        let split = splitter(0.2, 0.25);
        let held_out = (0..10_000).filter(|i| split.is_held_out(&format!("u{i}"))).count();
        // Four standard deviations of a binomial of 10 000 at 0.2.
        assert!((1_840..=2_160).contains(&held_out), "{held_out}");
    }
}
