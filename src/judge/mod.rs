//! How good a rewrite is: metrics on held-out examples, and the statistics beside every difference.

pub mod cells;
mod offline;
mod stats;

pub use offline::{Answer, Scores, score};
pub use stats::{Comparison, Ratio, compare};
