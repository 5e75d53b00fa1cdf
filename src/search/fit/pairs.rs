//! Pairs that a logged search prefers: what was stayed with, against what was passed over and what was not shown.
//!
//! A document that was stayed with is preferred to those above it that were not (they were seen and left), to the one right
//! below it (Joachims et al. 2005: else the log would only ever teach the contrary of what it showed), and to some that
//! recall found and the page did not show, since rawrank must tell these from the page too.

use anyhow::Result;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Engine, Signals};
use crate::recipe::SearchPath;
use crate::search::rank::features;

/// Documents drawn from those that were recalled and not shown, for each that was stayed with.
const UNSEEN: usize = 3;

/// Features of the preferred document less those of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub difference: [f64; 5],
    /// The pairs of one search weigh 1 together.
    pub weight: f64,
}

/// The pairs of one search.
pub(super) fn of(
    engine: &Engine,
    query: &str,
    shown: &[(u32, bool)],
    settings: &SearchPath,
    mut rng: ChaCha8Rng,
) -> Result<Vec<Pair>> {
    let searcher = engine.opened.reader.searcher();
    let candidates = engine.candidates(&searcher, query, None, settings)?;
    let signals = |number: u32| candidates.iter().find(|c| c.number == number).map(|c| &c.signals);
    let mut unseen: Vec<&Signals> = candidates
        .iter()
        .filter(|c| shown.iter().all(|(number, _)| *number != c.number))
        .map(|c| &c.signals)
        .collect();
    let mut differences = Vec::new();
    for (place, (number, _)) in shown.iter().enumerate().filter(|(_, (_, long))| *long) {
        let Some(liked) = signals(*number) else { continue };
        let passed = shown[..shown.len().min(place + 2)].iter().filter(|(_, long)| !long);
        let passed: Vec<&Signals> = passed.filter_map(|(number, _)| signals(*number)).collect();
        let (drawn, _) = unseen.partial_shuffle(&mut rng, UNSEEN);
        for other in passed.iter().chain(drawn.iter()) {
            let (a, b) = (features(liked), features(other));
            differences.push(std::array::from_fn(|i| a[i] - b[i]));
        }
    }
    let weight = 1.0 / differences.len().max(1) as f64;
    Ok(differences.into_iter().map(|difference| Pair { difference, weight }).collect())
}
