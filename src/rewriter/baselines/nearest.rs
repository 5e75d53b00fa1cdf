//! The nearest valid query by embedding: what satisfied others, as near as can be to what was typed and just watched.
//!
//! A query is valid when enough people of the training split were satisfied by it. Near is `cos(q, v) + w · cos(d, v)`, with
//! the query q, the last watched title d (CoRe's `d_last`) and the vectors of the search path's own encoder; the order is
//! that of one vector `q + w · d` mixed from both. A valid query takes part itself: where nothing is nearer, it is left alone.

use std::collections::BTreeMap;

use anyhow::Result;

use super::normal;
use crate::logs::{Context, Session};
use crate::recipe::{Baselines, Mine};
use crate::rewriter::Outcome;
use crate::search::Engine;

/// Queries by how many people they satisfied.
#[derive(Debug, Default)]
pub struct ValidQueries {
    /// People satisfied, and the last of them: sessions come person by person.
    people: BTreeMap<String, (usize, String)>,
}

impl ValidQueries {
    /// Counts a session. All sessions of a person must come one after the other, as the store gives them.
    pub fn add(&mut self, session: &Session, mine: &Mine) {
        for search in &session.searches {
            let satisfied = search.longest_dwell_s().is_some_and(|s| f64::from(s) >= mine.success_dwell_s);
            let text = normal(&search.query);
            if satisfied && !text.is_empty() {
                let (people, last) = self.people.entry(text).or_default();
                if *people == 0 || *last != session.user {
                    *people += 1;
                    last.clone_from(&session.user);
                }
            }
        }
    }

    /// Those that satisfied at least so many people, in the order of the alphabet.
    fn of(self, min_people: usize) -> Vec<String> {
        self.people.into_iter().filter(|(_, (people, _))| *people >= min_people).map(|(text, _)| text).collect()
    }
}

/// Valid queries and their vectors.
pub struct Nearest {
    engine: Engine,
    queries: Vec<String>,
    /// One row a query, each of length 1.
    vectors: Vec<Vec<f32>>,
    context_weight: f32,
    min_cosine: f32,
}

impl Nearest {
    /// Embeds the valid queries with the encoder of an engine.
    ///
    /// # Errors
    /// An encoder that fails.
    pub fn fit(engine: Engine, seen: ValidQueries, settings: &Baselines) -> Result<Self> {
        let queries = seen.of(settings.min_people);
        let vectors = engine.embed(&queries)?;
        let (context_weight, min_cosine) = (settings.context_weight as f32, settings.min_cosine as f32);
        Ok(Self { engine, queries, vectors, context_weight, min_cosine })
    }

    /// The nearest valid query that is like enough to the person's own.
    ///
    /// # Errors
    /// An encoder that fails.
    pub fn rewrite(&self, context: &Context, query: &str) -> Result<Outcome> {
        let watched = context.watched.first().map(|seen| seen.title.clone()).unwrap_or_default();
        let [own, around] = &self.engine.embed(&[query.to_owned(), watched])?[..] else {
            return Ok(Outcome::rejected());
        };
        let near = self.vectors.iter().enumerate().filter_map(|(place, vector)| {
            let like = dot(own, vector);
            (like >= self.min_cosine).then(|| (like + self.context_weight * dot(around, vector), place))
        });
        // Of equally near ones the first in the alphabet: keep the first maximum.
        let best = near.reduce(|best, next| if next.0 > best.0 { next } else { best });
        Ok(best.map_or_else(Outcome::rejected, |(_, place)| Outcome::of(query, self.queries[place].clone())))
    }
}

/// Eight sums side by side, which a processor adds at once; the order of the sums is fixed.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += x * y;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Click, Search, Seen};

    fn session(user: &str, query: &str, dwell_s: f32) -> Session {
        let clicks = vec![Click { dwell_s: Some(dwell_s), ..Click::default() }];
        let searches = vec![Search { query: query.into(), clicks, ..Search::default() }];
        Session { user: user.into(), searches, ..Session::default() }
    }

    #[test]
    fn the_context_decides_between_valid_queries_and_invalid_ones_are_mended() {
        let mut seen = ValidQueries::default();
        for person in ["a", "b", "c"] {
            for query in ["jaguar car", "jaguar cat", "mercury planet"] {
                seen.add(&session(person, query, 60.0), &Mine::default());
            }
            seen.add(&session(person, "jaguar", 1.0), &Mine::default());
        }
        (0..5).for_each(|_| seen.add(&session("z", "jaguar car of one person", 60.0), &Mine::default()));
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::build(dir.path(), &[], &crate::recipe::SearchPath::default(), |_| ()).unwrap();
        let rule = Nearest::fit(engine, seen, &Baselines::default()).unwrap();
        let context = |t: &str| Context { watched: vec![Seen { title: t.into(), tags: vec![] }], ..Context::default() };
        let rewrite = |watched: &str, query: &str| rule.rewrite(&context(watched), query).unwrap().rewrite;
        assert_eq!(rewrite("fast car review", "jaguar").as_deref(), Some("jaguar car"));
        assert_eq!(rewrite("funny cat", "jaguar").as_deref(), Some("jaguar cat"));
        assert_eq!(rewrite("", "mercruy planet").as_deref(), Some("mercury planet"));
        assert_eq!(rewrite("funny cat", "mercury planet"), None, "valid, and nothing is nearer");
        assert_eq!(rewrite("funny cat", "spaghetti"), None, "like nothing that is valid");
    }
}
