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
    /// A reformulation must share a word with the query before it, or be spelt like it; else it is a need of its own. WeWrite
    /// leaves that to a teacher model (§2.2); without one, most pairs in a log are about two things.
    pub related: bool,
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
            related: true,
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
    /// Searches beside the examples, for each of them, that a rule labels where people did not (`association`).
    pub taught: f64,
    /// Other queries that are answered in the context of each of these searches.
    pub asked: usize,
    /// Share of the examples that come once more with a typing error in the query, to be mended.
    pub slips: f64,
    /// Share of the rewrites that come once more in a stranger's context, to be left alone.
    pub strangers: f64,
    /// Share of the rewrites that come once more with another word for the gain term, in context and rewrite alike.
    pub renamed: f64,
    /// Share of the taught contexts in which the own words of a head are exchanged for words that it never had, as those of a
    /// thing yet to come.
    pub unheard: f64,
    /// Weight in the loss of a prompt's own tokens; its answer has 1. Above 0 the words of titles are learnt too.
    pub prompt_weight: f64,
    /// Documents of the pre-training kind read along with each micro-batch, as a share of its examples: a base forgets
    /// less of how to read.
    pub replay: f64,
    /// How matrices are multiplied: `auto`, `f32` or `bf16`.
    pub precision: Precision,
    /// Compute activations again in the backward pass instead of keeping them: less memory, about a third more time.
    /// On a card it is always so.
    pub recompute: bool,
    /// Other steps for a model without anything to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_scratch: Option<FromScratch>,
}

/// How long and how fast a model learns that starts from nothing: it needs more and larger steps than one with a base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromScratch {
    /// Optimizer steps.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
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
            taught: 0.0,
            asked: 0,
            slips: 0.0,
            strangers: 0.0,
            renamed: 0.0,
            unheard: 0.0,
            prompt_weight: 0.0,
            replay: 0.0,
            precision: Precision::Auto,
            recompute: false,
            from_scratch: None,
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

/// The stream that a base model reads (`core pretrain`): how often each kind of document comes, and how long one is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pretrain {
    /// Weight of documents in which people of a fresh small world watch and search.
    pub worlds: f64,
    /// Weight of pairs of words, then heads whose word is asked for.
    pub recall: f64,
    /// Weight of lines that are said again.
    pub repeat: f64,
    /// Weight of phrases and the same with typing errors.
    pub typos: f64,
    /// Weight of words run together.
    pub split: f64,
    /// Share of documents in Chinese.
    pub chinese_share: f64,
    /// Letters after which a document asks nothing more.
    pub max_chars: usize,
    /// Tokens after which a document is cut.
    pub max_tokens: usize,
    /// Weight in the loss of what does not follow from what stands before; answers have 1.
    pub context_weight: f64,
    /// Documents that the tokenizer is trained on.
    pub tokenizer_documents: usize,
}

impl Default for Pretrain {
    fn default() -> Self {
        Self {
            worlds: 0.6,
            recall: 0.1,
            repeat: 0.05,
            typos: 0.2,
            split: 0.05,
            chinese_share: 0.15,
            max_chars: 700,
            max_tokens: 256,
            context_weight: 0.1,
            tokenizer_documents: 20_000,
        }
    }
}
