//! `core gate`: whether a candidate may take an incumbent's place: a model the place of the one released, or a TREC run another's.
//!
//! Each check states its rule, its interval and its verdict; a candidate that fails one is refused.

mod measure;
mod metrics;
mod models;
mod rules;
mod trec;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::journal::{Event, Journal};
use crate::judge::Verdict;
use crate::recipe::Recipe;

/// A candidate was refused; the program ends with code 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// An error where the candidate of a verdict was refused.
    ///
    /// # Errors
    /// [`Refused`], with the checks that failed.
    pub fn unless_promoted(verdict: &Verdict) -> Result<()> {
        let failed = || Self(format!("refused: {} failed", verdict.failed().join(", ")));
        if verdict.promoted { Ok(()) } else { Err(failed().into()) }
    }
}

/// What is held against what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Two TREC runs of the same queries.
    Runs {
        /// The run in use.
        incumbent: PathBuf,
        /// The run that would take its place.
        candidate: PathBuf,
        /// What people judged.
        qrels: PathBuf,
    },
    /// Two rewriters, by the names they open under, on held-out people and weeks of the recipe's log.
    Models {
        /// The one in use.
        incumbent: String,
        /// The one that would take its place: a run of the workspace where it is to be released.
        candidate: String,
        /// Whether a candidate that passes is released.
        release: bool,
    },
}

impl Plan {
    fn name(&self) -> String {
        match self {
            Self::Runs { incumbent, candidate, .. } => {
                format!("{} against {}", candidate.display(), incumbent.display())
            }
            Self::Models { incumbent, candidate, .. } => format!("{candidate} against {incumbent}"),
        }
    }
}

/// Holds a candidate against an incumbent.
///
/// # Errors
/// Files that cannot be read, no query that all three have; a rewriter that does not open, nobody held out, no index.
pub fn run(workspace: &Path, recipe: &Recipe, plan: &Plan) -> Result<Verdict> {
    Journal::record(workspace, "gate", &plan.name(), &recipe.to_toml(), |journal| {
        let verdict = match plan {
            Plan::Runs { incumbent, candidate, qrels } => trec::verdict(recipe, incumbent, candidate, qrels)?,
            Plan::Models { incumbent, candidate, release } => {
                models::verdict(workspace, recipe, (incumbent, candidate), *release, journal)?
            }
        };
        let body = serde_json::to_value(&verdict)?;
        journal.emit(&Event::Report { title: "gate".into(), fingerprint: plan.name(), body })?;
        Ok(verdict)
    })
}
