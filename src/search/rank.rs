//! Scores: the plain path, and the fusion of a rewrite's results with it.

use crate::recipe::SearchPath;

use super::Signals;

/// What an answer that only the rewrite found is worth beside an equal answer of the person's own query.
///
/// A half: with `rewrite_weight = 1` the rewrite's best find then stands level with the best result that the rewrite
/// says nothing of, and below every good result that both agree on.
const FOUND_BY_REWRITE_ONLY: f64 = 0.5;

/// A document that one of the queries recalled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Number in the index; grows with the document's id.
    pub doc: u32,
    /// BM25 of the person's query.
    pub bm25: f64,
    /// BM25 of the rewrite; 0 when it did not recall the document.
    pub rewrite_bm25: f64,
    /// In (0, 1].
    pub popularity: f64,
}

/// Orders candidates and keeps a page: score first, then id.
///
/// Plain: `bm25 · popularity^p`. With a rewrite: `max(bm25, ½ · best · r) · popularity^p · (1 + r)^w`, where `r` is the
/// rewrite's BM25 relative to its best and `best` is the best BM25 of the person's query (1 when it found nothing).
/// The middle term lets a mended typo or a title word bring in what the query itself cannot match.
pub(super) fn page(candidates: Vec<Candidate>, settings: &SearchPath) -> Vec<(Candidate, f64, Signals)> {
    let best_of = |f: fn(&Candidate) -> f64| candidates.iter().map(f).fold(0.0, f64::max);
    let (best, best_rewrite) = (best_of(|c| c.bm25), best_of(|c| c.rewrite_bm25));
    let best = if best > 0.0 { best } else { 1.0 };
    let mut scored: Vec<_> = candidates
        .into_iter()
        .map(|c| {
            let prior = c.popularity.powf(settings.popularity_weight);
            let rewrite = if best_rewrite > 0.0 { c.rewrite_bm25 / best_rewrite } else { 0.0 };
            let score = if rewrite > 0.0 {
                let relevance = c.bm25.max(FOUND_BY_REWRITE_ONLY * best * rewrite);
                relevance * prior * (1.0 + rewrite).powf(settings.rewrite_weight)
            } else {
                c.bm25 * prior
            };
            (c, score, Signals { bm25: c.bm25, popularity: c.popularity, rewrite })
        })
        .collect();
    scored.sort_by(|(a, score_a, _), (b, score_b, _)| score_b.total_cmp(score_a).then(a.doc.cmp(&b.doc)));
    scored.truncate(settings.page);
    scored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(doc: u32, bm25: f64, rewrite_bm25: f64) -> Candidate {
        Candidate { doc, bm25, rewrite_bm25, popularity: 1.0 }
    }

    fn order(candidates: Vec<Candidate>, settings: &SearchPath) -> Vec<u32> {
        page(candidates, settings).iter().map(|(c, ..)| c.doc).collect()
    }

    #[test]
    fn ties_go_to_the_smaller_id_and_popularity_breaks_equal_text() {
        let same = vec![candidate(3, 2.0, 0.0), candidate(1, 2.0, 0.0), candidate(2, 2.0, 0.0)];
        assert_eq!(order(same.clone(), &SearchPath::default()), [1, 2, 3]);
        let mut popular = same;
        popular[1].popularity = 0.5;
        assert_eq!(order(popular, &SearchPath::default()), [2, 3, 1]);
    }

    #[test]
    fn a_result_both_queries_like_beats_one_that_either_likes_alone() {
        let all = vec![candidate(1, 4.0, 0.0), candidate(2, 3.9, 8.0), candidate(3, 0.0, 8.0)];
        assert_eq!(order(all, &SearchPath::default()), [2, 1, 3]);
    }

    #[test]
    fn a_rewrite_answers_where_the_query_finds_nothing() {
        let all = vec![candidate(1, 0.0, 3.0), candidate(2, 0.0, 6.0)];
        assert_eq!(order(all, &SearchPath::default()), [2, 1]);
    }
}
