//! Who may be trained on: decided by a seeded hash of the person, before anything trains.

use super::Split;
use crate::recipe::Recipe;

/// Side of the split a person is on, whatever the log; half of the held-out people are for validation.
#[must_use]
pub fn person_split(recipe: &Recipe, user: &str) -> Split {
    let hash = fnv1a(recipe.seed, user.as_bytes());
    // 53 bits make a uniform number in [0, 1).
    let place = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    match place / recipe.mine.held_out_people {
        x if x < 0.5 => Split::Validation,
        x if x < 1.0 => Split::Test,
        _ => Split::Train,
    }
}

/// FNV-1a with a seed and a final mix: the same on every machine and in every version, unlike std's hashers.
fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = bytes.iter().fold(start, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_fall_in_the_shares_asked_for_and_stay_there() {
        let recipe = Recipe::default();
        let sides: Vec<_> = (0..10_000).map(|i| person_split(&recipe, &format!("u{i}"))).collect();
        let count = |side| sides.iter().filter(|&&s| s == side).count() as f64 / 10_000.0;
        // Four standard errors of a share of 0.1 in 10,000 draws are 0.012.
        assert!((count(Split::Validation) - 0.1).abs() < 0.012, "{}", count(Split::Validation));
        assert!((count(Split::Test) - 0.1).abs() < 0.012, "{}", count(Split::Test));
        assert_eq!(person_split(&recipe, "u17"), sides[17]);
        let nobody_held_out =
            Recipe { mine: crate::recipe::Mine { held_out_people: 0.0, ..recipe.mine.clone() }, ..recipe };
        assert!((0..100).all(|i| person_split(&nobody_held_out, &format!("u{i}")) == Split::Train));
    }
}
