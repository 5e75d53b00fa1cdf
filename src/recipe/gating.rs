//! The section `[gate]`: what a candidate must be like to take an incumbent's place.

use serde::{Deserialize, Serialize};

/// Rules of the promotion gate. Published is that all seven metrics have to improve (CoRe); the bands are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// The paper's rule: all seven metrics must improve, however little. Else the main reward must improve, the other two must
    /// not get worse beyond their intervals, and no interval of the rest may lie beyond its band below.
    pub strict: bool,
    /// Held-out searches looked at, drawn from all.
    pub examples: usize,
    /// Answers sampled for each: the candidates whose entropy and surprisal are measured.
    pub samples: usize,
    /// Share of the incumbent's entropy that may be lost.
    pub entropy_loss: f64,
    /// Share by which the mean surprisal may rise.
    pub surprisal_rise: f64,
    /// Share by which the mean length may rise.
    pub length_rise: f64,
    /// By how much the share of truncated answers may rise.
    pub truncated_rise: f64,
    /// By how much the share of rewrites that an index answers may fall.
    pub hit_loss: f64,
    /// By how much the share of queries left alone may move, either way.
    pub reject_move: f64,
    /// By how much the share of rewrites may rise that other queries get, too.
    pub concentration_rise: f64,
    /// By how much the mean `log(1 + searches)` of the rewrites may move, either way.
    pub popularity_move: f64,
    /// Most nats that the candidate's answers may lie from the incumbent's (KL).
    pub kl: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            strict: false,
            examples: 1_000,
            samples: 10,
            entropy_loss: 0.3,
            surprisal_rise: 0.3,
            length_rise: 0.15,
            truncated_rise: 0.01,
            hit_loss: 0.05,
            reject_move: 0.1,
            concentration_rise: 0.05,
            popularity_move: 0.3,
            kl: 1.0,
        }
    }
}
