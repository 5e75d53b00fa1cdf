//! Where an index lies: each build has its own subfolder, and the file `current` names the one in use.
//!
//! `current` is replaced by a rename, so a build that is killed at any moment leaves the earlier index in use.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

const CURRENT: &str = "current.json";

/// What `current` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Current {
    /// Subfolder that holds the index.
    pub folder: String,
    /// Fingerprint of the documents it was made from.
    pub fingerprint: String,
    /// Documents in it.
    pub docs: usize,
}

/// Reads which index is in use.
pub(super) fn read(dir: &Path) -> Result<Current> {
    let path = dir.join(CURRENT);
    let text = fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!(
                "no search index at {}: run `core index build`, or `core demo` to start from nothing",
                dir.display()
            )
        }
        _ => anyhow!("cannot read {}: {e}; check the folder's permissions", path.display()),
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged: run `core index build`", path.display()))
}

/// Makes an empty subfolder for a new build.
pub(super) fn start(dir: &Path) -> Result<(String, PathBuf)> {
    let make = |path: &Path| {
        fs::create_dir_all(path).with_context(|| {
            format!("cannot make the index folder {}: check its permissions and the disk's space", path.display())
        })
    };
    make(dir)?;
    let name = format!("build-{}-{}", crate::journal::now_ms(), std::process::id());
    let path = dir.join(&name);
    make(&path)?;
    Ok((name, path))
}

/// Puts a finished build into use, then removes earlier ones and what killed builds left.
pub(super) fn publish(dir: &Path, current: &Current) -> Result<()> {
    let (beside, path) = (dir.join(format!("{CURRENT}.new")), dir.join(CURRENT));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(serde_json::to_string(current)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}: check the disk's space", path.display()))?;
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("build-") && name != current.folder {
            // What stays behind costs space only; the next build tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
