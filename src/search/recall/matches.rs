//! Where the terms of a query stand in given documents: what BM25, coverage and the explanation are all reckoned from.

use anyhow::Result;
use tantivy::query::Bm25Weight;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, Searcher, TERMINATED, Term, postings::Postings};

use crate::search::index::Fields;

/// A term, and how rare it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TermStats {
    pub term: String,
    /// Documents that have it, for each text field.
    pub docs: [u64; 4],
    /// `ln(1 + (N − n + ½) / (n + ½))`, n for the field where it is most frequent.
    pub rarity: f64,
}

/// A term in a field of a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Match {
    /// Place in the list of documents that was asked for.
    pub doc: usize,
    /// Place in the list of terms.
    pub term: usize,
    /// Place in the list of text fields.
    pub field: usize,
    /// How often it stands there.
    pub frequency: u32,
    /// Terms in the field, to the precision that the index keeps.
    pub length: u32,
    /// Tantivy's own BM25 of this term in this field.
    pub bm25: f64,
}

/// Looks the terms up.
pub(crate) fn term_stats(searcher: &Searcher, fields: &Fields, terms: &[String]) -> Result<Vec<TermStats>> {
    let all = searcher.num_docs() as f64;
    let stats = terms.iter().map(|term| {
        let mut docs = [0; 4];
        for (count, field) in docs.iter_mut().zip(fields.texts) {
            *count = searcher.doc_freq(&Term::from_field_text(field, term))?;
        }
        let most = docs.iter().max().map_or(0.0, |n| *n as f64);
        let rarity = (1.0 + (all - most + 0.5) / (most + 0.5)).ln();
        Ok(TermStats { term: term.clone(), docs, rarity })
    });
    stats.collect()
}

/// Every place where one of the terms stands in one of the documents, which must be sorted by address.
pub(crate) fn matches(
    searcher: &Searcher,
    fields: &Fields,
    terms: &[TermStats],
    docs: &[(u32, DocAddress)],
) -> Result<Vec<Match>> {
    let mut found = Vec::new();
    for (t, stats) in terms.iter().enumerate() {
        for (f, field) in fields.texts.into_iter().enumerate().filter(|(f, _)| stats.docs[*f] > 0) {
            let term = Term::from_field_text(field, &stats.term);
            let weight = Bm25Weight::for_terms(searcher, std::slice::from_ref(&term))?;
            let mut start = 0;
            for in_segment in docs.chunk_by(|a, b| a.1.segment_ord == b.1.segment_ord) {
                let segment = searcher.segment_reader(in_segment[0].1.segment_ord);
                let postings = segment.inverted_index(field)?.read_postings(&term, IndexRecordOption::WithFreqs)?;
                if let Some(mut postings) = postings {
                    let lengths = segment.get_fieldnorms_reader(field)?;
                    for (place, (_, address)) in in_segment.iter().enumerate() {
                        let at = postings.doc();
                        let at = if at < address.doc_id { postings.seek(address.doc_id) } else { at };
                        if at == TERMINATED {
                            break;
                        }
                        if at == address.doc_id {
                            let frequency = postings.term_freq();
                            let bm25 = f64::from(weight.score(lengths.fieldnorm_id(at), frequency));
                            let (doc, length) = (start + place, lengths.fieldnorm(at));
                            found.push(Match { doc, term: t, field: f, frequency, length, bm25 });
                        }
                    }
                }
                start += in_segment.len();
            }
        }
    }
    Ok(found)
}
