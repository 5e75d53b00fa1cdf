//! A folder for the time of a measurement.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(what: &str) -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("core-bench-{what}-{}-{}", std::process::id(), crate::journal::now_ms()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}: check the disk's space, or set TMPDIR", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind lies in the system's own folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
