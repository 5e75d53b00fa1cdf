//! Section of a recipe about the search path that rewriting stands beside, and how its encoder reads texts.

use serde::{Deserialize, Serialize};

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
    /// What makes the vectors: `hashed`, our own small encoder; or a BERT-class encoder in transformers' layout
    /// (config.json, tokenizer.json, model.safetensors), by its folder or its id on the hub, `owner/name[@revision]`.
    /// Another encoder asks for `core index build`, which makes all vectors anew.
    pub encoder: String,
    /// What tells relevance at finerank: `path`, the plain scorer of words and vectors; or a relevance model, by the name of its run
    /// (`core train sft --task relevance`).
    #[serde(skip_serializing_if = "is_plain")]
    pub scorer: String,
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
    /// A known weakness that the scorer of rewrites is given, for replaying incidents: words that match nothing are forgiven, so
    /// `r` counts as `min(1, r · terms / 2)`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rewrite_forgives: bool,
    /// How an encoder from a folder or the hub reads texts; `hashed` has nothing to be set.
    pub encoding: Encoding,
}

/// The name of the search path's own relevance, wherever a recipe names a scorer.
pub const PLAIN_SCORER: &str = "path";

fn is_plain(scorer: &String) -> bool {
    scorer == PLAIN_SCORER
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
    /// What the relevance to a rewrite of so many terms is multiplied by, before it is cut off at 1: 1 for a sound scorer.
    #[must_use]
    pub fn forgiven(&self, terms: usize) -> f64 {
        if self.rewrite_forgives { (terms as f64 / 2.0).max(1.0) } else { 1.0 }
    }

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
            scorer: PLAIN_SCORER.into(),
            relevance_weight: 2.0,
            popularity_weight: 0.1,
            satisfaction_weight: 0.5,
            fusion: Fusion::B,
            rewrite_recall: 1.0,
            rewrite_rawrank: 1.5,
            rewrite_finerank: 2.0,
            rewrite_forgives: false,
            encoding: Encoding::default(),
        }
    }
}

/// How a BERT-class encoder makes a vector of a text. All but `batch` belongs to what an index is made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encoding {
    /// Which states become the vector: `auto`, `cls` or `mean`.
    pub pooling: Pooling,
    /// Put before every query, as E5's `"query: "`.
    pub query_prefix: String,
    /// Put before every document, as E5's `"passage: "`.
    pub passage_prefix: String,
    /// Longest text in tokens, prefix and the encoder's own marks among them; what is beyond is cut off. Never more than
    /// the encoder has positions for.
    pub max_tokens: usize,
    /// Texts encoded at once, of long ones fewer: for speed alone.
    pub batch: usize,
}

impl Default for Encoding {
    fn default() -> Self {
        Self {
            pooling: Pooling::Auto,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            max_tokens: 256,
            batch: 32,
        }
    }
}

/// Which of an encoder's last states become a text's vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// What the folder's `1_Pooling/config.json` (sentence-transformers) says; without one, the mean.
    #[default]
    Auto,
    /// The first token's.
    Cls,
    /// The mean over the text's tokens.
    Mean,
}
