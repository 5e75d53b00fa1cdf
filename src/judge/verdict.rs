//! What a gate says: one check a metric, each with its rule, its interval and its verdict.

use serde::{Deserialize, Serialize};

use super::Comparison;
use crate::journal::{Cell, Table};

/// One metric of incumbent and candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub measure: String,
    /// Mean of the incumbent, of the candidate, their difference and its interval.
    #[serde(flatten)]
    pub found: Comparison,
    /// What is asked of it.
    pub rule: String,
    /// Whether it is so.
    pub passed: bool,
}

/// The verdict on a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is in use.
    pub incumbent: String,
    /// What would take its place.
    pub candidate: String,
    /// Queries that both were held against.
    pub queries: usize,
    /// What one query, or one person, is resampled as.
    pub unit: String,
    /// One a metric, the main one first.
    pub checks: Vec<Check>,
    /// Whether all passed.
    pub promoted: bool,
    /// The release that the candidate became, where it did.
    #[serde(default)]
    pub release: Option<i64>,
}

impl Verdict {
    /// A row a check.
    #[must_use]
    pub fn table(&self) -> Table {
        let verdict = match (self.promoted, self.release) {
            (true, Some(id)) => format!("promoted, release {id}"),
            (true, None) => "promoted".into(),
            (false, _) => "refused".into(),
        };
        let title = format!(
            "{} → {}: {verdict}; {} queries, differences with 95 % bootstrap intervals over {}",
            self.incumbent, self.candidate, self.queries, self.unit
        );
        let columns = ["measure", "incumbent", "candidate", "difference", "rule", "verdict"];
        let mut table = Table::new("gate", &title, &columns);
        for Check { measure, found, rule, passed } in &self.checks {
            let shown = format!("{:+.4} [{:+.4}, {:+.4}]", found.difference, found.low, found.high);
            table.row([
                measure.as_str().into(),
                Cell::shown(found.control, format!("{:.4}", found.control)),
                Cell::shown(found.treatment, format!("{:.4}", found.treatment)),
                Cell::shown(found.difference, shown),
                rule.as_str().into(),
                if *passed { "pass" } else { "fail" }.into(),
            ]);
        }
        table
    }

    /// Names of the checks that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&str> {
        self.checks.iter().filter(|check| !check.passed).map(|check| check.measure.as_str()).collect()
    }
}
