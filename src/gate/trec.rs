//! Two TREC runs: queries are the unit. One measure must get better, and its bootstrap interval must say so; the others must not
//! get worse in the same sense.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::judge::trec::{Measured, NAMES, Qrels, Run, measure};
use crate::judge::{Check, Ratio, Verdict, compare};
use crate::recipe::Recipe;

/// What must get better.
const MAIN: &str = "ndcg_cut_10";
/// What must not get worse.
const OTHERS: [&str; 4] = ["map", "recip_rank", "ndcg_cut_3", "recall_100"];

pub(super) fn verdict(recipe: &Recipe, old: &Path, new: &Path, qrels: &Path) -> Result<Verdict> {
    let judged = Qrels::read(qrels)?;
    let (incumbent, candidate) = (Run::read(old)?, Run::read(new)?);
    let (before, after) = (measure(&incumbent, &judged), measure(&candidate, &judged));
    let queries = before.queries.keys().filter(|query| after.queries.contains_key(*query)).count();
    ensure!(
        queries > 0,
        "{}, {} and {} have no query in common: are the ids of the same kind?",
        old.display(),
        new.display(),
        qrels.display()
    );
    let checks = [MAIN].into_iter().chain(OTHERS).map(|name| check(name, &before, &after, recipe));
    let checks = checks.collect::<Result<Vec<Check>>>()?;
    let promoted = checks.iter().all(|check| check.passed);
    let [incumbent, candidate] = [old, new].map(|path| path.display().to_string());
    Ok(Verdict { incumbent, candidate, queries, unit: "queries".into(), checks, promoted, release: None })
}

fn check(name: &str, before: &Measured, after: &Measured, recipe: &Recipe) -> Result<Check> {
    let place = NAMES.iter().position(|known| *known == name).context("a gate's measure has a name")?;
    let one = |num: f64| Ratio { num, den: 1.0 };
    let both = before.queries.iter().filter_map(|(query, old)| Some((old[place], after.queries.get(query)?[place])));
    let pairs: Vec<(Ratio, Ratio)> = both.map(|(old, new)| (one(old), one(new))).collect();
    let found = compare(&pairs, recipe.ab.resamples, recipe.seed).context("there are queries to compare")?;
    let main = name == MAIN;
    let rule = if main { "better: the interval lies above 0" } else { "not worse: the interval reaches 0" };
    let passed = if main { found.low > 0.0 } else { found.high >= 0.0 };
    Ok(Check { measure: name.to_owned(), found, rule: rule.to_owned(), passed })
}
