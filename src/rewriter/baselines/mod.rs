//! Rules that any model has to beat: each a few dozen lines, none of them a straw man.
//!
//! What a rule learns from people, it learns from the training split alone: training people, before training ends.

mod association;
mod cooccurrence;
mod copy_rule;
mod feedback;
mod frequent_gain;
mod nearest;
mod postings;
mod typed;

use crate::logs::words;

pub use association::Association;
pub use cooccurrence::{Cooccurrence, Transitions};
pub use copy_rule::CopyRule;
pub use feedback::Feedback;
pub use frequent_gain::FrequentGain;
pub use nearest::{Nearest, ValidQueries};
pub use typed::Typed;

/// A query as rules tell it from others: its words in lower case. Empty for a text without words.
fn normal(query: &str) -> String {
    words(query).collect::<Vec<_>>().join(" ")
}
