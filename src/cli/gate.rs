//! The flags of `core gate`.

use std::path::PathBuf;

use clap::Args;

/// What is held against what.
#[derive(Debug, Clone, Args)]
pub struct Gate {
    /// The candidate: a run [default: the newest run].
    pub candidate: Option<String>,
    /// What it is held against: a release, a run, a folder, or a rule [default: the release in use].
    #[arg(long, value_name = "NAME")]
    pub incumbent: Option<String>,
    /// Only say the verdict; release nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Two TREC runs instead of models, the one in use first.
    #[arg(long, num_args = 2, value_names = ["INCUMBENT", "CANDIDATE"], requires = "qrels", conflicts_with_all = ["candidate", "incumbent", "dry_run"])]
    pub runs: Vec<PathBuf>,
    /// Judgments for the runs, in the form of TREC.
    #[arg(long, value_name = "FILE", requires = "runs")]
    pub qrels: Option<PathBuf>,
}
