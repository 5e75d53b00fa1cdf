//! The section `[weekly]`: the continuous loop.

use serde::{Deserialize, Serialize};

/// Log, mine, tune, gate, release, week after week (CoRe).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weekly {
    /// Weeks of log that are learnt from: the last one is held out for the gate, those before it train.
    pub window: u32,
    /// Peak learning rate of a week's tuning; that of `[mpo]` where nothing is said. A week has fewer searches to learn from than the
    /// log before the first release, and its candidate has to stay near what is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// `ratio.reject` of a week's tuning; the recipe's own where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<f64>,
    /// Whether a second model is trained every week and released without a gate, to be compared with.
    pub ungated: bool,
}

impl Default for Weekly {
    fn default() -> Self {
        Self { window: 2, lr: None, reject: None, ungated: true }
    }
}
