//! The section `[weekly]`: the continuous loop.

use serde::{Deserialize, Serialize};

/// Log, mine, tune, gate, release, week after week (CoRe).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weekly {
    /// Weeks of log that are learnt from: the last one is held out for the gate, those before it train.
    pub window: u32,
    /// Whether a second model is trained every week and released without a gate, to be compared with.
    pub ungated: bool,
}

impl Default for Weekly {
    fn default() -> Self {
        Self { window: 2, ungated: true }
    }
}
