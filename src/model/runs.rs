//! Where a workspace keeps checkpoints: `runs/<name>/step-00000200/`, each a Hugging Face folder, and copies of some without
//! what training alone needs: `releases/<id>/`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::peft;
use crate::recipe::Fingerprint;

/// What names the release in use, and so no run.
pub const RELEASE: &str = "release";
/// AdamW's moments beside a checkpoint's weights.
pub const MOMENTS: &str = "optimizer.safetensors";
/// Where training stood, beside a checkpoint's weights.
pub const STATE: &str = "trainer.json";
/// A folder's description, which changes nothing about what is computed.
const CARD: &str = "README.md";

/// Folder of a run in a workspace.
///
/// # Errors
/// A name that is not a plain folder name.
pub fn run_dir(workspace: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    ensure!(plain && !name.starts_with('.'), "{name:?} cannot name a run: use letters, digits, - and _");
    ensure!(name != RELEASE, "{name:?} cannot name a run: it names the release in use; choose another name");
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

/// Folder of a release in a workspace.
#[must_use]
pub fn release_dir(workspace: &Path, id: i64) -> PathBuf {
    workspace.join("releases").join(id.to_string())
}

/// Copies a checkpoint into a folder that must exist, without what training alone needs.
///
/// # Errors
/// A file that cannot be read or written.
pub fn copy_model(from: &Path, to: &Path) -> Result<()> {
    for name in model_files(from)? {
        let path = from.join(&name);
        std::fs::copy(&path, to.join(&name))
            .with_context(|| format!("cannot copy {} to {}: is the disk full?", path.display(), to.display()))?;
    }
    Ok(())
}

/// Tells a checkpoint's model from others: by name, length and checksum of its files, and of those of the base that an adapter
/// stands on. A copy by [`copy_model`] has the same.
///
/// # Errors
/// A folder or file that cannot be read; an adapter whose base is gone.
pub fn fingerprint(dir: &Path) -> Result<String> {
    let mut whole = Fingerprint::default();
    let base = peft::is_adapter(dir).then(|| peft::base_of(dir)).transpose()?;
    for folder in [Some(dir.to_owned()), base.map(|(folder, _)| folder)].into_iter().flatten() {
        for name in model_files(&folder)?.iter().filter(|name| *name != CARD) {
            let path = folder.join(name);
            let (bytes, sum) = checksum(&path).with_context(|| format!("cannot read {}", path.display()))?;
            whole.add(name.as_bytes());
            whole.add(&bytes.to_le_bytes());
            whole.add(&sum.to_le_bytes());
        }
    }
    Ok(whole.hex())
}

/// Names of the files that make up a model, in order.
fn model_files(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let files = entries.filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| ![MOMENTS, STATE].contains(&name.as_str())).collect();
    names.sort_unstable();
    Ok(names)
}

/// Length and CRC-32 of a file, which may be larger than memory.
fn checksum(path: &Path) -> std::io::Result<(u64, u32)> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, crc32fast::Hasher::new(), vec![0; 1 << 20]);
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((bytes, hash.finalize()));
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}
