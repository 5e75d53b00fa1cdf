//! A ranking written out: every number a score is made of, and how they are put together, so that it can be redone by hand.

mod text;

use std::collections::HashMap;

use anyhow::Result;
use serde::Serialize;

use super::index::{RECALLED, TEXTS};
use super::rank::{self, Weights, relevance};
use super::recall::Recalled;
use super::{Engine, Hit};
use crate::recipe::SearchPath;

/// Tantivy's constants of BM25.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A whole ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The query.
    pub query: String,
    /// The rewrite, when it was used: it has a weight, and says what the query does not.
    pub rewrite: Option<String>,
    /// Terms of the query.
    pub terms: Vec<TermNote>,
    /// Terms of the rewrite.
    pub rewrite_terms: Vec<TermNote>,
    /// The model that tells relevance at finerank; none for the plain scorer.
    pub relevance_by: Option<String>,
    /// What recall found.
    pub recall: RecallNote,
    /// Weights of the two ranking stages.
    pub weights: WeightNote,
    /// The page, best first.
    pub hits: Vec<HitNote>,
}

/// A term of the index, and how rare it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TermNote {
    /// As it stands in the index.
    pub term: String,
    /// Documents that have it in title, tags, creator, visual codes.
    pub docs: [u64; 4],
    /// `ln(1 + (N − n + ½) / (n + ½))` with n the largest of `docs`.
    pub rarity: f64,
}

/// Sizes of recall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecallNote {
    /// N: documents of the index.
    pub docs: usize,
    /// Found by BM25.
    pub by_text: usize,
    /// Found by vectors.
    pub by_vector: usize,
    /// Found by the rewrite alone.
    pub by_rewrite: usize,
    /// That rawrank passed on.
    pub kept: usize,
}

/// Weights in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightNote {
    /// Of rawrank's features.
    pub rawrank: Weights,
    /// The log that these were fitted on.
    pub fitted_on: Option<String>,
    /// Of the rewrite's relevance at rawrank.
    pub rewrite_rawrank: f64,
    /// Exponents at finerank.
    pub relevance: f64,
    /// Of popularity.
    pub popularity: f64,
    /// Of satisfaction.
    pub satisfaction: f64,
    /// Of `1 + r`.
    pub rewrite_finerank: f64,
}

/// A document on the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HitNote {
    /// Document, score and signals.
    #[serde(flatten)]
    pub hit: Hit,
    /// Where terms of the query stand in it.
    pub matches: Vec<MatchNote>,
    /// Share of the query's terms that it has.
    pub coverage: f64,
    /// Where terms of the rewrite stand in it.
    pub rewrite_matches: Vec<MatchNote>,
    /// Share of the rewrite's terms that it has.
    pub rewrite_coverage: f64,
    /// Cosine between the vectors of rewrite and document.
    pub rewrite_cosine: f64,
    /// Rawrank's features, in the order of the weights.
    pub features: [f64; 5],
    /// Relevance to the rewrite as rawrank knew it.
    pub rewrite_at_rawrank: f64,
    /// Finerank's factors: relevance, popularity, satisfaction, rewrite; their product is the score.
    pub factors: [f64; 4],
}

/// A term in a field: `bm25 = idf · (k1 + 1) · tf / (tf + k1 · (1 − b + b · length / average))`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatchNote {
    /// The term.
    pub term: String,
    /// The field.
    pub field: &'static str,
    /// `ln(1 + (N − n + ½) / (n + ½))` with n the documents that have the term in this field.
    pub idf: f64,
    /// How often it stands there.
    pub frequency: u32,
    /// Terms of the field in this document.
    pub length: u32,
    /// Terms of the field in the mean document.
    pub average_length: f64,
    /// What it adds to BM25; nothing for visual codes.
    pub bm25: f64,
    /// What the term is worth to coverage when this is its best field.
    pub worth: f64,
}

