//! `core releases`, `core release` and `core rollback`: what is in use, how it came there, and how to go back.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::journal::{Cell, Table, words};
use crate::rewriter::release;
use crate::store::{Change, ReleaseInfo, Store};

/// The reason of a release that nobody gated.
const BY_HAND: &str = "by hand, without a gate";
/// Most characters shown of a verdict of another form than the gate's.
const SHORT: usize = 40;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Tell what there is.
    List {
        /// Only of this log.
        log: Option<String>,
    },
    /// Put a run's newest checkpoint in use, without a gate.
    Release {
        /// Name of the log.
        log: String,
        /// Name of the run.
        run: String,
        /// Why.
        why: Option<String>,
    },
    /// Put an earlier release in use again.
    Rollback {
        /// Name of the log.
        log: String,
        /// Number of the release; none for the one before.
        to: Option<i64>,
        /// Why.
        why: Option<String>,
    },
}

/// The releases after what was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of the log in question, or of all; oldest first.
    pub releases: Vec<ReleaseInfo>,
    /// Every promotion and rollback among them, oldest first.
    pub changes: Vec<Change>,
}

impl Report {
    /// A row a release, newest first.
    #[must_use]
    pub fn table(&self) -> Table {
        let last = self.changes.last().map(|Change { log, release, time_ms, why }| {
            format!("Last change: release {release} in use for {log} since {} UTC; {why}", words::utc(*time_ms))
        });
        let columns = ["id", "log", "in_use", "run", "step", "made_utc", "reason", "verdict"];
        let mut table = Table::new("releases", words::one_line(&last.unwrap_or_default()), &columns);
        for release in self.releases.iter().rev() {
            table.row([
                release.id.into(),
                release.log.as_str().into(),
                release.in_use.into(),
                release.run.as_str().into(),
                release.step.into(),
                Cell::shown(release.made_ms, words::utc(release.made_ms)),
                release.reason.as_str().into(),
                release.verdict.as_ref().map(in_short).into(),
            ]);
        }
        table
    }
}

/// A gate's decision and how many of its checks passed, or the beginning of whatever else was said.
fn in_short(verdict: &Value) -> String {
    let decision = match verdict["promoted"].as_bool() {
        Some(promoted) => Some(if promoted { "promoted" } else { "refused" }),
        None => verdict["decision"].as_str(),
    };
    let (Some(decision), Some(checks)) = (decision, verdict["checks"].as_array()) else {
        return verdict.to_string().chars().take(SHORT).collect();
    };
    let passed = checks.iter().filter(|check| check["passed"] == true).count();
    format!("{decision}, {passed} of {} checks passed", checks.len())
}

/// Does it, and tells what there is afterwards.
///
/// # Errors
/// No store; a log that is not there; those of [`release::release`] and [`release::rollback`].
pub fn run(workspace: &Path, what: &What) -> Result<Report> {
    let log = match what {
        What::List { log } => log.as_deref(),
        What::Release { log, run, why } => {
            // A slip in the name must not make a release that nobody asks for.
            Store::open_existing(workspace)?.log(log)?;
            let reason = why.as_ref().map_or_else(|| BY_HAND.to_owned(), |why| format!("{BY_HAND}: {why}"));
            release::release(workspace, log, run, &reason, None)?;
            Some(log.as_str())
        }
        What::Rollback { log, to, why } => {
            release::rollback(workspace, log, *to, why.as_deref().unwrap_or("rolled back by hand"))?;
            Some(log.as_str())
        }
    };
    let store = Store::open_existing(workspace)?;
    Ok(Report { releases: store.releases(log)?, changes: store.changes(log)? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_is_told_in_a_few_words() {
        let checks = json!([{"passed": true}, {"passed": false}]);
        assert_eq!(in_short(&json!({"promoted": false, "checks": checks})), "refused, 1 of 2 checks passed");
        assert_eq!(in_short(&json!({"decision": "promote", "checks": []})), "promote, 0 of 0 checks passed");
        assert_eq!(in_short(&json!({"text": "x".repeat(100)})).chars().count(), SHORT);
        assert_eq!(in_short(&json!([1])), "[1]");
    }

    #[test]
    fn the_table_has_the_newest_first_and_the_last_change_above() {
        let one = |id: i64, in_use| ReleaseInfo {
            id,
            log: "l".into(),
            run: "r".into(),
            step: 8,
            made_ms: 0,
            reason: BY_HAND.into(),
            verdict: None,
            folder: "w/releases/1".into(),
            fingerprint: "f".into(),
            in_use,
        };
        let change = Change { log: "l".into(), release: 1, time_ms: 60_000, why: "2 was\nworse".into() };
        let report = Report { releases: vec![one(1, true), one(2, false)], changes: vec![change] };
        let wanted = "Last change: release 1 in use for l since 1970-01-01 00:01 UTC; 2 was worse
  id  log  in use  run  step          made utc  reason                   verdict
   2  l    no      r       8  1970-01-01 00:00  by hand, without a gate  –
   1  l    yes     r       8  1970-01-01 00:00  by hand, without a gate  –
";
        assert_eq!(report.table().to_text(), wanted);
    }
}
