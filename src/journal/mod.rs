//! The one event stream: runs write [`Event`]s, and every view of a run is a reader of them.
//!
//! The console, `watch` and the report never see a run's variables, only its events, so looking on live,
//! attaching from another terminal and replaying an old run are one code path.

mod progress;
mod reader;
pub mod stop;
mod table;
pub mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::store::{Store, explain};

pub use progress::Progress;
pub use reader::{Logged, Reader, Reported, RunInfo};
pub use table::{Cell, Table, print, say};

/// Something a run has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// How far a long step is.
    Progress {
        /// What is being done: `simulate`, `mine`, …
        stage: String,
        /// Items done.
        done: u64,
        /// Items in all; 0 when not known.
        total: u64,
    },
    /// Numbers of a training step or of an evaluation; names follow TRL.
    Metrics {
        /// Optimizer step, from 1.
        step: u64,
        /// Steps the run will take in all.
        steps: u64,
        /// `train` or `eval`.
        split: String,
        /// Name to value; a value that is no number (a loss that blew up) is NaN.
        #[serde(deserialize_with = "numbers")]
        values: BTreeMap<String, f64>,
    },
    /// One rewrite, to be looked at.
    Sample {
        /// Optimizer step it was made at; 0 outside training.
        step: u64,
        /// The query.
        query: String,
        /// The context in one line.
        context: String,
        /// What the person did next: the rewrite, or `<reject>`.
        target: String,
        /// What the rewriter said.
        output: String,
    },
    /// One prompt of a rollout, with all that was tried.
    Rollout {
        /// Optimizer step that learns from it first.
        step: u64,
        /// The query.
        query: String,
        /// The context in one line.
        context: String,
        /// What the person did next: the rewrite, or `<reject>`.
        target: String,
        /// The completions and what they earned.
        sampled: Vec<Sampled>,
    },
    /// A checkpoint is whole on disk.
    Checkpoint {
        /// Optimizer step.
        step: u64,
        /// Its folder.
        path: String,
    },
    /// A result that can be shown again without being computed again.
    Report {
        /// What it is a report of.
        title: String,
        /// Everything it depends on, hashed.
        fingerprint: String,
        /// The numbers.
        body: serde_json::Value,
    },
    /// What a server did in its last seconds.
    Serving {
        /// How many seconds these are, in milliseconds.
        span_ms: u64,
        /// Answered searches by the path they took: `plain`, `fused`, `fake`.
        paths: BTreeMap<String, PathTimes>,
        /// What became of rewriting, one a search: `hit`, `reject`, `miss`, `late`, `error`, `off`.
        rewriting: BTreeMap<String, u64>,
        /// Requests of any route that were refused or failed.
        refused: u64,
    },
    /// A sentence for a person.
    Note {
        /// The sentence.
        text: String,
    },
}

/// A completion of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// What was said.
    pub output: String,
    /// The weighted sum of the parts; none where none could be had.
    pub reward: Option<f64>,
    /// The parts by name.
    pub parts: BTreeMap<String, f64>,
    /// How much better it did than its group.
    pub advantage: f64,
    /// Whether it was not sampled but put there to be learnt from (`grpo.unsaid`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsaid: bool,
}

/// How often a server's path was taken, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PathTimes {
    /// Searches.
    pub count: u64,
    /// Half of them were answered within this, milliseconds.
    pub p50_ms: f64,
    /// 99 % of them were.
    pub p99_ms: f64,
}

/// JSON has no NaN: it is written as null, and read back here so that a run that blew up is not passed over.
fn numbers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did all it was asked to.
    Done,
    /// An error ended it.
    Failed,
    /// A person ended it (Ctrl-C); it can be resumed.
    Stopped,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The writer of one run's events. Cheap to clone; clones write to the same run.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Mutex<Store>>,
    path: PathBuf,
    run: i64,
}

impl Journal {
    /// Does `work` as one run, and marks how it ended: done, failed, or stopped by Ctrl-C.
    ///
    /// # Errors
    /// Those of [`Store::open`] and of `work`.
    pub fn record<T>(
        workspace: &Path,
        verb: &str,
        name: &str,
        recipe_toml: &str,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let journal = Self::start(workspace, verb, name, recipe_toml)?;
        let result = work(&journal);
        let ended = journal.finish(match &result {
            Ok(_) => Status::Done,
            Err(error) if error.is::<stop::Stopped>() => Status::Stopped,
            Err(_) => Status::Failed,
        });
        // What went wrong first is what a person should read.
        let value = result?;
        ended?;
        Ok(value)
    }

    /// Starts a run in a workspace's store.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn start(workspace: &Path, verb: &str, name: &str, recipe_toml: &str) -> Result<Self> {
        let store = Store::open(workspace)?;
        let path = store.path().to_owned();
        let sql = "INSERT INTO run (verb, name, recipe, pid, started_ms, status) VALUES (?,?,?,?,?,'running')";
        store
            .conn
            .execute(sql, params![verb, name, recipe_toml, std::process::id(), now_ms()])
            .map_err(|e| explain(e.into(), &path))?;
        let run = store.conn.last_insert_rowid();
        Ok(Self { inner: Arc::new(Mutex::new(store)), path, run })
    }

    /// Number of this run.
    #[must_use]
    pub fn run(&self) -> i64 {
        self.run
    }

    /// Appends an event.
    ///
    /// # Errors
    /// A full disk; a store that another program keeps locked.
    pub fn emit(&self, event: &Event) -> Result<()> {
        self.append(&serde_json::to_string(event)?)
    }

    /// Appends a body as it stands: tests write what no event looks like.
    pub(crate) fn append(&self, body: &str) -> Result<()> {
        let store = self.inner.lock().expect("no holder of the journal panics");
        store
            .conn
            .prepare_cached("INSERT INTO event (run, time_ms, body_json) VALUES (?,?,?)")?
            .execute(params![self.run, now_ms(), body])
            .map_err(|e| explain(e.into(), &self.path))
            .context("cannot write to the journal")?;
        Ok(())
    }

    /// Appends a [`Event::Note`].
    ///
    /// # Errors
    /// See [`Journal::emit`].
    pub fn note(&self, text: impl Into<String>) -> Result<()> {
        self.emit(&Event::Note { text: text.into() })
    }

    /// Starts a progress line on the terminal and in the journal.
    #[must_use]
    pub fn progress(&self, stage: &str, total: u64) -> Progress {
        Progress::new(Some(self.clone()), stage, total)
    }

    /// Marks the run as ended.
    ///
    /// # Errors
    /// See [`Journal::emit`].
    pub fn finish(&self, status: Status) -> Result<()> {
        let store = self.inner.lock().expect("no holder of the journal panics");
        store
            .conn
            .execute(
                "UPDATE run SET status = ?2, finished_ms = ?3 WHERE id = ?1",
                params![self.run, status.as_str(), now_ms()],
            )
            .map_err(|e| explain(e.into(), &self.path))?;
        Ok(())
    }
}

/// Unix milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis().min(i64::MAX as u128) as i64)
}
