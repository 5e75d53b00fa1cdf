//! The subcommands and their flags; nothing else.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod ab;
mod bench;
mod gate;
mod release;
mod weekly;

pub use ab::{Ab, Recall};
pub use bench::{Bench, Flaw, Layout, Precision, Rows, Setting, Shape};
pub use gate::Gate;
pub use release::Release;
pub use weekly::Weekly;

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
    /// Recipe: a preset (demo, tiny, shop, zh, decay, large, base) or a TOML file [default: demo; of pretrain: base].
    #[arg(short, long, global = true, value_name = "NAME|FILE")]
    pub recipe: Option<String>,
    /// Where models are computed: a card needs a build by scripts/build-cuda.sh.
    #[arg(long, global = true, env = "CORE_DEVICE", value_enum, default_value_t = Device::Auto)]
    pub device: Device,
    /// Print JSON on stdout instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where models can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The first NVIDIA card where this build can use one and one answers, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first NVIDIA card.
    Cuda,
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
        /// Train a second model, from nothing instead of from the base, and show both.
        #[arg(long)]
        from_scratch: bool,
    },
    /// Let the world's people search for some weeks, and log it.
    Simulate {
        /// Only the first N people of the recipe's world.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        people: Option<u32>,
        /// Only the first N weeks.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        weeks: Option<u32>,
        /// Simulate again even when the log is there.
        #[arg(long)]
        fresh: bool,
    },
    /// Look at the world behind a log.
    World {
        /// What to do.
        #[command(subcommand)]
        what: World,
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
    Train(Train),
    /// Train a base model that reads its context, on documents made on the fly.
    Pretrain {
        /// Name of the run [default: the recipe's name].
        #[arg(long)]
        name: Option<String>,
        /// Go on from the newest checkpoint.
        #[arg(long, conflicts_with = "fresh")]
        resume: bool,
        /// Delete the run's checkpoints and start over.
        #[arg(long)]
        fresh: bool,
    },
    /// The base model that comes with the program.
    Base {
        /// What to do.
        #[command(subcommand)]
        what: Base,
    },
    /// Score rewriters side by side on held-out searches.
    Eval {
        /// Rewriters: never, frequent-gain, copy-rule, cooccurrence, nearest, prf, a release, a run, a folder, or owner/name
        /// [default: the rules and the release in use, or else the newest run].
        rewriters: Vec<String>,
    },
    /// Simulate an online experiment on people who were never trained on.
    Ab(Ab),
    /// Rewrite one query.
    Rewrite {
        /// The query and what was known of the person.
        #[command(flatten)]
        asked: Asked,
        /// Rewriter: a rule, release, release:3, a run, a checkpoint folder, or owner/name [default: the release in use, or else
        /// the newest run].
        #[arg(long)]
        model: Option<String>,
    },
    /// What a rewrite is worth to a policy that learns from rewards.
    Judge {
        /// What to do.
        #[command(subcommand)]
        what: Judge,
    },
    /// Whether a candidate may take an incumbent's place, and its release if so; code 3 when it may not.
    Gate(Gate),
    /// Week after week: log what is in use, mine, tune by MPO, gate, release or keep.
    Weekly(Weekly),
    /// What is in use, and the way back.
    #[command(flatten)]
    Release(Release),
    /// The fake index: valid query → its best documents, for serving rewrites without a search.
    Fake {
        /// What to do.
        #[command(subcommand)]
        what: Fake,
    },
    /// Serve rewrites and searches over HTTP.
    Serve {
        /// Port; 0 takes a free one.
        #[arg(long, default_value_t = 8642)]
        port: u16,
        /// Address to listen on; loopback unless you say otherwise.
        #[arg(long, default_value = "127.0.0.1")]
        host: IpAddr,
        /// Rewriter: a rule, release, release:3, a run, a checkpoint folder, or owner/name [default: the release in use, or else
        /// the newest run].
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
        /// Timed steps, lookups or searches [default: as many as about 10 s hold; 200000 lookups; 5000 searches].
        #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        steps: Option<u32>,
    },
    /// Watch runs live in the terminal.
    Watch,
    /// List the runs of the workspace.
    Runs,
    /// List the logs of the workspace.
    Logs,
    /// Write the newest experiment as a page: lifts, looks, A/A runs, settings; one file that needs no network.
    Report {
        /// The file to write.
        #[arg(long, value_name = "FILE", default_value = "report.html")]
        html: PathBuf,
    },
    /// Check this machine and workspace, and say what to do about what is missing.
    Doctor,
}

