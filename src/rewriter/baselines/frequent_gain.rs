//! Appending what was most often added to a query: query-log statistics without a context.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::normal;
use crate::logs::words;
use crate::rewriter::Outcome;

/// "Always append the most frequent gain term": query-log statistics without a context.
///
/// Fitted on training examples only. A query that was never reformulated is left alone.
#[derive(Debug, Clone, Default)]
pub struct FrequentGain {
    best: HashMap<String, String>,
}

impl FrequentGain {
    /// Counts gain terms `T(q') \ T(q)` over training pairs (query, rewrite).
    #[must_use]
    pub fn fit<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut counts: HashMap<String, BTreeMap<String, usize>> = HashMap::new();
        for (query, rewrite) in pairs {
            let known: HashSet<_> = words(query).collect();
            let of_query = counts.entry(normal(query)).or_default();
            for gain in words(rewrite).filter(|word| !known.contains(word)) {
                *of_query.entry(gain).or_default() += 1;
            }
        }
        let most = |gains: BTreeMap<String, usize>| {
            // Of equally frequent terms the first in the alphabet: max_by_key keeps the last.
            gains.into_iter().rev().max_by_key(|(_, count)| *count).map(|(gain, _)| gain)
        };
        Self { best: counts.into_iter().filter_map(|(query, gains)| Some((query, most(gains)?))).collect() }
    }

    /// The query with its most frequent gain term behind it.
    #[must_use]
    pub fn rewrite(&self, query: &str) -> Outcome {
        match self.best.get(&normal(query)) {
            Some(gain) => Outcome::of(query, format!("{} {gain}", query.trim())),
            None => Outcome::rejected(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_gain_term_is_appended_and_unknown_queries_are_left_alone() {
        let pairs = [("jaguar", "jaguar car"), ("jaguar", "jaguar cat"), ("Jaguar", "jaguar car review")];
        let rule = FrequentGain::fit(pairs.into_iter());
        assert_eq!(rule.rewrite("jaguar").rewrite.as_deref(), Some("jaguar car"));
        assert_eq!(rule.rewrite("puma").rewrite, None);
    }
}
