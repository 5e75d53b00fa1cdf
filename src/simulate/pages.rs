//! Pages of the plain search path, kept by query: such a page depends on nothing else.

use std::collections::HashMap;
use std::sync::RwLock;

use anyhow::Result;

use crate::recipe::SearchPath;
use crate::search::Engine;
use crate::world::Page;

/// Pages kept at most: bounds memory in worlds of millions of distinct queries.
const MOST_KEPT: usize = 200_000;

/// The plain search path with a memory.
pub(super) struct PlainPages<'a> {
    engine: &'a Engine,
    settings: &'a SearchPath,
    /// Ids of a page, a line each: a third of the memory that ten strings take.
    kept: RwLock<HashMap<Box<str>, Box<str>>>,
}

impl<'a> PlainPages<'a> {
    pub(super) fn new(engine: &'a Engine, settings: &'a SearchPath) -> Self {
        Self { engine, settings, kept: RwLock::default() }
    }

    /// The first page for a query.
    pub(super) fn get(&self, query: &str) -> Result<Page> {
        if let Some(page) = self.kept.read().expect("no holder of the pages panics").get(query) {
            return Ok(Page { shown: page.lines().map(str::to_owned).collect(), rewritten: None });
        }
        let hits = self.engine.search(query, None, self.settings)?;
        let shown: Vec<String> = hits.into_iter().map(|h| h.doc).collect();
        let mut kept = self.kept.write().expect("no holder of the pages panics");
        if kept.len() < MOST_KEPT {
            kept.insert(query.into(), shown.join("\n").into());
        }
        Ok(Page { shown, rewritten: None })
    }
}
