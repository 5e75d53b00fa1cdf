//! `core rewrite`: one rewrite from the terminal, through the same path that is measured and served.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::journal::Table;
use crate::logs::{Context, Seen};
use crate::recipe::{Recipe, Usage};
use crate::rewriter::{Reason, Rewriter};

/// What came out.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The query.
    pub query: String,
    /// The rewrite; null leaves the query alone.
    pub rewrite: Option<String>,
    /// Why.
    pub reason: Reason,
    /// Log-probability of the answer in nats; null for rules.
    pub logprob: Option<f64>,
    /// The rewriter.
    pub rewriter: String,
    /// Time of the rewrite itself, model already loaded.
    pub latency_ms: f64,
}

impl Answer {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new("rewrite", "", &["query", "rewrite", "reason", "logprob", "rewriter", "latency_ms"]);
        let reason = serde_json::to_value(self.reason).unwrap_or_default();
        table.row([
            self.query.as_str().into(),
            self.rewrite.as_deref().into(),
            reason.as_str().into(),
            self.logprob.into(),
            self.rewriter.as_str().into(),
            self.latency_ms.into(),
        ]);
        table
    }
}

/// A query and what is known about the person who typed it.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The query.
    pub query: String,
    /// JSON file with a context; what is said here goes before what it holds.
    pub file: Option<PathBuf>,
    /// Titles of watched videos, newest first.
    pub watched: Vec<String>,
    /// Earlier queries, newest first.
    pub searched: Vec<String>,
    /// City or region.
    pub place: Option<String>,
}

impl Question {
    /// The whole context; the message of an error shows what a context file looks like.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds something else.
    pub fn context(&self) -> Result<Context> {
        let mut context: Context = match &self.file {
            None => Context::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}: give --context a JSON file", path.display()))?;
                serde_json::from_str(&text).with_context(|| {
                    let example = r#"{"watched":[{"title":"…"}],"queries":["…"],"place":"…"}"#;
                    format!("{} is not a context; one looks like {example}", path.display())
                })?
            }
        };
        let seen = self.watched.iter().map(|title| Seen { title: title.clone(), tags: Vec::new() });
        context.watched = seen.chain(context.watched).collect();
        context.queries = self.searched.iter().cloned().chain(context.queries).collect();
        context.place = self.place.clone().or(context.place);
        Ok(context)
    }

    /// The query, where it says anything.
    ///
    /// # Errors
    /// An empty query.
    pub fn query(&self) -> Result<&str> {
        if self.query.trim().is_empty() {
            return Err(Usage("the query is empty: give it at least one character".into()).into());
        }
        Ok(&self.query)
    }
}

/// Rewrites one query.
///
/// # Errors
/// An empty query; a context file that cannot be read; a rewriter that does not open; a model that fails.
pub fn run(workspace: &Path, recipe: &Recipe, rewriter: &str, question: &Question) -> Result<Answer> {
    let query = question.query()?;
    let context = question.context()?;
    let rewriter = Rewriter::open(workspace, recipe, rewriter)?;
    let started = Instant::now();
    let outcome = rewriter.rewrite(&[(&context, query)])?.pop().context("one question has one answer")?;
    Ok(Answer {
        query: query.to_owned(),
        rewrite: outcome.rewrite,
        reason: outcome.reason,
        logprob: outcome.logprob,
        rewriter: rewriter.name().to_owned(),
        latency_ms: started.elapsed().as_secs_f64() * 1000.0,
    })
}
