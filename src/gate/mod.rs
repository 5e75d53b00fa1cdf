//! `core gate`: whether a candidate may take an incumbent's place; so far for two TREC runs of the same queries.
//!
//! Queries are the unit. One measure must get better, and its bootstrap interval must say so; the others must not get worse in the
//! same sense. Each check states its rule, its interval and its verdict; a candidate that fails one is refused.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::journal::{Cell, Event, Journal, Table};
use crate::judge::trec::{Measured, NAMES, Qrels, Run, measure};
use crate::judge::{Comparison, Ratio, compare};
use crate::recipe::Recipe;

/// What must get better.
const MAIN: &str = "ndcg_cut_10";
/// What must not get worse.
const OTHERS: [&str; 4] = ["map", "recip_rank", "ndcg_cut_3", "recall_100"];

/// A candidate was refused; the program ends with code 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Two runs and the judgments they are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The run in use.
    pub incumbent: PathBuf,
    /// The run that would take its place.
    pub candidate: PathBuf,
    /// What people judged.
    pub qrels: PathBuf,
}

/// One measure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// `trec_eval`'s name of it.
    pub measure: String,
    /// Mean of the incumbent, of the candidate, their difference and its interval.
    #[serde(flatten)]
    pub found: Comparison,
    /// What is asked of it.
    pub rule: &'static str,
    /// Whether it is so.
    pub passed: bool,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// File of the incumbent.
    pub incumbent: String,
    /// File of the candidate.
    pub candidate: String,
    /// Queries that both runs and the judgments have.
    pub queries: usize,
    /// One a measure, the main one first.
    pub checks: Vec<Check>,
    /// Whether all passed.
    pub promoted: bool,
}

impl Verdict {
    /// A row a check.
    #[must_use]
    pub fn table(&self) -> Table {
        let verdict = if self.promoted { "promoted" } else { "refused" };
        let title = format!(
            "{} → {}: {verdict}; {} queries, differences with 95 % bootstrap intervals",
            self.incumbent, self.candidate, self.queries
        );
        let mut table =
            Table::new("gate", &title, &["measure", "incumbent", "candidate", "difference", "rule", "verdict"]);
        for Check { measure, found, rule, passed } in &self.checks {
            let shown = format!("{:+.4} [{:+.4}, {:+.4}]", found.difference, found.low, found.high);
            table.row([
                measure.as_str().into(),
                Cell::shown(found.control, format!("{:.4}", found.control)),
                Cell::shown(found.treatment, format!("{:.4}", found.treatment)),
                Cell::shown(found.difference, shown),
                (*rule).into(),
                if *passed { "pass" } else { "fail" }.into(),
            ]);
        }
        table
    }

    /// An error where the candidate was refused.
    ///
    /// # Errors
    /// [`Refused`], with the checks that failed.
    pub fn or_refused(&self) -> Result<()> {
        let failed: Vec<&str> = self.checks.iter().filter(|c| !c.passed).map(|c| c.measure.as_str()).collect();
        if self.promoted { Ok(()) } else { Err(Refused(format!("refused: {} failed", failed.join(", "))).into()) }
    }
}

/// Holds a candidate against an incumbent.
///
/// # Errors
/// Files that cannot be read; no query that all three have.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Verdict> {
    let name = format!("{} against {}", plan.candidate.display(), plan.incumbent.display());
    Journal::record(workspace, "gate", &name, &recipe.to_toml(), |journal| {
        let verdict = verdict(recipe, plan)?;
        let body = serde_json::to_value(&verdict)?;
        journal.emit(&Event::Report { title: "gate".into(), fingerprint: name.clone(), body })?;
        Ok(verdict)
    })
}

fn verdict(recipe: &Recipe, plan: &Plan) -> Result<Verdict> {
    let qrels = Qrels::read(&plan.qrels)?;
    let (incumbent, candidate) = (Run::read(&plan.incumbent)?, Run::read(&plan.candidate)?);
    let (before, after) = (measure(&incumbent, &qrels), measure(&candidate, &qrels));
    let queries = before.queries.keys().filter(|query| after.queries.contains_key(*query)).count();
    ensure!(
        queries > 0,
        "{}, {} and {} have no query in common: are the ids of the same kind?",
        plan.incumbent.display(),
        plan.candidate.display(),
        plan.qrels.display()
    );
    let checks = [MAIN].into_iter().chain(OTHERS).map(|name| check(name, &before, &after, recipe));
    let checks = checks.collect::<Result<Vec<Check>>>()?;
    let promoted = checks.iter().all(|check| check.passed);
    let [incumbent, candidate] = [&plan.incumbent, &plan.candidate].map(|path| path.display().to_string());
    Ok(Verdict { incumbent, candidate, queries, checks, promoted })
}

fn check(name: &str, before: &Measured, after: &Measured, recipe: &Recipe) -> Result<Check> {
    let place = NAMES.iter().position(|known| *known == name).context("a gate's measure has a name")?;
    let one = |num: f64| Ratio { num, den: 1.0 };
    let both = before.queries.iter().filter_map(|(query, old)| Some((old[place], after.queries.get(query)?[place])));
    let pairs: Vec<(Ratio, Ratio)> = both.map(|(old, new)| (one(old), one(new))).collect();
    let found = compare(&pairs, recipe.ab.resamples, recipe.seed).context("there are queries to compare")?;
    let main = name == MAIN;
    Ok(Check {
        measure: name.to_owned(),
        found,
        rule: if main { "better: the interval lies above 0" } else { "not worse: the interval reaches 0" },
        passed: if main { found.low > 0.0 } else { found.high >= 0.0 },
    })
}
