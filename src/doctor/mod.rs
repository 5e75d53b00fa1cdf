//! `core doctor`: what this machine and this workspace offer, and in words what to do about what is lacking.

mod machine;
mod places;

use std::path::Path;

use anyhow::{Result, bail};

use crate::journal::{self, Cell, Table, words};

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Works, with a drawback.
    Warn,
    /// Not there; most often not needed yet.
    Missing,
    /// Stands in the way of every command.
    Broken,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Missing => "missing",
            Self::Broken => "broken",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    part: &'static str,
    state: State,
    found: String,
    /// What to do; nothing when all is well.
    remedy: Option<String>,
}

impl Finding {
    fn ok(part: &'static str, found: impl Into<String>) -> Self {
        Self { part, state: State::Ok, found: found.into(), remedy: None }
    }

    fn not_ok(part: &'static str, state: State, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { part, state, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Prints what was found, as text or as `{"doctor": [{part, status, found, remedy}]}`.
///
/// # Errors
/// When something is broken (a store that is damaged or newer than the program), after everything was printed; a
/// standard output that cannot be written.
pub fn run(workspace: &Path, json: bool) -> Result<()> {
    let findings = [machine::look(workspace), places::look(workspace)].concat();
    if json {
        journal::print(&table(&findings), true)?;
    } else {
        journal::say(&text(&findings))?;
    }
    verdict(&findings)
}

fn verdict(findings: &[Finding]) -> Result<()> {
    let broken: Vec<_> = findings.iter().filter(|f| f.state == State::Broken).map(|f| f.part).collect();
    if !broken.is_empty() {
        bail!("broken: {}; see the remedy above", broken.join(", "));
    }
    Ok(())
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new("doctor", "", &["part", "status", "found", "remedy"]);
    for f in findings {
        table.row([f.part.into(), f.state.as_str().into(), f.found.as_str().into(), Cell::from(f.remedy.clone())]);
    }
    table
}

fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for f in findings {
        out += &format!("  {:<8} {:<12} {}\n", f.state.as_str(), f.part, words::one_line(&f.found));
        if let Some(remedy) = &f.remedy {
            out += &format!("  {:<8} {:<12} -> {}\n", "", "", words::one_line(remedy));
        }
    }
    let count = |state| findings.iter().filter(|f| f.state == state).count();
    let states = [State::Ok, State::Warn, State::Missing, State::Broken];
    let sums = states.map(|state| format!("{} {}", count(state), state.as_str()));
    out + &format!("\n  {}\n", sums.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is_and_the_next_what_to_do() {
        let findings = [
            Finding::ok("cores", "2"),
            Finding::not_ok("disk", State::Warn, "200 MB free", "free some: 1 GB is needed"),
        ];
        let wanted = "  ok       cores        2
  warn     disk         200 MB free
                        -> free some: 1 GB is needed

  1 ok, 1 warn, 0 missing, 0 broken
";
        assert_eq!(text(&findings), wanted);
        let json: serde_json::Value = serde_json::from_str(&table(&findings).to_json()).unwrap();
        assert_eq!(json["doctor"][0]["remedy"], serde_json::Value::Null);
        assert_eq!(json["doctor"][1]["status"], "warn");
    }

    #[test]
    fn an_empty_workspace_is_no_error_and_a_newer_store_is() {
        let dir = tempfile::tempdir().unwrap();
        let verdict = || verdict(&places::look(dir.path()));
        assert!(verdict().is_ok());
        drop(crate::store::Store::open(dir.path()).unwrap());
        assert!(verdict().is_ok());
        crate::store::pretend_newer(dir.path());
        assert_eq!(verdict().unwrap_err().to_string(), "broken: store; see the remedy above");
    }
}
