//! The one rewrite path: what is measured is what is served.
//!
//! A rewriter gets a context and a query and answers with a rewrite or leaves the query alone. Baselines and
//! models stand behind one face, so every table can hold them side by side.

mod answerable;
mod baselines;
mod decoding;
mod open;
mod policy;
pub mod release;
mod vocabulary;
mod wordwise;

use anyhow::Result;
use serde::Serialize;

use crate::logs::Context;
use crate::model::Cancel;
use crate::task::Target;

pub use answerable::{Answerable, Whose};
pub use baselines::{
    Association, Cooccurrence, CopyRule, Feedback, FrequentGain, Nearest, Transitions, Typed, ValidQueries,
};
pub use decoding::Decoder;
pub use open::{RULES, newest_run, vocabulary};
pub use policy::{MAX_NEW_TOKENS, PolicyRewriter};
pub use release::in_use_or_newest;
pub use vocabulary::Vocabulary;
pub use wordwise::Wordwise;

/// Anything that can answer: a model, or a rule it must beat.
pub enum Rewriter {
    /// Leaves every query alone: the plain path.
    Never,
    /// Always appends the gain term most often added to this query.
    FrequentGain(FrequentGain),
    /// Copies the context word that goes with the query in titles.
    CopyRule(CopyRule),
    /// Adds the context word that goes with the head more surely than by chance.
    Association(Association),
    /// Replaces the query by what people most probably type after it.
    Cooccurrence(Cooccurrence),
    /// Replaces the query by the nearest one that satisfied people.
    Nearest(Box<Nearest>),
    /// Adds words of what the query finds.
    Feedback(Box<Feedback>),
    /// A trained model.
    Policy(Box<PolicyRewriter>),
}

/// Why the answer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A rewrite.
    Rewritten,
    /// The rewriter left the query alone.
    Rejected,
    /// The rewrite said what the query says already.
    Unchanged,
    /// The model had not finished after the longest answer allowed.
    Truncated,
    /// Nobody waited for the answer any more.
    Cancelled,
}

impl Reason {
    /// The word for it in logs and counts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Rejected => "rejected",
            Self::Unchanged => "unchanged",
            Self::Truncated => "truncated",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The rewrite; none leaves the query alone.
    pub rewrite: Option<String>,
    /// Why.
    pub reason: Reason,
    /// Log-probability of the answer in nats; none for rules, and where the model was not asked for every token.
    pub logprob: Option<f64>,
    /// Forward passes of the model that it took; 0 for rules.
    pub forwards: usize,
}

impl Outcome {
    fn rejected() -> Self {
        Self::none(Reason::Rejected)
    }

    fn none(reason: Reason) -> Self {
        Self { rewrite: None, reason, logprob: None, forwards: 0 }
    }

    /// A rewrite, unless it adds nothing to the query.
    fn of(query: &str, rewrite: String) -> Self {
        if crate::logs::words(query).eq(crate::logs::words(&rewrite)) {
            return Self::none(Reason::Unchanged);
        }
        Self { rewrite: Some(rewrite), ..Self::none(Reason::Rewritten) }
    }

    /// The answer as a target, to be compared with what a person did.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::from_option(self.rewrite.as_deref())
    }
}

impl Rewriter {
    /// Name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Never => "never rewrite",
            Self::FrequentGain(_) => "most frequent gain term",
            Self::CopyRule(_) => "copy rule",
            Self::Association(_) => "association",
            Self::Cooccurrence(_) => "co-occurrence",
            Self::Nearest(_) => "nearest valid query",
            Self::Feedback(_) => "relevance feedback",
            Self::Policy(policy) => policy.name(),
        }
    }

    /// What an answer depends on besides the request: answers kept under another identity are not this rewriter's.
    #[must_use]
    pub fn identity(&self) -> &str {
        match self {
            Self::Policy(policy) => policy.identity(),
            rule => rule.name(),
        }
    }

    /// Answers many requests, in their order.
    ///
    /// # Errors
    /// Those of the model, and of the index that some rules ask.
    pub fn rewrite(&self, requests: &[(&Context, &str)]) -> Result<Vec<Outcome>> {
        self.rewrite_until(requests, &Cancel::default())
    }

    /// [`Rewriter::rewrite`] for someone who may leave: once `cancel` is set no further token is computed, and the rest
    /// comes back as [`Reason::Cancelled`].
    ///
    /// # Errors
    /// Those of the model, and of the index that some rules ask.
    pub fn rewrite_until(&self, requests: &[(&Context, &str)], cancel: &Cancel) -> Result<Vec<Outcome>> {
        match self {
            Self::Never => Ok(requests.iter().map(|_| Outcome::rejected()).collect()),
            Self::FrequentGain(rule) => Ok(requests.iter().map(|(_, query)| rule.rewrite(query)).collect()),
            Self::CopyRule(rule) => Ok(requests.iter().map(|(context, query)| rule.rewrite(context, query)).collect()),
            Self::Association(rule) => {
                Ok(requests.iter().map(|(context, query)| rule.rewrite(context, query)).collect())
            }
            Self::Cooccurrence(rule) => {
                Ok(requests.iter().map(|(context, query)| rule.rewrite(context, query)).collect())
            }
            Self::Nearest(rule) => requests.iter().map(|(context, query)| rule.rewrite(context, query)).collect(),
            Self::Feedback(rule) => requests.iter().map(|(_, query)| rule.rewrite(query)).collect(),
            Self::Policy(policy) => policy.rewrite(requests, cancel),
        }
    }
}
