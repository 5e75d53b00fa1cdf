//! The queries of a log that an index answers: what a constrained model may say, and what counts as an index hit.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};

use crate::journal::stop;
use crate::recipe::Recipe;
use crate::search::fake::key;
use crate::store::{LogInfo, Split, Store, Typed, person_split, training_ends_ms};

/// Whose searches count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those that may be learnt from: of the training split's people, until training ends.
    Training,
    /// All of the log, as in its fake index.
    Everyone,
}

/// Queries that `fake.min_people` people typed and a document was shown for, as a fake index has them for its keys.
#[derive(Debug, Default)]
pub struct Answerable {
    keys: HashSet<String>,
    spellings: Vec<String>,
}

impl Answerable {
    /// Reads them from a log of the store.
    ///
    /// # Errors
    /// SQLite's. No such query. `Stopped` after Ctrl-C.
    pub fn read(store: &Store, recipe: &Recipe, log: &LogInfo, whose: Whose) -> Result<Self> {
        let found = Self::find(store, recipe, log, whose)?;
        if found.keys.is_empty() {
            bail!(
                "log {:?} has no valid query, so nothing but <reject> could be said: none was typed by {} people \
                 (fake.min_people) and answered; use a longer log, a lower fake.min_people, or free decoding",
                log.name,
                recipe.fake.min_people
            );
        }
        Ok(found)
    }

    /// The same, where it does not matter that there may be none.
    ///
    /// # Errors
    /// SQLite's. `Stopped` after Ctrl-C.
    pub fn find(store: &Store, recipe: &Recipe, log: &LogInfo, whose: Whose) -> Result<Self> {
        let mut seen = Seen::default();
        let until_ms = match whose {
            Whose::Training => training_ends_ms(recipe, store.time_span(log)?),
            Whose::Everyone => i64::MAX,
        };
        store.for_each_typed(log, until_ms, |typed| {
            stop::check("nothing was changed; run the same command again")?;
            if whose == Whose::Everyone || person_split(recipe, typed.user) == Split::Train {
                seen.add(typed);
            }
            Ok(())
        })?;
        Ok(seen.of(recipe.fake.min_people))
    }

    /// How many there are, whatever their spelling.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a query is one of them, in whatever spelling.
    #[must_use]
    pub fn holds(&self, query: &str) -> bool {
        key(query).is_some_and(|key| self.keys.contains(&key))
    }

    /// Every spelling in which they were typed: a key has blanks between Chinese words, people type none.
    #[must_use]
    pub fn spellings(&self) -> &[String] {
        &self.spellings
    }
}

/// Who typed what.
#[derive(Default)]
struct Seen {
    /// Spelling → its query's place among `queries`; none for a text without words.
    spellings: HashMap<String, Option<usize>>,
    /// Key → place.
    queries: HashMap<String, usize>,
    people: HashMap<String, u32>,
    /// By place: the people.
    typed_by: Vec<HashSet<u32>>,
    /// By place: whether a document was shown.
    answered: Vec<bool>,
}

impl Seen {
    fn add(&mut self, typed: Typed) {
        let Some(place) = self.place(typed.query) else { return };
        let next = self.people.len() as u32;
        let person = match self.people.get(typed.user) {
            Some(person) => *person,
            None => *self.people.entry(typed.user.to_owned()).or_insert(next),
        };
        self.typed_by[place].insert(person);
        self.answered[place] |= typed.answered;
    }

    fn place(&mut self, query: &str) -> Option<usize> {
        if let Some(place) = self.spellings.get(query) {
            return *place;
        }
        let place = key(query).map(|key| {
            *self.queries.entry(key).or_insert_with(|| {
                self.typed_by.push(HashSet::new());
                self.answered.push(false);
                self.typed_by.len() - 1
            })
        });
        self.spellings.insert(query.to_owned(), place);
        place
    }

    fn of(self, min_people: usize) -> Answerable {
        let valid = |place: usize| self.answered[place] && self.typed_by[place].len() >= min_people;
        let spelt = self.spellings.iter().filter(|(_, place)| place.is_some_and(valid));
        let mut spellings: Vec<String> = spelt.map(|(text, _)| text.clone()).collect();
        spellings.sort_unstable();
        let keys = self.queries.iter().filter(|(_, place)| valid(**place)).map(|(key, _)| key.clone()).collect();
        Answerable { keys, spellings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Doc, LogKind, Search, Session};

    #[test]
    fn held_out_people_and_weeks_make_nothing_valid_to_learn_from() {
        let mut recipe = Recipe::default();
        recipe.fake.min_people = 2;
        let people =
            |split| (0..).map(|i| format!("u{i}")).filter(move |u| person_split(&Recipe::default(), u) == split);
        let session = |user: String, searches: &[(&str, i64)]| {
            let shown = vec!["d".to_owned()];
            let search = |&(query, time_ms): &(&str, i64)| Search {
                id: format!("{user} {query}"),
                query: query.into(),
                time_ms,
                shown: shown.clone(),
                ..Search::default()
            };
            Session {
                id: user.clone(),
                searches: searches.iter().map(search).collect(),
                user: user.clone(),
                ..Session::default()
            }
        };
        let trained = people(Split::Train).take(2).map(|u| session(u, &[("jaguar", 0), ("late", 990), ("late", 1000)]));
        let held_out = people(Split::Test).take(2).map(|u| session(u, &[("hidden", 0)]));
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store
            .write_log("l", LogKind::World, "x", |w| {
                w.doc(&Doc { id: "d".into(), ..Doc::default() })?;
                trained.chain(held_out).try_for_each(|s| w.session(&s))
            })
            .unwrap();
        let log = store.log("l").unwrap();
        let read = |recipe: &Recipe, whose| Answerable::read(&store, recipe, &log, whose);
        assert_eq!(read(&recipe, Whose::Training).unwrap().spellings(), ["jaguar"]);
        assert_eq!(read(&recipe, Whose::Everyone).unwrap().spellings(), ["hidden", "jaguar", "late"]);
        recipe.fake.min_people = 3;
        let error = read(&recipe, Whose::Everyone).unwrap_err().to_string();
        assert!(error.contains("log \"l\"") && error.contains("fake.min_people"), "{error}");
    }

    #[test]
    fn a_query_counts_when_enough_people_typed_it_and_something_was_shown() {
        let mut seen = Seen::default();
        let mut add = |query, user, answered| seen.add(Typed { query, user, answered });
        for user in ["a", "b", "c"] {
            add("Jaguar", user, false);
            add("nothing found", user, false);
            add("?!", user, true);
        }
        add("jaguar!", "a", true);
        for _ in 0..9 {
            add("my street 12", "a", true);
        }
        add("my street 12", "b", true);
        for (user, text) in [("a", "光良第一次"), ("b", "光良 第一次"), ("c", "光良第一次")] {
            add(text, user, true);
        }
        let found = seen.of(3);
        assert_eq!(found.spellings(), ["Jaguar", "jaguar!", "光良 第一次", "光良第一次"]);
        assert_eq!((found.len(), found.is_empty()), (2, false));
        assert!(found.holds("JAGUAR") && found.holds("光良第一次"));
        assert!(!found.holds("my street 12") && !found.holds("nothing found") && !found.holds(""));
    }
}
