//! Pages of the plain search path, kept by day and query: such a page depends on nothing else.

use std::collections::HashMap;
use std::sync::RwLock;

use anyhow::Result;

use crate::recipe::SearchPath;
use crate::search::Engine;
use crate::world::{Asked, Page, World};

/// Pages kept of a day at most. A bound on all days together would leave a longer log a smaller share of its pages, and make
/// each of its searches dearer.
const MOST_A_DAY: usize = 28_000;
/// Pages kept at most, some 150 bytes each: bounds memory where there are many weeks of millions of searches.
const MOST: usize = 1_000_000;

/// The pages of one day: numbers of documents, by query.
type Day = HashMap<Box<str>, Box<[u32]>>;

/// The plain search path with a memory.
pub(super) struct PlainPages<'a> {
    world: &'a World,
    engine: &'a Engine,
    settings: &'a SearchPath,
    most_a_day: usize,
    /// By the day that the index is of.
    kept: RwLock<HashMap<i64, Day>>,
}

impl<'a> PlainPages<'a> {
    /// For so many weeks.
    pub(super) fn new(world: &'a World, engine: &'a Engine, settings: &'a SearchPath, weeks: u32) -> Self {
        let most_a_day = MOST_A_DAY.min(MOST / (7 * weeks as usize).max(1));
        Self { world, engine, settings, most_a_day, kept: RwLock::default() }
    }

    /// The first page for what is asked.
    pub(super) fn get(&self, asked: Asked) -> Result<Page> {
        let docs = self.world.docs();
        let (day, query) = (asked.indexed_ms, asked.query);
        if let Some(page) =
            self.kept.read().expect("no holder of the pages panics").get(&day).and_then(|d| d.get(query))
        {
            return Ok(Page { shown: page.iter().map(|n| docs.id(*n as usize).to_owned()).collect(), rewritten: None });
        }
        let hits = self.engine.search_as_of(day, query, None, self.settings)?;
        let shown: Vec<String> = hits.into_iter().map(|h| h.doc).collect();
        let numbers: Option<Box<[u32]>> = shown.iter().map(|id| Some(self.world.video(id)? as u32)).collect();
        let mut kept = self.kept.write().expect("no holder of the pages panics");
        let pages = kept.entry(day).or_default();
        if let Some(numbers) = numbers.filter(|_| pages.len() < self.most_a_day) {
            pages.insert(query.into(), numbers);
        }
        Ok(Page { shown, rewritten: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Context;
    use crate::recipe::Recipe;
    use crate::world::{Need, Want};

    #[test]
    fn a_kept_page_is_the_engine_s_and_no_day_keeps_more_than_its_share() {
        let mut recipe = Recipe::load("tiny").unwrap();
        recipe.world.videos = 400;
        let (world, dir) = (World::new(&recipe).unwrap(), tempfile::tempdir().unwrap());
        let engine = Engine::build(dir.path(), world.docs(), &recipe.search, |_| ()).unwrap();
        let pages =
            PlainPages { most_a_day: 1, ..PlainPages::new(&world, &engine, &recipe.search, recipe.world.weeks) };
        let (want, context) = (Want::Functional { entry: 0, place: 0 }, Context::default());
        let need = Need { want, against_history: false, new_pair: false, habit: false };
        for day in [i64::MAX - 1, i64::MAX] {
            for query in ["weather", "news today", "weather"] {
                let page =
                    pages.get(Asked { context: &context, query, need: &need, meant: None, indexed_ms: day }).unwrap();
                let hits = engine.search_as_of(day, query, None, &recipe.search).unwrap();
                assert_eq!(page.shown, hits.into_iter().map(|h| h.doc).collect::<Vec<_>>());
                assert!(!page.shown.is_empty());
            }
            assert_eq!(pages.kept.read().unwrap()[&day].len(), 1);
        }
    }

    #[test]
    fn a_longer_log_has_as_much_room_a_day_until_memory_ends() {
        let recipe = Recipe::load("tiny").unwrap();
        let (world, dir) = (World::new(&recipe).unwrap(), tempfile::tempdir().unwrap());
        let engine = Engine::build(dir.path(), world.docs(), &recipe.search, |_| ()).unwrap();
        let room = |weeks| PlainPages::new(&world, &engine, &recipe.search, weeks).most_a_day;
        assert_eq!([1, 4, 100].map(room), [MOST_A_DAY, MOST_A_DAY, MOST / 700]);
    }
}
