//! What a request runs: the search and everything about rewriting side by side, the latter under a deadline.
//!
//! Nothing that rewriting does can reach the plain answer: it runs in a task of its own, and whatever becomes of that
//! task, late, failed, panicked or without a result, the plain page goes out as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::complaints::Complaints;
use super::counters::Counters;
use super::fate::Fate;
use super::record::Recorder;
use super::source::Source;
use crate::logs::Context;
use crate::recipe::{Recall, Recipe, SearchPath};
use crate::search::fake::{Listed, Live as LiveIndex, Ranked, merge};
use crate::search::{Engine, Hit, Side};

/// Everything a request needs.
pub(super) struct Paths {
    pub engine: Arc<Engine>,
    pub source: Source,
    /// Name of the rewriter, for people.
    pub rewriter: String,
    pub fake: Arc<LiveIndex>,
    pub recipe: Recipe,
    /// None where nothing is logged: in tests of other things.
    pub recorder: Option<Recorder>,
    pub counters: Arc<Counters>,
    pub complaints: Arc<Complaints>,
}

/// A question as it was taken in.
pub(super) struct Question {
    pub query: String,
    pub context: Context,
    pub size: usize,
    pub deadline: Duration,
}

/// A page and how it came about.
pub(super) struct Page {
    pub hits: Vec<Ranked>,
    /// `plain`, `fused` or `fake`.
    pub path: &'static str,
    /// What the page was changed with; none on the plain path.
    pub rewrite: Option<String>,
    pub fate: Fate,
    /// Version of the fake index that was asked.
    pub fake_version: Option<u64>,
    pub latency_ms: f64,
}

/// What rewriting brings to a page.
enum Found {
    /// The fused ranking.
    Fused(Vec<Hit>),
    /// The rewrite's list, and the version of the index it stands in.
    Listed(Vec<Listed>, u64),
}

/// What the query finds, once the plain search beside has found it.
type Own = oneshot::Receiver<Arc<Side>>;

/// A task that ends with whoever waits for it.
struct Helper<T>(JoinHandle<T>);

impl<T> Drop for Helper<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Paths {
    /// The longest that a request may wait for rewriting.
    pub(super) fn deadline(&self, asked_ms: Option<u64>) -> Duration {
        let most = self.recipe.serve.deadline_ms;
        Duration::from_millis(asked_ms.map_or(most, |asked| asked.min(most)))
    }

    /// A rewrite within the deadline. Never fails: what goes wrong is its fate.
    pub(super) async fn rewrite(self: &Arc<Self>, question: Question) -> (Option<String>, Fate) {
        let (paths, deadline) = (self.clone(), question.deadline);
        let task = async move { paths.source.rewrite(question.context, &question.query).await };
        match self.within(deadline, task).await {
            Ok((rewrite, fate)) => (rewrite, fate),
            Err(fate) => (None, fate),
        }
    }

    /// A page.
    ///
    /// # Errors
    /// Those of the plain search alone.
    pub(super) async fn search(self: &Arc<Self>, question: Question) -> Result<Page> {
        let started = Instant::now();
        let (query, size, deadline) = (question.query.clone(), question.size, question.deadline);
        let (paths, (found, own)) = (self.clone(), oneshot::channel());
        let help = async {
            match paths.source {
                // The plain path is exactly that: no task beside it.
                Source::Off => Err(Fate::Off),
                _ => self.within(deadline, async move { paths.help(question, own).await }).await,
            }
        };
        let (plain, help) = tokio::join!(self.plain(&query, size, found), help);
        let plain = plain?;
        let mut page = Page {
            hits: Vec::new(),
            path: "plain",
            rewrite: None,
            fate: Fate::Off,
            fake_version: None,
            latency_ms: 0.0,
        };
        match help {
            Ok((fate, None)) | Err(fate) => page.fate = fate,
            Ok((fate, Some((rewrite, Found::Fused(hits))))) => {
                page.hits = hits.into_iter().map(Ranked::from).collect();
                (page.path, page.fate, page.rewrite) = ("fused", fate, Some(rewrite));
            }
            Ok((fate, Some((rewrite, Found::Listed(list, version))))) => {
                page.fake_version = Some(version);
                match merge(&query, &plain, &list, &self.recipe.fake, size) {
                    Some(hits) => {
                        (page.hits, page.path, page.fate, page.rewrite) = (hits, "fake", fate, Some(rewrite));
                    }
                    None => page.fate = Fate::Irrelevant,
                }
            }
        }
        if page.path == "plain" {
            page.hits = plain.into_iter().map(Ranked::from).collect();
        }
        page.latency_ms = started.elapsed().as_secs_f64() * 1000.0;
        Ok(page)
    }

