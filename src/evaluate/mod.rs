//! `core eval`: rewriters side by side on held-out searches, scored by what people did next.
//!
//! Held-out means people and weeks that no training example comes from, and the half of those people that is
//! not looked at while training.

mod table;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Journal, stop};
use crate::judge::{Answer, Scores, score};
use crate::recipe::Recipe;
use crate::rewriter::{RULES, Rewriter, in_use_or_newest};
use crate::search::Engine;
use crate::store::{ExampleRow, Split, Store};
use crate::task::{Target, context_line};

/// Requests answered between two looks at the clock.
const CHUNK: usize = 64;
/// Sample rewrites kept for a person to read.
const SAMPLES: usize = 8;

/// A table of scores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The log.
    pub log: String,
    /// Held-out searches.
    pub searches: usize,
    /// One entry a rewriter, in the order asked for.
    pub scores: Vec<Scores>,
    /// Some answers of the models among them, to be read.
    pub samples: Vec<Sample>,
}

/// One held-out search and a model's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// The query.
    pub query: String,
    /// Title of the last watched video; empty when there is none.
    pub watched: String,
    /// What the person did next.
    pub target: String,
    /// What the model said.
    pub output: String,
}

/// Scores rewriters, by the names that [`Rewriter::open`] takes, on a log's held-out searches; without names, the rules
/// and the release in use, or else the newest run where there is one.
///
/// # Errors
/// Nothing held out; no index; a rewriter that does not open; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, rewriters: &[&str]) -> Result<Report> {
    Journal::record(workspace, "eval", &recipe.name, &recipe.to_toml(), |journal| {
        if rewriters.is_empty() {
            let model = in_use_or_newest(workspace, &recipe.name).ok();
            let names: Vec<&str> = RULES.into_iter().chain(model.as_deref()).collect();
            return evaluate(workspace, recipe, &names, journal);
        }
        evaluate(workspace, recipe, rewriters, journal)
    })
}

fn evaluate(workspace: &Path, recipe: &Recipe, rewriters: &[&str], journal: &Journal) -> Result<Report> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    let rows = store.examples(&log, Split::Test)?;
    if rows.is_empty() {
        bail!(
            "log {:?} has no held-out searches: run `core mine --log {}`, with a longer log or a larger mine.held_out_people",
            log.name,
            log.name
        );
    }
    let trained = trained_pairs(&store.examples(&log, Split::Train)?);
    let engine = Engine::of_log(workspace, recipe, &recipe.name)?;
    let plain = rows.iter().map(|row| reciprocal_rank(&engine, recipe, row, None)).collect::<Result<Vec<_>>>()?;
    let (mut scores, mut samples) = (Vec::new(), Vec::new());
    for name in rewriters {
        let rewriter = Rewriter::open(workspace, recipe, name)?;
        let answers = answers(&engine, recipe, &rewriter, &rows, &plain, journal)?;
        if matches!(rewriter, Rewriter::Policy(_)) {
            samples.extend(show(&rows, &answers, journal)?);
        }
        scores.push(score(rewriter.name(), &answers, &trained, recipe.ab.resamples, recipe.seed));
    }
    let report = Report { log: log.name, searches: rows.len(), scores, samples };
    let body = serde_json::to_value(&report)?;
    journal.emit(&Event::Report { title: "eval".into(), fingerprint: String::new(), body })?;
    Ok(report)
}

/// The (query, rewrite) pairs that training saw.
fn trained_pairs(rows: &[ExampleRow]) -> HashSet<(String, String)> {
    rows.iter().filter_map(|row| Some((row.query.clone(), row.target.clone()?))).collect()
}

fn answers<'a>(
    engine: &Engine,
    recipe: &Recipe,
    rewriter: &Rewriter,
    rows: &'a [ExampleRow],
    plain: &[f64],
    journal: &Journal,
) -> Result<Vec<Answer<'a>>> {
    let progress = journal.progress("rewrite", rows.len() as u64);
    let mut answers = Vec::with_capacity(rows.len());
    for (rows, plain) in rows.chunks(CHUNK).zip(plain.chunks(CHUNK)) {
        stop::check("an evaluation is not resumable; run the same command again")?;
        let requests: Vec<_> = rows.iter().map(|row| (&row.context, row.query.as_str())).collect();
        for ((row, &plain_rr), outcome) in rows.iter().zip(plain).zip(rewriter.rewrite(&requests)?) {
            let fused_rr = match &outcome.rewrite {
                Some(rewrite) => reciprocal_rank(engine, recipe, row, Some(rewrite))?,
                None => plain_rr,
            };
            let (target, output) = (Target::from_option(row.target.as_deref()), outcome.target());
            answers.push(Answer { user: &row.user, query: &row.query, target, output, plain_rr, fused_rr });
        }
        progress.inc(rows.len() as u64);
    }
    progress.finish(&format!("{} held-out searches by {}", answers.len(), rewriter.name()));
    Ok(answers)
}

/// 1/rank of the document that satisfied the person, 0 when the page does not hold it.
fn reciprocal_rank(engine: &Engine, recipe: &Recipe, row: &ExampleRow, rewrite: Option<&str>) -> Result<f64> {
    let Some(satisfied) = &row.satisfied_doc else { return Ok(0.0) };
    let hits = engine.search_as_of(row.time_ms, &row.query, rewrite, &recipe.search)?;
    Ok(hits.iter().position(|hit| hit.doc == *satisfied).map_or(0.0, |place| 1.0 / (place + 1) as f64))
}

/// Some answers, also put into the journal, so that every table has rows one can read.
fn show(rows: &[ExampleRow], answers: &[Answer], journal: &Journal) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (row, answer) in rows.iter().zip(answers).take(SAMPLES) {
        let sample = Sample {
            query: row.query.clone(),
            watched: row.context.watched.first().map(|seen| seen.title.clone()).unwrap_or_default(),
            target: answer.target.to_string(),
            output: answer.output.to_string(),
        };
        let (query, context) = (sample.query.clone(), context_line(&row.context));
        let (target, output) = (sample.target.clone(), sample.output.clone());
        journal.emit(&Event::Sample { step: 0, query, context, target, output })?;
        samples.push(sample);
    }
    Ok(samples)
}
