//! What the top of a page is about: the relevance model of pseudo-relevance feedback (RM1, Lavrenko and Croft 2001).

use std::collections::HashMap;

use anyhow::Result;
use tantivy::tokenizer::TokenStream;

use super::Engine;
use super::index::TEXTS;
use super::recall::term_stats;
use crate::recipe::SearchPath;

/// A term that more of the titles have says nothing of any of them; the bound that Anserini's RM3 uses.
const COMMON: f64 = 0.1;
/// Longest term taken, in characters, and shortest; the bounds that Anserini's RM3 uses. A Chinese character is a word.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=20;

/// A term of titles as it is first written there, and its weight.
struct Weighed {
    surface: String,
    weight: f64,
    /// Where it came first: what settles ties.
    place: usize,
}

impl Engine {
    /// The `most` best terms of the titles of a query's first `docs` results, and their probability in the relevance model
    /// `P(w | R) ∝ Σ_d P(w | d) · score(d)`, best first. Left out are the query's own terms and those that a tenth of all
    /// titles have. None when the query finds nothing.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn feedback_terms(
        &self,
        query: &str,
        settings: &SearchPath,
        docs: usize,
        most: usize,
    ) -> Result<Vec<(String, f64)>> {
        let settings = SearchPath { page: docs, rawrank: settings.rawrank.max(docs), ..settings.clone() };
        let page = self.search(query, None, &settings)?;
        let total: f64 = page.iter().map(|hit| hit.score).sum();
        if total <= 0.0 || !total.is_finite() {
            return Ok(Vec::new());
        }
        let mut found: HashMap<String, Weighed> = HashMap::new();
        for hit in &page {
            let terms = self.surfaces(&hit.title);
            let share = hit.score / total / terms.len().max(1) as f64;
            for (term, surface) in terms {
                let place = found.len();
                found.entry(term).or_insert(Weighed { surface, weight: 0.0, place }).weight += share;
            }
        }
        for (term, _) in self.surfaces(query) {
            found.remove(&term);
        }
        self.drop_common(&mut found)?;
        let mut best: Vec<_> = found.into_values().collect();
        best.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.place.cmp(&b.place)));
        best.truncate(most);
        Ok(best.into_iter().map(|w| (w.surface, w.weight)).collect())
    }

    fn drop_common(&self, found: &mut HashMap<String, Weighed>) -> Result<()> {
        let searcher = self.opened.reader.searcher();
        let terms: Vec<String> = found.keys().cloned().collect();
        let title = TEXTS.iter().position(|name| *name == "title").unwrap_or(0);
        for stats in term_stats(&searcher, &self.opened.fields, &terms)? {
            let length = stats.term.chars().count();
            let fits = LENGTHS.contains(&length) || stats.term.chars().all(crate::logs::is_han);
            if !fits || stats.docs[title] as f64 > COMMON * self.len() as f64 {
                found.remove(&stats.term);
            }
        }
        Ok(())
    }

    /// The terms of a text in their order, each with the letters that it is written with there, in lower case.
    fn surfaces(&self, text: &str) -> Vec<(String, String)> {
        let text = super::normal::normal(text);
        let mut analyzer = self.analyzer.clone();
        let mut stream = analyzer.token_stream(&text);
        let mut terms = Vec::new();
        while stream.advance() {
            let token = stream.token();
            terms.push((token.text.clone(), text[token.offset_from..token.offset_to].to_lowercase()));
        }
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;

    #[test]
    fn terms_of_good_titles_weigh_more_and_common_ones_and_the_query_s_own_are_left_out() {
        let doc = |i: usize, title: String| Doc { id: format!("v{i}"), title, ..Doc::default() };
        let mut docs = vec![
            doc(0, "jaguar jaguar Engines x".into()),
            doc(1, "jaguar engine on the road".into()),
            doc(2, "光良演唱会 jaguar".into()),
        ];
        docs.extend((3..40).map(|i| doc(i, format!("on the number{i}"))));
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::build(dir.path(), &docs, &SearchPath::default(), |_| ()).unwrap();
        let of = |query: &str, most| engine.feedback_terms(query, &SearchPath::default(), 10, most).unwrap();
        let terms: Vec<_> = of("Jaguars", 99).into_iter().map(|(term, _)| term).collect();
        assert_eq!(terms[0], "engines", "{terms:?}");
        assert!(terms.contains(&"road".to_owned()) && terms.contains(&"演唱会".to_owned()), "{terms:?}");
        assert!(["jaguar", "the", "on", "x"].iter().all(|t| !terms.contains(&(*t).to_owned())), "{terms:?}");
        let weights: Vec<f64> = of("jaguar", 99).into_iter().map(|(_, weight)| weight).collect();
        assert!(weights.is_sorted_by(|a, b| a >= b) && weights.iter().sum::<f64>() <= 1.0, "{weights:?}");
        assert_eq!(of("jaguar", 1).len(), 1);
        assert_eq!(of("zebra", 9), []);
        assert_eq!(of("?! \u{0}", 9), []);
    }
}
