//! What was served and what came back, on its way into the log that `core mine` reads: one thread writes, in batches.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::complaints::Complaints;
use super::counters::Counters;
use crate::store::{Feedback, Served, Store, Taken};

/// Messages that wait at most; more searches are not logged, and counted.
const QUEUE: usize = 8_192;
/// Messages written in one transaction.
const BATCH: usize = 256;

enum Message {
    Served(Box<Served>),
    Feedback(Vec<Feedback>, oneshot::Sender<Result<Vec<Taken>, String>>),
    End,
}

/// The sending side, held by requests: a search never waits for the store.
pub(super) struct Recorder {
    queue: SyncSender<Message>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// A log of that name from elsewhere; a store that cannot be written.
    pub(super) fn start(
        workspace: &Path,
        log: &str,
        origin: &str,
        session_gap_s: f64,
        counters: Arc<Counters>,
        complaints: Arc<Complaints>,
    ) -> Result<Self> {
        let mut store = Store::open(workspace)?;
        let log = store.served_log(log, origin)?;
        let session_gap_ms = (session_gap_s * 1000.0) as i64;
        let writer = Writer { store, log, session_gap_ms, counters: counters.clone(), complaints };
        let (queue, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run(&messages))
            .context("cannot start a thread for the log")?;
        Ok(Self { queue, counters, thread: Mutex::new(Some(thread)) })
    }

    /// Has a search written; one that finds no room is counted and let go.
    pub(super) fn served(&self, served: Served) {
        if self.queue.try_send(Message::Served(Box::new(served))).is_err() {
            self.counters.logged("dropped", 1);
        }
    }

    /// Has feedback written, behind all searches sent before it; what became of each once it is in the store.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(super) async fn feedback(&self, feedback: Vec<Feedback>) -> Result<Vec<Taken>, String> {
        let (tell, told) = oneshot::channel();
        let busy = || "the log cannot keep up: send it again later".to_owned();
        self.queue.try_send(Message::Feedback(feedback, tell)).map_err(|_| busy())?;
        told.await.unwrap_or_else(|_| Err(busy()))
    }

    /// Writes what waits, and ends the writer.
    pub(super) fn end(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that is gone has nothing left to write.
            let _ = self.queue.send(Message::End);
            let _ = thread.join();
        }
    }
}

struct Writer {
    store: Store,
    log: i64,
    session_gap_ms: i64,
    counters: Arc<Counters>,
    complaints: Arc<Complaints>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut ends = false;
        while !ends && let Ok(first) = messages.recv() {
            let batch: Vec<_> = std::iter::once(first).chain(messages.try_iter().take(BATCH - 1)).collect();
            ends = batch.iter().any(|message| matches!(message, Message::End));
            let written = self.store.append(self.log, self.session_gap_ms, |log| {
                let mut taken = Vec::new();
                for message in &batch {
                    match message {
                        Message::Served(served) => log.search(served)?,
                        Message::Feedback(feedback, _) => {
                            taken.push(feedback.iter().map(|f| log.feedback(f)).collect::<Result<Vec<_>>>()?);
                        }
                        Message::End => (),
                    }
                }
                Ok(taken)
            });
            let searches = batch.iter().filter(|message| matches!(message, Message::Served(_))).count();
            self.counters.logged(if written.is_ok() { "written" } else { "failed" }, searches as u64);
            let written = written.map_err(|error| {
                let text = format!("{error:#}");
                self.complaints.say(&format!("what was served is not logged: {text}"));
                text
            });
            let tells = batch.into_iter().filter_map(|message| match message {
                Message::Feedback(_, tell) => Some(tell),
                _ => None,
            });
            for (at, tell) in tells.enumerate() {
                // Whoever asked may have left.
                let _ = tell.send(written.as_ref().map(|taken| taken[at].clone()).map_err(Clone::clone));
            }
        }
    }
}
