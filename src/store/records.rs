//! What a log is made of: the records that the store keeps and every reader of a log format makes.

use serde::{Deserialize, Serialize};

/// Something that can be found: a video, a product.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Doc {
    /// Unique in its log.
    pub id: String,
    /// What the result page shows.
    pub title: String,
    /// Labels by the uploader.
    pub tags: Vec<String>,
    /// Channel or seller.
    pub creator: String,
    /// Length in seconds; 0 when unknown.
    pub duration_s: f32,
    /// Upload time, Unix milliseconds.
    pub published_ms: i64,
    /// Views relative to the most viewed document, in (0, 1].
    pub popularity: f32,
    /// Discrete tokens of what can be seen in it (category, scene, object).
    pub visual: Vec<String>,
}

/// A video watched, or a product looked at, outside search.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Document id.
    pub doc: String,
    /// Its title at the time.
    pub title: String,
    /// Its tags at the time.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Start, Unix milliseconds.
    #[serde(default)]
    pub time_ms: i64,
    /// Seconds watched.
    #[serde(default)]
    pub dwell_s: f32,
}

/// A click on a result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Click {
    /// Document id.
    pub doc: String,
    /// Place on the page, from 1; 0 when the log does not say.
    pub rank: u32,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Seconds spent, where the log says or lets one work it out.
    pub dwell_s: Option<f32>,
    /// Whether the document was bought.
    pub bought: bool,
}

/// One query with what was shown and what was done about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Search {
    /// Unique in its log.
    pub id: String,
    /// As the person typed it.
    pub query: String,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Document ids from the top of the page down; empty when the log does not say.
    pub shown: Vec<String>,
    /// In time order.
    pub clicks: Vec<Click>,
}

impl Search {
    /// Longest dwell on this search's results; 0 without a click, `None` when clicks carry no dwell at all.
    #[must_use]
    pub fn longest_dwell_s(&self) -> Option<f32> {
        if self.clicks.is_empty() {
            return Some(0.0);
        }
        self.clicks.iter().filter_map(|c| c.dwell_s).reduce(f32::max)
    }
}

/// One sitting of one person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Session {
    /// Unique in its log.
    pub id: String,
    /// The person, or the client where people are not known.
    pub user: String,
    /// Unix milliseconds.
    pub start_ms: i64,
    /// City or region.
    pub place: Option<String>,
    /// Watched before and between the searches, in time order.
    pub watched: Vec<Watched>,
    /// In time order.
    pub searches: Vec<Search>,
}

/// What a rewriter may look at besides the query: `c = (H_q, H_v, geo)` (WeWrite §2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Watched videos, newest first; the first is CoRe's `d_last`.
    #[serde(default)]
    pub watched: Vec<Seen>,
    /// Earlier queries, newest first.
    #[serde(default)]
    pub queries: Vec<String>,
    /// City or region.
    #[serde(default)]
    pub place: Option<String>,
}

/// A watched video as a context holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Title.
    pub title: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A row that could not be used, kept with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Line in the file, from 1.
    pub line: usize,
    /// Short, the same words for the same cause: what the counts are grouped by.
    pub reason: String,
    /// The start of the row, made printable.
    pub excerpt: String,
}
