//! Pseudo-relevance feedback, RM3 style: the query, and the words of what a first search found on top.
//!
//! The relevance model is Lavrenko and Croft's (*Relevance-based language models*, SIGIR 2001), its mixture with the query
//! Abdul-Jaleel et al.'s (*UMass at TREC 2004*): `λ · P(w | query) + (1 − λ) · P(w | top titles)`. A rewrite is a text and
//! its words have no weights, so the mixture is written as Query2doc does it (Wang, Yang and Wei, EMNLP 2023): the query
//! said again and again before the expansion, until its words make up λ of the text. This search path reads a word once for
//! its terms and as often as it stands there for its vector. Query2doc's own document, written by a language model, is
//! replaced by the titles, and then nothing tells the two methods apart: they are one baseline here.

use anyhow::Result;

use crate::logs::words;
use crate::recipe::{Baselines, SearchPath};
use crate::rewriter::Outcome;
use crate::search::Engine;

/// Query2doc says a query five times at most.
const MOST_TIMES: usize = 5;

/// A first search, and what is taken from it.
pub struct Feedback {
    engine: Engine,
    search: SearchPath,
    settings: Baselines,
}

impl Feedback {
    /// Feedback from the pages of an engine.
    #[must_use]
    pub fn new(engine: Engine, search: SearchPath, settings: Baselines) -> Self {
        Self { engine, search, settings }
    }

    /// The expanded query; none when the first search finds nothing, or nothing new.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn rewrite(&self, query: &str) -> Result<Outcome> {
        let (docs, most, own) = (self.settings.fb_docs, self.settings.fb_terms, self.settings.fb_lambda);
        let terms = self.engine.feedback_terms(query, &self.search, docs, most)?;
        let said = words(query).count();
        if terms.is_empty() || said == 0 || own >= 1.0 {
            return Ok(Outcome::rejected());
        }
        let times = (own / (1.0 - own) * terms.len() as f64 / said as f64).round().clamp(1.0, MOST_TIMES as f64);
        let mut parts = vec![query.trim(); times as usize];
        parts.extend(terms.iter().map(|(term, _)| term.as_str()));
        Ok(Outcome::of(query, parts.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;

    #[test]
    fn words_of_the_top_titles_follow_the_query_said_as_often_as_its_weight_asks() {
        let title = |i: usize, title: &str| Doc { id: format!("v{i}"), title: title.into(), ..Doc::default() };
        let mut docs: Vec<_> = (0..3).map(|i| title(i, "jaguar engine test")).collect();
        docs.extend((3..60).map(|i| title(i, &format!("the dance number{i}"))));
        let dir = tempfile::tempdir().unwrap();
        let engine = || Engine::build(dir.path(), &docs, &SearchPath::default(), |_| ()).unwrap();
        let rule = |fb_lambda| {
            let settings = Baselines { fb_docs: 3, fb_terms: 2, fb_lambda, ..Baselines::default() };
            Feedback::new(engine(), SearchPath::default(), settings)
        };
        let rewrite = |own: f64, query: &str| rule(own).rewrite(query).unwrap().rewrite;
        assert_eq!(rewrite(0.5, "jaguar").as_deref(), Some("jaguar jaguar engine test"));
        assert_eq!(rewrite(0.0, "jaguar").as_deref(), Some("jaguar engine test"));
        assert_eq!(rewrite(1.0, "jaguar"), None);
        assert_eq!(rewrite(0.5, "zebra"), None, "the first search finds nothing");
    }
}
