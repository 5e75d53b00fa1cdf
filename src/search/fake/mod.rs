//! The fake index (WeWrite §2.4): valid query → its best documents, made from what people did, read through a memory map.
//!
//! It holds everything that the logs hold, held-out people and weeks too: it is for serving, and for experiments in the weeks
//! after. What a policy learns from is read from one of what training may see ([`training_path`]).
//!
//! Keys lie in an [fst](https://docs.rs/tantivy-fst) and lists behind it in one file ([`file`]). A B-tree store (redb,
//! LMDB) was the other choice; it would bring locks between the builder and servers, for writes in place that nobody
//! needs: a build replaces the file whole, by a rename, and a server takes up the new one ([`live`]). The fst keeps a
//! million queries in a few bytes each, and tantivy brings both it and a safe memory map along.

mod file;
mod gather;
mod live;
mod merge;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::logs::words;

pub use file::{FakeIndex, Info, List, write};
pub use gather::{Gather, People, Valid};
pub use live::Live;
pub use merge::{Fake, Ranked, merge, relevance};

/// Where a workspace keeps the fake index of a log.
#[must_use]
pub fn fake_path(workspace: &Path, log: &str) -> PathBuf {
    workspace.join("fake").join(format!("{log}.fake"))
}

/// Where a workspace keeps what a fake index would hold of what training may see.
#[must_use]
pub fn training_path(workspace: &Path, log: &str) -> PathBuf {
    workspace.join("fake").join(format!("{log}.training"))
}

/// A query as a key: its words, lower-cased; none when it has no words.
#[must_use]
pub fn key(query: &str) -> Option<String> {
    let key = words(query).collect::<Vec<_>>().join(" ");
    (!key.is_empty()).then_some(key)
}

/// What a page needs to know of a document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Card {
    /// Document id.
    pub doc: String,
    /// Its title when the index was built.
    pub title: String,
    /// Its tags when the index was built.
    pub tags: Vec<String>,
}

/// A document in the list of a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The document.
    #[serde(flatten)]
    pub card: Card,
    /// Worth relative to the best document of the list, in (0, 1].
    pub weight: f64,
}
