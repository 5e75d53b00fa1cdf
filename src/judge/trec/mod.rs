//! TREC runs and judgments, and measures equal to `trec_eval`'s.

mod measures;
mod read;

pub use measures::{Measured, NAMES, measure};
pub use read::{Qrels, Run};
