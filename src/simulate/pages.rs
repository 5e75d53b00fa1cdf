//! Pages of the plain search path, kept by query and day: such a page depends on nothing else.

use std::collections::HashMap;
use std::sync::RwLock;

use anyhow::Result;

use crate::recipe::SearchPath;
use crate::search::Engine;
use crate::world::{Asked, Page};

/// Pages kept at most: bounds memory in worlds of millions of distinct queries.
const MOST_KEPT: usize = 200_000;

/// The day that the index is of, and the query.
type Key = (i64, Box<str>);

/// The plain search path with a memory: ids of a page, a line each, which is a third of the memory that ten strings take.
pub(super) struct PlainPages<'a> {
    engine: &'a Engine,
    settings: &'a SearchPath,
    kept: RwLock<HashMap<Key, Box<str>>>,
}

impl<'a> PlainPages<'a> {
    pub(super) fn new(engine: &'a Engine, settings: &'a SearchPath) -> Self {
        Self { engine, settings, kept: RwLock::default() }
    }

    /// The first page for what is asked.
    pub(super) fn get(&self, asked: Asked) -> Result<Page> {
        let key = (asked.indexed_ms, asked.query.into());
        if let Some(page) = self.kept.read().expect("no holder of the pages panics").get(&key) {
            return Ok(Page { shown: page.lines().map(str::to_owned).collect(), rewritten: None });
        }
        let hits = self.engine.search_as_of(asked.indexed_ms, asked.query, None, self.settings)?;
        let shown: Vec<String> = hits.into_iter().map(|h| h.doc).collect();
        let mut kept = self.kept.write().expect("no holder of the pages panics");
        if kept.len() < MOST_KEPT {
            kept.insert(key, shown.join("\n").into());
        }
        Ok(Page { shown, rewritten: None })
    }
}
