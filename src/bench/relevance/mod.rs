//! `core bench relevance`: taggers of relevance side by side on pairs that no training annotation is about.
//!
//! Made after RAIR: pairs labelled by fixed rules, in three sets. The world's log is annotated by the world's rules
//! ([`annotate`]); a file of judged pairs takes its place where one is given. From there on both are rows of the store.

mod annotate;
mod import;
mod lexical;
mod systems;
mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Journal};
use crate::judge::tagging::TagScores;
use crate::judge::{Comparison, Ratio, compare};
use crate::logs::Doc;
use crate::recipe::{Recipe, Relevance};
use crate::store::{Annotation, Part, Split, Store};
use crate::task::Label;
use crate::{index, simulate};

pub(in crate::bench) use annotate::annotate;
use systems::{OfQuery, Trained};

/// What to measure on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A file of judged pairs and the name of its log; none annotates the recipe's own log.
    pub data: Option<(PathBuf, String)>,
    /// Write annotations, and stop there.
    pub annotate_only: bool,
    /// What models start from: `base`, a checkpoint folder, or a hub id.
    pub init: String,
}

/// Annotated pairs of one set on one side of the split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// `train`, `validation` or `test`.
    pub split: String,
    /// The set.
    pub part: Part,
    /// Queries.
    pub queries: usize,
    /// Pairs of each label, L1 first.
    pub labels: [usize; 4],
}

/// Rows of a file that could not be used, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unused {
    /// The reason.
    pub reason: String,
    /// How many.
    pub rows: usize,
    /// Line of the first.
    pub first_line: usize,
}

/// One tagger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// What it is.
    pub name: String,
    /// The run that made it; none of what is not trained.
    pub run: Option<String>,
    /// Seconds of training; none where some of it was there already.
    pub train_s: Option<f64>,
    /// Documents scored a second.
    pub docs_per_s: Option<f64>,
    /// What its logits are divided by.
    pub temperature: Option<f64>,
    /// On each set that has pairs.
    pub scores: Vec<(Part, TagScores)>,
    /// Acc@2 on each set less that of the tagger from words alone, queries as the unit.
    pub over_words: Vec<(Part, Comparison)>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The log.
    pub log: String,
    /// Annotated pairs.
    pub counts: Vec<Count>,
    /// Rows of the file that could not be used.
    pub unused: Vec<Unused>,
    /// Taggers; none when only annotations were asked for.
    pub systems: Vec<System>,
    /// What it comes to.
    pub verdict: Vec<String>,
}

