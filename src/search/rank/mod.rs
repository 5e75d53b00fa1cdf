//! The stages after recall: rawrank keeps the most promising, finerank orders what is left. Pure functions of signals.
//!
//! The rewrite's relevance r is one more signal at each stage, beside the others and with its own weight: added at rawrank,
//! multiplied at finerank. Where r is 0 for every document, or there is no rewrite, the plain path's numbers come out, bit
//! for bit.

pub(crate) mod relevance;

use serde::{Deserialize, Serialize};

use super::Signals;
use crate::recipe::SearchPath;

/// Relevance that every document has: one that only the rewrite found must not be multiplied by nothing.
pub(crate) const LEAST_RELEVANCE: f64 = 0.05;

/// A document under way through the stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// The document's number; settles ties.
    pub number: u32,
    /// What is known about it.
    pub signals: Signals,
    /// What it is ordered by in the last stage it reached.
    pub score: f64,
}

/// Weights of rawrank: `w · x` with the features of [`features`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Of `ln(1 + bm25)`.
    pub bm25: f64,
    /// Of relevance.
    pub relevance: f64,
    /// Of the share of the query seen in the picture.
    pub visual: f64,
    /// Of `ln(popularity)`.
    pub popularity: f64,
    /// Of freshness.
    pub freshness: f64,
}

impl Default for Weights {
    /// Until clicks tell better: text first, the rest as tie-breakers.
    fn default() -> Self {
        Self { bm25: 0.5, relevance: 4.0, visual: 0.5, popularity: 0.05, freshness: 0.0 }
    }
}

impl Weights {
    /// In the order of [`features`].
    pub(crate) fn to_array(self) -> [f64; 5] {
        [self.bm25, self.relevance, self.visual, self.popularity, self.freshness]
    }

    pub(crate) fn from_array([bm25, relevance, visual, popularity, freshness]: [f64; 5]) -> Self {
        Self { bm25, relevance, visual, popularity, freshness }
    }
}

/// Names of [`features`].
pub(crate) const FEATURES: [&str; 5] = ["ln(1+bm25)", "relevance", "visual", "ln(popularity)", "freshness"];

/// The light features that rawrank adds up.
pub(crate) fn features(s: &Signals) -> [f64; 5] {
    [s.bm25.ln_1p(), s.relevance, s.visual, s.popularity.ln(), s.freshness]
}

/// Rawrank's score: `w · x + w_r · r`.
pub(crate) fn raw_score(s: &Signals, weights: &Weights, settings: &SearchPath) -> f64 {
    let plain: f64 = features(s).iter().zip(weights.to_array()).map(|(x, w)| x * w).sum();
    plain + settings.rewrite_weights().rawrank * s.rewrite
}

/// Finerank's score: `(ε + (1 − ε) · relevance)^a · popularity^p · satisfaction^s · (1 + r)^w`.
pub(crate) fn fine_score(s: &Signals, settings: &SearchPath) -> f64 {
    fine_factors(s, settings).iter().product()
}

/// The factors of [`fine_score`], in its order.
pub(crate) fn fine_factors(s: &Signals, settings: &SearchPath) -> [f64; 4] {
    [
        (LEAST_RELEVANCE + (1.0 - LEAST_RELEVANCE) * s.relevance).powf(settings.relevance_weight),
        s.popularity.powf(settings.popularity_weight),
        s.satisfaction.powf(settings.satisfaction_weight),
        (1.0 + s.rewrite).powf(settings.rewrite_weights().finerank),
    ]
}

/// Scores and orders by rawrank, and keeps what finerank will look at.
pub(crate) fn rawrank(mut all: Vec<Candidate>, weights: &Weights, settings: &SearchPath) -> Vec<Candidate> {
    for c in &mut all {
        c.signals.rawrank = raw_score(&c.signals, weights, settings);
        c.score = c.signals.rawrank;
    }
    order(&mut all);
    all.truncate(settings.rawrank.max(settings.page));
    all
}

/// Scores and orders by finerank, and keeps a page.
pub(crate) fn finerank(mut kept: Vec<Candidate>, settings: &SearchPath) -> Vec<Candidate> {
    for c in &mut kept {
        c.score = fine_score(&c.signals, settings);
    }
    order(&mut kept);
    kept.truncate(settings.page);
    kept
}

