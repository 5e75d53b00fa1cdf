//! Where rewrites come from: a rewriter asked in the request, or one asked behind it.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::fate::Fate;
use super::nearline::Nearline;
use crate::logs::{Context, words};
use crate::model::Cancel;
use crate::rewriter::{Outcome, Rewriter};

/// Anything that rewrites: a [`Rewriter`], or what a test puts in its place.
pub(super) type Answer = dyn Fn(&[(&Context, &str)], &Cancel) -> Result<Vec<Outcome>> + Send + Sync;

/// Where rewrites come from.
pub(super) enum Source {
    /// Nobody rewrites.
    Off,
    /// Somebody should, and cannot.
    Broken(String),
    /// In the request.
    Live(Live),
    /// Behind it.
    Nearline(Nearline),
}

/// A rewriter with a bound on how many requests it works for at once.
pub(super) struct Live {
    answer: Arc<Answer>,
    slots: Arc<Semaphore>,
}

impl Live {
    pub(super) fn new(answer: Arc<Answer>, concurrency: usize) -> Self {
        Self { answer, slots: Arc::new(Semaphore::new(concurrency)) }
    }

    /// Asks the rewriter. Dropping the future takes the question back: what waits never starts, what runs stops at its
    /// next token.
    async fn ask(&self, context: Context, query: String) -> Result<Outcome> {
        let slot = self.slots.clone().acquire_owned().await?;
        let answer = self.answer.clone();
        let cancel = Cancel::default();
        let leaving = SetOnDrop(cancel.clone());
        let asked = spawn_blocking(move || {
            let _slot = slot;
            answer(&[(&context, &query)], &cancel)?.pop().context("one question has one answer")
        });
        let outcome = asked.await.map_err(|e| anyhow!("the rewriter panicked: {e}"))?;
        drop(leaving);
        outcome
    }
}

/// Cancels when whoever holds it is gone, in whatever way.
struct SetOnDrop(Cancel);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// A rewriter as an [`Answer`].
pub(super) fn answer_of(rewriter: Rewriter) -> Arc<Answer> {
    Arc::new(move |requests, cancel| rewriter.rewrite_until(requests, cancel))
}

impl Source {
    /// A rewrite for a query, if there is one to use, and why not otherwise.
    pub(super) async fn rewrite(&self, context: Context, query: &str) -> Result<(Option<String>, Fate)> {
        let (rewrite, fate) = match self {
            Self::Off => (None, Fate::Off),
            Self::Broken(why) => return Err(anyhow!("{why}")),
            Self::Live(live) => {
                let outcome = live.ask(context, query.to_owned()).await?;
                (outcome.rewrite, outcome.reason.into())
            }
            Self::Nearline(nearline) => nearline.look(&context, query).await?,
        };
        Ok(match rewrite {
            // Whoever rewrote: what says the same is no rewrite.
            Some(rewrite) if words(&rewrite).eq(words(query)) => (None, Fate::Unchanged),
            Some(rewrite) => (Some(rewrite), Fate::Rewritten),
            None => (None, fate),
        })
    }

    /// Near-line questions that wait to be answered; 0 for the others.
    pub(super) fn waiting(&self) -> usize {
        if let Self::Nearline(nearline) = self { nearline.waiting() } else { 0 }
    }
}
