//! How people type a word: alone, and which words right behind it.

use std::collections::HashMap;

use crate::logs::words;
use crate::recipe::Mine;
use crate::store::Session;

/// Counts over queries.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    words: HashMap<String, Uses>,
}

/// Queries with one word.
#[derive(Debug, Clone, Default)]
struct Uses {
    all: u32,
    alone: u32,
    behind: HashMap<String, u32>,
}

impl Typed {
    /// Counts the searches of a session.
    pub fn add(&mut self, session: &Session, _: &Mine) {
        session.searches.iter().for_each(|search| self.query(&search.query));
    }

    fn query(&mut self, query: &str) {
        let said: Vec<String> = words(query).collect();
        for (place, word) in said.iter().enumerate() {
            if said[..place].contains(word) {
                continue;
            }
            let uses = self.words.entry(word.clone()).or_default();
            uses.all += 1;
            uses.alone += u32::from(said.len() == 1);
            if let Some(next) = said.get(place + 1) {
                *uses.behind.entry(next.clone()).or_default() += 1;
            }
        }
    }

    /// Every word that was typed, in no order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.keys().map(String::as_str)
    }

    /// Queries with a word.
    #[must_use]
    pub fn all(&self, word: &str) -> u32 {
        self.words.get(word).map_or(0, |uses| uses.all)
    }

    /// Queries that are this word and nothing else.
    #[must_use]
    pub fn alone(&self, word: &str) -> u32 {
        self.words.get(word).map_or(0, |uses| uses.alone)
    }

    /// Share of the queries with a word in which another stands right behind it.
    #[must_use]
    pub fn share_behind(&self, word: &str, next: &str) -> f64 {
        self.words.get(word).map_or(0.0, |uses| {
            let behind = uses.behind.get(next).copied().unwrap_or(0);
            f64::from(behind) / f64::from(uses.all)
        })
    }
}

#[cfg(test)]
impl Typed {
    /// Of some queries.
    pub fn of(queries: &[&str]) -> Self {
        let mut typed = Self::default();
        queries.iter().for_each(|query| typed.query(query));
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_once_a_query_alone_and_by_what_follows() {
        let typed = Typed::of(&["Jaguar", "jaguar car", "jaguar jaguar cat", "my jaguar", ""]);
        assert_eq!((typed.alone("jaguar"), typed.alone("car"), typed.alone("dog")), (1, 0, 0));
        assert_eq!(typed.share_behind("jaguar", "car"), 0.25);
        assert_eq!(typed.share_behind("jaguar", "my"), 0.0);
        assert_eq!(typed.share_behind("dog", "car"), 0.0);
    }
}
