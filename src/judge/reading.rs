//! How well a model reads: the last question of a document answered greedily, counted by kind of question.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::corpus::{Document, Kind, Part};
use crate::model::{Decoding, Policy};
use crate::task::Piece;

/// One question and what the model made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it tries.
    pub kind: Kind,
    /// What stands before the question.
    pub context: String,
    /// What should be said.
    pub target: String,
    /// What was said.
    pub output: String,
    /// Whether it was said to the letter, and ended where it should.
    pub exact: bool,
}

/// Asks the last question of every document; those without one, or with a prompt beyond the model's positions, are left out.
///
/// # Errors
/// Those of decoding.
pub fn answers(policy: &Policy, documents: &[Document]) -> Result<Vec<Read>> {
    let tokenizer = &policy.tokenizer;
    let (mut asked, mut prompts, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        let Some(ask) = document.asks.last() else { continue };
        let (before, after) = document.parts.split_at(ask.answer_at);
        let answer: Vec<Piece> = after.iter().take_while(|part| part.answer).map(|part| part.piece.clone()).collect();
        let prompt: Vec<Piece> = before.iter().map(|part| part.piece.clone()).collect();
        let (prompt, answer) = (tokenizer.encode_pieces(&prompt)?, tokenizer.encode_pieces(&answer)?);
        if prompt.is_empty() || prompt.len() + answer.len() > policy.config.max_positions {
            continue;
        }
        asked.push((document, ask));
        prompts.push(prompt);
        wanted.push(answer);
    }
    let longest = wanted.iter().map(Vec::len).max().unwrap_or(0);
    let said = policy.generate(&prompts, &Decoding::greedy(longest.max(1), tokenizer.end_tokens()), 0)?;
    let read = asked.into_iter().zip(wanted).zip(said).map(|(((document, ask), wanted), said)| {
        let length = wanted.len().min(said.ids.len());
        Ok(Read {
            kind: ask.kind,
            context: said_before(&document.parts[..ask.answer_at]),
            target: ask.target.to_string(),
            output: tokenizer.read_completion(&said.ids[..length])?.to_string(),
            exact: said.ids[..length] == wanted,
        })
    });
    read.collect()
}

fn said_before(parts: &[Part]) -> String {
    parts.iter().map(|part| part.words().trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// Shares answered to the letter: `exact_match`, and `exact_match/<kind>` of each kind that was asked.
#[must_use]
pub fn exact_match(answers: &[Read]) -> BTreeMap<String, f64> {
    let share = |of: &dyn Fn(&Read) -> bool| {
        let all = answers.iter().filter(|a| of(a)).count();
        (all > 0).then(|| answers.iter().filter(|a| of(a) && a.exact).count() as f64 / all as f64)
    };
    let by_kind =
        Kind::ALL.into_iter().map(|kind| (format!("exact_match/{}", kind.name()), share(&|a| a.kind == kind)));
    let all = [("exact_match".to_owned(), share(&|_| true))];
    by_kind.chain(all).filter_map(|(name, share)| Some((name, share?))).collect()
}
