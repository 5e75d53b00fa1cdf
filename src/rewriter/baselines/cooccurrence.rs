//! Classic query-log mining: what people type next in the same session, without looking at who asks.
//!
//! Pairs of successive queries, kept when they follow each other more often than chance (log-likelihood ratio), as in Jones,
//! Rey, Madani and Greiner, *Generating query substitutions* (WWW 2006); the most probable successor is taken, the heaviest
//! edge of Boldi et al.'s *query-flow graph* (CIKM 2008).

use std::collections::{BTreeMap, HashMap};

use super::normal;
use crate::logs::{Context, Session};
use crate::recipe::{Baselines, Mine};
use crate::rewriter::Outcome;

/// A query's most probable successor, for the queries that are worth leaving.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cooccurrence {
    next: HashMap<String, String>,
}

/// Counts of queries and of what was typed after them.
#[derive(Debug, Default)]
pub struct Transitions {
    numbers: HashMap<String, usize>,
    queries: Vec<Query>,
    pairs: BTreeMap<(usize, usize), Pair>,
    /// All pairs, repetitions included.
    total: usize,
}

#[derive(Debug, Default)]
struct Query {
    text: String,
    searches: usize,
    satisfied: usize,
    /// Pairs that it is the first of, and the second of.
    left: usize,
    reached: usize,
}

#[derive(Debug, Default)]
struct Pair {
    count: usize,
    people: usize,
    /// The last person counted: sessions come person by person.
    last: String,
}

impl Transitions {
    /// Counts a session. All sessions of a person must come one after the other, as the store gives them.
    pub fn add(&mut self, session: &Session, mine: &Mine) {
        let numbers: Vec<_> = session.searches.iter().map(|search| self.number(&search.query)).collect();
        for (place, search) in session.searches.iter().enumerate() {
            let Some(from) = numbers[place] else { continue };
            let satisfied = search.longest_dwell_s().is_some_and(|s| f64::from(s) >= mine.success_dwell_s);
            self.queries[from].searches += 1;
            self.queries[from].satisfied += usize::from(satisfied);
            let Some(next) = session.searches.get(place + 1) else { continue };
            let Some(to) = numbers[place + 1].filter(|to| *to != from) else { continue };
            if (next.time_ms - search.time_ms) as f64 / 1e3 <= mine.reformulation_gap_s {
                self.queries[from].left += 1;
                self.queries[to].reached += 1;
                self.total += 1;
                let pair = self.pairs.entry((from, to)).or_default();
                pair.count += 1;
                if pair.people == 0 || pair.last != session.user {
                    pair.people += 1;
                    pair.last.clone_from(&session.user);
                }
            }
        }
    }

    fn number(&mut self, query: &str) -> Option<usize> {
        let text = normal(query);
        if text.is_empty() {
            return None;
        }
        let new = self.queries.len();
        let number = *self.numbers.entry(text.clone()).or_insert(new);
        if number == new {
            self.queries.push(Query { text, ..Query::default() });
        }
        Some(number)
    }

    /// Log-likelihood ratio (G²) of a pair against independence of its two queries; 0 for a pair that is rarer than chance.
    fn llr(&self, from: usize, to: usize, count: usize) -> f64 {
        let (left, reached, total) = (self.queries[from].left, self.queries[to].reached, self.total);
        let both = count as f64;
        if both * total as f64 <= left as f64 * reached as f64 {
            return 0.0;
        }
        let table = [
            (both, left, reached),
            (left as f64 - both, left, total - reached),
            (reached as f64 - both, total - left, reached),
            ((total - left - reached) as f64 + both, total - left, total - reached),
        ];
        let term = |(seen, row, column): (f64, usize, usize)| {
            if seen > 0.0 { seen * (seen * total as f64 / (row as f64 * column as f64)).ln() } else { 0.0 }
        };
        2.0 * table.into_iter().map(term).sum::<f64>()
    }
}

impl Cooccurrence {
    /// Keeps each query's most probable successor (of equals the first in the alphabet), where enough people made the step,
    /// it is no chance, enough of the query's reformulations go there, and the successor satisfies more of its searches than
    /// the query itself: a query that satisfies as often is left alone.
    #[must_use]
    pub fn fit(seen: &Transitions, settings: &Baselines) -> Self {
        let share = |query: &Query| query.satisfied as f64 / query.searches.max(1) as f64;
        let mut best: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (&(from, to), pair) in &seen.pairs {
            if pair.people < settings.min_people || seen.llr(from, to, pair.count) < settings.min_llr {
                continue;
            }
            let text = |number: usize| &seen.queries[number].text;
            // Of one query's pairs the most frequent is the most probable.
            let better = |old: (usize, usize)| pair.count > old.1 || (pair.count == old.1 && text(to) < text(old.0));
            if best.get(&from).is_none_or(|old| better(*old)) {
                best.insert(from, (to, pair.count));
            }
        }
        let worth = best.into_iter().filter(|(from, (to, count))| {
            let (query, next) = (&seen.queries[*from], &seen.queries[*to]);
            *count as f64 >= settings.min_share * query.left as f64 && share(next) > share(query)
        });
        let text = |number: usize| seen.queries[number].text.clone();
        Self { next: worth.map(|(from, (to, _))| (text(from), text(to))).collect() }
    }

