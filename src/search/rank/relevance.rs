//! How relevant a document is to a text: a plain scorer that a person can redo by hand. A learned model will stand here.
//!
//! `relevance = ¾ · coverage + ¼ · likeness`, in [0, 1]. Coverage is the share of the text's terms, weighted by rarity, that
//! the document has; a term counts by the best field it stands in. Likeness is the cosine of the vectors, as far as it lies
//! above what unlike texts have: it finds the misspelt.

use crate::search::recall::{Match, TermStats};

/// Worth of a term in title, tags, creator, visual codes.
pub(crate) const WORTH: [f64; 4] = [1.0, 0.9, 0.7, 0.5];
/// Weight of coverage; the rest is likeness.
pub(crate) const COVERAGE: f64 = 0.75;
/// Cosine that unlike texts may have by chance; only what lies above it counts, and is recalled.
pub(crate) const NEAR: f64 = 0.2;

/// What the text of a query and a document have in common.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Measured {
    /// Tantivy's BM25 over title, tags and creator.
    pub bm25: f64,
    /// Cosine of the vectors; 0 without one.
    pub cosine: f64,
    /// Share of the terms, by rarity, that the document has; in [0, 1].
    pub coverage: f64,
    /// Share of the terms, by rarity, that its visual codes have; in [0, 1].
    pub visual: f64,
}

impl Measured {
    /// The document's relevance to the text.
    pub(crate) fn relevance(&self) -> f64 {
        COVERAGE * self.coverage + (1.0 - COVERAGE) * likeness(self.cosine)
    }
}

/// How far a cosine lies above chance, in [0, 1].
pub(crate) fn likeness(cosine: f64) -> f64 {
    ((cosine - NEAR) / (1.0 - NEAR)).max(0.0)
}

/// Sums matches up by document; the cosine is left to the caller.
pub(crate) fn measure(terms: &[TermStats], matches: &[Match], docs: usize, recalled: usize) -> Vec<Measured> {
    let mut measured = vec![Measured::default(); docs];
    let mut best = vec![0.0_f64; docs * terms.len()];
    for m in matches {
        let (doc, best) = (&mut measured[m.doc], &mut best[m.doc * terms.len() + m.term]);
        if m.field < recalled {
            doc.bm25 += m.bm25;
        } else {
            doc.visual += terms[m.term].rarity;
        }
        *best = best.max(WORTH[m.field]);
    }
    let all: f64 = terms.iter().map(|t| t.rarity).sum();
    if all > 0.0 {
        for (doc, best) in measured.iter_mut().zip(best.chunks(terms.len())) {
            doc.coverage = best.iter().zip(terms).map(|(worth, t)| worth * t.rarity).sum::<f64>() / all;
            doc.visual /= all;
        }
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(rarity: f64) -> TermStats {
        TermStats { term: String::new(), docs: [1; 4], rarity }
    }

    fn at(doc: usize, term: usize, field: usize) -> Match {
        Match { doc, term, field, frequency: 1, length: 3, bm25: 1.5 }
    }

    #[test]
    fn rare_terms_and_better_fields_count_for_more() {
        let terms = [term(3.0), term(1.0)];
        let found = [at(0, 0, 0), at(0, 0, 1), at(1, 1, 0), at(2, 0, 3), at(2, 1, 2)];
        let measured = measure(&terms, &found, 4, 3);
        let coverage: Vec<f64> = measured.iter().map(|m| m.coverage).collect();
        assert_eq!(coverage, [0.75, 0.25, (3.0 * 0.5 + 0.7) / 4.0, 0.0]);
        assert_eq!(measured.iter().map(|m| m.bm25).collect::<Vec<_>>(), [3.0, 1.5, 1.5, 0.0]);
        assert_eq!(measured[2].visual, 0.75);
    }

    #[test]
    fn relevance_lies_between_0_and_1() {
        let all = Measured { coverage: 1.0, cosine: 1.0, ..Measured::default() };
        assert!((all.relevance() - 1.0).abs() < 1e-12);
        let nothing = Measured { cosine: -0.4, ..Measured::default() };
        assert_eq!(nothing.relevance(), 0.0);
        assert_eq!(measure(&[], &[], 2, 3), [Measured::default(); 2]);
    }
}
