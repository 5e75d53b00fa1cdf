//! A rewriter's answers on held-out examples, against what people did next.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::stats::{Comparison, Ratio, compare};
use crate::task::Target;

/// One held-out search with a rewriter's answer to it.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// The person.
    pub user: &'a str,
    /// The query.
    pub query: &'a str,
    /// What the person did next.
    pub target: Target,
    /// What the rewriter said.
    pub output: Target,
    /// Reciprocal rank of the document that satisfied the person among the first ten results of the plain path.
    pub plain_rr: f64,
    /// The same with the rewrite fused in.
    pub fused_rr: f64,
}

/// Scores of one rewriter on the same held-out examples as every other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Name of the rewriter.
    pub rewriter: String,
    /// Held-out examples.
    pub examples: usize,
    /// Share of answers equal to what the person did, rejects included.
    pub exact_match: f64,
    /// The same among (query, rewrite) pairs that training examples hold.
    pub seen_exact_match: Option<f64>,
    /// The same among pairs that they do not: only reading the context can get these right.
    pub unseen_exact_match: Option<f64>,
    /// How many unseen pairs there are.
    pub unseen: usize,
    /// Of the rejects said, the share that were right.
    pub reject_precision: Option<f64>,
    /// Of the queries best left alone, the share that were.
    pub reject_recall: Option<f64>,
    /// Mean reciprocal rank at 10 of the satisfying document: plain path against fused path.
    pub mrr: Option<Comparison>,
}

/// Scores a rewriter. `trained` holds the (query, rewrite) pairs of the training examples.
#[must_use]
pub fn score(
    rewriter: &str,
    answers: &[Answer],
    trained: &HashSet<(String, String)>,
    resamples: usize,
    seed: u64,
) -> Scores {
    let right = |a: &&Answer| a.output == a.target;
    let pair = |a: &&Answer| a.target.text().map(|t| trained.contains(&(a.query.to_owned(), t.to_owned())));
    let unseen = answers.iter().filter(|a| pair(a) == Some(false)).count();
    let mut people: BTreeMap<&str, (Ratio, Ratio)> = BTreeMap::new();
    for answer in answers {
        let person = people.entry(answer.user).or_default();
        person.0.add(answer.plain_rr);
        person.1.add(answer.fused_rr);
    }
    let people: Vec<_> = people.into_values().collect();
    Scores {
        rewriter: rewriter.to_owned(),
        examples: answers.len(),
        exact_match: share(answers.iter(), right).unwrap_or(f64::NAN),
        seen_exact_match: share(answers.iter().filter(|a| pair(a) == Some(true)), right),
        unseen_exact_match: share(answers.iter().filter(|a| pair(a) == Some(false)), right),
        unseen,
        reject_precision: share(answers.iter().filter(|a| a.output == Target::Reject), right),
        reject_recall: share(answers.iter().filter(|a| a.target == Target::Reject), right),
        mrr: compare(&people, resamples, seed),
    }
}

fn share<'a, 'b: 'a>(
    answers: impl Iterator<Item = &'a Answer<'b>>,
    hit: impl Fn(&&'a Answer<'b>) -> bool,
) -> Option<f64> {
    let (mut hits, mut all) = (0_usize, 0_usize);
    for answer in answers {
        all += 1;
        hits += usize::from(hit(&answer));
    }
    (all > 0).then(|| hits as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(query: &'a str, target: Option<&str>, output: Option<&str>) -> Answer<'a> {
        let (target, output) = (Target::from_option(target), Target::from_option(output));
        Answer { user: "u", query, target, output, plain_rr: 0.0, fused_rr: 0.5 }
    }

    #[test]
    fn seen_and_unseen_pairs_are_told_apart() {
        let answers = [
            answer("jaguar", Some("jaguar car"), Some("jaguar car")),
            answer("jaguar", Some("jaguar cat"), Some("jaguar car")),
            answer("weather", None, None),
            answer("apple", Some("apple fruit"), None),
        ];
        let trained = HashSet::from([("jaguar".to_owned(), "jaguar car".to_owned())]);
        let s = score("x", &answers, &trained, 50, 1);
        assert_eq!((s.exact_match, s.seen_exact_match, s.unseen_exact_match, s.unseen), (0.5, Some(1.0), Some(0.0), 2));
        assert_eq!((s.reject_precision, s.reject_recall), (Some(0.5), Some(1.0)));
        assert!((s.mrr.unwrap().difference - 0.5).abs() < 1e-12);
    }
}
