//! Logs → examples: when to write, and when to leave a query alone (WeWrite §2.2, steps 1 and 2).
//!
//! A rewrite is a failed query and the successful one typed right after it, where a word that came in was already in
//! the context. A reject is a query that was answered at once and not touched again. People and weeks are split before
//! anything trains ([`split`]).

mod rules;
mod split;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, stop};
use crate::logs::ubi;
use crate::recipe::Recipe;
use crate::store::{ExampleRow, LogInfo, LogKind, Split, Store};
use rules::{Outcome, Why};
use split::Splitter;

/// What came of mining one log. Every search has one fate:
/// `queries = samples + unused + Σ dropped_by_reason`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the log.
    pub log: String,
    /// Rows of the imported file; 0 for a simulated log.
    pub rows_read: usize,
    /// Rows of the file that could not be used.
    pub rows_skipped: usize,
    /// The same by reason.
    pub skipped_by_reason: BTreeMap<String, usize>,
    /// Sessions looked at.
    pub sessions: usize,
    /// Searches looked at.
    pub queries: usize,
    /// Searches followed by another query within `reformulation_gap_s`.
    pub candidates: usize,
    /// Examples kept, on both sides of the split.
    pub samples: usize,
    /// Of these, rewrites.
    pub rewrites: usize,
    /// Of these, rejects.
    pub rejects: usize,
    /// Examples for training: training people, early weeks.
    pub train: usize,
    /// Examples for evaluation: held-out people, late weeks.
    pub held_out: usize,
    /// Good examples that neither side may have: held-out people early, training people late, or across the border.
    pub unused: usize,
    /// Searches that made no example, by reason.
    pub dropped_by_reason: BTreeMap<String, usize>,
    /// A sentence about what this log cannot give; empty when nothing is missing.
    pub note: String,
}

/// Where the log to mine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// In the store already.
    Store,
    /// In a User Behavior Insights file or folder: it is read into the store first, replacing the log of that name.
    Ubi(&'a Path),
}

/// Mines a log, replacing what was mined from it before.
///
/// Goes through the log session by session; only examples are held.
///
/// # Errors
/// No log of that name; a file that cannot be read (the earlier log of that name is then still there); a store that
/// cannot be read or written; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, log: &str, from: Source) -> Result<Summary> {
    Journal::record(workspace, "mine", log, &recipe.to_toml(), |journal| {
        let mut store = Store::open(workspace)?;
        if let Source::Ubi(file) = from {
            import_ubi(&mut store, recipe, file, log, journal)?;
        }
        let log = store.log(log)?;
        let (mut summary, examples) = mine(&store, &log, recipe, journal)?;
        store.replace_examples(&log, &examples)?;
        summary.note = note(&summary, recipe);
        journal.note(format!(
            "{} queries, {} candidates: {} rewrites and {} rejects kept ({} train, {} held out). {}",
            summary.queries,
            summary.candidates,
            summary.rewrites,
            summary.rejects,
            summary.train,
            summary.held_out,
            summary.note
        ))?;
        Ok(summary)
    })
}

fn import_ubi(store: &mut Store, recipe: &Recipe, file: &Path, log: &str, journal: &Journal) -> Result<()> {
    if let Some(other) = store.find_log(log)?.filter(|earlier| earlier.kind != LogKind::Ubi.as_str()) {
        bail!("the log {log:?} was made from {}: give this one another name with --log", other.origin);
    }
    let progress = journal.progress("read bytes", ubi::size(file));
    let read = ubi::read(file, &recipe.mine, &|bytes| progress.inc(bytes))?;
    progress.finish(&format!("{} rows, {} skipped", read.rows_read, read.skipped.len()));
    stop::check("the file was not taken in; run the same command again")?;
    let origin = file.display().to_string();
    // Nothing goes to the journal in here: it writes the same file, which this transaction holds.
    store.write_log(log, LogKind::Ubi, &origin, |w| {
        read.sessions.iter().try_for_each(|s| w.session(s))?;
        read.docs.iter().try_for_each(|d| w.doc(d))?;
        w.skipped(read.rows_read, &read.skipped)
    })?;
    journal.note(format!("{origin}: {} rows read, {} skipped", read.rows_read, read.skipped.len()))
}

fn mine(store: &Store, log: &LogInfo, recipe: &Recipe, journal: &Journal) -> Result<(Summary, Vec<ExampleRow>)> {
    let skipped_by_reason = store.skipped_by_reason(log)?;
    let splitter = Splitter::new(recipe, store.time_span(log)?);
    let (mut sessions, mut queries, mut candidates, mut unused) = (0, 0, 0, 0);
    let mut dropped: BTreeMap<Why, usize> = BTreeMap::new();
    let mut examples = Vec::new();
    let progress = journal.progress("mine", log.sessions as u64);
    store.for_each_session(log, |session| {
        stop::check("what was mined before is still there; run the same command again")?;
        sessions += 1;
        queries += session.searches.len();
        for index in 0..session.searches.len() {
            candidates += usize::from(rules::is_candidate(&session, index, &recipe.mine));
            match rules::judge(&session, index, &recipe.mine) {
                Outcome::Dropped(why) => *dropped.entry(why).or_default() += 1,
                Outcome::Kept(found) => match splitter.side(&session.user, found.time_ms, found.known_ms) {
                    None => unused += 1,
                    Some(split) => examples.push(found.row(split, &session.user)),
                },
            }
        }
        progress.inc(1);
        Ok(())
    })?;
    let over = splitter.cap_rejects(&mut examples, recipe.mine.rejects_per_rewrite);
    if over > 0 {
        dropped.insert(Why::OverCap, over);
    }
    progress.finish(&format!("{} examples", examples.len()));
    let count = |keep: fn(&ExampleRow) -> bool| examples.iter().filter(|e| keep(e)).count();
    let summary = Summary {
        log: log.name.clone(),
        rows_read: log.rows_read,
        rows_skipped: skipped_by_reason.values().sum(),
        skipped_by_reason,
        sessions,
        queries,
        candidates,
        samples: examples.len(),
        rewrites: count(|e| e.target.is_some()),
        rejects: count(|e| e.target.is_none()),
        train: count(|e| e.split == Split::Train),
        held_out: count(|e| e.split != Split::Train),
        unused,
        dropped_by_reason: dropped.into_iter().map(|(why, n)| (why.words().to_owned(), n)).collect(),
        note: String::new(),
    };
    Ok((summary, examples))
}

/// Says what is missing instead of bending a rule for a small log.
fn note(summary: &Summary, recipe: &Recipe) -> String {
    let over_cap = summary.dropped_by_reason.contains_key(Why::OverCap.words());
    if summary.samples == 0 && summary.unused == 0 && !over_cap {
        return "No search of this log makes an example under the recipe's thresholds.".into();
    }
    let mut missing = Vec::new();
    if summary.rewrites == 0 {
        missing.push("No rewrite was kept, and mine.rejects_per_rewrite keeps rejects in proportion.".to_owned());
    }
    if summary.train == 0 {
        missing.push("Nothing is left to train on.".to_owned());
    }
    if summary.held_out == 0 {
        missing.push(format!(
            "Nothing is held out (people: {}, time: the last {} of the span), so no figure on unseen people can be given; \
             a log with more people and days is needed.",
            recipe.mine.held_out_people, recipe.mine.held_out_time
        ));
    }
    missing.join(" ")
}
