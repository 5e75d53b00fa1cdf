//! The flags of `core releases`, `core release` and `core rollback`.

use clap::Subcommand;

/// What can be done with releases.
#[derive(Debug, Clone, Subcommand)]
pub enum Release {
    /// List the releases: which is in use, where each came from, and why.
    Releases {
        /// Only those of this log [default: all].
        #[arg(long, value_name = "NAME")]
        log: Option<String>,
    },
    /// Put the newest checkpoint of a run in use, by hand and without a gate.
    Release {
        /// The run.
        run: String,
        /// Log that it serves [default: the recipe's name].
        #[arg(long, value_name = "NAME")]
        log: Option<String>,
        /// Why, in a sentence.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Put an earlier release in use again.
    Rollback {
        /// Number of the release [default: the one in use before the present one was promoted].
        #[arg(long, value_name = "ID")]
        to: Option<i64>,
        /// Log that it serves [default: the recipe's name].
        #[arg(long, value_name = "NAME")]
        log: Option<String>,
        /// Why, in a sentence.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
}