    /// Runs a task about rewriting to its end or to the deadline; trouble becomes a fate.
    async fn within<T: Send + 'static>(
        &self,
        deadline: Duration,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T, Fate> {
        let mut helper = Helper(tokio::spawn(task));
        match timeout(deadline, &mut helper.0).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => {
                self.complaints.say(&format!("no rewriting, the plain answer went out: {error:#}"));
                Err(Fate::Failed)
            }
            Ok(Err(panicked)) => {
                self.complaints.say(&format!("rewriting panicked, the plain answer went out: {panicked}"));
                Err(Fate::Failed)
            }
            Err(_) => Err(Fate::Late),
        }
    }

    /// A rewrite, and what it brings. What the query finds comes from the plain search beside it.
    async fn help(&self, question: Question, own: Own) -> Result<(Fate, Option<(String, Found)>)> {
        let Question { query, context, size, .. } = question;
        let (rewrite, fate) = self.source.rewrite(context, &query).await?;
        let Some(rewrite) = rewrite else { return Ok((fate, None)) };
        let found = match self.recipe.serve.recall {
            Recall::Index => Found::Fused(self.fused(query, rewrite.clone(), size, own).await?),
            Recall::Fake => match self.listed(&rewrite) {
                Some((list, version)) => Found::Listed(list, version),
                None => return Ok((Fate::Missed, None)),
            },
        };
        Ok((fate, Some((rewrite, found))))
    }

    fn listed(&self, rewrite: &str) -> Option<(Vec<Listed>, u64)> {
        let index = self.fake.current()?;
        Some((index.get(rewrite)?, index.info().version))
    }

    /// The plain page. What the query found goes to `found` as soon as it is there.
    async fn plain(&self, query: &str, size: usize, found: oneshot::Sender<Arc<Side>>) -> Result<Vec<Hit>> {
        let query = query.to_owned();
        self.on_engine(size, move |engine, settings| {
            let own = Arc::new(engine.query_side(&query, settings)?);
            // Nobody may be waiting for it.
            let _ = found.send(own.clone());
            engine.page(&own, None, settings)
        })
        .await
    }

    /// The page with a rewrite fused in. What the rewrite finds is looked for beside the plain search.
    async fn fused(&self, query: String, rewrite: String, size: usize, own: Own) -> Result<Vec<Hit>> {
        let other =
            self.on_engine(size, move |engine, settings| engine.rewrite_side(&query, &rewrite, settings)).await?;
        let own = own.await.map_err(|_| anyhow!("the plain search beside it failed"))?;
        self.on_engine(size, move |engine, settings| engine.page(&own, other.as_ref(), settings)).await
    }

    /// Runs a search for a page of `size` where it may take its time.
    async fn on_engine<T: Send + 'static>(
        &self,
        size: usize,
        search: impl FnOnce(&Engine, &SearchPath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.engine.clone();
        let settings = SearchPath { page: size, ..self.recipe.search.clone() };
        let searched = spawn_blocking(move || search(&engine, &settings)).await;
        searched.map_err(|e| anyhow!("the search panicked: {e}"))?
    }
}
