//! Near-line rewriting (CoRe): a request reads what was computed before, and a miss is computed behind it for the next.
//!
//! A key is the query and the last watched video, and this is all that the rewriter gets to see: what one person did
//! besides must not show in what another gets.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use tokio::task::spawn_blocking;

use super::complaints::Complaints;
use super::fate::Fate;
use super::source::Answer;
use crate::journal::now_ms;
use crate::logs::Context;
use crate::model::Cancel;
use crate::rewriter::{Outcome, Reason};
use crate::store::{Kept, Store};

/// Questions that wait at most; more are asked again when they come up again.
const QUEUE: usize = 4_096;
/// Questions answered together.
const BATCH: usize = 32;
/// Most questions remembered that no answer could be found to.
const HOPELESS: usize = 10_000;

/// A query after a video, in the form that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    query: String,
    /// Title of the last watched video; empty when there is none.
    watched: String,
}

impl Question {
    fn new(context: &Context, query: &str) -> Self {
        let query = query.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { query, watched: context.watched.first().map(|seen| seen.title.clone()).unwrap_or_default() }
    }

    fn key(&self) -> String {
        format!("{}\u{1f}{}", self.query, self.watched)
    }

    fn context(&self) -> Context {
        let seen = crate::logs::Seen { title: self.watched.clone(), tags: Vec::new() };
        Context { watched: (!seen.title.is_empty()).then_some(seen).into_iter().collect(), ..Context::default() }
    }
}

/// Questions under way, so that none is asked twice, and those that it is no use to ask.
#[derive(Default)]
struct Pending {
    asked: HashSet<Question>,
    hopeless: HashSet<Question>,
}

/// The reading side, held by requests.
pub(super) struct Nearline {
    reader: Arc<Mutex<Store>>,
    identity: String,
    queue: SyncSender<Question>,
    pending: Arc<Mutex<Pending>>,
}

impl Nearline {
    /// Starts the worker behind the requests. It ends when the reading side is dropped and `cancel` is set.
    ///
    /// # Errors
    /// A store that cannot be opened; no thread to be had.
    pub(super) fn start(
        workspace: &Path,
        identity: &str,
        answer: Arc<Answer>,
        cancel: Cancel,
        complaints: Arc<Complaints>,
    ) -> Result<Self> {
        let (reader, writer) = (Store::open_existing(workspace)?, Store::open(workspace)?);
        let (queue, questions) = sync_channel(QUEUE);
        let pending = Arc::new(Mutex::new(Pending::default()));
        let worker = Worker {
            identity: identity.to_owned(),
            store: writer,
            answer,
            pending: pending.clone(),
            cancel,
            complaints,
        };
        std::thread::Builder::new()
            .name("nearline".into())
            .spawn(move || worker.run(&questions))
            .context("cannot start a thread for near-line rewriting")?;
        Ok(Self { reader: Arc::new(Mutex::new(reader)), identity: identity.to_owned(), queue, pending })
    }

    /// What is kept for a query after its context; a question that is not, is asked behind.
    pub(super) async fn look(&self, context: &Context, query: &str) -> Result<(Option<String>, Fate)> {
        let question = Question::new(context, query);
        let (reader, identity, key) = (self.reader.clone(), self.identity.clone(), question.key());
        let kept = spawn_blocking(move || lock(&reader).nearline(&identity, &key))
            .await
            .map_err(|e| anyhow!("the store could not be read: {e}"))??;
        let Some(kept) = kept else {
            self.ask(question);
            return Ok((None, Fate::Missed));
        };
        let fate = match kept.reason.as_str() {
            "unchanged" => Fate::Unchanged,
            "truncated" => Fate::Truncated,
            _ => Fate::Rejected,
        };
        Ok((kept.rewrite, fate))
    }

    fn ask(&self, question: Question) {
        let mut pending = lock(&self.pending);
        if pending.asked.contains(&question) || pending.hopeless.contains(&question) {
            return;
        }
        // A full queue drops it; it is asked again when it comes up again.
        if self.queue.try_send(question.clone()).is_ok() {
            pending.asked.insert(question);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        lock(&self.pending).asked.len()
    }
}

/// The writing side, on its own thread.
struct Worker {
    identity: String,
    store: Store,
    answer: Arc<Answer>,
    pending: Arc<Mutex<Pending>>,
    cancel: Cancel,
    complaints: Arc<Complaints>,
}

impl Worker {
    fn run(mut self, questions: &Receiver<Question>) {
        while let Ok(first) = questions.recv() {
            if self.cancel.is_set() {
                return;
            }
            let batch: Vec<_> = std::iter::once(first).chain(questions.try_iter().take(BATCH - 1)).collect();
            let answered = self.answers(&batch);
            if self.cancel.is_set() {
                return;
            }
            match answered {
                Some(outcomes) => self.keep(&batch, &outcomes),
                // One bad question must not cost the others their answer.
                None if batch.len() > 1 => {
                    for question in batch {
                        match self.answers(std::slice::from_ref(&question)) {
                            Some(outcomes) => self.keep(&[question], &outcomes),
                            None => self.give_up(question),
                        }
                    }
                }
                None => batch.into_iter().for_each(|question| self.give_up(question)),
            }
        }
    }

    fn answers(&self, batch: &[Question]) -> Option<Vec<Outcome>> {
        let contexts: Vec<_> = batch.iter().map(Question::context).collect();
        let requests: Vec<_> = contexts.iter().zip(batch).map(|(c, q)| (c, q.query.as_str())).collect();
        match catch_unwind(AssertUnwindSafe(|| (self.answer)(&requests, &self.cancel))) {
            Ok(Ok(outcomes)) if outcomes.len() == batch.len() => Some(outcomes),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                self.complaints.say(&format!("near-line rewriting failed: {error:#}"));
                None
            }
            Err(_) => {
                self.complaints.say("near-line rewriting failed: the rewriter panicked");
                None
            }
        }
    }

    fn keep(&mut self, batch: &[Question], outcomes: &[Outcome]) {
        let made_ms = now_ms();
        let whole = batch.iter().zip(outcomes).filter(|(_, outcome)| outcome.reason != Reason::Cancelled);
        let rows: Vec<_> = whole
            .map(|(question, outcome)| Kept {
                key: question.key(),
                rewrite: outcome.rewrite.clone(),
                reason: outcome.reason.as_str().into(),
                made_ms,
            })
            .collect();
        if let Err(error) = self.store.keep_nearline(&self.identity, &rows) {
            self.complaints.say(&format!("near-line rewrites cannot be kept: {error:#}"));
        }
        let mut pending = lock(&self.pending);
        batch.iter().for_each(|question| _ = pending.asked.remove(question));
    }

    /// Not asked again while this server runs.
    fn give_up(&self, question: Question) {
        let mut pending = lock(&self.pending);
        pending.asked.remove(&question);
        if pending.hopeless.len() >= HOPELESS {
            pending.hopeless.clear();
        }
        pending.hopeless.insert(question);
    }
}

/// What these locks guard is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
