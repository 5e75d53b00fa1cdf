//! Commands to go on with, written so that they work when pasted into the same terminal.

use std::path::{Path, PathBuf};

use super::Report;
use crate::journal::words::shell;

/// One line a command.
pub(super) fn commands(workspace: &Path, recipe: &str, report: &Report) -> String {
    // The environment may name the workspace; saying it again does no harm.
    let elsewhere = workspace != Path::new("workspace");
    let place = if elsewhere { format!(" -w {}", shell(&workspace.to_string_lossy())) } else { String::new() };
    let recipe = if recipe == "demo" { String::new() } else { format!(" --recipe {}", shell(recipe)) };
    let flags = format!("{place}{recipe}");
    let sample = report.held_out.samples.iter().find(|s| s.output != "<reject>").or(report.held_out.samples.first());
    let mut rewrite = format!("rewrite {}", shell(sample.map_or("jaguar", |s| &s.query)));
    if let Some(watched) = sample.map(|s| &s.watched).filter(|title| !title.is_empty()) {
        rewrite += &format!(" --watched {}", shell(watched));
    }
    let core = program();
    let mut lines = vec![
        (format!("{core} {rewrite}{flags}"), "one rewrite, with its context"),
        (format!("{core} serve{flags}"), "the same over HTTP"),
        (format!("{core} watch{flags}"), "curves and samples, live or afterwards"),
        (format!("{core} ab{flags}"), "every metric of the experiment"),
        (format!("{core} runs{flags}"), "every run"),
    ];
    if Path::new("datasets/ubi-sample").is_dir() {
        lines.push((format!("{core} mine --from ubi datasets/ubi-sample{place}"), "a real log, into the same store"));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(64);
    let lines = lines.into_iter().map(|(line, what)| format!("  {line:<width$}  # {what}\n"));
    format!("Next:\n{}", lines.collect::<String>())
}

/// What a shell here starts this program by: `core` where the path leads to it, else where the file lies.
fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "core".into() };
    let same = |path: &PathBuf| path.canonicalize().ok() == own.canonicalize().ok();
    let name = own.file_name().unwrap_or_default();
    let on_path = std::env::var_os("PATH")
        .and_then(|all| std::env::split_paths(&all).map(|dir| dir.join(name)).find(|p| p.is_file()));
    if on_path.as_ref().is_some_and(same) {
        return shell(&name.to_string_lossy());
    }
    let here = std::env::current_dir().unwrap_or_default();
    match own.strip_prefix(&here) {
        Ok(inside) if inside.components().count() > 1 => shell(&inside.to_string_lossy()),
        Ok(inside) => format!("./{}", shell(&inside.to_string_lossy())),
        Err(_) => shell(&own.to_string_lossy()),
    }
}
