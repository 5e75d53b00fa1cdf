//! What a workspace holds: `core runs` and `core logs` as tables, `core report` the newest experiment as a page.

mod page;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::journal::{self, Cell, Reader, RunInfo, Table, now_ms, words};
use crate::store::{LogInfo, Store};

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Runs, newest first.
    Runs,
    /// Logs, by name.
    Logs,
    /// The newest experiment, as an HTML file.
    Page(PathBuf),
}

/// Prints what a workspace holds, or writes a page of it.
///
/// # Errors
/// No store there; no experiment for a page; a file or a standard output that cannot be written.
pub fn run(workspace: &Path, what: &What, json: bool) -> Result<()> {
    let table = match what {
        What::Page(file) => {
            page::write(workspace, file)?;
            let mut table = Table::new("report", "", &["page"]);
            table.row([file.display().to_string().into()]);
            table
        }
        What::Runs => runs_table(&Reader::open(workspace)?.runs()?, now_ms()),
        What::Logs => logs_table(&Store::open_existing(workspace)?.logs()?),
    };
    journal::print(&table, json)
}

fn runs_table(runs: &[RunInfo], now_ms: i64) -> Table {
    let columns = ["run", "verb", "name", "status", "started_utc", "duration_s", "events"];
    let mut table = Table::new("runs", "", &columns);
    for run in runs {
        let ms = run.duration_ms(now_ms);
        let duration = ms.map(|ms| Cell::shown(ms as f64 / 1000.0, words::duration(ms)));
        let started = words::utc(run.started_ms);
        table.row([
            run.id.into(),
            run.verb.as_str().into(),
            run.name.as_str().into(),
            run.status.as_str().into(),
            started.into(),
            duration.into(),
            run.events.into(),
        ]);
    }
    table
}

fn logs_table(logs: &[LogInfo]) -> Table {
    let columns = ["log", "kind", "origin", "rows_read", "sessions", "searches", "docs"];
    let mut table = Table::new("logs", "", &columns);
    for log in logs {
        table.row([
            log.name.as_str().into(),
            log.kind.as_str().into(),
            log.origin.as_str().into(),
            log.rows_read.into(),
            log.sessions.into(),
            log.searches.into(),
            log.docs.into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: i64, status: &str, finished_ms: Option<i64>) -> RunInfo {
        let started_ms = 1_709_251_140_000;
        RunInfo {
            id,
            verb: "train".into(),
            name: "t".into(),
            status: status.into(),
            started_ms,
            finished_ms,
            events: 3,
        }
    }

    #[test]
    fn a_run_shows_its_own_time_or_the_time_so_far_and_a_lost_one_neither() {
        let runs = [info(3, "running", None), info(2, "lost", None), info(1, "done", Some(1_709_251_202_500))];
        let text = runs_table(&runs, 1_709_251_150_000).to_text();
        let wanted = "  run  verb   name  status   started utc       duration s  events
    3  train  t     running  2024-02-29 23:59        10 s       3
    2  train  t     lost     2024-02-29 23:59           –       3
    1  train  t     done     2024-02-29 23:59        1:02       3
";
        assert_eq!(text, wanted);
        let json: serde_json::Value = serde_json::from_str(&runs_table(&runs, 1_709_251_150_000).to_json()).unwrap();
        assert_eq!(json["runs"][2]["duration_s"], 62.5);
    }

    #[test]
    fn a_workspace_without_a_store_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = super::run(dir.path(), &What::Runs, false).unwrap_err().to_string();
        assert!(error.contains("no store at") && error.contains("core demo"), "{error}");
    }
}
