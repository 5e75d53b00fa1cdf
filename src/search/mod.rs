//! The search path: recall → rawrank → finerank over an index on disk, and a rewrite as one more signal in each.
//!
//! [`recall`] finds what is worth ranking (BM25 and vectors), [`rank`] orders it in two stages, [`learned`] may tell its relevance, [`fit`] learns their weights
//! from logged clicks, [`index`] keeps it all on disk, [`explain`] writes a ranking out so that it can be redone by hand,
//! [`served`] is the page that a person gets.
//! Without a rewrite, or with one that finds nothing or says what the query says, the answer is the plain path's, bit for bit.

mod analysis;
mod docs;
mod encoder;
mod engine;
mod explain;
pub mod fake;
mod feedback;
mod fit;
mod index;
mod learned;
mod normal;
mod rank;
mod recall;
mod scoring;
mod served;
mod sides;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use docs::Docs;
pub use encoder::{Encoder, Identity};
pub use engine::{Engine, Stage};
pub use explain::Explanation;
pub use fit::{Observations, Ranking};
pub use index::{How, Part, Stats, Update};
pub use learned::Learned;
pub use rank::Weights;
pub use served::ServedPages;
pub use sides::Side;

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

/// What is known about a document when it is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Signals {
    /// BM25 of the person's own query, over title, tags and creator.
    pub bm25: f64,
    /// Cosine between the vectors of query and document.
    pub cosine: f64,
    /// Share of the query's terms, by rarity, that its visual codes have; in [0, 1].
    pub visual: f64,
    /// Relevance to the person's own query, in [0, 1].
    pub relevance: f64,
    /// Views relative to the most viewed document, in (0, 1].
    pub popularity: f64,
    /// `1 / (1 + age in days / 30)`, counted from the newest document; 0 when the age is not known.
    pub freshness: f64,
    /// Long clicks it got over those that its ranks let expect; 1 is usual.
    pub satisfaction: f64,
    /// Relevance to the rewrite, in [0, 1]; 0 without one.
    pub rewrite: f64,
    /// Score at rawrank.
    pub rawrank: f64,
}
