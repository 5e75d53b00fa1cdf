//! The search path: a text index on disk, BM25 with popularity, and a rewrite's results merged in as one more signal.
//!
//! The plain path is `bm25 × popularity^w`. With a rewrite the candidates of both queries are ranked together
//! ([`rank`] has the formula). Without one, or with one that finds nothing, the answer is the plain path's, bit for bit.

pub mod fake;
mod folder;
mod index;
mod rank;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use index::Engine;

/// Where a workspace keeps the index of a log's documents.
#[must_use]
pub fn index_dir(workspace: &Path, log: &str) -> PathBuf {
    workspace.join("index").join(log)
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Document id.
    pub doc: String,
    /// Its title.
    pub title: String,
    /// What the page is ordered by; comparable within one page only.
    pub score: f64,
    /// What the score was made of.
    pub signals: Signals,
}

/// The parts of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Signals {
    /// BM25 of the person's own query, over title, tags and creator.
    pub bm25: f64,
    /// Views relative to the most viewed document, in (0, 1].
    pub popularity: f64,
    /// BM25 of the rewrite relative to the rewrite's best result, in [0, 1]; 0 when the rewrite did not recall it.
    pub rewrite: f64,
}
