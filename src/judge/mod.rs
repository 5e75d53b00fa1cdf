//! How good a rewrite is: metrics on held-out examples, penalties, and the statistics beside every difference.

pub mod cells;
mod offline;
mod penalties;
mod ranking;
mod stats;

pub use offline::{Answer, Scores, score};
pub use penalties::{repetition, soft_overlong};
pub use ranking::ndcg;
pub use stats::{Comparison, Ratio, compare, compare_groups};
