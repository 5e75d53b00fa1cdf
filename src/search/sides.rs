//! A search in two sides that may be looked for at the same time: what the query finds, and what its rewrite finds.
//!
//! A side is all that one text costs: its recall, and how the recalled documents lie to it. For the page of both only little is
//! left to do, namely how each side's text lies to what the other alone recalled. Nothing of the rewrite's side is needed for
//! the plain page.

use std::collections::HashMap;

use anyhow::Result;
use tantivy::Searcher;

use super::engine::Engine;
use super::rank::relevance::Measured;
use super::rank::{self, Candidate};
use super::recall::{Asked, Recalled};
use super::{Hit, Signals};
use crate::recipe::SearchPath;

/// What one text finds.
pub struct Side {
    /// One state of the index, from recall to the page.
    searcher: Searcher,
    /// As it was typed.
    text: String,
    asked: Asked,
    /// The documents, by number, in recall's order.
    numbers: Vec<u32>,
    measured: Vec<Measured>,
    /// What relevance to it counts for, as [`SearchPath::forgiven`] says.
    weight: f64,
}

impl Side {
    /// The text, and what relevance to it counts for.
    pub(super) fn weighed(&self) -> (&str, f64) {
        (&self.text, self.weight)
    }

    /// How documents, some of them this side's own, lie to its text; in their order.
    fn over(&self, engine: &Engine, numbers: &[u32]) -> Result<Vec<Measured>> {
        let mut known: HashMap<u32, Measured> =
            self.numbers.iter().copied().zip(self.measured.iter().copied()).collect();
        let others: Vec<u32> = numbers.iter().copied().filter(|number| !known.contains_key(number)).collect();
        let measured = engine.measure(&self.searcher, &self.asked, &others)?.measured;
        known.extend(others.into_iter().zip(measured));
        Ok(numbers.iter().map(|number| known[number]).collect())
    }
}

/// A relevance by a scorer that forgives; by a sound one it is left as it is, to the last bit.
pub(super) fn weighed(relevance: f64, weight: f64) -> f64 {
    if weight > 1.0 { (weight * relevance).min(1.0) } else { relevance }
}

impl Engine {
    /// What a query finds.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn query_side(&self, query: &str, settings: &SearchPath) -> Result<Side> {
        self.side(query, settings, 1.0)
    }

    /// What a rewrite of a query finds; nothing where it has no weight, or says nothing that the query does not.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn rewrite_side(&self, query: &str, rewrite: &str, settings: &SearchPath) -> Result<Option<Side>> {
        let Some(rewrite) = Self::used(query, Some(rewrite), settings) else { return Ok(None) };
        self.side(rewrite, settings, settings.rewrite_weights().recall).map(Some)
    }

    fn side(&self, text: &str, settings: &SearchPath, share: f64) -> Result<Side> {
        let (searcher, asked) = (self.opened.reader.searcher(), self.asked(text)?);
        let lists = if share > 0.0 {
            Recalled::of(&self.opened, &searcher, &asked, settings, share)?
        } else {
            Recalled::default()
        };
        let numbers = Recalled::union(&[lists]);
        let measured = self.measure(&searcher, &asked, &numbers)?.measured;
        let weight = settings.forgiven(asked.terms.len());
        Ok(Side { searcher, text: text.to_owned(), asked, numbers, measured, weight })
    }

    /// The first page, best first: of the query alone, or with its rewrite fused in (see [`super`]).
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn page(&self, query: &Side, rewrite: Option<&Side>, settings: &SearchPath) -> Result<Vec<Hit>> {
        self.page_of(query, rewrite, self.candidates(query, rewrite)?, settings)
    }

    /// The sides of a query and of its rewrite, and what they find together.
    pub(super) fn both_sides(
        &self,
        query: &str,
        rewrite: Option<&str>,
        settings: &SearchPath,
    ) -> Result<(Side, Option<Side>, Vec<Candidate>)> {
        let own = self.query_side(query, settings)?;
        let other = rewrite.map(|rewrite| self.rewrite_side(query, rewrite, settings)).transpose()?.flatten();
        let candidates = self.candidates(&own, other.as_ref())?;
        Ok((own, other, candidates))
    }

    /// The first page of candidates that the query's side and its rewrite's found.
    pub(super) fn page_of(
        &self,
        query: &Side,
        rewrite: Option<&Side>,
        candidates: Vec<Candidate>,
        settings: &SearchPath,
    ) -> Result<Vec<Hit>> {
        let kept = rank::rawrank(candidates, &self.opened.ranking.weights, settings);
        let page = rank::finerank(self.judged(kept, &query.text, rewrite.map(Side::weighed))?, settings);
        page.into_iter().map(|c| self.hit(&query.searcher, &c)).collect()
    }

    /// What recall gives to rawrank: every signal of every document, in recall's order.
    pub(super) fn candidates(&self, query: &Side, rewrite: Option<&Side>) -> Result<Vec<Candidate>> {
        let Some(rewrite) = rewrite else { return Ok(self.with_signals(&query.numbers, &query.measured, None)) };
        let mut numbers = query.numbers.clone();
        let known: std::collections::HashSet<u32> = numbers.iter().copied().collect();
        numbers.extend(rewrite.numbers.iter().filter(|number| !known.contains(number)));
        let (own, other) = (query.over(self, &numbers)?, rewrite.over(self, &numbers)?);
        Ok(self.with_signals(&numbers, &own, Some((&other, rewrite.weight))))
    }

    /// Signals of documents, from how they lie to the query and to its rewrite, whose relevance has a weight.
    pub(super) fn with_signals(
        &self,
        numbers: &[u32],
        own: &[Measured],
        other: Option<(&[Measured], f64)>,
    ) -> Vec<Candidate> {
        let signals = |(place, &number): (usize, &u32)| {
            let (facts, own) = (self.opened.facts[number as usize], own[place]);
            let signals = Signals {
                bm25: own.bm25,
                cosine: own.cosine,
                visual: own.visual,
                relevance: own.relevance(),
                popularity: facts.popularity,
                freshness: facts.freshness,
                satisfaction: f64::from(self.opened.satisfaction[number as usize]),
                rewrite: other.map_or(0.0, |(other, weight)| weighed(other[place].relevance(), weight)),
                rawrank: 0.0,
            };
            Candidate { number, signals, score: 0.0 }
        };
        numbers.iter().enumerate().map(signals).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::weighed;
    use crate::recipe::SearchPath;

    #[test]
    fn a_sound_scorer_changes_nothing_and_one_that_forgives_likes_many_words() {
        let (sound, weak) = (SearchPath::default(), SearchPath { rewrite_forgives: true, ..SearchPath::default() });
        assert_eq!([1, 2, 6].map(|terms| sound.forgiven(terms)), [1.0; 3]);
        assert_eq!([1, 2, 6].map(|terms| weak.forgiven(terms)), [1.0, 1.0, 3.0]);
        assert_eq!([weighed(0.3, 1.0), weighed(0.3, 3.0), weighed(0.5, 3.0)], [0.3, 3.0 * 0.3, 1.0]);
    }
}
