//! Measures of a run, by `trec_eval`'s names and to its last printed digit; relevance 1 and above is relevant.

use std::collections::BTreeMap;

use super::{Qrels, Run};

/// The measures that are means over queries, in the order they are printed.
pub const NAMES: [&str; 19] = [
    "map",
    "Rprec",
    "bpref",
    "recip_rank",
    "P_5",
    "P_10",
    "P_20",
    "P_100",
    "recall_5",
    "recall_10",
    "recall_100",
    "recall_1000",
    "ndcg",
    "ndcg_cut_1",
    "ndcg_cut_3",
    "ndcg_cut_5",
    "ndcg_cut_10",
    "ndcg_cut_20",
    "ndcg_cut_100",
];

/// Measures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// By query: one value for each of [`NAMES`].
    pub queries: BTreeMap<String, [f64; NAMES.len()]>,
    /// Documents retrieved for these queries.
    pub retrieved: usize,
    /// Relevant ones there are.
    pub relevant: usize,
    /// Relevant ones retrieved.
    pub relevant_retrieved: usize,
}

impl Measured {
    /// The mean over queries; `None` for a name that is none of [`NAMES`].
    #[must_use]
    pub fn mean(&self, name: &str) -> Option<f64> {
        let place = NAMES.iter().position(|known| *known == name)?;
        Some(self.queries.values().map(|values| values[place]).sum::<f64>() / self.queries.len().max(1) as f64)
    }
}

/// Measures a run on the queries that it and the judgments have in common, as `trec_eval` does without `-c`.
#[must_use]
pub fn measure(run: &Run, qrels: &Qrels) -> Measured {
    let mut measured = Measured { queries: BTreeMap::new(), retrieved: 0, relevant: 0, relevant_retrieved: 0 };
    for (query, docs) in &run.queries {
        let Some(judged) = qrels.queries.get(query) else { continue };
        // What was judged of each retrieved document; none where nobody did.
        let found: Vec<Option<i64>> = docs.iter().map(|doc| judged.get(doc).copied()).collect();
        let relevant = judged.values().filter(|r| **r > 0).count();
        measured.retrieved += found.len();
        measured.relevant += relevant;
        measured.relevant_retrieved += found.iter().filter(|r| is_relevant(**r)).count();
        measured.queries.insert(query.clone(), of_query(&found, judged));
    }
    measured
}

fn of_query(found: &[Option<i64>], judged: &BTreeMap<String, i64>) -> [f64; NAMES.len()] {
    let relevant = judged.values().filter(|r| **r > 0).count();
    let mut ideal: Vec<i64> = judged.values().copied().filter(|r| *r > 0).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let hits = |k: usize| found.iter().take(k).filter(|r| is_relevant(**r)).count() as f64;
    let share = |of: f64, all: usize| if all == 0 { 0.0 } else { of / all as f64 };
    let precision = |k: usize| hits(k) / k as f64;
    let recall = |k: usize| share(hits(k), relevant);
    let ndcg = |k: usize| {
        let best = gain(ideal.iter().take(k).copied());
        if best > 0.0 { gain(found.iter().take(k).map(|r| r.unwrap_or(0).max(0))) / best } else { 0.0 }
    };
    [
        share(precisions(found), relevant),
        share(hits(relevant), relevant),
        share(preferences(found, judged), relevant),
        found.iter().position(|r| is_relevant(*r)).map_or(0.0, |place| 1.0 / (place + 1) as f64),
        precision(5),
        precision(10),
        precision(20),
        precision(100),
        recall(5),
        recall(10),
        recall(100),
        recall(1000),
        ndcg(usize::MAX),
        ndcg(1),
        ndcg(3),
        ndcg(5),
        ndcg(10),
        ndcg(20),
        ndcg(100),
    ]
}

fn is_relevant(judgment: Option<i64>) -> bool {
    judgment.is_some_and(|r| r > 0)
}

/// Sum of the precisions at the relevant documents.
fn precisions(found: &[Option<i64>]) -> f64 {
    let at = (1..).zip(found).filter(|(_, r)| is_relevant(**r)).map(|(rank, _)| f64::from(rank));
    (1..).zip(at).map(|(n, rank): (i32, f64)| f64::from(n) / rank).sum()
}

/// Sum over retrieved relevant documents of the share of judged others that stand below them (bpref, Buckley and Voorhees 2004).
fn preferences(found: &[Option<i64>], judged: &BTreeMap<String, i64>) -> f64 {
    let relevant = judged.values().filter(|r| **r > 0).count();
    let others = judged.len() - relevant;
    let (mut above, mut sum) = (0_usize, 0.0);
    for judgment in found.iter().flatten() {
        if *judgment > 0 {
            let passed = above.min(relevant) as f64 / relevant.min(others).max(1) as f64;
            sum += 1.0 - if above > 0 { passed } else { 0.0 };
        } else {
            above += 1;
        }
    }
    sum
}

/// Discounted cumulated gain with relevance itself as gain, `Σ rel / log2(rank + 1)`.
fn gain(relevances: impl Iterator<Item = i64>) -> f64 {
    (1..).zip(relevances).map(|(rank, r): (i32, i64)| r as f64 / f64::from(rank + 1).log2()).sum()
}
