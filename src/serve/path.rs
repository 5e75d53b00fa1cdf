//! What a request runs: search and rewriting side by side, the rewrite under a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::counters::Counters;
use crate::logs::Context;
use crate::recipe::{Recipe, SearchPath, Serve};
use crate::rewriter::{Outcome, Reason, Rewriter};
use crate::search::{Engine, Hit};

/// Everything a request needs.
pub(super) struct Paths {
    engine: Arc<Engine>,
    rewriter: Arc<Rewriter>,
    search: SearchPath,
    serve: Serve,
    slots: Arc<Semaphore>,
    pub counters: Counters,
}

/// How the rewrite of a request went.
pub(super) struct Rewriting {
    /// The rewrite, if there is one to use.
    pub rewrite: Option<String>,
    /// Why there is one or none: a [`Reason`], or `late`, or `error`.
    pub path: &'static str,
    pub latency_ms: f64,
}

impl Paths {
    pub fn new(engine: Engine, rewriter: Rewriter, recipe: &Recipe) -> Self {
        let slots = Arc::new(Semaphore::new(recipe.serve.concurrency));
        let (search, serve) = (recipe.search.clone(), recipe.serve.clone());
        Self {
            engine: Arc::new(engine),
            rewriter: Arc::new(rewriter),
            search,
            serve,
            slots,
            counters: Counters::default(),
        }
    }

    pub fn rewriter_name(&self) -> &str {
        self.rewriter.name()
    }

    pub fn documents(&self) -> usize {
        self.engine.len()
    }

    pub fn limits(&self) -> &Serve {
        &self.serve
    }

    pub fn page(&self) -> usize {
        self.search.page
    }

    /// A rewrite within the deadline. Never fails: what goes wrong is counted, and no rewrite comes back.
    pub async fn rewrite(&self, context: Context, query: String) -> Rewriting {
        let started = Instant::now();
        let deadline = Duration::from_millis(self.serve.deadline_ms);
        let answer = timeout(deadline, self.outcome(context, query)).await;
        let (rewrite, path) = match answer {
            Ok(Ok(outcome)) => (outcome.rewrite, label(outcome.reason)),
            Ok(Err(e)) => {
                eprintln!("  rewriting failed, the plain answer went out: {e:#}");
                (None, "error")
            }
            Err(_) => (None, "late"),
        };
        let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
        self.counters.rewrite(path, latency_ms);
        Rewriting { rewrite, path, latency_ms }
    }

    async fn outcome(&self, context: Context, query: String) -> Result<Outcome> {
        // A request that gives up while it waits frees nothing and costs nothing.
        let slot = self.slots.clone().acquire_owned().await?;
        let rewriter = self.rewriter.clone();
        spawn_blocking(move || {
            let _slot = slot;
            rewriter.rewrite(&[(&context, &query)])?.pop().context("one question has one answer")
        })
        .await?
    }

    /// The fused ranking, or the plain one when there is no rewrite to fuse.
    pub async fn search(&self, query: String, rewrite: Option<String>, page: usize) -> Result<Vec<Hit>> {
        let (engine, settings) = (self.engine.clone(), SearchPath { page, ..self.search.clone() });
        spawn_blocking(move || engine.search(&query, rewrite.as_deref(), &settings)).await?
    }
}

fn label(reason: Reason) -> &'static str {
    match reason {
        Reason::Rewritten => "rewritten",
        Reason::Rejected => "rejected",
        Reason::Unchanged => "unchanged",
        Reason::Truncated => "truncated",
    }
}
