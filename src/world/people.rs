//! The people: where they live, what they like, how they search.

use rand::Rng;
use rand::seq::SliceRandom;

use super::draw::{Weighted, log_normal};
use super::lexicon::Lexicon;
use crate::recipe::stream;

/// One person. Everything here is drawn once, from the person's own stream.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Index into the lexicon's places.
    pub place: usize,
    /// Senses liked, strongest first; 3 to 6.
    pub interests: Vec<usize>,
    /// Multiplies the sessions of a week; its mean over people is 1.
    pub activity: f64,
    /// Multiplies the share of bare heads and of colloquial words; its mean over people is 1.
    pub terseness: f64,
    /// Exponent on the chance to look at a rank: below 1 is someone who looks further down than the published table.
    pub haste: f64,
    /// Chance to try once more after a failed search.
    pub persistence: f64,
}

impl Person {
    /// Makes person number `index`.
    pub(super) fn new(lexicon: &Lexicon, senses: &Weighted, seed: u64, index: usize) -> Self {
        let mut rng = stream(seed, "world.person", &[index as u64]);
        let place = rng.random_range(0..lexicon.places.len());
        // Two fields of interest, so that what one likes tells something about what one means.
        let fields = [0; 2].map(|_| lexicon.senses[senses.draw(&mut rng)].category);
        let count = rng.random_range(3..=6);
        let mut interests: Vec<usize> = Vec::new();
        // The lexicon may be smaller than what a person could like.
        for _ in 0..50 {
            let field = &lexicon.of_category[fields[rng.random_range(0..fields.len())]];
            let close = field[rng.random_range(0..field.len())];
            let sense = if rng.random::<f64>() < 0.75 { close } else { senses.draw(&mut rng) };
            if interests.len() < count && !interests.contains(&sense) {
                interests.push(sense);
            }
        }
        interests.shuffle(&mut rng);
        let sigma: f64 = 0.5;
        Self {
            place,
            interests,
            activity: log_normal(&mut rng, (-sigma * sigma / 2.0).exp(), sigma),
            terseness: rng.random_range(0.5..1.5),
            haste: rng.random_range(0.7..1.2),
            persistence: rng.random_range(0.6..0.95),
        }
    }
}
