//! Where a workspace keeps checkpoints: `runs/<name>/step-00000200/`, each a Hugging Face folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Folder of a run in a workspace.
///
/// # Errors
/// A name that is not a plain folder name.
pub fn run_dir(workspace: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    ensure!(plain && !name.starts_with('.'), "{name:?} cannot name a run: use letters, digits, - and _");
    Ok(workspace.join("runs").join(name))
}

/// Folder of a step's checkpoint; zero-padded so that names sort as numbers.
#[must_use]
pub fn step_dir(run: &Path, step: u64) -> PathBuf {
    run.join(format!("step-{step:08}"))
}

/// Steps of the whole checkpoints in a run's folder, in order; none when there is no such folder.
///
/// # Errors
/// A folder that cannot be listed.
pub fn steps(run: &Path) -> Result<Vec<u64>> {
    if !run.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(run).with_context(|| format!("cannot list {}", run.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut steps: Vec<u64> = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The newest checkpoint of a run, and its step.
///
/// # Errors
/// A folder that cannot be listed.
pub fn latest(run: &Path) -> Result<Option<(PathBuf, u64)>> {
    Ok(steps(run)?.last().map(|&step| (step_dir(run, step), step)))
}
