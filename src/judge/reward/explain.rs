//! `core judge explain`: the reward of one rewrite, part by part, so that a person can redo it by hand.

use std::path::Path;

use anyhow::{Context as _, Result};
use rand::Rng;
use serde::Serialize;

use super::{Asked, Evidence, Form, Posterior, Ratio, Rewarder, Said, total};
use crate::journal::Table;
use crate::logs::Context;
use crate::recipe::{Recipe, Reward, stream};

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The part.
    pub part: String,
    /// Its value; none where it does not apply, or has no weight.
    pub value: Option<f64>,
    /// Its weight in the recipe.
    pub weight: f64,
    /// What it was made of.
    pub because: String,
}

/// A reward with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The query.
    pub query: String,
    /// The rewrite; none leaves the query alone.
    pub rewrite: Option<String>,
    /// The weighted sum; none where no part applies.
    pub reward: Option<f64>,
    /// The parts.
    pub parts: Vec<Line>,
}

impl Explained {
    /// A row a part, and the sum.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!("{} → {}", self.query, self.rewrite.as_deref().unwrap_or("<reject>"));
        let mut table = Table::new("reward", &title, &["part", "value", "weight", "because"]);
        for line in &self.parts {
            let value = line.value.map_or("–".into(), |x| x.into());
            table.row([line.part.as_str().into(), value, line.weight.into(), line.because.as_str().into()]);
        }
        let sum = self.reward.map_or("–".into(), |x| x.into());
        table.row(["reward".into(), sum, "".into(), "weighted sum".into()]);
        table
    }
}

/// What a person did about the results, by ids of documents.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// The document that satisfied the person.
    pub satisfied: Option<&'a str>,
    /// Those shown and passed over.
    pub skipped: &'a [String],
}

/// Scores one rewrite of a search, or leaving it alone. The ratio is shown with its parts where the outcome names documents of
/// both kinds, whatever its weight.
///
/// # Errors
/// No log, or no index of it; a document that the index does not have.
pub fn explain(
    workspace: &Path,
    recipe: &Recipe,
    context: &Context,
    query: &str,
    rewrite: Option<&str>,
    outcome: Outcome,
) -> Result<Explained> {
    let rewarder = Rewarder::open(workspace, recipe)?;
    let evidence = evidence(&rewarder, outcome)?;
    let said = rewrite.map_or(Said::Reject, |text| match crate::logs::words(text).next() {
        Some(_) => Said::Rewrite(text.to_owned()),
        None => Said::Faulty,
    });
    let satisfied_doc = outcome.satisfied;
    let asked = Asked {
        context,
        query,
        time_ms: i64::MAX,
        satisfied_doc,
        rewrote: None,
        target: None,
        evidence: Some(&evidence),
    };
    let ratio = rewarder.ratios(&[(&evidence, query, &said)])?.0.pop().flatten();
    let page = rewarder.worths(&[(asked, &said)])?.pop().transpose()?.flatten();
    let parts = rewarder.parts(&asked, &said, ratio.map(|ratio| ratio.value), page);
    let weights = rewarder.weights();
    let reasons = Reasons { rewarder: &rewarder, asked: &asked, rewrite, ratio };
    let lines = super::PARTS.iter().zip(parts).zip(weights).map(|((part, value), weight)| Line {
        part: (*part).to_owned(),
        value,
        weight,
        because: reasons.of(part, value),
    });
    Ok(Explained {
        query: query.to_owned(),
        rewrite: rewrite.map(str::to_owned),
        reward: total(&parts, &weights),
        parts: lines.collect(),
    })
}

/// Evidence that a person gives by hand: every document counts alike.
fn evidence(rewarder: &Rewarder, outcome: Outcome) -> Result<Evidence> {
    let numbers = rewarder.engine.numbers()?;
    let number = |doc: &str| {
        let found = numbers.get(doc).copied();
        Ok((found.with_context(|| format!("no document {doc:?} in the index: `core search` shows ids"))?, 1.0))
    };
    let Recipe { seed, ratio, .. } = &rewarder.recipe;
    let mut rng = stream(*seed, "ratio random", &[]);
    let random = (0..ratio.random).map(|_| rng.random_range(0..numbers.len().max(1)) as u32);
    Ok(Evidence {
        positives: outcome.satisfied.map(number).into_iter().collect::<Result<_>>()?,
        negatives: outcome.skipped.iter().map(|doc| number(doc)).collect::<Result<_>>()?,
        mended: false,
        random: if numbers.is_empty() { Vec::new() } else { random.collect() },
    })
}

/// The ratio's parts in words.
fn of_ratio(ratio: Option<Ratio>, rewarder: &Rewarder) -> String {
    let Some(ratio) = ratio else { return "not known: name a document stayed with and one passed over".into() };
    let settings = &rewarder.recipe.ratio;
    let Some(scored) = ratio.scored else { return format!("no end, or no words: −{}", settings.truncated) };
    format!(
        "S_pos {:.3}, S_neg {:.3}, S_rand {:.3}: r_main {:.3}, r_rand {:.3}, length {:.2}; value {:.3}",
        scored.positive,
        scored.negative,
        scored.random,
        scored.main(settings),
        scored.rand(settings),
        ratio.length,
        ratio.value
    )
}

/// What a part was made of, in words.
struct Reasons<'a> {
    rewarder: &'a Rewarder,
    asked: &'a Asked<'a>,
    rewrite: Option<&'a str>,
    ratio: Option<Ratio>,
}

impl Reasons<'_> {
    fn of(&self, part: &str, value: Option<f64>) -> String {
        let settings = &self.rewarder.recipe.reward;
        match (part, self.rewrite) {
            ("ratio", _) => of_ratio(self.ratio, self.rewarder),
            ("posterior" | "relevance" | "format", None) => "left alone: the plain page".into(),
            ("posterior", Some(text)) => of_posterior(self.rewarder.posterior(text), settings),
            ("format", Some(text)) => of_form(Form::of(self.asked.context, self.asked.query, text, settings), settings),
            ("relevance", Some(_)) => {
                let (most, by) = (settings.top_k, &settings.scorer);
                format!("mean of the first {most} documents of the fused page, to the query, by {by}")
            }
            (_, _) if value.is_none() => "no weight in the recipe, or not known".into(),
            ("hit", Some(_)) => "1/rank of the document that satisfied".into(),
            _ => String::new(),
        }
    }
}

fn of_posterior(found: Posterior, settings: &Reward) -> String {
    let Posterior { searches, valid, frequency, ctr } = found;
    match valid {
        true => format!("{searches} searches: frequency {frequency:.3} + ctr {ctr:.3}"),
        false => format!("no valid query (satisfied fewer than {} people): −{}", settings.min_people, settings.invalid),
    }
}

fn of_form(form: Form, settings: &Reward) -> String {
    format!(
        "length {:.2}, repetition {:.2}, copy {:.2}, words that nobody said {:.2} × {}, no word of the query {:.0} × {}, \
         less than the query {:.0} × {}",
        form.length,
        form.repetition,
        form.copy,
        form.foreign,
        settings.foreign,
        form.flip,
        settings.flip,
        form.shorter,
        settings.shorter
    )
}
