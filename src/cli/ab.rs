//! The flags of `core ab`.

use clap::{Args, ValueEnum};

use super::{Design, Size};

/// Where the documents of a rewrite come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Recall {
    /// The rewrite is searched for.
    Index,
    /// They are read from the log's fake index, and what is not in it changes nothing.
    Fake,
}

/// An experiment, or runs without a difference.
#[derive(Debug, Clone, Args)]
pub struct Ab {
    /// The rewriter in the control; `never` is the plain search path.
    #[arg(long, default_value = "never", value_name = "REWRITER")]
    pub control: String,
    /// The rewriter in the treatment, or `oracle`, which knows what people want; several with commas share the control
    /// [default: the release in use, or else the newest run; that where a release is the control].
    #[arg(long, value_name = "REWRITER", value_delimiter = ',')]
    pub treatment: Vec<String>,
    /// Try everything there is: every rule, the model of the default and the oracle.
    #[arg(long, conflicts_with = "treatment")]
    pub all: bool,
    /// Who is in which arm.
    #[arg(long, value_enum, default_value_t = Design::Hashed)]
    pub design: Design,
    /// Look N times at the result, evenly in time, with boundaries that keep the error rate [default: ab.looks].
    #[arg(long, value_name = "N")]
    pub looks: Option<u32>,
    /// Let everybody live the weeks N times, as the same person with other wishes [default: ab.lives].
    #[arg(long, value_name = "N")]
    pub lives: Option<u32>,
    /// Where the documents of rewrites come from [default: serve.recall].
    #[arg(long, value_enum)]
    pub recall: Option<Recall>,
    /// First week of the experiment, counted from 1 at the start of the log; several with commas are held against
    /// the first [default: ab.after_weeks after the log].
    #[arg(long, value_name = "WEEK", value_delimiter = ',')]
    pub weeks: Vec<u32>,
    /// Instead, run N worlds without a rewriter in either arm: what share calls a difference significant?
    #[arg(long, value_name = "N", conflicts_with_all = ["control", "treatment", "all", "design", "weeks"])]
    pub aa: Option<usize>,
    /// Size of the worlds of --aa; each is a preset recipe.
    #[arg(long, value_enum, requires = "aa")]
    pub size: Option<Size>,
}
