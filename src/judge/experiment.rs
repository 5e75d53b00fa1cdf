//! What a simulated experiment found, as it is kept in the journal and shown in tables and pages.

use serde::{Deserialize, Serialize};

use super::{Boundary, Comparison};
use crate::recipe::Recall;

/// Who is in which arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Everybody in one arm, by a hash of the person.
    Hashed,
    /// Everybody in both arms: the difference has less noise.
    Paired,
}

/// Treatments held against one control, in one stretch of weeks or in several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// The recipe's name.
    pub recipe: String,
    /// Its seed.
    pub seed: u64,
    /// The program's version.
    pub version: String,
    /// What the treatments were held against.
    pub control: String,
    /// Who was in which arm.
    pub design: Design,
    /// Where the documents of rewrites came from, in every arm.
    #[serde(default)]
    pub recall: Recall,
    /// How often everybody lived the weeks.
    #[serde(default = "once")]
    pub lives: u32,
    /// Chance of calling equal arms different, all looks taken together.
    pub level: f64,
    /// One entry a stretch of weeks.
    pub trials: Vec<Trial>,
    /// Each later stretch against the first: what a treatment's lift lost. Empty with one stretch.
    pub decay: Vec<Decay>,
}

fn once() -> u32 {
    1
}

/// One stretch of weeks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// First week, counted from 1 at the start of the log.
    pub first_week: u32,
    /// How many weeks.
    pub weeks: u32,
    /// People in the experiment.
    pub people: usize,
    /// One entry a treatment, in the order asked for.
    pub treatments: Vec<Treatment>,
}

/// One treatment against the control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Treatment {
    /// The rewriter.
    pub treatment: String,
    /// Share of the control's searches where the arms' rewrites differ.
    pub rewritten_share: f64,
    /// Of the rewrites that its own people's searches got, the share that are queries of the log's fake index.
    #[serde(default)]
    pub index_hits: Option<f64>,
    /// Of its people's searches for what is the same whoever asks, the share that was left alone; the world alone knows them.
    #[serde(default)]
    pub functional_left_alone: Option<f64>,
    /// Mean milliseconds that the rewriter took for a search.
    pub rewrite_ms: f64,
    /// One row a metric, the main one first.
    pub rows: Vec<Row>,
    /// The main metric each time it was looked at, the end included.
    pub looks: Vec<Look>,
}

/// One metric of a treatment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name, such as `vv10s_per_search`.
    pub metric: String,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Over all searches.
    pub all: Option<Comparison>,
    /// Over the searches where the arms' rewrites differ, or would have.
    pub impacted: Option<Comparison>,
    /// What the oracle changes over the same control, over all searches of the same people in both arms.
    pub oracle_difference: Option<f64>,
}

impl Row {
    /// The treatment's difference as a share of the oracle's.
    #[must_use]
    pub fn share_of_oracle(&self) -> Option<f64> {
        let oracle = self.oracle_difference.filter(|d| *d != 0.0)?;
        Some(self.all?.difference / oracle)
    }
}

/// One look at the main metric, at all that had happened by then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Days since the experiment began.
    pub days: u32,
    /// The control's value.
    pub control: f64,
    /// Treatment less control.
    pub difference: f64,
    /// Repeated confidence interval: the difference less and plus the boundary times its standard error. All looks of an
    /// experiment hold the truth together with probability 1 − level (Jennison and Turnbull, JRSS B 1989).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Difference over standard error.
    pub z: f64,
    /// Two-sided p-value as if this were the only look.
    pub p: f64,
    /// What z, or p, is held against instead.
    pub boundary: Boundary,
    /// What follows.
    pub decision: Decision,
}

/// What a look says to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing is shown yet.
    GoOn,
    /// The treatment is better: stop.
    Better,
    /// The treatment is worse: stop.
    Worse,
    /// The end, and nothing is shown.
    NoDifference,
    /// An earlier look ended the experiment.
    StoppedBefore,
}

impl Decision {
    /// As a person reads it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::GoOn => "go on",
            Self::Better => "stop: better",
            Self::Worse => "stop: worse",
            Self::NoDifference => "end: no difference shown",
            Self::StoppedBefore => "(stopped before)",
        }
    }
}

/// A treatment's relative lift of the main metric in two stretches of weeks, over the same people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decay {
    /// The rewriter.
    pub treatment: String,
    /// The first stretch's first week, and its lift as a share of the control.
    pub early_week: u32,
    /// Lift there.
    pub early: f64,
    /// The later stretch's first week.
    pub late_week: u32,
    /// Lift there.
    pub late: f64,
    /// Late less early.
    pub change: f64,
    /// Lower end of the 95 % interval of the change (delta method, people as units).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Two-sided p-value of the change.
    pub p: f64,
}

/// What runs without a difference gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Null {
    /// Runs.
    pub runs: usize,
    /// People of each.
    pub people: usize,
    /// The level of the test.
    pub level: f64,
    /// Looks at each run, the end included.
    pub looks: u32,
    /// Share of runs whose main metric (`vv10s_per_search`) had p below the level at the end.
    pub share_significant: f64,
    /// The same for every metric, and at any look.
    pub by_metric: Vec<NullMetric>,
}

/// Shares of runs without a difference that called one significant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NullMetric {
    /// Name.
    pub metric: String,
    /// At the end, by the permutation test.
    pub at_end: f64,
    /// At any look, each held against the level itself.
    pub any_look_uncorrected: f64,
    /// At any look, each held against its boundary.
    pub any_look_corrected: f64,
}
