//! `core search`: one search from the terminal, with everything its ranking is made of when asked for.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::journal::{Cell, Table};
use crate::recipe::{Recipe, SearchPath, Usage};
use crate::search::{Engine, Explanation, Hit};

/// Most results that may be asked for.
const MOST: usize = 1_000;

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The query.
    pub query: String,
    /// A rewrite to fuse in.
    pub rewrite: Option<String>,
    /// The log whose documents are searched.
    pub log: String,
    /// Results wanted; the recipe's page when not said.
    pub size: Option<usize>,
    /// Write out what the ranking is made of.
    pub explain: bool,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The page.
    Page {
        /// The query.
        query: String,
        /// The rewrite that was given.
        rewrite: Option<String>,
        /// Results, best first.
        hits: Vec<Hit>,
    },
    /// The page with its algebra.
    Explained(Box<Explanation>),
}

impl Answer {
    /// As a person reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Page { hits, .. } => table(hits).to_text(),
            Self::Explained(explanation) => explanation.to_text(),
        }
    }
}

fn table(hits: &[Hit]) -> Table {
    let columns = ["rank", "doc", "title", "score", "bm25", "cosine", "relevance", "satisfaction", "rewrite"];
    let mut table = Table::new("hits", "", &columns);
    for (place, hit) in hits.iter().enumerate() {
        let s = &hit.signals;
        table.row([
            Cell::from(place + 1),
            hit.doc.as_str().into(),
            hit.title.as_str().into(),
            hit.score.into(),
            s.bm25.into(),
            s.cosine.into(),
            s.relevance.into(),
            s.satisfaction.into(),
            s.rewrite.into(),
        ]);
    }
    table
}

/// Searches the index of a log.
///
/// # Errors
/// An empty query, a size out of bounds; no index, or a damaged one.
pub fn run(workspace: &Path, recipe: &Recipe, question: &Question) -> Result<Answer> {
    let Question { query, rewrite, log, size, explain } = question;
    if query.trim().is_empty() {
        return Err(Usage("the query is empty: give some words".into()).into());
    }
    if size.is_some_and(|size| !(1..=MOST).contains(&size)) {
        return Err(Usage(format!("--size must lie between 1 and {MOST}")).into());
    }
    let engine = Engine::of_log(workspace, recipe, log)?;
    let settings = SearchPath { page: size.unwrap_or(recipe.search.page), ..recipe.search.clone() };
    let rewrite = rewrite.as_deref();
    Ok(if *explain {
        Answer::Explained(Box::new(engine.explain(query, rewrite, &settings)?))
    } else {
        let hits = engine.search(query, rewrite, &settings)?;
        Answer::Page { query: query.clone(), rewrite: rewrite.map(str::to_owned), hits }
    })
}
