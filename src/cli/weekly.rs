//! The flags of `core weekly`.

use std::path::PathBuf;

use clap::Args;

/// How many weeks, and what is to be told of them.
#[derive(Debug, Clone, Args)]
pub struct Weekly {
    /// Weeks of the loop.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub weeks: u32,
    /// Start over instead of going on from the weeks that are done.
    #[arg(long)]
    pub fresh: bool,
    /// Draw the lifts into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}
