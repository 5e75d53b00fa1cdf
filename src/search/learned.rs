//! Relevance by a trained model where the plain scorer stands otherwise (LORE): at finerank, of the query and of its rewrite.
//!
//! Recall and rawrank stay the plain scorer's, which costs microseconds a document; what rawrank passes on is scored in one batch
//! a text. What people type is typed again and again, so scores are kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock};

use anyhow::{Context, Result};

use super::rank::Candidate;
use super::sides::weighed;
use super::{Engine, index_dir};
use crate::logs::Doc;
use crate::model::{Tagger, runs};
use crate::recipe::{PLAIN_SCORER, Recipe};
use crate::store::Store;

/// Scores kept at most, some 50 bytes each.
const MOST: usize = 2_000_000;

/// A relevance model, and the documents of the index as it reads them.
pub struct Learned {
    name: String,
    identity: String,
    tagger: Tagger,
    /// By number in the index.
    docs: HashMap<u32, Doc>,
    kept: RwLock<Kept>,
}

/// Scores of documents, by text.
#[derive(Default)]
struct Kept {
    of_text: HashMap<Box<str>, HashMap<u32, f64>>,
    scores: usize,
}

impl Learned {
    /// The newest checkpoint of a run, for the documents of a log; `key` is the recipe's that names it.
    ///
    /// # Errors
    /// No run of that name, or none that tags relevance; no log.
    pub fn open(workspace: &Path, recipe: &Recipe, log: &str, engine: &Engine, key: &str, run: &str) -> Result<Self> {
        let (folder, step) = runs::latest(&runs::run_dir(workspace, run)?)?.with_context(|| {
            format!("{key} names {run:?}, and there is no such run: `core train sft --task relevance --name {run}` makes one")
        })?;
        let tagger = Tagger::open(&folder, recipe.train.precision)?;
        let store = Store::open_existing(workspace)?;
        let numbers = engine.numbers()?;
        let docs = store.docs(&store.log(log)?)?.into_iter();
        let docs = docs.filter_map(|doc| Some((*numbers.get(&doc.id)?, doc))).collect();
        let identity = format!("{run} {step} {}", runs::fingerprint(&folder)?);
        Ok(Self { name: run.to_owned(), identity, tagger, docs, kept: RwLock::default() })
    }

    /// The run.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes whenever the model's numbers do.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// P(L3 or L4) of documents (by number) for a text, in their order.
    ///
    /// # Errors
    /// A document that the log has not; a text that does not fit the model's prompt.
    pub fn relevance(&self, text: &str, numbers: &[u32]) -> Result<Vec<f64>> {
        let known = |kept: &Kept| {
            let of_text = kept.of_text.get(text);
            numbers.iter().map(|number| of_text.and_then(|scores| scores.get(number)).copied()).collect::<Vec<_>>()
        };
        let mut scores = known(&self.kept.read().expect("no holder of the scores panics"));
        let missing: Vec<u32> =
            numbers.iter().zip(&scores).filter(|(_, score)| score.is_none()).map(|(number, _)| *number).collect();
        if missing.is_empty() {
            return Ok(scores.into_iter().flatten().collect());
        }
        let of = |number: &u32| {
            self.docs.get(number).context(
                "the index has a document that the log has not: run `core index build`, which brings it up to date",
            )
        };
        let asked: Vec<&Doc> = missing.iter().map(of).collect::<Result<_>>()?;
        let found = self.tagger.relevance(text, &asked)?;
        let mut new = found.iter().copied();
        scores.iter_mut().filter(|score| score.is_none()).for_each(|score| *score = new.next());
        self.keep(text, missing.into_iter().zip(found));
        Ok(scores.into_iter().flatten().collect())
    }

    fn keep(&self, text: &str, scores: impl Iterator<Item = (u32, f64)>) {
        let mut kept = self.kept.write().expect("no holder of the scores panics");
        if kept.scores < MOST {
            let of_text = kept.of_text.entry(text.into()).or_default();
            let before = of_text.len();
            of_text.extend(scores);
            kept.scores += of_text.len() - before;
        }
    }
}

impl Engine {
    /// The index of a log of the workspace, with the relevance that the recipe's `search.scorer` names.
    ///
    /// # Errors
    /// Those of [`Engine::open`] and [`Learned::open`].
    pub fn of_log(workspace: &Path, recipe: &Recipe, log: &str) -> Result<Self> {
        let mut engine = Self::open(&index_dir(workspace, log), &recipe.search)?;
        let run = &recipe.search.scorer;
        if run != PLAIN_SCORER {
            engine.learned = Some(Arc::new(Learned::open(workspace, recipe, log, &engine, "search.scorer", run)?));
        }
        Ok(engine)
    }

    /// The model that tells relevance at finerank; none for the plain scorer.
    #[must_use]
    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_deref()
    }

    /// What rawrank kept, with the learned model's relevances in the place of the plain scorer's.
    /// A rewrite has a weight beside it ([`crate::recipe::SearchPath::forgiven`]).
    pub(super) fn judged(
        &self,
        mut kept: Vec<Candidate>,
        query: &str,
        rewrite: Option<(&str, f64)>,
    ) -> Result<Vec<Candidate>> {
        let Some(learned) = &self.learned else { return Ok(kept) };
        let numbers: Vec<u32> = kept.iter().map(|c| c.number).collect();
        for (c, relevance) in kept.iter_mut().zip(learned.relevance(query, &numbers)?) {
            c.signals.relevance = relevance;
        }
        if let Some((rewrite, weight)) = rewrite {
            for (c, relevance) in kept.iter_mut().zip(learned.relevance(rewrite, &numbers)?) {
                c.signals.rewrite = weighed(relevance, weight);
            }
        }
        Ok(kept)
    }
}
