//! Recall: which documents are worth ranking. BM25 over title, tags and creator; and the nearest vectors.
//!
//! Of a rewrite the same two lists are taken, scaled by its weight at this stage, and put behind those of the query: what the
//! query recalls is never pushed out.

mod matches;

use anyhow::Result;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, Searcher, Term};

use super::index::{Fields, Opened, RECALLED, Vector};
use super::rank::relevance;
use crate::recipe::SearchPath;

pub(super) use matches::{Match, TermStats, matches, term_stats};

/// A text that is searched for, analysed once.
pub(super) struct Asked {
    /// Distinct index terms.
    pub terms: Vec<String>,
    /// Its vector; none for a text without words.
    pub vector: Option<Vector>,
}

/// The documents of one text's lists, by number, best first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Recalled {
    /// By BM25.
    pub by_text: Vec<u32>,
    /// By vectors.
    pub by_vector: Vec<u32>,
}

impl Recalled {
    /// Both lists of a text; `share` scales how long they may be.
    pub(super) fn of(
        opened: &Opened,
        searcher: &Searcher,
        asked: &Asked,
        settings: &SearchPath,
        share: f64,
    ) -> Result<Self> {
        let limit = |n: usize| (n as f64 * share).ceil() as usize;
        let by_text = by_text(opened, searcher, asked, limit(settings.recall.max(settings.page)))?;
        let near = match &asked.vector {
            Some(vector) => opened.vectors.nearest(vector, limit(settings.vector_recall), relevance::NEAR),
            None => Vec::new(),
        };
        Ok(Self { by_text, by_vector: near.into_iter().map(|(number, _)| number).collect() })
    }

    /// Each document once, in the order of the lists.
    pub(super) fn union(lists: &[Self]) -> Vec<u32> {
        let mut seen = std::collections::HashSet::new();
        let all = lists.iter().flat_map(|list| list.by_text.iter().chain(&list.by_vector));
        all.copied().filter(|number| seen.insert(*number)).collect()
    }
}

/// The best documents by BM25 alone: any term in any of the fields counts.
fn by_text(opened: &Opened, searcher: &Searcher, asked: &Asked, limit: usize) -> Result<Vec<u32>> {
    if asked.terms.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let query = any_term(&opened.fields, &asked.terms);
    let found = searcher.search(&query, &TopDocs::with_limit(limit).order_by_score())?;
    Ok(found.into_iter().map(|(_, address)| opened.number(address)).collect())
}

/// Any term in any field that recall reads. Built from terms, so text is never syntax.
fn any_term(fields: &Fields, terms: &[String]) -> BooleanQuery {
    let clauses = terms.iter().flat_map(|term| {
        fields.texts[..RECALLED].iter().map(|field| -> Box<dyn Query> {
            Box::new(TermQuery::new(Term::from_field_text(*field, term), IndexRecordOption::WithFreqs))
        })
    });
    BooleanQuery::union(clauses.collect())
}

/// Documents with their addresses, in the order in which postings are read.
pub(super) fn by_address(opened: &Opened, numbers: &[u32]) -> Vec<(u32, DocAddress)> {
    let mut all: Vec<(u32, DocAddress)> = numbers.iter().map(|n| (*n, opened.addresses[*n as usize])).collect();
    all.sort_by_key(|(_, address)| *address);
    all
}
