//! Pairs that a logged page prefers: what was stayed with, against what was shown beside it and was not.
//!
//! Comparing within one page leaves out how hard its query is. A difference of ranks stands in each pair beside the difference of
//! features: what people owe to the place of a document is learnt as the ranks' part, and only the features' part is kept. (The
//! pages were chosen by these very features and by nothing that people did, so learning from pages alone does no harm.)

use anyhow::Result;

use super::{Engine, Signals};
use crate::search::rank::features;

/// Features of rawrank.
const FEATURES: usize = 5;
/// Ranks that are told apart; those below count as the last.
const RANKS: usize = 10;
/// Numbers of a pair.
pub(super) const PARTS: usize = FEATURES + RANKS;

/// The preferred document less the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// Features, then one for each rank: 1 for the preferred one's, −1 for the other's.
    pub difference: [f64; PARTS],
    /// The pairs of one search weigh 1 together.
    pub weight: f64,
}

/// Starting weights as a pair has them: nothing is known of ranks.
pub(super) fn with_ranks(weights: [f64; FEATURES]) -> [f64; PARTS] {
    std::array::from_fn(|i| weights.get(i).copied().unwrap_or(0.0))
}

/// The features' part.
pub(super) fn without_ranks(parts: &[f64; PARTS]) -> [f64; FEATURES] {
    std::array::from_fn(|i| parts[i])
}

/// The pairs of one search; `shown` holds what was on its page, from the top down, with whether it was stayed with.
pub(super) fn of(engine: &Engine, query: &str, shown: &[(u32, bool)]) -> Result<Vec<Pair>> {
    let searcher = engine.opened.reader.searcher();
    let numbers: Vec<u32> = shown.iter().map(|(number, _)| *number).collect();
    let signals: Vec<Signals> =
        engine.signals(&searcher, &engine.asked(query)?, None, &numbers)?.into_iter().map(|c| c.signals).collect();
    let parts = |place: usize| -> [f64; PARTS] {
        let of = features(&signals[place]);
        std::array::from_fn(|i| match i.checked_sub(FEATURES) {
            None => of[i],
            Some(rank) => f64::from(u8::from(rank == place.min(RANKS - 1))),
        })
    };
    let mut differences: Vec<[f64; PARTS]> = Vec::new();
    let places = |stayed: bool| (0..shown.len()).filter(move |place| shown[*place].1 == stayed);
    for liked in places(true) {
        for other in places(false) {
            let (a, b) = (parts(liked), parts(other));
            differences.push(std::array::from_fn(|i| a[i] - b[i]));
        }
    }
    let weight = 1.0 / differences.len().max(1) as f64;
    Ok(differences.into_iter().map(|difference| Pair { difference, weight }).collect())
}
