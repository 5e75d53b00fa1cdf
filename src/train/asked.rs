//! Other queries for a context: what people type about things like those that were watched, and what they type at all.
//!
//! A context is most of a prompt, and is read once for all that is asked in it. One answer a context is little to learn from so
//! much reading; and a model that is never asked anything else in the same context need not look at the query.

use std::collections::HashMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::sample::Sample;
use crate::logs::{Context, words};
use crate::rewriter::Association;

/// Searches to draw from, at most.
const POOL: usize = 50_000;
/// Share of the queries that are about something watched.
const ABOUT: f64 = 0.7;

/// A sample of the searches that may be learnt from.
pub(super) struct Pool {
    queries: Vec<String>,
    /// Places of the queries with a word.
    by_word: HashMap<String, Vec<u32>>,
}

impl Pool {
    /// An empty sample to offer queries to.
    pub fn sample() -> Sample<String> {
        Sample::of(POOL)
    }

    /// Of queries, each as often as it was typed.
    pub fn new(queries: Vec<String>) -> Self {
        let mut by_word: HashMap<String, Vec<u32>> = HashMap::new();
        for (place, query) in (0..).zip(&queries) {
            for word in words(query) {
                by_word.entry(word).or_default().push(place);
            }
        }
        Self { queries, by_word }
    }

    /// A query to ask in a context; none where people typed nothing about what was watched.
    pub fn draw(&self, rule: &Association, context: &Context, rng: &mut ChaCha8Rng) -> Option<&str> {
        if !rng.random_bool(ABOUT) {
            return self.queries.choose(rng).map(String::as_str);
        }
        let seen = context.watched.choose(rng)?;
        let said: Vec<String> = std::iter::once(&seen.title).chain(&seen.tags).flat_map(|text| words(text)).collect();
        let places = self.by_word.get(rule.head(&said)?)?;
        places.choose(rng).map(|place| self.queries[*place as usize].as_str())
    }
}