/// Annotates, trains and measures.
///
/// # Errors
/// Those of every step; no annotated pair to train on or to be judged by. `Stopped` after Ctrl-C, with checkpoints kept.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Report> {
    let recipe = match &plan.data {
        Some((_, log)) => Recipe { name: log.clone(), ..recipe.clone() },
        None => {
            simulate::run(workspace, recipe, simulate::Part::default(), false)?;
            index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
            recipe.clone()
        }
    };
    Journal::record(workspace, "bench", "relevance", &recipe.to_toml(), |journal| {
        let (rows, unused) = match &plan.data {
            Some((file, log)) => import::import(workspace, &recipe, file, log)?,
            None => (annotate(workspace, &recipe, journal)?, Vec::new()),
        };
        let log = recipe.name.clone();
        let mut report = Report { log, counts: counts(&rows), unused, systems: Vec::new(), verdict: Vec::new() };
        if !plan.annotate_only {
            measure(workspace, &recipe, plan, &rows, journal, &mut report)?;
        }
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "relevance".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

fn measure(
    workspace: &Path,
    recipe: &Recipe,
    plan: &Plan,
    rows: &[Annotation],
    journal: &Journal,
    report: &mut Report,
) -> Result<()> {
    let store = Store::open_existing(workspace)?;
    let docs = store.docs(&store.log(&recipe.name)?)?;
    let by_id: HashMap<&str, &Doc> = docs.iter().map(|doc| (doc.id.as_str(), doc)).collect();
    let side = |split: Split| -> Vec<(&Annotation, &Doc, Label)> {
        let of_side = rows.iter().filter(|row| row.split == split);
        let known = of_side.filter_map(|row| Some((row, *by_id.get(row.doc.as_str())?, Label::of_number(row.label)?)));
        known.collect()
    };
    let (train, test) = (side(Split::Train), side(Split::Test));
    ensure!(
        !train.is_empty() && !test.is_empty(),
        "{} pairs to train on and {} to be judged by: annotate more queries (relevance.queries), or change relevance.held_out",
        train.len(),
        test.len()
    );
    drop(store);
    let mut said = systems::fitted(recipe, &docs, &train, &test)?;
    for (name, settings) in variants(recipe, rows, &by_id) {
        let trained = Trained { name, settings, init: &plan.init, rewarded: false };
        said.push(systems::trained(workspace, recipe, &trained, &test, journal)?);
    }
    // Rewards go on from the model with most to see.
    let names: Vec<&str> = said.iter().map(|s| s.system.name.as_str()).collect();
    let start = [systems::PICTURE, systems::WORDS].into_iter().find(|name| names.contains(name));
    if let Some(start) = start {
        let settings = Relevance {
            reasoning: Vec::new(),
            mix: 0.0,
            visual: start == systems::PICTURE,
            ..recipe.relevance.clone()
        };
        let init = systems::run_of(recipe, start);
        let trained = Trained { name: systems::REWARDED, settings, init: &init, rewarded: true };
        said.push(systems::trained(workspace, recipe, &trained, &test, journal)?);
    }
    let words = said.iter().position(|s| s.system.name == systems::WORDS);
    let of_words: Option<Vec<_>> = words.map(|place| said[place].tallies(&test).collect());
    for (place, one) in said.iter_mut().enumerate() {
        let tallies: Vec<_> = one.tallies(&test).collect();
        one.system.scores = table::scores(&tallies, recipe);
        if let Some(words) = of_words.as_ref().filter(|_| words != Some(place)) {
            one.system.over_words = over(words, &tallies, recipe);
        }
    }
    report.systems = said.into_iter().map(|s| s.system).collect();
    report.verdict = table::verdict(report);
    Ok(())
}

/// What is trained: from words, with the picture, with reasoning behind the label, with rewriting mixed in; as far as there
/// is something to learn it from.
fn variants(recipe: &Recipe, rows: &[Annotation], docs: &HashMap<&str, &Doc>) -> Vec<(&'static str, Relevance)> {
    let own = &recipe.relevance;
    let bare = Relevance { reasoning: Vec::new(), mix: 0.0, ..own.clone() };
    let sees = docs.values().any(|doc| !doc.visual.is_empty());
    let reasoned = rows.iter().any(|row| !row.notes.is_empty());
    let mut all = vec![(systems::WORDS, Relevance { visual: false, ..bare.clone() })];
    if sees {
        all.push((systems::PICTURE, Relevance { visual: true, ..bare.clone() }));
    }
    if reasoned {
        let reasoning = if own.reasoning.is_empty() { systems::PROGRESSIVE.to_vec() } else { own.reasoning.clone() };
        all.push((systems::REASONING, Relevance { visual: sees, reasoning, ..bare.clone() }));
    }
    if own.mix > 0.0 {
        all.push((systems::MIXED, Relevance { visual: sees, mix: own.mix, ..bare }));
    }
    all
}

/// Acc@2 of the second less the first, on each set.
fn over(words: &[OfQuery], own: &[OfQuery], recipe: &Recipe) -> Vec<(Part, Comparison)> {
    let of_part = |part: Part| {
        let pairs: Vec<(Ratio, Ratio)> = words
            .iter()
            .zip(own)
            .filter(|(w, _)| w.0 == part)
            .map(|(w, o)| (w.1.relevant_or_not(), o.1.relevant_or_not()))
            .collect();
        Some((part, compare(&pairs, recipe.ab.resamples, recipe.seed)?))
    };
    Part::ALL.into_iter().filter_map(of_part).collect()
}

/// Pairs by side and set.
fn counts(rows: &[Annotation]) -> Vec<Count> {
    let sides = [("train", Split::Train), ("validation", Split::Validation), ("test", Split::Test)];
    let all = sides.iter().flat_map(|side| Part::ALL.map(|part| (side, part)));
    let count = |((name, split), part): (&(&str, Split), Part)| {
        let of: Vec<&Annotation> = rows.iter().filter(|row| row.split == *split && row.part == part).collect();
        let mut queries: Vec<&str> = of.iter().map(|row| row.query.as_str()).collect();
        queries.dedup();
        let labels = [1, 2, 3, 4].map(|label| of.iter().filter(|row| row.label == label).count());
        Count { split: (*name).to_owned(), part, queries: queries.len(), labels }
    };
    all.map(count).filter(|count| count.queries > 0).collect()
}
