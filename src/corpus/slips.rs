//! Slips of the finger: more ways of them than the built-in worlds know.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::words::Words;

/// A text with one slip in one of its words; none where no word is long enough, or the slip makes it right or forbidden.
pub(super) fn slip(words: &Words, text: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let spaced = !words.glue.is_empty();
    let mut parts: Vec<Vec<char>> = match spaced {
        true => text.split(' ').map(|word| word.chars().collect()).collect(),
        false => vec![text.chars().collect()],
    };
    let least = if spaced { 4 } else { 2 };
    let long: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].len() >= least).collect();
    let part = &mut parts[*long.choose(rng)?];
    let any: Vec<char> = words.word(rng).chars().collect();
    let other = *any.choose(rng)?;
    // The first letter is seldom the wrong one; a short Chinese text has no other.
    let at = rng.random_range(usize::from(spaced)..part.len());
    match rng.random_range(0..if spaced { 6 } else { 3 }) {
        0 => part[at] = other,
        1 => drop(part.remove(at)),
        2 if at + 1 < part.len() => part.swap(at, at + 1),
        3 => part.insert(at, part[at]),
        4 => part.insert(at, other),
        _ => part.swap(at - usize::from(at > 0), at),
    }
    let wrong: Vec<String> = parts.iter().map(|word| word.iter().collect()).collect();
    let right = wrong.iter().all(|word| words.permits(word));
    let wrong = wrong.join(words.glue);
    (wrong != text && right).then_some(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    #[test]
    fn one_word_changes_by_one_edit_and_short_ones_are_spared() {
        let (words, mut rng) = (Words::english(), stream(3, "slip", &[]));
        let mut seen = 0;
        for _ in 0..500 {
            let Some(wrong) = slip(&words, "zorblat at quimby", &mut rng) else { continue };
            assert!(wrong.contains(" at "), "{wrong}");
            assert_eq!(strsim::damerau_levenshtein("zorblat at quimby", &wrong), 1, "{wrong}");
            seen += 1;
        }
        assert!(seen > 400, "{seen}");
        assert_eq!(slip(&words, "to go", &mut rng), None);
    }

    #[test]
    fn a_slip_never_spells_a_word_of_the_worlds() {
        let (words, mut rng) = (Words::english(), stream(4, "slip", &[]));
        assert!((0..2_000).filter_map(|_| slip(&words, "carr", &mut rng)).all(|wrong| wrong != "car"));
    }
}
