//! The section `[relevance]`: which pairs are annotated, and how a model learns to tag them.

use serde::{Deserialize, Serialize};

/// Relevance of documents to queries (LORE, JD). Neither paper gives these values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relevance {
    /// Distinct queries of a log that are annotated.
    pub queries: usize,
    /// Share of what queries are about (heads, functional needs) that no training annotation names; a third of it is for
    /// fitting the temperature, the rest is the benchmark.
    pub held_out: f64,
    /// *General*: documents of a query drawn from its first twenty results, and as many from all documents.
    pub general: usize,
    /// *Hard*: near misses of a query.
    pub hard: usize,
    /// *Visually Salient*: documents of a query of which only the picture tells the sense.
    pub salient: usize,

    /// Whether prompts say what is seen in the picture.
    pub visual: bool,
    /// What is said behind the label, in this order: any of `knowledge`, `picture`, `rules`; nothing for none of it (LORE's
    /// progressive reasoning, label first so that scoring reads none of it).
    pub reasoning: Vec<Reason>,
    /// Weight in the loss of a token of the reasoning; the label has 1.
    pub reasoning_weight: f64,
    /// Weight in the loss of a document's own tokens.
    pub document_weight: f64,
    /// Copies of each annotated query and its documents with another word for what they share, so that no name is learnt.
    pub renamed: f64,
    /// Lessons made of the catalogue alone, without an annotator, as a multiple of the annotated queries: words and pictures
    /// that go together (`src/train/distant.rs`).
    pub distant: f64,
    /// Share of the prompts of a batch that are rewriting examples of the same log (JD's multi-task training).
    pub mix: f64,
    /// Longest prompt in tokens: titles lose their end.
    pub max_prompt_tokens: usize,

    /// Optimizer steps; stands for `train.steps`.
    pub steps: u64,
    /// Queries in a micro-batch, each with all its documents; stands for `train.batch`.
    pub batch: usize,
    /// Peak learning rate; stands for `train.lr`.
    pub lr: f64,

    /// What the right label earns, when tagging is learnt for rewards (`core train grpo --task relevance`).
    pub exact_reward: f64,
    /// What the right side of relevance earns.
    pub binary_reward: f64,
    /// What an answer in the form that was taught earns.
    pub format_reward: f64,
}

/// A step of the reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// What the query asks for, and what the document's words say it is about.
    Knowledge,
    /// What the picture says it is about.
    Picture,
    /// Attribute by attribute: sense and facet, alike or not.
    Rules,
}

impl Default for Relevance {
    fn default() -> Self {
        Self {
            queries: 1_000,
            held_out: 0.4,
            general: 3,
            hard: 4,
            salient: 4,
            visual: true,
            reasoning: Vec::new(),
            reasoning_weight: 0.3,
            document_weight: 0.1,
            renamed: 2.0,
            distant: 3.0,
            mix: 0.0,
            max_prompt_tokens: 96,
            steps: 900,
            batch: 8,
            lr: 2e-3,
            exact_reward: 1.0,
            binary_reward: 0.5,
            format_reward: 0.25,
        }
    }
}