/// What can be done with the world.
#[derive(Debug, Clone, Subcommand)]
pub enum World {
    /// What was made: sessions, queries, clicks, dwell, needs and drift, beside published figures.
    Describe {
        /// Log to describe, of any kind [default: the recipe's name].
        #[arg(long)]
        log: Option<String>,
        /// Draw the curves into this folder, an SVG file each.
        #[arg(long, value_name = "DIR")]
        plot: Option<PathBuf>,
    },
}

/// What to train.
#[derive(Debug, Clone, Args)]
pub struct Train {
    /// The objective.
    #[arg(value_enum)]
    pub objective: Objective,
    /// What is learnt.
    #[arg(long, value_enum, default_value_t = Task::Rewriting)]
    pub task: Task,
    /// Name of the run [default: <log>-sft, <log>-grpo, <log>-mpo, or <log>-relevance].
    #[arg(long)]
    pub name: Option<String>,
    /// Log to learn from [default: the recipe's name].
    #[arg(long)]
    pub log: Option<String>,
    /// Start from this checkpoint folder or hub id, or from the program's own base, instead of from nothing.
    #[arg(long, value_name = "base|FOLDER|OWNER/NAME")]
    pub init: Option<String>,
    /// Go on from the newest checkpoint.
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// Delete the run's checkpoints and start over.
    #[arg(long)]
    pub fresh: bool,
}

/// A query, and what was known of the person who typed it.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The query.
    pub query: String,
    /// Title of a watched video, newest first; may be repeated.
    #[arg(long, value_name = "TITLE")]
    pub watched: Vec<String>,
    /// Earlier query, newest first; may be repeated.
    #[arg(long, value_name = "QUERY")]
    pub searched: Vec<String>,
    /// City or region.
    #[arg(long)]
    pub place: Option<String>,
    /// JSON file with a context: {"watched":[{"title":"…"}],"queries":["…"],"place":"…"}.
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
}

/// What can be done with rewards.
#[derive(Debug, Clone, Subcommand)]
pub enum Judge {
    /// Score one rewrite, part by part.
    Explain {
        /// The query and what was known of the person.
        #[command(flatten)]
        asked: Asked,
        /// The rewrite [default: the query is left alone].
        #[arg(long)]
        rewrite: Option<String>,
        /// Id of the document that satisfied the person.
        #[arg(long, value_name = "DOC")]
        satisfied: Option<String>,
        /// Id of a document that was shown and passed over; may be repeated.
        #[arg(long, value_name = "DOC")]
        skipped: Vec<String>,
    },
}

/// What can be done with a base model.
#[derive(Debug, Clone, Subcommand)]
pub enum Base {
    /// Write the one that came with the program into the workspace again.
    Restore,
    /// Write the newest checkpoint of a run as a base: bfloat16, with a card.
    Export {
        /// The run.
        #[arg(long, default_value = "base", value_name = "NAME")]
        run: String,
        /// The folder, which is replaced.
        folder: PathBuf,
    },
}

/// What can be done with the fake index.
#[derive(Debug, Clone, Subcommand)]
pub enum Fake {
    /// Build it from the store; a running server takes it up.
    Build {
        /// A log to build from; may be repeated [default: the recipe's own, and what its server logged].
        #[arg(long, value_name = "NAME")]
        log: Vec<String>,
    },
    /// What it holds.
    Stats,
    /// The documents of a query.
    Show {
        /// The query.
        query: String,
    },
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

/// Who is in which arm of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Design {
    /// Everybody in one arm, by a hash of the person.
    Hashed,
    /// Everybody in both arms.
    Paired,
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

/// What a model can learn from a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// When and how to rewrite a query, from mined examples.
    Rewriting,
    /// How well a document answers a query, from annotations (`core bench relevance --annotate` makes some).
    Relevance,
}

/// Training objectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Objective {
    /// Supervised fine-tuning.
    Sft,
    /// Group-relative policy optimisation for the rewards of [reward], the examples beside it.
    Grpo,
    /// Mixed preference optimisation in semi-online phases, for the ratio of [ratio].
    Mpo,
}
