//! Reading before any fine-tuning: looking a word up among few and many, near and far; and every kind of question.

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Document, Kind, Set};
use crate::journal::{Journal, stop};
use crate::judge::reading::answers;
use crate::model::Policy;
use crate::recipe::Recipe;

/// Pairs shown, and how many stand between the one asked for and the question.
const GRID: [(usize, &[usize]); 4] = [(1, &[0]), (4, &[0, 3]), (8, &[0, 4, 7]), (16, &[0, 8, 15])];
/// Questions of each place of the grid.
const EACH: u64 = 200;
/// Documents of the pre-training kind.
const DOCUMENTS: u64 = 3_000;

/// Answers to one kind of question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What was asked.
    pub probe: String,
    /// How often.
    pub questions: usize,
    /// Share answered to the letter.
    pub exact_match: f64,
}

/// Asks a model all of it.
pub(super) fn run(policy: &Policy, recipe: &Recipe, journal: &Journal) -> Result<Vec<Reading>> {
    let corpus = Corpus::new(&recipe.pretrain, recipe.seed);
    let progress = journal.progress("read", DOCUMENTS + GRID.iter().map(|(_, at)| at.len() as u64 * EACH).sum::<u64>());
    let mut read = Vec::new();
    for (pairs, distances) in GRID {
        for &distance in distances {
            stop::check("probes are not resumable; run the same command again")?;
            let documents: Vec<Document> = (0..EACH).map(|n| corpus.recall(n, pairs, distance)).collect();
            let answers = answers(policy, &documents)?;
            let probe = format!("recall: {} distractors, {distance} pairs back", pairs - 1);
            read.push(Reading {
                probe,
                questions: answers.len(),
                exact_match: answers.iter().filter(|a| a.exact).count() as f64 / answers.len().max(1) as f64,
            });
            progress.inc(EACH);
        }
    }
    let documents: Vec<Document> = (0..DOCUMENTS).into_par_iter().map(|n| corpus.document(Set::Probe, n)).collect();
    let answers = answers(policy, &documents)?;
    for kind in Kind::ALL {
        let of_kind: Vec<bool> = answers.iter().filter(|a| a.kind == kind).map(|a| a.exact).collect();
        if !of_kind.is_empty() {
            let right = of_kind.iter().filter(|exact| **exact).count();
            let (probe, questions) = (format!("documents: {}", kind.name()), of_kind.len());
            read.push(Reading { probe, questions, exact_match: right as f64 / questions as f64 });
        }
    }
    progress.finish(&format!("{} kinds of question", read.len()));
    Ok(read)
}
