//! How people type a word: alone, and which words right behind it.

use std::collections::HashMap;

use anyhow::Result;

use crate::journal::stop;
use crate::logs::words;
use crate::recipe::Recipe;
use crate::store::{LogInfo, Split, Store, person_split, training_ends_ms};

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
    /// Counts what training people typed until training ends.
    ///
    /// # Errors
    /// SQLite's. `Stopped` after Ctrl-C.
    pub fn read(store: &Store, recipe: &Recipe, log: &LogInfo) -> Result<Self> {
        let (mut typed, mut people) = (Self::default(), HashMap::new());
        store.for_each_query(log, training_ends_ms(recipe, store.time_span(log)?), |query, user| {
            stop::check("nothing was changed; run the same command again")?;
            let split = match people.get(user) {
                Some(split) => *split,
                None => *people.entry(user.to_owned()).or_insert_with(|| person_split(recipe, user)),
            };
            if split == Split::Train {
                typed.add(query);
            }
            Ok(())
        })?;
        Ok(typed)
    }

    fn add(&mut self, query: &str) {
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
        queries.iter().for_each(|query| typed.add(query));
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
