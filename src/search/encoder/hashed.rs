//! Our own small encoder: hashed words and letter groups, projected at random. It knows no language and no catalogue.
//!
//! A text's features are its words and, of each word with its edges marked (`^jaguar$`), all groups of two and of three
//! characters. A feature's hash names [`SPOTS`] places of the vector, each with a sign; the feature adds its weight there
//! (sparse random projection, Achlioptas 2003). Two texts' cosine is then close to the cosine of their features, so a
//! misspelt word is still near the word that was meant. A word's letter groups weigh 1 together, the whole word [`WHOLE`].

use crate::logs::words;

/// Changes when the same text gets another vector, so that an index with the earlier vectors is built anew.
pub(super) const VERSION: &str = "hashed-1";
/// Width of a vector.
pub(super) const WIDTH: usize = 256;
/// Places that a feature adds to. More of them make the noise smaller and the encoder slower.
const SPOTS: usize = 8;
/// Weight of a word as a whole: enough to tell it from its anagrams, too little to hide what two spellings share.
const WHOLE: f32 = 0.4;

/// The vector of a text, not yet of length 1; all zeros for a text without words.
pub(super) fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; WIDTH];
    for word in words(text) {
        add(&mut vector, 0, &word, WHOLE);
        let marked: Vec<char> = std::iter::once('^').chain(word.chars()).chain(['$']).collect();
        let groups = 2 * marked.len() - 3;
        let each = 1.0 / (groups as f32).sqrt();
        for size in [2, 3] {
            for group in marked.windows(size) {
                add(&mut vector, size as u64, &group.iter().collect::<String>(), each);
            }
        }
    }
    vector
}

fn add(vector: &mut [f32], kind: u64, feature: &str, weight: f32) {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ kind;
    for byte in feature.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for _ in 0..SPOTS {
        // SplitMix64: from one hash as many well-mixed numbers as are wanted.
        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let place = (mixed >> 1) as usize % WIDTH;
        vector[place] += if mixed & 1 == 0 { weight } else { -weight };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        let (a, b) = (embed(a), embed(b));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    }

    #[test]
    fn a_misspelt_word_is_nearer_to_what_was_meant_than_another_word() {
        for (wrong, meant, other) in [
            ("jagaur", "jaguar", "mercury"),
            ("mercruy", "mercury", "jaguar"),
            ("programing", "programming", "espresso"),
        ] {
            let (near, far) = (cosine(wrong, meant), cosine(wrong, other));
            assert!(near > 0.3 && far < 0.15, "{wrong}: {near} {far}");
        }
        assert!(cosine("演唱会", "光良演唱会") > 0.3 + cosine("演唱会", "北京大学"));
    }

    #[test]
    fn order_and_case_do_not_count_and_nothing_is_nothing() {
        assert!((cosine("Jaguar car", "car jaguar!") - 1.0).abs() < 1e-6);
        assert!(embed("?! 😀").iter().all(|x| *x == 0.0));
    }
}
