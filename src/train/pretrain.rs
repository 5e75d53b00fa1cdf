//! Pretraining: a language-model objective over documents made on the fly, each whole in one sequence.
//!
//! Every token is predicted; those that follow from what stands before count fully, the others (what a fresh world happens to
//! be called) by `pretrain.context_weight`. The engine packs documents without padding.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;

use super::evaluate::Sample;
use super::likelihood;
use super::objective::Lessons;
use crate::corpus::{Corpus, Document, Set};
use crate::judge::reading;
use crate::model::{Group, Policy, Tokenizer};
use crate::recipe::{Recipe, Train};
use crate::task::{Piece, SPECIAL_TOKENS};

/// Documents scored together.
const BATCH: usize = 32;
/// Answers shown to a person at each evaluation.
const SHOWN: usize = 6;

/// The documents, as tokens.
pub(super) struct Stream {
    reader: Arc<Reader>,
    ahead: Mutex<Option<Ahead>>,
}

/// The step behind the last one asked for, read while that one is learnt from.
struct Ahead {
    step: u64,
    reading: JoinHandle<Result<Vec<Lessons>>>,
}

/// What turns documents into lessons.
struct Reader {
    corpus: Corpus,
    tokenizer: Tokenizer,
    max_tokens: usize,
    context_weight: f32,
}

/// A tokenizer made of the stream's own first documents.
pub(super) fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let corpus = Corpus::new(&recipe.pretrain, recipe.seed);
    let documents: Vec<Document> = (0..recipe.pretrain.tokenizer_documents as u64)
        .into_par_iter()
        .map(|n| corpus.document(Set::Train, n))
        .collect();
    let texts = documents.iter().flat_map(|d| &d.parts).filter_map(|part| match &part.piece {
        Piece::Text(text) => Some(text.as_str()),
        Piece::Marker(_) => None,
    });
    Tokenizer::train(texts, recipe.model.vocab, &SPECIAL_TOKENS).context("training the tokenizer")
}

impl Stream {
    pub fn new(tokenizer: &Tokenizer, recipe: &Recipe) -> Self {
        let reader = Reader {
            corpus: Corpus::new(&recipe.pretrain, recipe.seed),
            tokenizer: tokenizer.clone(),
            max_tokens: recipe.pretrain.max_tokens,
            context_weight: recipe.pretrain.context_weight as f32,
        };
        Self { reader: Arc::new(reader), ahead: Mutex::default() }
    }

    /// The micro-batches of a step (from 0), documents of like length together: on a card a row is as wide as the longest.
    pub fn next_batch(&self, step: u64, train: &Train) -> Result<Vec<Lessons>> {
        let (batch, accumulate) = (train.batch, train.accumulate);
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match ahead.take() {
            Some(Ahead { step: read, reading }) if read == step => {
                reading.join().map_err(|_| anyhow!("reading documents failed"))?
            }
            _ => self.reader.step(step, batch, accumulate),
        };
        let reader = Arc::clone(&self.reader);
        let reading = std::thread::spawn(move || reader.step(step + 1, batch, accumulate));
        *ahead = Some(Ahead { step: step + 1, reading });
        read
    }

    /// Some documents from a number on.
    pub fn lessons(&self, first: u64, documents: usize) -> Result<Lessons> {
        let (groups, weights) = self.reader.lessons(first, documents)?.into_iter().unzip();
        Ok(Lessons { groups, weights })
    }

    pub fn largest_batch(&self, train: &Train) -> Vec<Group> {
        let longest = self.reader.max_tokens.saturating_sub(1);
        vec![Group { prompt: vec![0], completions: vec![vec![0; longest]] }; train.batch]
    }

    /// `loss` and `exact_match`, the latter also by kind of question, on documents that are never trained on.
    pub fn evaluate(&self, policy: &Policy, train: &Train) -> Result<(BTreeMap<String, f64>, Vec<Sample>)> {
        let reader = &self.reader;
        let numbers = (0..train.eval_examples as u64).into_par_iter();
        let documents: Vec<Document> = numbers.map(|n| reader.corpus.document(Set::HeldOut, n)).collect();
        let (mut loss, mut total) = (0.0, 0.0);
        for batch in documents.chunks(BATCH) {
            let read = batch.par_iter().map(|document| reader.lesson(document)).collect::<Result<Vec<_>>>()?;
            let (groups, weights): (Vec<Group>, Vec<Vec<f32>>) = read.into_iter().unzip();
            let weights = weights.concat();
            total += weights.iter().map(|w| f64::from(*w)).sum::<f64>();
            loss += likelihood::loss(&policy.score(&groups, 1.0)?, &weights, 1.0);
        }
        let answers = reading::answers(policy, &documents)?;
        let mut values = reading::exact_match(&answers);
        values.insert("loss".into(), loss / total);
        let samples = answers.into_iter().take(SHOWN).map(Sample::of_document);
        Ok((values, samples.collect()))
    }
}

impl Reader {
    fn step(&self, step: u64, batch: usize, accumulate: usize) -> Result<Vec<Lessons>> {
        let documents = batch * accumulate;
        let mut read = self.lessons(step * documents as u64, documents)?;
        if accumulate > 1 {
            read.sort_by_key(|(group, _)| group.tokens());
        }
        let mut batches = Vec::with_capacity(accumulate);
        while !read.is_empty() {
            let rest = read.split_off(batch.min(read.len()));
            let (groups, weights) = read.into_iter().unzip();
            batches.push(Lessons { groups, weights });
            read = rest;
        }
        Ok(batches)
    }

    fn lessons(&self, first: u64, documents: usize) -> Result<Vec<(Group, Vec<f32>)>> {
        let numbers = (first..first + documents as u64).into_par_iter();
        numbers.map(|n| self.lesson(&self.corpus.document(Set::Train, n))).collect()
    }

    /// A document as one sequence: its first token, and all the others as a completion of it.
    fn lesson(&self, document: &Document) -> Result<(Group, Vec<f32>)> {
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for part in &document.parts {
            ids.extend(self.tokenizer.encode_pieces(std::slice::from_ref(&part.piece))?);
            weights.resize(ids.len(), if part.answer { 1.0 } else { self.context_weight });
        }
        ids.truncate(self.max_tokens);
        weights.truncate(self.max_tokens);
        let completion = ids.split_off(1);
        Ok((Group { prompt: ids, completions: vec![completion] }, weights.split_off(1)))
    }
}
