//! Sections of a recipe about serving: how a model answers, the server itself, and the fake index it may answer rewrites
//! from.

use serde::{Deserialize, Serialize};

/// How a trained model answers; `core rewrite`, `eval`, `ab` and `serve` go the same path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Rewriting {
    /// What it may say: `free`, `constrained`, `mixed` or `words`. A command that takes a model's name also takes `NAME:constrained`.
    pub decoding: Decoding,
    /// A query is left alone only where `<reject>` has at least this share of the probability of itself and of the rewrite that would
    /// be said instead: the higher, the less is left alone, and the more rightly. A model that is not sure of its rewrite is
    /// heard so, too. 0 takes what is likelier to be said first, whatever the rewrite. A command that takes a model's name also
    /// takes `NAME@0.5`.
    pub reject_at: f64,
}

/// What a model may say.
///
/// A valid query is one that `fake.min_people` people of the training split typed before training ended, and that somebody
/// was shown a document for: a fake index of the log has it as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoding {
    /// Anything.
    #[default]
    Free,
    /// `<reject>` or a valid query, by a mask on what comes next; a token that is left no choice costs nothing. The most
    /// probable answer stays what it was where it was valid. Elsewhere the next best way on is taken at each token, however
    /// little the model believes in where it leads.
    Constrained,
    /// Free first. An answer that is neither `<reject>` nor valid is decoded again, constrained, and what comes of that is
    /// held against `<reject>`: the more probable of the two under the model is said. So no rewrite is forced on a query that
    /// the model would rather leave alone. An answer that was valid costs what a free one costs, any other three ways: free,
    /// constrained, and a pass over both ends.
    Mixed,
    /// `<reject>`, or words that were typed or watched, and for a typed word that nobody knows those that are a slip away, in
    /// which case it is not left alone. So nothing is said that neither the query nor its context gives a reason for. Texts that
    /// are not written in words with blanks between them are answered freely, and so are all by a model with a chat template.
    /// For serving alone: what is tried in training is not kept to it.
    Words,
}

impl Decoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Free, Self::Constrained, Self::Mixed, Self::Words];

    /// As a recipe says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Constrained => "constrained",
            Self::Mixed => "mixed",
            Self::Words => "words",
        }
    }
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serve {
    /// A rewrite whose results are not there by then is dropped and the plain answer goes out. A request may ask for less.
    pub deadline_ms: u64,
    /// Longest query accepted, in bytes.
    pub max_query_bytes: usize,
    /// Rewrites decoded at once; more wait, and give up at the deadline.
    pub concurrency: usize,
    /// When rewrites are computed.
    pub rewrites: Rewrites,
    /// Where the results of a rewrite come from: in the server, in `core ab`, and on pages that rewards judge.
    pub recall: Recall,
}

impl Default for Serve {
    fn default() -> Self {
        Self { deadline_ms: 200, max_query_bytes: 512, concurrency: 2, rewrites: Rewrites::Live, recall: Recall::Index }
    }
}

/// When rewrites are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewrites {
    /// In the request, beside the search.
    Live,
    /// Behind the request, for the next one that asks the same after the same video: a miss answers plainly (CoRe).
    Nearline,
}

/// Where the results of a rewrite come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recall {
    /// The rewrite is searched for, and is one more signal of the ranking (CoRe).
    #[default]
    Index,
    /// The rewrite's documents are read from the fake index, and merged into the plain page (WeWrite §2.4).
    Fake,
}

/// The fake index: valid query → documents, made from what people did (WeWrite §2.4). The paper gives no values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fake {
    /// Documents kept for a query.
    pub top: usize,
    /// A query is a key when at least this many different people typed it: what fewer typed could tell who they are.
    pub min_people: usize,
    /// Clicks from which a query's documents are ordered by clicks and dwell; below, by what past searches showed on top.
    pub head_clicks: usize,
    /// Strength of the mean click rate in a document's own, in looks.
    pub prior_looks: f64,
    /// Strength of the mean dwell in a document's own, in clicks.
    pub prior_clicks: f64,
    /// How often a place of the page is looked at, from the top; the last value holds for all below. The default is the
    /// position-bias table of public click simulators. It is not fitted on the log: an engine that always answers a query
    /// alike shows each document at one place, and then place and worth cannot be told apart.
    pub examination: Vec<f64>,
    /// A document of the list enters the page when it matches the person's own query at least so well, in [0, 1].
    pub min_relevance: f64,
    /// Exponent of a document's weight in the merged score.
    pub weight: f64,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            top: 10,
            min_people: 5,
            head_clicks: 20,
            prior_looks: 10.0,
            prior_clicks: 3.0,
            examination: vec![0.68, 0.61, 0.48, 0.34, 0.28, 0.20, 0.11, 0.10, 0.08, 0.06],
            min_relevance: 0.5,
            weight: 1.0,
        }
    }
}
