//! What a phase learns from, on disk: written whole before its first step, read by a run that goes on in the middle.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Phase, Phases, RunningMean};
use crate::train::checkpoint::Fingerprint;

/// δ in a checkpoint.
const DELTA: &str = "delta.json";

#[derive(Serialize, Deserialize)]
struct Whole {
    fingerprint: Fingerprint,
    phase: Phase,
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("phase-{number:06}.json"))
}

/// The phase of a run, if it was made already; one of another run, or a damaged file, counts as none.
pub(super) fn read(dir: &Path, number: u64, fingerprint: &Fingerprint) -> Result<Option<Phase>> {
    let path = path(dir, number);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let whole = serde_json::from_slice::<Whole>(&bytes).ok();
    Ok(whole.filter(|whole| whole.fingerprint == *fingerprint && whole.phase.number == number).map(|whole| whole.phase))
}

/// Writes a phase whole or not at all.
pub(super) fn write(dir: &Path, phase: &Phase, fingerprint: &Fingerprint) -> Result<()> {
    let path = path(dir, phase.number);
    let whole = Whole { fingerprint: fingerprint.clone(), phase: phase.clone() };
    let beside = path.with_extension("new");
    let write = || -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&whole)?)?;
        file.sync_all()?;
        Ok(std::fs::rename(&beside, &path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

impl Phases {
    /// What a checkpoint keeps besides weights and moments.
    pub fn save(&self, folder: &Path) -> Result<()> {
        Ok(std::fs::write(folder.join(DELTA), serde_json::to_vec(&self.delta)?)?)
    }

    /// Takes up what a checkpoint kept.
    pub fn restore(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(DELTA);
        let read = || -> Result<RunningMean> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
        self.delta =
            read().with_context(|| format!("cannot read {}: delete this checkpoint folder", path.display()))?;
        Ok(())
    }
}
