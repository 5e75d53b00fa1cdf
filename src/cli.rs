//! The subcommands and their flags; nothing else.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Learn when and how to rewrite a search query from what the searcher just did.
#[derive(Debug, Parser)]
#[command(name = "core", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Folder of the store, the index and the checkpoints.
    #[arg(short, long, global = true, env = "CORE_WORKSPACE", default_value = "workspace", value_name = "DIR")]
    pub workspace: PathBuf,
    /// Recipe: a preset (demo, tiny) or a TOML file.
    #[arg(short, long, global = true, default_value = "demo", value_name = "NAME|FILE")]
    pub recipe: String,
    /// Print JSON on stdout instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole loop on the built-in world: simulate, mine, train, rewrite, A/B, report.
    Demo {
        /// How much of everything [default: demo].
        #[arg(long, value_enum)]
        size: Option<Size>,
        /// Start over instead of going on from what is there.
        #[arg(long)]
        fresh: bool,
    },
    /// Let the world's people search for some weeks, and log it.
    Simulate {
        /// Simulate again even when the log is there.
        #[arg(long)]
        fresh: bool,
    },
    /// Turn a log into examples: when to write, and what.
    Mine {
        /// Read a public log first.
        #[arg(long, value_enum, requires = "path", value_name = "FORMAT")]
        from: Option<Format>,
        /// File or folder to read, with --from.
        #[arg(requires = "from")]
        path: Option<PathBuf>,
        /// Name of the log in the store [default: the recipe's name, or the file's with --from].
        #[arg(long)]
        log: Option<String>,
    },
    /// Train a model on mined examples.
    Train {
        /// The objective.
        #[arg(value_enum)]
        objective: Objective,
        /// Name of the run [default: <log>-sft].
        #[arg(long)]
        name: Option<String>,
        /// Log to learn from [default: the recipe's name].
        #[arg(long)]
        log: Option<String>,
        /// Start from this checkpoint folder or hub id instead of from nothing.
        #[arg(long, value_name = "FOLDER|OWNER/NAME")]
        init: Option<String>,
        /// Go on from the newest checkpoint.
        #[arg(long, conflicts_with = "fresh")]
        resume: bool,
        /// Delete the run's checkpoints and start over.
        #[arg(long)]
        fresh: bool,
    },
    /// Score rewriters side by side on held-out searches.
    Eval {
        /// Rewriters: never, frequent-gain, copy-rule, a run, a folder, or owner/name
        /// [default: the rules and the newest run].
        rewriters: Vec<String>,
    },
    /// Simulate an online experiment against no rewriting.
    Ab {
        /// The rewriter in the treatment [default: the newest run].
        #[arg(long)]
        treatment: Option<String>,
    },
    /// Rewrite one query.
    Rewrite {
        /// The query.
        query: String,
        /// Title of a watched video, newest first; may be repeated.
        #[arg(long, value_name = "TITLE")]
        watched: Vec<String>,
        /// Earlier query, newest first; may be repeated.
        #[arg(long, value_name = "QUERY")]
        searched: Vec<String>,
        /// City or region.
        #[arg(long)]
        place: Option<String>,
        /// JSON file with a context: {"watched":[{"title":"…"}],"queries":["…"],"place":"…"}.
        #[arg(long, value_name = "FILE")]
        context: Option<PathBuf>,
        /// Rewriter: a rule, a run, a checkpoint folder, or owner/name [default: the newest run].
        #[arg(long)]
        model: Option<String>,
    },
    /// Serve rewrites and searches over HTTP.
    Serve {
        /// Port; 0 takes a free one.
        #[arg(long, default_value_t = 8642)]
        port: u16,
        /// Address to listen on; loopback unless you say otherwise.
        #[arg(long, default_value = "127.0.0.1")]
        host: IpAddr,
        /// Rewriter: a rule, a run, a checkpoint folder, or owner/name [default: the newest run].
        #[arg(long)]
        model: Option<String>,
    },
    /// Search once, and see what the ranking is made of.
    Search {
        /// The query.
        query: String,
        /// A rewrite to fuse in.
        #[arg(long)]
        rewrite: Option<String>,
        /// Log whose documents are searched [default: the recipe's name].
        #[arg(long)]
        log: Option<String>,
        /// Results [default: the recipe's page].
        #[arg(long, value_name = "N")]
        size: Option<usize>,
        /// Write out every number a score is made of, so that it can be redone by hand.
        #[arg(long)]
        explain: bool,
    },
    /// Build the search index of a log, or tell its sizes.
    Index {
        /// What to do.
        #[command(subcommand)]
        job: IndexJob,
    },
    /// Measure: steps of training and decoding, the stages of search, indexes side by side.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        work: Bench,
    },
    /// Watch runs live in the terminal.
    Watch,
    /// List the runs of the workspace.
    Runs,
    /// List the logs of the workspace.
    Logs,
    /// Check this machine and workspace, and say what to do about what is missing.
    Doctor,
}

