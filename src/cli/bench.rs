//! What `core bench` can time, and its flags.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What can be measured. In steps of training and decoding prompts have 200 tokens, completions 8; half the batch or less for the small shape.
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// A supervised update on 16 sequences (small: 2).
    Sft(Setting),
    /// A GRPO update on 4 prompts × 8 completions (small: 1 × 8): sampling, reference pass, update.
    Grpo(Setting),
    /// An MPO update on 16 pairs (small: 1): reference pass, update.
    Mpo {
        /// How the pairs stand in prompts.
        #[arg(long, value_enum, default_value_t = Layout::Pairs)]
        layout: Layout,
        /// Shape and arithmetic.
        #[command(flatten)]
        setting: Setting,
    },
    /// 8 sampled completions for each of 4 prompts (small: 1).
    Sample(Setting),
    /// One greedy completion.
    Rewrite(Setting),
    /// Lay a run's lines of JSON, ours and the peers', side by side (scripts/benchmarks.sh makes one).
    Compare {
        /// File with a case a line.
        run: PathBuf,
        /// Write the page in Markdown here as well.
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
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
    /// What a base model can read, and what comes of it after fine-tuning, beside rules and a model from nothing.
    Base {
        /// The base: the program's own, or a checkpoint folder.
        #[arg(long, default_value = "base", value_name = "base|FOLDER")]
        model: String,
        /// Worlds of so many seeds; 0 asks for reading alone.
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(..=20))]
        seeds: u64,
        /// Leave out the model that is trained from nothing.
        #[arg(long)]
        no_scratch: bool,
        /// Ask this one too, a run of the workspace or a checkpoint folder; may be repeated.
        #[arg(long, value_name = "RUN")]
        beside: Vec<String>,
    },
    /// What a model loses by growing old: models taught on one week each, in the week after the last.
    Aging {
        /// Weeks to teach a model on, from 1 [default: the log's first and last].
        #[arg(long, value_name = "W,…", value_delimiter = ',')]
        taught: Vec<u32>,
        /// Worlds of so many seeds.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=20))]
        seeds: u64,
    },
    /// What learning from rewards adds to learning by example: one reward, or one setting, at a time.
    Rewards {
        /// Which rows.
        #[arg(long, value_enum, default_value_t = Rows::Rewards)]
        rows: Rows,
        /// Worlds of so many seeds.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=20))]
        seeds: u64,
        /// These rows alone, by name, beside the first one.
        #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
        only: Vec<String>,
        /// Leave out the simulated experiment.
        #[arg(long)]
        no_ab: bool,
    },
    /// Reward against its cost, from online to offline: GRPO, and MPO whose sampler takes up the policy after so many steps.
    Economy {
        /// Optimizer steps between two syncs; may be repeated, more than the recipe's steps are offline.
        #[arg(long, value_name = "N", default_values_t = [1, 10, 40, 100_000], value_parser = clap::value_parser!(u64).range(1..))]
        sync: Vec<u64>,
        /// Draw the curves into this SVG file.
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
    },
    /// A weak reward, a policy that finds the weakness, and what the gate makes of it.
    Incident {
        /// The weakness; may be repeated.
        #[arg(long, value_enum, default_values_t = [Flaw::Verbosity, Flaw::Popularity, Flaw::Abstention])]
        flaw: Vec<Flaw>,
        /// Rounds of MPO under it.
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
        rounds: u32,
    },
    /// One model on held-out searches, its answers decoded freely, constrained to valid queries, and mixed.
    Decoding {
        /// A run, a checkpoint folder, or owner/name on a hub [default: the newest run].
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// Held-out searches at most.
        #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        examples: u32,
    },
    /// Taggers of relevance side by side on annotated pairs: words, vectors, and models from the base.
    Relevance {
        /// Judged pairs instead of the recipe's log: JSON lines of query, document (or title) and label (L1 … L4, or ESCI's).
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// Write the annotations, and stop there.
        #[arg(long)]
        annotate: bool,
        /// What models start from.
        #[arg(long, default_value = "base", value_name = "base|FOLDER|OWNER/NAME")]
        init: String,
    },
    /// Lookups in a fake index, one timed at a time.
    Fake {
        /// Queries in it.
        #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
        keys: u32,
    },
    /// What near-line rewriting adds to a search, over HTTP on loopback.
    Serve {
        /// Documents in the index.
        #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(500..))]
        videos: u32,
    },
}

/// Rows of a table about rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// Rewards, one family at a time.
    Rewards,
    /// λ, β, G, and the examples beside them.
    Settings,
    /// Relevance as a reward, by the search path and by a model that is trained first; tagging learnt beside rewriting.
    Relevance,
    /// CoRe's: forms of the ratio and terms of MPO.
    Core,
}

/// A weakness of the ratio reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flaw {
    /// Words that match nothing are forgiven.
    Verbosity,
    /// Often typed texts seem more relevant.
    Popularity,
    /// Leaving a query alone costs nothing.
    Abstention,
}

/// Shape and arithmetic of a case.
#[derive(Debug, Clone, Copy, Args)]
pub struct Setting {
    /// Shape of the decoder.
    #[arg(long, value_enum, default_value_t = Shape::Tiny)]
    pub shape: Shape,
    /// How matrices are multiplied [default: bf16 where this processor is faster with it, else f32].
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Compute activations again in the backward pass instead of keeping them.
    #[arg(long)]
    pub recompute: bool,
}

/// Shapes of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Qwen3 with 4.2 million parameters, trained in full.
    Tiny,
    /// Qwen3-0.6B in bfloat16, trained with LoRA adapters of rank 16 on every projection.
    Small,
    /// Qwen3-4B likewise, with the batches of tiny; on a card alone.
    #[value(name = "qwen3-4b")]
    Qwen3_4b,
}

/// How matrices are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// float32.
    F32,
    /// Operands rounded to bfloat16, sums in float32.
    Bf16,
}

/// How pairs stand in prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// A pair each.
    Pairs,
    /// 2 chosen against 2 rejected each.
    Shared,
}
