//! The posterior reward: what a log says of a rewrite as a query of its own (WeWrite §2.4, eq. 4).
//!
//! The paper prints a term that grows with search frequency and one of mean CTR for valid queries, a negative constant for all
//! others, over 180 days; the form of the terms is ours:
//! `a · log(1 + n) / log(1 + n_max) + b · (clicked + m · c) / (n + m)`, with the log's mean share of clicks c.

use std::collections::HashMap;

use anyhow::Result;

use crate::logs::{Session, words};
use crate::recipe::{Mine, Recipe, Reward};
use crate::store::{Store, training_ends_ms};

/// What people did with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Use {
    searches: u32,
    clicked: u32,
    /// People satisfied.
    people: u32,
}

/// The queries of a log, as far as training may see it.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    queries: HashMap<String, Use>,
    most: u32,
    mean_ctr: f64,
}

/// What the log says of one rewrite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// Searches for it in the window.
    pub searches: u32,
    /// Whether it satisfied enough people to be a query worth typing.
    pub valid: bool,
    /// The term of its frequency, in [0, a].
    pub frequency: f64,
    /// The term of its smoothed share of clicks, in [0, b].
    pub ctr: f64,
}

impl Posterior {
    /// The reward.
    #[must_use]
    pub fn value(&self, settings: &Reward) -> f64 {
        if self.valid { self.frequency + self.ctr } else { -settings.invalid }
    }
}

impl Demand {
    /// Counts the training sessions of the recipe's log.
    ///
    /// # Errors
    /// No such log; SQLite's.
    pub fn read(store: &Store, recipe: &Recipe) -> Result<Self> {
        let log = store.log(&recipe.name)?;
        let until_ms = training_ends_ms(recipe, store.time_span(&log)?);
        let since_ms = until_ms - i64::from(recipe.reward.window_days) * 86_400_000;
        let mut count = Count::default();
        store.for_each_training_session(recipe, &log, |session| {
            count.add(&session, since_ms, &recipe.mine);
            Ok(())
        })?;
        Ok(count.done())
    }

    /// How often a text is typed, in [0, 1]: `log(1 + n) / log(1 + n_max)`.
    #[must_use]
    pub fn prominence(&self, text: &str) -> f64 {
        let searches = self.queries.get(&normal(text)).map_or(0, |found| found.searches);
        f64::from(searches).ln_1p() / f64::from(self.most.max(1)).ln_1p()
    }

    /// What it says of a rewrite; letter case and punctuation make no difference.
    #[must_use]
    pub fn of(&self, rewrite: &str, settings: &Reward) -> Posterior {
        let found = self.queries.get(&normal(rewrite)).copied().unwrap_or_default();
        let part = self.prominence(rewrite);
        let (n, prior) = (f64::from(found.searches), settings.prior_searches);
        let smoothed = (f64::from(found.clicked) + prior * self.mean_ctr) / (n + prior).max(f64::MIN_POSITIVE);
        Posterior {
            searches: found.searches,
            valid: found.people as usize >= settings.min_people,
            frequency: settings.frequency * part,
            ctr: settings.ctr * smoothed,
        }
    }
}

/// Counts under way: sessions come person by person.
#[derive(Default)]
struct Count {
    demand: Demand,
    /// The last person satisfied by a query.
    last: HashMap<String, String>,
}

impl Count {
    fn add(&mut self, session: &Session, since_ms: i64, mine: &Mine) {
        for search in session.searches.iter().filter(|search| search.time_ms >= since_ms) {
            let query = normal(&search.query);
            if query.is_empty() {
                continue;
            }
            let found = self.demand.queries.entry(query.clone()).or_default();
            found.searches += 1;
            found.clicked += u32::from(!search.clicks.is_empty());
            let satisfied = search.longest_dwell_s().is_some_and(|s| f64::from(s) >= mine.success_dwell_s);
            if satisfied && self.last.get(&query) != Some(&session.user) {
                found.people += 1;
                self.last.insert(query, session.user.clone());
            }
        }
    }

    fn done(mut self) -> Demand {
        let all: f64 = self.demand.queries.values().map(|u| f64::from(u.searches)).sum();
        let clicked: f64 = self.demand.queries.values().map(|u| f64::from(u.clicked)).sum();
        self.demand.mean_ctr = clicked / all.max(1.0);
        self.demand.most = self.demand.queries.values().map(|u| u.searches).max().unwrap_or(0);
        self.demand
    }
}

fn normal(query: &str) -> String {
    words(query).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Click, Search};

    fn searched(user: &str, query: &str, dwell_s: Option<f32>) -> Session {
        let click = |dwell| Click { doc: "d".into(), rank: 1, time_ms: 1, dwell_s: Some(dwell), bought: false };
        let clicks = dwell_s.map(click).into_iter().collect();
        let search = Search { query: query.into(), clicks, time_ms: 1_000, ..Search::default() };
        Session { user: user.into(), searches: vec![search], ..Session::default() }
    }

    #[test]
    fn a_query_is_valid_by_the_people_it_satisfied_and_worth_its_use() {
        let mut count = Count::default();
        for (user, query, dwell) in [
            ("a", "Jaguar car", Some(30.0)),
            ("a", "jaguar car!", Some(30.0)),
            ("b", "jaguar car", Some(30.0)),
            ("b", "jaguar", None),
            ("c", "jaguar", Some(2.0)),
            ("c", "old", Some(30.0)),
        ] {
            let since_ms = if query == "old" { 2_000 } else { 0 };
            count.add(&searched(user, query, dwell), since_ms, &Mine::default());
        }
        let demand = count.done();
        let settings = Reward::default();
        let of = |query: &str| demand.of(query, &settings);
        let car = of("jaguar  CAR");
        // Searched three times, as often as anything; all of 3 and 10 at the log's mean of four fifths have a click.
        assert_eq!((car.searches, car.valid), (3, true));
        assert!((car.frequency - 0.5).abs() < 1e-12 && (car.ctr - 0.5 * (3.0 + 8.0) / 13.0).abs() < 1e-12, "{car:?}");
        assert_eq!(car.value(&settings), car.frequency + car.ctr);
        // Typed twice and satisfied nobody; outside of the window; never typed.
        for query in ["jaguar", "old", "jaguar plane"] {
            assert_eq!((of(query).valid, of(query).value(&settings)), (false, -1.0), "{query}");
        }
    }
}
