//! What a relevance model must beat: scores of words and of vectors, with thresholds fitted on the training annotations.

use std::collections::HashMap;

use anyhow::Result;
use tantivy::tokenizer::{TextAnalyzer, TokenStream};

use crate::journal::stop;
use crate::logs::Doc;
use crate::recipe::SearchPath;
use crate::search::{Encoder, Engine};

/// Constants of BM25, Tantivy's.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// BM25 over title and tags, as the search path cuts them into terms.
pub(super) struct Bm25 {
    analyzer: TextAnalyzer,
    /// Documents that have a term.
    having: HashMap<String, f64>,
    docs: f64,
    mean_length: f64,
}

impl Bm25 {
    pub fn new(docs: &[Doc]) -> Self {
        let mut bm25 = Self { analyzer: Engine::analyzer(), having: HashMap::new(), docs: 0.0, mean_length: 0.0 };
        let mut length = 0;
        for doc in docs {
            let terms = bm25.terms(&readable(doc));
            length += terms.len();
            let mut unlike: Vec<&String> = terms.iter().collect();
            unlike.sort();
            unlike.dedup();
            unlike.into_iter().for_each(|term| *bm25.having.entry(term.clone()).or_default() += 1.0);
        }
        bm25.docs = docs.len() as f64;
        bm25.mean_length = length as f64 / bm25.docs.max(1.0);
        bm25
    }

    pub fn score(&mut self, query: &str, doc: &Doc) -> f64 {
        let (asked, terms) = (self.terms(query), self.terms(&readable(doc)));
        let damp = K1 * (1.0 - B + B * terms.len() as f64 / self.mean_length.max(f64::MIN_POSITIVE));
        let of_term = |term: &String| {
            let having = self.having.get(term).copied().unwrap_or(0.0);
            let rarity = (1.0 + (self.docs - having + 0.5) / (having + 0.5)).ln();
            let frequency = terms.iter().filter(|t| *t == term).count() as f64;
            rarity * (K1 + 1.0) * frequency / (frequency + damp)
        };
        asked.iter().map(of_term).sum()
    }

    fn terms(&mut self, text: &str) -> Vec<String> {
        let mut stream = self.analyzer.token_stream(text);
        let mut terms = Vec::new();
        while stream.advance() {
            terms.push(stream.token().text.clone());
        }
        terms
    }
}

/// Cosine of each pair's vectors, by the recipe's encoder.
pub(super) fn cosines(settings: &SearchPath, pairs: &[(&str, &Doc)]) -> Result<Vec<f64>> {
    let encoder = Encoder::open(settings)?;
    let (mut queries, mut places, mut texts) = (HashMap::new(), HashMap::new(), Vec::new());
    for (query, doc) in pairs {
        if !queries.contains_key(query) {
            queries.insert(*query, encoder.query(query)?);
        }
        places.entry(doc.id.as_str()).or_insert_with(|| {
            texts.push(readable(doc));
            texts.len() - 1
        });
    }
    let vectors =
        encoder.passages(&texts, &|_| stop::check("a benchmark is not resumable; run the same command again"))?;
    let cosine = |(query, doc): &(&str, &Doc)| {
        let (a, b) = (&queries[query], &vectors[places[doc.id.as_str()]]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let lengths = (dot(a, a) * dot(b, b)).sqrt();
        if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
    };
    Ok(pairs.iter().map(cosine).collect())
}

/// What people read on the page.
fn readable(doc: &Doc) -> String {
    std::iter::once(&doc.title).chain(&doc.tags).map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_count_for_more_and_like_spellings_lie_near() {
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), ..Doc::default() };
        let docs = [doc("a", "jaguar car"), doc("b", "jaguar cat"), doc("c", "jaguar team")];
        let mut bm25 = Bm25::new(&docs);
        let scores: Vec<f64> = docs.iter().map(|doc| bm25.score("jaguar cars", doc)).collect();
        // By hand: all three have `jaguar`, one has `car`; every length is the mean one.
        let (common, rare) = ((1.0_f64 + 0.5 / 3.5).ln(), (1.0_f64 + 2.5 / 1.5).ln());
        assert!((scores[0] - (common + rare)).abs() < 1e-12 && (scores[1] - common).abs() < 1e-12, "{scores:?}");
        let pairs = [("jagaur car", &docs[0]), ("jagaur car", &docs[2]), ("?", &docs[0])];
        let cosines = cosines(&SearchPath::default(), &pairs).unwrap();
        assert!(cosines[0] > cosines[1] && cosines[2] == 0.0, "{cosines:?}");
    }
}