/// Best first; of equals the smaller number.
fn order(all: &mut [Candidate]) {
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.number.cmp(&b.number)));
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::recipe::{Fusion, stream};

    fn signals(rng: &mut ChaCha8Rng) -> Signals {
        // Few distinct values, so that ties occur.
        let mut step = |n: u32| f64::from(rng.random_range(0..=n)) / f64::from(n);
        Signals {
            bm25: 12.0 * step(4),
            cosine: step(5),
            visual: step(2),
            relevance: step(5),
            popularity: step(3).max(1e-6),
            freshness: step(3),
            satisfaction: 0.5 + step(3),
            rewrite: step(4),
            rawrank: 0.0,
        }
    }

    fn ranked(all: &[Candidate], settings: &SearchPath) -> Vec<u32> {
        let kept = rawrank(all.to_vec(), &Weights::default(), settings);
        finerank(kept, settings).iter().map(|c| c.number).collect()
    }

    #[test]
    fn raising_a_documents_rewrite_relevance_never_lowers_its_rank() {
        let mut rng = stream(5, "monotone", &[]);
        let mut moved = 0;
        for round in 0..3_000 {
            let n = rng.random_range(2..30);
            let all: Vec<Candidate> =
                (0..n).map(|number| Candidate { number, signals: signals(&mut rng), score: 0.0 }).collect();
            let settings = SearchPath {
                page: rng.random_range(1..12),
                rawrank: rng.random_range(1..20),
                fusion: if round % 2 == 0 { Fusion::A } else { Fusion::B },
                rewrite_rawrank: rng.random_range(0.0..6.0),
                rewrite_finerank: rng.random_range(0.0..3.0),
                ..SearchPath::default()
            };
            let chosen = rng.random_range(0..n);
            let mut raised = all.clone();
            let r = &mut raised[chosen as usize].signals.rewrite;
            *r = (*r + rng.random_range(0.0..1.0)).min(1.0);
            let place = |all| ranked(all, &settings).iter().position(|d| *d == chosen).unwrap_or(usize::MAX);
            let (before, after) = (place(&all), place(&raised));
            assert!(after <= before, "round {round}: from {before} to {after}");
            moved += usize::from(after < before);
        }
        assert!(moved > 200, "the property was tested on documents that move: {moved}");
    }

    #[test]
    fn without_relevance_of_a_rewrite_every_configuration_gives_the_plain_numbers() {
        let mut rng = stream(6, "plain", &[]);
        let all: Vec<Candidate> = (0..40)
            .map(|number| {
                let signals = Signals { rewrite: 0.0, ..signals(&mut rng) };
                Candidate { number, signals, score: 0.0 }
            })
            .collect();
        let plain = SearchPath { rewrite_rawrank: 0.0, rewrite_finerank: 0.0, ..SearchPath::default() };
        let run = |settings: &SearchPath| finerank(rawrank(all.clone(), &Weights::default(), settings), settings);
        for fusion in [Fusion::A, Fusion::B] {
            assert_eq!(run(&SearchPath { fusion, ..SearchPath::default() }), run(&plain));
        }
    }

    #[test]
    fn ties_go_to_the_smaller_number_and_each_factor_lifts() {
        let base = Signals { popularity: 0.5, satisfaction: 1.0, relevance: 0.5, ..Signals::default() };
        let at = |number, signals| Candidate { number, signals, score: 0.0 };
        let same = [at(3, base), at(1, base), at(2, base)];
        let settings = SearchPath::default();
        assert_eq!(ranked(&same, &settings), [1, 2, 3]);
        for better in [
            Signals { popularity: 0.9, ..base },
            Signals { satisfaction: 1.5, ..base },
            Signals { relevance: 0.7, ..base },
            Signals { rewrite: 0.2, ..base },
        ] {
            assert_eq!(ranked(&[same[1], same[2], at(3, better)], &settings), [3, 1, 2]);
        }
    }

    #[test]
    fn configuration_a_leaves_rawrank_as_it_is() {
        let plain = Signals { bm25: 3.0, popularity: 0.5, ..Signals::default() };
        let liked = Signals { rewrite: 1.0, ..plain };
        let raw = |s, fusion| raw_score(s, &Weights::default(), &SearchPath { fusion, ..SearchPath::default() });
        assert_eq!(raw(&liked, Fusion::A), raw(&plain, Fusion::A));
        assert!(raw(&liked, Fusion::B) > raw(&plain, Fusion::B));
    }
}
