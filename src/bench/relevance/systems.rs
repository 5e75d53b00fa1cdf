//! The taggers of the table, and what each says about the pairs of the benchmark.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::System;
use super::lexical::{Bm25, cosines};
use crate::journal::{Journal, stop};
use crate::judge::tagging::{Tag, Tally, Thresholds};
use crate::logs::Doc;
use crate::model::{Tagger, calibrated};
use crate::recipe::{Reason, Recipe, Relevance};
use crate::store::{Annotation, Part};
use crate::task::Label;
use crate::train::{self, Existing, Options, Task};

pub(super) const WORDS: &str = "sft, words";
pub(super) const PICTURE: &str = "sft, words and picture";
pub(super) const REASONING: &str = "sft, and reasoning";
pub(super) const REWARDED: &str = "sft, then rewards";
pub(super) const MIXED: &str = "sft, and rewriting";

/// The order in which LORE's reasoning is built up.
pub(super) const PROGRESSIVE: [Reason; 3] = [Reason::Knowledge, Reason::Picture, Reason::Rules];

/// An annotated pair with its document.
pub(super) type Pair<'a> = (&'a Annotation, &'a Doc, Label);
/// The tags of one query in one set.
pub(super) type OfQuery = (Part, Tally);

/// A tagger, and a tag for each pair of the benchmark.
pub(super) struct Said {
    pub system: System,
    tags: Vec<Tag>,
}

impl Said {
    fn new(name: &str, tags: Vec<Tag>) -> Self {
        let system = System {
            name: name.to_owned(),
            run: None,
            train_s: None,
            docs_per_s: None,
            temperature: None,
            scores: Vec::new(),
            over_words: Vec::new(),
        };
        Self { system, tags }
    }

    /// Tallies of the runs of pairs that belong to one query and one set: the same runs for every tagger.
    pub fn tallies<'a>(&'a self, pairs: &'a [Pair]) -> impl Iterator<Item = OfQuery> + 'a {
        let same = |a: &Pair, b: &Pair| a.0.query == b.0.query && a.0.part == b.0.part;
        let mut from = 0;
        pairs.chunk_by(same).map(move |of_query| {
            let tags = &self.tags[from..from + of_query.len()];
            from += of_query.len();
            (of_query[0].0.part, Tally::of(tags))
        })
    }
}

/// Taggers without a model: always the commonest label, words and vectors by thresholds.
pub(super) fn fitted(recipe: &Recipe, docs: &[Doc], train: &[Pair], test: &[Pair]) -> Result<Vec<Said>> {
    let by_score = |name: &str, scores: [Vec<f64>; 2]| {
        let [of_train, of_test] = scores;
        let fitted: Vec<(f64, Label)> = of_train.into_iter().zip(train.iter().map(|pair| pair.2)).collect();
        let thresholds = Thresholds::fit(&fitted);
        let tags = of_test.into_iter().zip(test).map(|(score, pair)| {
            let (said, relevant) = thresholds.tag(score);
            Tag { truth: pair.2, said, relevant }
        });
        Said::new(name, tags.collect())
    };
    let count = |label: Label| train.iter().filter(|pair| pair.2 == label).count();
    let commonest = Label::ALL.into_iter().max_by_key(|label| count(*label)).unwrap_or(Label::L1);
    let relevant = train.iter().filter(|pair| pair.2.relevant()).count() as f64 / train.len().max(1) as f64;
    let majority = test.iter().map(|pair| Tag { truth: pair.2, said: commonest, relevant }).collect();
    let mut bm25 = Bm25::new(docs);
    let mut by_words = |pairs: &[Pair]| pairs.iter().map(|p| bm25.score(&p.0.query, p.1)).collect::<Vec<f64>>();
    let words = [by_words(train), by_words(test)];
    let by_vectors = |pairs: &[Pair]| {
        let texts: Vec<(&str, &Doc)> = pairs.iter().map(|p| (p.0.query.as_str(), p.1)).collect();
        cosines(&recipe.search, &texts)
    };
    let vectors = [by_vectors(train)?, by_vectors(test)?];
    let encoder = format!("bi-encoder, {}", recipe.search.encoder);
    Ok(vec![Said::new("majority", majority), by_score("bm25", words), by_score(&encoder, vectors)])
}

/// A model to be trained.
pub(super) struct Trained<'a> {
    pub name: &'static str,
    pub settings: Relevance,
    pub init: &'a str,
    /// Whether it goes on for rewards (`[grpo]`), and not by example.
    pub rewarded: bool,
}

/// The run of a model.
pub(super) fn run_of(recipe: &Recipe, name: &str) -> String {
    let ending = match name {
        WORDS => "words",
        PICTURE => "picture",
        REASONING => "reasoning",
        REWARDED => "rewards",
        _ => "mixed",
    };
    format!("{}-relevance-{ending}", recipe.name)
}

/// Trains a model, or takes the one that the same recipe and annotations made, and asks it.
pub(super) fn trained(
    workspace: &Path,
    recipe: &Recipe,
    one: &Trained,
    test: &[Pair],
    journal: &Journal,
) -> Result<Said> {
    let name = run_of(recipe, one.name);
    let recipe = Recipe { relevance: one.settings.clone(), ..recipe.clone() };
    let log = recipe.name.as_str();
    let task = if one.rewarded { Task::Grpo { log, tags: true } } else { Task::Tagging { log } };
    let options = Options { name: &name, task, init: Some(one.init), existing: Existing::Renew };
    let started = Instant::now();
    let summary = train::run(workspace, &recipe, &options)?;
    let train_s = started.elapsed().as_secs_f64();
    let tagger = Tagger::open(&summary.checkpoint, recipe.train.precision)?;
    let temperature = tagger.settings().temperature.context("a finished run has a temperature")?;
    let progress = journal.progress("score", test.len() as u64);
    let (started, mut tags) = (Instant::now(), Vec::with_capacity(test.len()));
    for of_query in test.chunk_by(|a, b| a.0.query == b.0.query) {
        stop::check("models are kept; run the same command again")?;
        let docs: Vec<&Doc> = of_query.iter().map(|pair| pair.1).collect();
        let logits = tagger.logits(&of_query[0].0.query, &docs)?;
        tags.extend(logits.into_iter().zip(of_query).map(|(l, pair)| Tag::of(pair.2, calibrated(l, temperature))));
        progress.inc(of_query.len() as u64);
    }
    let docs_per_s = test.len() as f64 / started.elapsed().as_secs_f64();
    progress.finish(&format!("{name}: {docs_per_s:.0} documents a second"));
    let mut said = Said::new(one.name, tags);
    said.system.train_s = (summary.steps_now == summary.steps).then_some(train_s);
    said.system.docs_per_s = Some(docs_per_s);
    said.system.temperature = Some(temperature);
    said.system.run = Some(name);
    Ok(said)
}