    /// The successor; the context is not looked at.
    #[must_use]
    pub fn rewrite(&self, _: &Context, query: &str) -> Outcome {
        match self.next.get(&normal(query)) {
            Some(next) => Outcome::of(query, next.clone()),
            None => Outcome::rejected(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Click, Search};

    /// A person's session: queries three seconds apart, with the dwell each got.
    fn session(user: &str, queries: &[(&str, f32)]) -> Session {
        let search = |(place, (query, dwell_s)): (usize, &(&str, f32))| {
            let clicks = vec![Click { dwell_s: Some(*dwell_s), ..Click::default() }];
            Search { query: (*query).into(), time_ms: 3_000 * place as i64, clicks, ..Search::default() }
        };
        Session { user: user.into(), searches: queries.iter().enumerate().map(search).collect(), ..Session::default() }
    }

    fn fit(sessions: &[Session]) -> Cooccurrence {
        let mut seen = Transitions::default();
        sessions.iter().for_each(|s| seen.add(s, &Mine::default()));
        Cooccurrence::fit(&seen, &Baselines { min_llr: 3.84, ..Baselines::default() })
    }

    fn rewrite(rule: &Cooccurrence, query: &str) -> Option<String> {
        rule.rewrite(&Context::default(), query).rewrite
    }

    #[test]
    fn the_most_probable_successor_of_enough_people_is_taken_where_the_query_itself_fails() {
        let mut log = Vec::new();
        for person in ["a", "b", "c", "d"] {
            log.push(session(person, &[("Jaguar", 0.5), ("jaguar car", 60.0)]));
            log.push(session(person, &[("weather", 60.0), ("weather leeds", 50.0)]));
            log.push(session(person, &[("puma", 0.5), ("puma shoes", 0.5)]));
        }
        // Often, but by one person.
        log.extend((0..3).map(|_| session("z", &[("jaguar", 0.5), ("jaguar cat", 60.0)])));
        // By enough people, and each sense by fewer than half of them.
        for (person, next) in ["a", "b", "c", "d", "e", "f", "g", "h", "i"].into_iter().zip(["x", "y", "z"].repeat(3)) {
            log.push(session(person, &[("mercury", 0.5), (next, 60.0)]));
        }
        let rule = fit(&log);
        assert_eq!(rewrite(&rule, "JAGUAR!").as_deref(), Some("jaguar car"));
        assert_eq!(rewrite(&rule, "weather"), None, "it satisfies as often as what follows it");
        assert_eq!(rewrite(&rule, "puma"), None, "what follows it satisfies no one");
        assert_eq!(rewrite(&rule, "mercury"), None, "most people meant something else");
        assert_eq!(rewrite(&rule, "jaguar cat"), None, "nothing follows it");
    }

    #[test]
    fn a_pair_that_chance_makes_is_no_pair() {
        // Everything is followed by everything, equally often.
        let words = ["a", "b", "c", "d"];
        let mut log = Vec::new();
        for person in ["p", "q", "r", "s"] {
            for from in words {
                log.extend(words.iter().map(|to| session(person, &[(from, 0.5), (to, 60.0)])));
            }
        }
        let mut seen = Transitions::default();
        log.iter().for_each(|s| seen.add(s, &Mine::default()));
        assert_eq!(seen.pairs[&(0, 1)].people, 4);
        assert!(seen.llr(0, 1, seen.pairs[&(0, 1)].count) < 3.84);
        assert_eq!(fit(&log), Cooccurrence::default());
    }

    #[test]
    fn the_ratio_is_that_of_the_contingency_table() {
        // 10, 0 / 0, 10: by hand 2 · (10 ln 2 + 10 ln 2).
        let mut log: Vec<_> = (0..10).map(|i| session(&format!("p{i}"), &[("a", 0.5), ("b", 60.0)])).collect();
        log.extend((0..10).map(|i| session(&format!("p{i}"), &[("c", 0.5), ("d", 60.0)])));
        let mut seen = Transitions::default();
        log.iter().for_each(|s| seen.add(s, &Mine::default()));
        assert!((seen.llr(0, 1, 10) - 40.0 * 2.0_f64.ln()).abs() < 1e-9);
    }
}