impl Engine {
    /// The same page as [`Engine::search`], with everything its scores are made of.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn explain(&self, query: &str, rewrite: Option<&str>, settings: &SearchPath) -> Result<Explanation> {
        let searcher = self.opened.reader.searcher();
        let used = Self::used(query, rewrite, settings);
        let asked = self.asked(query)?;
        let other = used.map(|text| self.asked(text)).transpose()?;
        let lists = self.recalled(&searcher, &asked, other.as_ref(), settings)?;
        let numbers = Recalled::union(&lists);
        let weighed = other.as_ref().map(|other| (other, settings.forgiven(other.terms.len())));
        let candidates = self.signals(&searcher, &asked, weighed, &numbers)?;
        let ranking = &self.opened.ranking;
        let kept = rank::rawrank(candidates, &ranking.weights, settings);
        let recall = RecallNote {
            docs: self.len(),
            by_text: lists[0].by_text.len(),
            by_vector: lists[0].by_vector.len(),
            by_rewrite: numbers.len() - Recalled::union(&lists[..1]).len(),
            kept: kept.len(),
        };
        // Of what rawrank looked at, which a model's relevance takes the place of behind it.
        let early: HashMap<u32, ([f64; 5], f64)> =
            kept.iter().map(|c| (c.number, (rank::features(&c.signals), c.signals.rewrite))).collect();
        let forgiven = weighed.as_ref().map_or(1.0, |(_, weight)| *weight);
        let page = rank::finerank(self.judged(kept, query, used.map(|text| (text, forgiven)))?, settings);
        let shown: Vec<u32> = page.iter().map(|c| c.number).collect();
        let own = self.notes(&searcher, &asked, &shown)?;
        let others = other.as_ref().map(|asked| self.notes(&searcher, asked, &shown)).transpose()?;
        let hits = page.iter().enumerate().map(|(place, c)| {
            let other = others.as_ref().map(|notes| &notes.1[place]);
            Ok(HitNote {
                hit: self.hit(&searcher, c)?,
                matches: own.1[place].matches.clone(),
                coverage: own.1[place].measured.coverage,
                rewrite_matches: other.map(|n| n.matches.clone()).unwrap_or_default(),
                rewrite_coverage: other.map_or(0.0, |n| n.measured.coverage),
                rewrite_cosine: other.map_or(0.0, |n| n.measured.cosine),
                features: early[&c.number].0,
                rewrite_at_rawrank: early[&c.number].1,
                factors: rank::fine_factors(&c.signals, settings),
            })
        });
        let hits = hits.collect::<Result<_>>()?;
        let rewrite_weights = settings.rewrite_weights();
        Ok(Explanation {
            query: query.to_owned(),
            rewrite: used.map(str::to_owned),
            terms: own.0,
            rewrite_terms: others.map(|notes| notes.0).unwrap_or_default(),
            relevance_by: self.learned().map(|model| model.name().to_owned()),
            recall,
            weights: WeightNote {
                rawrank: ranking.weights,
                fitted_on: ranking.fitted_on.clone(),
                rewrite_rawrank: rewrite_weights.rawrank,
                relevance: settings.relevance_weight,
                popularity: settings.popularity_weight,
                satisfaction: settings.satisfaction_weight,
                rewrite_finerank: rewrite_weights.finerank,
            },
            hits,
        })
    }

    /// The terms of a text, and how each of some documents lies to them.
    fn notes(
        &self,
        searcher: &tantivy::Searcher,
        asked: &super::recall::Asked,
        numbers: &[u32],
    ) -> Result<(Vec<TermNote>, Vec<DocNote>)> {
        let measures = self.measure(searcher, asked, numbers)?;
        let averages = self.average_lengths(searcher)?;
        let all = searcher.num_docs() as f64;
        let mut notes: Vec<DocNote> =
            measures.measured.iter().map(|m| DocNote { measured: *m, matches: Vec::new() }).collect();
        for m in &measures.matches {
            let stats = &measures.terms[m.term];
            let n = stats.docs[m.field] as f64;
            notes[m.doc].matches.push(MatchNote {
                term: stats.term.clone(),
                field: TEXTS[m.field],
                idf: (1.0 + (all - n + 0.5) / (n + 0.5)).ln(),
                frequency: m.frequency,
                length: m.length,
                average_length: averages[m.field],
                bm25: if m.field < RECALLED { m.bm25 } else { 0.0 },
                worth: relevance::WORTH[m.field],
            });
        }
        let terms = measures.terms.into_iter();
        let terms = terms.map(|t| TermNote { term: t.term, docs: t.docs, rarity: t.rarity }).collect();
        Ok((terms, notes))
    }

    fn average_lengths(&self, searcher: &tantivy::Searcher) -> Result<[f64; 4]> {
        let mut averages = [0.0; 4];
        for (average, field) in averages.iter_mut().zip(self.opened.fields.texts) {
            for segment in searcher.segment_readers() {
                *average += segment.inverted_index(field)?.total_num_tokens() as f64;
            }
            *average /= (searcher.num_docs() as f64).max(1.0);
        }
        Ok(averages)
    }
}

/// How one document lies to one text.
struct DocNote {
    measured: relevance::Measured,
    matches: Vec<MatchNote>,
}