/// What can be done to an index.
#[derive(Debug, Clone, Subcommand)]
pub enum IndexJob {
    /// Bring it up to date with the store, and learn the ranking from the log's clicks. The old one serves until then.
    Build {
        /// Log whose documents are indexed [default: the recipe's name].
        #[arg(long)]
        log: Option<String>,
        /// Start from nothing, whatever is there.
        #[arg(long)]
        anew: bool,
    },
    /// Check every file, and tell sizes and weights.
    Stats {
        /// The log [default: the recipe's name].
        #[arg(long)]
        log: Option<String>,
    },
}

/// How many steps are timed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Steps {
    /// Timed steps [default: as many as about 10 s hold].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
}

/// What can be measured. Prompts have 200 tokens, completions 8.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Bench {
    /// A supervised update on 16 sequences.
    Sft {
        /// Shape of the decoder.
        #[arg(long, value_enum, default_value_t = TrainShape::Tiny)]
        shape: TrainShape,
        /// How many.
        #[command(flatten)]
        n: Steps,
    },
    /// A GRPO update on 4 prompts × 8 completions: sampling, reference pass, update.
    Grpo {
        /// Shape of the decoder.
        #[arg(long, value_enum, default_value_t = TrainShape::Tiny)]
        shape: TrainShape,
        /// How many.
        #[command(flatten)]
        n: Steps,
    },
    /// An MPO update on 16 pairs: reference pass, update.
    Mpo {
        /// Shape of the decoder.
        #[arg(long, value_enum, default_value_t = TrainShape::Tiny)]
        shape: TrainShape,
        /// How the pairs stand in prompts.
        #[arg(long, value_enum, default_value_t = Layout::Pairs)]
        layout: Layout,
        /// How many.
        #[command(flatten)]
        n: Steps,
    },
    /// 8 sampled completions for each of 4 prompts.
    Sample {
        /// Shape of the decoder.
        #[arg(long, value_enum, default_value_t = Shape::Tiny)]
        shape: Shape,
        /// How many.
        #[command(flatten)]
        n: Steps,
    },
    /// One greedy completion.
    Rewrite {
        /// Shape of the decoder.
        #[arg(long, value_enum, default_value_t = Shape::Tiny)]
        shape: Shape,
        /// How many.
        #[command(flatten)]
        n: Steps,
    },
    /// nDCG@10 after each stage of search, judged by what the world's people wanted.
    Stages,
    /// Building and asking an index: ours, plain Tantivy, SQLite's FTS5.
    Search {
        /// Documents [default: the recipe's world].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        docs: Option<u32>,
        /// Queries.
        #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        queries: u32,
    },
}

/// Shapes that can be trained in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainShape {
    /// Qwen3 with 4.2 million parameters.
    Tiny,
}

/// Shapes that can be decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Qwen3 with 4.2 million parameters.
    Tiny,
    /// Qwen3-0.6B, 3 GB of memory.
    Small,
}

/// How pairs stand in prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// A pair each.
    Pairs,
    /// 2 chosen against 2 rejected each.
    Shared,
}

/// Sizes of the demo; each is a preset recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// 2 thousand videos, under a minute.
    Tiny,
    /// 20 thousand videos, minutes.
    Demo,
}

/// Public log formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// User Behavior Insights.
    Ubi,
}

/// Training objectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Objective {
    /// Supervised fine-tuning.
    Sft,
}
