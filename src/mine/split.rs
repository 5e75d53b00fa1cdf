//! The split by person and time, drawn before anything trains, and the cap on rejects on each side.

use crate::recipe::{Recipe, stream};
use crate::store::{ExampleRow, Split, person_split, training_ends_ms};

/// Decides sides. The same recipe puts a person on the same side in every log.
pub(super) struct Splitter<'a> {
    recipe: &'a Recipe,
    /// Training ends here (inclusive), Unix milliseconds.
    cut_ms: i64,
}

impl<'a> Splitter<'a> {
    /// For a log whose first and last search are at `span`.
    pub(super) fn new(recipe: &'a Recipe, span: Option<(i64, i64)>) -> Self {
        Self { recipe, cut_ms: training_ends_ms(recipe, span) }
    }

    /// The side of an example whose query was typed at `time_ms` and whose outcome was known at `known_ms`.
    ///
    /// Training people up to the cut train, held-out people after it are held out. The rest is unused (none): the two
    /// other quadrants, and what lies across the cut, since its target was typed in the weeks held out.
    pub(super) fn side(&self, user: &str, time_ms: i64, known_ms: i64) -> Option<Split> {
        let early = time_ms.max(known_ms) <= self.cut_ms;
        let late = time_ms > self.cut_ms;
        match person_split(self.recipe, user) {
            Split::Train => early.then_some(Split::Train),
            held_out => late.then_some(held_out),
        }
    }

    /// Keeps at most `per_rewrite` rejects for each rewrite on each side, by a seeded draw; says how many went.
    pub(super) fn cap_rejects(&self, examples: &mut Vec<ExampleRow>, per_rewrite: f64) -> usize {
        let before = examples.len();
        for side in [Split::Train, Split::Validation, Split::Test] {
            let rewrites = examples.iter().filter(|e| e.split == side && e.target.is_some()).count();
            let rejects = examples.iter().filter(|e| e.split == side && e.target.is_none()).count();
            let keep = rejects.min((rewrites as f64 * per_rewrite).round() as usize);
            let mut rng = stream(self.recipe.seed, "mine rejects", &[side as u64]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(held_out_people: f64, held_out_time: f64) -> Recipe {
        let mut recipe = Recipe::default();
        recipe.mine.held_out_people = held_out_people;
        recipe.mine.held_out_time = held_out_time;
        recipe
    }

    #[test]
    fn an_example_across_the_cut_belongs_to_neither_side() {
        // The cut is at 1750.
        let (train, held) = (recipe(0.0, 0.25), recipe(1.0, 0.25));
        let (all_train, all_held) =
            (Splitter::new(&train, Some((1_000, 2_000))), Splitter::new(&held, Some((1_000, 2_000))));
        let side = person_split(&held, "u");
        assert_ne!(side, Split::Train);
        assert_eq!(all_train.side("u", 1_700, 1_750), Some(Split::Train));
        assert_eq!(all_train.side("u", 1_700, 1_751), None);
        assert_eq!(all_train.side("u", 1_751, 1_760), None);
        assert_eq!(all_held.side("u", 1_751, 1_760), Some(side));
        assert_eq!(all_held.side("u", 1_750, 1_760), None);
        assert_eq!(all_held.side("u", 1_100, 1_200), None);
    }

    #[test]
    fn shares_of_nothing_and_everything_do_what_they_say() {
        let (nothing, everything) = (recipe(0.0, 0.0), recipe(1.0, 1.0));
        let span = Some((1_000, 2_000));
        assert_eq!(Splitter::new(&nothing, span).side("u", 2_000, 2_000), Some(Split::Train));
        assert_ne!(Splitter::new(&everything, span).side("u", 1_001, 1_500), None);
        // A log without any search has no span and asks for no side; making its splitter must not fail.
        assert_eq!(Splitter::new(&nothing, None).cut_ms, 0);
    }
}
