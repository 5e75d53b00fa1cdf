//! The record of a search session: what every log, synthetic or public, is read into.

mod context;
mod judged;
pub mod ubi;
mod words;

pub use crate::store::{Click, Context, Doc, Search, Seen, Session, Skipped, Watched};
pub use context::context_before;
pub use judged::{Judged, JudgedFile, read as read_judged};
pub use words::{cut_for_search, is_han, words};

/// What a reader of a log format returns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogFile {
    /// Sessions, ordered by person and start.
    pub sessions: Vec<Session>,
    /// Documents named in the log with a description.
    pub docs: Vec<Doc>,
    /// Rows read, skipped ones included.
    pub rows_read: usize,
    /// Rows not used.
    pub skipped: Vec<Skipped>,
}
