//! How good a rewrite is: metrics on held-out examples, penalties, and the statistics beside every difference.

pub mod cells;
mod experiment;
mod offline;
mod penalties;
mod ranking;
pub mod reading;
pub mod reward;
mod sequential;
mod stats;
pub mod tagging;
pub mod trec;
mod verdict;
mod weeks;

pub use experiment::{Decay, Decision, Design, Experiment, Look, Null, NullMetric, Row, Treatment, Trial};
pub use offline::{Answer, Scores, score};
pub use penalties::{repetition, soft_overlong};
pub use ranking::ndcg;
pub use sequential::{Boundary, Monitor, two_sided_p};
pub use stats::{Comparison, Estimate, Ratio, compare, compare_groups, lift_change, share_interval};
pub use verdict::{Check, Verdict};
pub use weeks::{Lift, Week, Weeks};
