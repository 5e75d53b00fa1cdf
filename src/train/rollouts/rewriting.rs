//! Rewriting for rewards: training examples are asked, and [`crate::judge::reward`] says what answers are worth.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::Parts;
use crate::journal::Progress;
use crate::judge::reward::{self, Asked, Evidence, Ratio, Rewarder, Said, Searched, Side, foreign};
use crate::model::{Completion, Tokenizer};
use crate::recipe::{Decoding, Recipe};
use crate::rewriter::{Answerable, Decoder, Whose};
use crate::store::{ExampleRow, Store};
use crate::task::{Target, context_line};

pub(super) const PARTS: [&str; reward::PARTS.len()] = reward::PARTS;

/// Searches, and what judges their rewrites.
pub(in crate::train) struct Rewriting {
    rows: Vec<ExampleRow>,
    rewarder: Rewarder,
    /// What people did about the results of each, in the order of `rows` as far as it is known; empty where no reward asks.
    evidence: Vec<Evidence>,
    /// The queries that an index answers, of those that may be learnt from.
    answerable: Answerable,
}

impl Rewriting {
    /// Of a log's training examples.
    ///
    /// # Errors
    /// No index of the log; no query in it that an index answers.
    pub fn new(workspace: &Path, rows: &[ExampleRow], recipe: &Recipe) -> Result<Self> {
        let progress = Progress::on_screen("rewards", 1);
        let rewarder = Rewarder::open(workspace, recipe)?;
        let asks = recipe.reward.ratio > 0.0;
        let evidence = if asks { rewarder.evidence(workspace, rows)? } else { Vec::new() };
        let store = Store::open_existing(workspace)?;
        let answerable = Answerable::read(&store, recipe, &store.log(&recipe.name)?, Whose::Training)?;
        progress.finish("what judges answers was read from the log");
        Ok(Self { rows: rows.to_vec(), rewarder, evidence, answerable })
    }

    /// Asks at most `most` searches of the training side as they came, mined or not, behind the log's examples.
    ///
    /// # Errors
    /// SQLite's.
    pub fn ask_searched(&mut self, workspace: &Path, recipe: &Recipe, most: usize) -> Result<()> {
        let progress = Progress::on_screen("searches", most as u64);
        let before = self.rows.len();
        for Searched { row, evidence } in self.rewarder.searched(workspace, Side::Training, most, recipe.grpo.mended)? {
            self.rows.push(row);
            if recipe.reward.ratio > 0.0 {
                self.evidence.push(evidence);
            }
        }
        progress.finish(&format!("{} searches as they came drawn from the log", self.rows.len() - before));
        Ok(())
    }

    /// Asks further rows behind those of the log, of which nobody's results are known: rewards that go by these say nothing of them.
    pub fn ask_also(&mut self, rows: Vec<ExampleRow>) {
        self.rows.extend(rows);
    }

    /// Of at most `most` searches of one side of a log's split that a ratio can be taken of, mined or not.
    ///
    /// # Errors
    /// Those of [`Rewriting::new`].
    pub fn searched(workspace: &Path, recipe: &Recipe, side: Side, most: usize) -> Result<Self> {
        let mut own = Self::new(workspace, &[], recipe)?;
        for Searched { row, evidence } in own.rewarder.searched(workspace, side, most, recipe.ratio.mended)? {
            own.rows.push(row);
            own.evidence.push(evidence);
        }
        Ok(own)
    }

    /// Searches.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The ratio of every answer to a row, in their order; and how many pairs of text and document had to be scored.
    ///
    /// # Errors
    /// An index or a store that cannot be read.
    pub fn ratios(&self, answers: &[(usize, &Said)]) -> Result<(Vec<Option<Ratio>>, usize)> {
        let asked = answers.iter().map(|&(place, said)| (&self.evidence[place], self.rows[place].query.as_str(), said));
        self.rewarder.ratios(&asked.collect::<Vec<_>>())
    }

    /// Whether an index answers a text as a query, as far as what may be learnt from tells.
    pub fn answers(&self, text: &str) -> bool {
        self.answerable.holds(text)
    }

    /// The prompts, one for each row.
    ///
    /// # Errors
    /// A prompt that cannot be encoded.
    pub fn prompts(&self, tokenizer: &Tokenizer, longest: usize) -> Result<Vec<Vec<u32>>> {
        self.rows.iter().map(|row| tokenizer.prompt(&row.context, &row.query, longest)).collect()
    }

    /// Decodes over the queries that an index answers, or freely.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn decoder(&self, tokenizer: &Tokenizer, decoding: Decoding, longest: usize) -> Result<Decoder> {
        Decoder::new(decoding, tokenizer, self.answerable.spellings(), longest)
    }

    pub(super) fn weights(&self) -> Vec<f64> {
        self.rewarder.weights().to_vec()
    }

    pub(super) fn judge(&self, answers: &[(usize, &Said)]) -> Result<Vec<Parts>> {
        let asked = |place: usize| match self.evidence.get(place) {
            Some(evidence) => Asked::of(&self.rows[place]).with(evidence),
            None => Asked::of(&self.rows[place]),
        };
        let asked: Vec<_> = answers.iter().map(|(place, said)| (asked(*place), *said)).collect();
        Ok(self.rewarder.judge(&asked)?.into_iter().map(|parts| parts.to_vec()).collect())
    }

    /// What the person typed in a search's place, where that is known.
    pub(super) fn target(&self, place: usize) -> Option<&str> {
        self.rows[place].target.as_deref()
    }

    pub(in crate::train) fn shown(&self, place: usize) -> [String; 3] {
        let row = &self.rows[place];
        [row.query.clone(), context_line(&row.context), Target::from_option(row.target.as_deref()).to_string()]
    }

    /// `reject_rate`; and of the rewrites `index_hit_rate`, `off_context` and `popularity`.
    pub(in crate::train) fn statistics<'a>(
        &self,
        answers: impl Iterator<Item = (usize, &'a Said)>,
    ) -> BTreeMap<String, f64> {
        let (mut all, mut rejects, mut rewrites, mut valid) = (0.0, 0.0, 0.0, 0.0);
        let (mut off_context, mut popularity) = (0.0, 0.0);
        for (place, said) in answers {
            all += 1.0;
            match said {
                Said::Rewrite(text) => {
                    let row = &self.rows[place];
                    rewrites += 1.0;
                    valid += f64::from(u8::from(self.answerable.holds(text)));
                    off_context += foreign(&row.context, &row.query, text);
                    popularity += f64::from(self.rewarder.posterior(text).searches).ln_1p();
                }
                Said::Reject => rejects += 1.0,
                Said::Faulty => {}
            }
        }
        let shares = [
            ("reject_rate", rejects, all),
            ("index_hit_rate", valid, rewrites),
            ("off_context", off_context, rewrites),
            ("popularity", popularity, rewrites),
        ];
        let known = shares.into_iter().filter(|(_, _, of)| *of > 0.0);
        known.map(|(name, sum, of)| (name.to_owned(), sum / of)).collect()
    }
}

/// What a completion says to whoever has to judge it.
pub(in crate::train) fn read(tokenizer: &Tokenizer, completion: &Completion) -> Result<Said> {
    if !completion.finished {
        return Ok(Said::Faulty);
    }
    Ok(match tokenizer.read_completion(&completion.ids)? {
        Target::Rewrite(text) => Said::Rewrite(text),
        // An end without anything before it is read as a reject in serving, but it is not what a model was taught to say.
        Target::Reject if completion.ids.len() < 2 => Said::Faulty,
        Target::Reject => Said::Reject,
    })
}
