//! What a model does on held-out people while it trains.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::journal::Event;
use crate::judge::reading::Read;
use crate::judge::tagging::Tag;
use crate::model::{Decoding, Group, Policy};
use crate::store::ExampleRow;
use crate::task::{Label, Target, context_line};

/// Examples scored together.
const BATCH: usize = 32;
/// Rewrites shown to a person at each evaluation.
const SHOWN: usize = 6;
/// Longest answer in tokens.
const MAX_NEW_TOKENS: usize = 24;

/// One rewrite to look at.
pub(super) struct Sample {
    query: String,
    context: String,
    target: String,
    output: String,
}

impl Sample {
    /// The last question of a document.
    pub fn of_document(read: Read) -> Self {
        Self { query: read.kind.name().into(), context: read.context, target: read.target, output: read.output }
    }

    /// A query and a document, with the label it has and the one it got.
    pub fn of_pair(query: &str, title: &str, truth: Label, tag: Tag) -> Self {
        let output = format!("{} ({:.0} % relevant)", tag.said, 100.0 * tag.relevant);
        Self { query: query.to_owned(), context: title.to_owned(), target: truth.to_string(), output }
    }

    pub fn into_event(self, step: u64) -> Event {
        let Self { query, context, target, output } = self;
        Event::Sample { step, query, context, target, output }
    }
}

/// `loss`, `exact_match`, `reject_precision`, `reject_recall` on the first `limit` rows, and some samples.
pub(super) fn evaluate(
    policy: &Policy,
    rows: &[ExampleRow],
    limit: usize,
    max_prompt_tokens: usize,
) -> Result<(BTreeMap<String, f64>, Vec<Sample>)> {
    let tokenizer = &policy.tokenizer;
    let decoding = Decoding::greedy(MAX_NEW_TOKENS, tokenizer.end_tokens());
    let rows = &rows[..rows.len().min(limit)];
    let mut tally = Tally::default();
    let mut samples = Vec::new();
    for batch in rows.chunks(BATCH) {
        let mut groups = Vec::with_capacity(batch.len());
        for row in batch {
            let target = Target::from_option(row.target.as_deref());
            groups.push(Group {
                prompt: tokenizer.prompt(&row.context, &row.query, max_prompt_tokens)?,
                completions: vec![tokenizer.completion(&target)?],
            });
        }
        let logprobs = policy.score(&groups, 1.0)?;
        tally.nll -= logprobs.iter().map(|&lp| f64::from(lp)).sum::<f64>();
        tally.tokens += logprobs.len();
        let prompts: Vec<Vec<u32>> = groups.into_iter().map(|g| g.prompt).collect();
        let completions = policy.generate(&prompts, &decoding, 0)?;
        for (row, completion) in batch.iter().zip(completions) {
            let target = Target::from_option(row.target.as_deref());
            let output = tokenizer.read_completion(&completion.ids)?;
            tally.count(&target, &output);
            if samples.len() < SHOWN {
                let (target, output) = (target.to_string(), output.to_string());
                samples.push(Sample { query: row.query.clone(), context: context_line(&row.context), target, output });
            }
        }
    }
    Ok((tally.metrics(), samples))
}

#[derive(Default)]
struct Tally {
    nll: f64,
    tokens: usize,
    all: usize,
    right: usize,
    rejects_said: usize,
    rejects_meant: usize,
    rejects_right: usize,
}

impl Tally {
    fn count(&mut self, target: &Target, output: &Target) {
        let (said, meant) = (*output == Target::Reject, *target == Target::Reject);
        self.all += 1;
        self.right += usize::from(output == target);
        self.rejects_said += usize::from(said);
        self.rejects_meant += usize::from(meant);
        self.rejects_right += usize::from(said && meant);
    }

    /// Shares of nothing are left out rather than shown as 0.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let shares = [
            ("loss", self.nll, self.tokens),
            ("exact_match", self.right as f64, self.all),
            ("reject_precision", self.rejects_right as f64, self.rejects_said),
            ("reject_recall", self.rejects_right as f64, self.rejects_meant),
        ];
        let known = shares.into_iter().filter(|(_, _, den)| *den > 0);
        known.map(|(name, num, den)| (name.to_owned(), num / den as f64)).collect()
    }
}
