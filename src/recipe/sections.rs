//! The sections of a recipe, each with its defaults; times in seconds, shares in [0, 1].

use serde::{Deserialize, Serialize};

/// Which logged searches become examples (WeWrite §2.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mine {
    /// τ_fail: the origin failed when its longest dwell is below this. 2.4 s is second-hand: a summary gave it.
    pub fail_dwell_s: f64,
    /// τ_succ: the next query succeeded when a dwell reaches this. 10 s is our reading, from the VV10s metric.
    pub success_dwell_s: f64,
    /// A reject example needs a click this soon after its query ("immediately led to satisfaction").
    pub reject_click_within_s: f64,
    /// Longest pause between a query and its reformulation.
    pub reformulation_gap_s: f64,
    /// Watched videos kept in a context, newest first.
    pub watched_limit: usize,
    /// Earlier queries kept in a context, newest first.
    pub queries_limit: usize,
    /// Rejects kept for each rewrite; the rest are dropped by a seeded draw.
    pub rejects_per_rewrite: f64,
    /// Pause after which a person's next event opens a new session, for logs without session ids.
    pub session_gap_s: f64,
    /// Share of people whose searches are never trained on.
    pub held_out_people: f64,
    /// Share of the log's time span, at its end, that is never trained on.
    pub held_out_time: f64,
}

impl Default for Mine {
    fn default() -> Self {
        Self {
            fail_dwell_s: 2.4,
            success_dwell_s: 10.0,
            reject_click_within_s: 30.0,
            reformulation_gap_s: 300.0,
            watched_limit: 4,
            queries_limit: 3,
            rejects_per_rewrite: 0.6,
            session_gap_s: 1800.0,
            held_out_people: 0.2,
            held_out_time: 0.25,
        }
    }
}

/// Shape of a Qwen3 decoder made from nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelShape {
    /// Entries of the byte-level BPE trained on the log's own text.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads (grouped-query attention).
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the gated feed-forward.
    pub ffn: usize,
}

impl Default for ModelShape {
    fn default() -> Self {
        Self { vocab: 1_400, hidden: 128, layers: 4, heads: 4, kv_heads: 2, head_dim: 32, ffn: 384 }
    }
}

/// The training loop: AdamW, cosine with warm-up, clipping, accumulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Optimizer steps.
    pub steps: u64,
    /// Examples per micro-batch.
    pub batch: usize,
    /// Micro-batches per optimizer step.
    pub accumulate: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Share of the steps spent warming up.
    pub warmup: f64,
    /// Learning rate at the end, as a share of the peak.
    pub lr_floor: f64,
    /// Decoupled weight decay; none on norms and biases.
    pub weight_decay: f64,
    /// Gradients are clipped to this global L2 norm; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Steps between evaluations on held-out people.
    pub eval_every: u64,
    /// Held-out examples used by one evaluation during training.
    pub eval_examples: usize,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Checkpoints kept, newest first.
    pub keep: usize,
    /// Longest prompt in tokens; the oldest context is dropped first.
    pub max_prompt_tokens: usize,
    /// How matrices are multiplied: `auto`, `f32` or `bf16`.
    pub precision: Precision,
    /// Compute activations again in the backward pass instead of keeping them: less memory, about a third more time.
    /// On a card it is always so.
    pub recompute: bool,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 1_200,
            batch: 16,
            accumulate: 1,
            lr: 3e-3,
            warmup: 0.03,
            lr_floor: 0.02,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            eval_every: 200,
            eval_examples: 200,
            save_every: 200,
            keep: 2,
            max_prompt_tokens: 160,
            precision: Precision::Auto,
            recompute: false,
        }
    }
}

/// How matrices are multiplied; sums and all else are float32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16 on a card and where the processor multiplies it faster (AVX-512 BF16), float32 elsewhere.
    #[default]
    Auto,
    /// float32.
    F32,
    /// Operands rounded to bfloat16.
    Bf16,
}

impl Precision {
    /// As a recipe says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Low-rank adapters instead of full fine-tuning, for a model given with `--init`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// Width of the adapters; 0 trains all weights instead.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Scale by `alpha / √rank` instead.
    pub rslora: bool,
    /// Projections that get an adapter: any of `q_proj` … `down_proj`, or `all-linear`.
    pub targets: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 0, alpha: 32.0, rslora: false, targets: vec!["all-linear".into()] }
    }
}

/// The search path: recall → rawrank → finerank, and the weight of a rewrite's relevance in each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchPath {
    /// Results shown on a page.
    pub page: usize,
    /// Documents recalled by BM25.
    pub recall: usize,
    /// Documents recalled by vectors; 0 leaves vectors out of recall. No more than 64 come from each graph.
    pub vector_recall: usize,
    /// Documents that rawrank passes on to finerank.
    pub rawrank: usize,
    /// What makes the vectors: `hashed`, our own small encoder.
    pub encoder: String,
    /// Exponent of relevance in finerank's score.
    pub relevance_weight: f64,
    /// Exponent of popularity in finerank's score.
    pub popularity_weight: f64,
    /// Exponent of satisfaction (what past clicks say of a document) in finerank's score.
    pub satisfaction_weight: f64,
    /// Stages that a rewrite enters: CoRe's configuration `a` (finerank only) or `b` (all three).
    pub fusion: Fusion,
    /// At recall: length of the rewrite's lists relative to the query's.
    pub rewrite_recall: f64,
    /// At rawrank: what full relevance to the rewrite adds to the score.
    pub rewrite_rawrank: f64,
    /// At finerank: exponent of `1 + r`, r the relevance to the rewrite.
    pub rewrite_finerank: f64,
}

/// Which stages a rewrite's relevance enters (CoRe). The weights are the recipe's; a stage that is left out has weight 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Finerank only.
    A,
    /// Recall, rawrank and finerank.
    B,
}

/// Weight of a rewrite's relevance at each stage; 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewriteWeights {
    /// Length of the rewrite's recall lists relative to the query's.
    pub recall: f64,
    /// What full relevance adds to the score.
    pub rawrank: f64,
    /// Exponent of `1 + r`.
    pub finerank: f64,
}

impl SearchPath {
    /// The weights that hold under the configuration.
    #[must_use]
    pub fn rewrite_weights(&self) -> RewriteWeights {
        let early = |weight| if self.fusion == Fusion::B { weight } else { 0.0 };
        RewriteWeights {
            recall: early(self.rewrite_recall),
            rawrank: early(self.rewrite_rawrank),
            finerank: self.rewrite_finerank,
        }
    }
}

impl Default for SearchPath {
    fn default() -> Self {
        Self {
            page: 10,
            recall: 100,
            vector_recall: 50,
            rawrank: 50,
            encoder: "hashed".into(),
            relevance_weight: 2.0,
            popularity_weight: 0.1,
            satisfaction_weight: 0.5,
            fusion: Fusion::B,
            rewrite_recall: 1.0,
            rewrite_rawrank: 1.5,
            rewrite_finerank: 2.0,
        }
    }
}
