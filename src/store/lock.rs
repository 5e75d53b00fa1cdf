//! One process at a time for work on files beside the store, which no transaction guards.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Held while a process works on a folder of the workspace; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock named `what`, a plain file name, in a workspace.
    ///
    /// # Errors
    /// Another process holds it; a folder that cannot be written.
    pub fn take(workspace: &Path, what: &str) -> Result<Self> {
        let dir = workspace.join("locks");
        let path = dir.join(what);
        let failed = || format!("cannot make {}: check the folder's permissions and the disk's space", path.display());
        std::fs::create_dir_all(&dir).with_context(failed)?;
        let file = File::options().create(true).append(true).open(&path).with_context(failed)?;
        match file.try_lock() {
            // A disk that knows no locks must not stop the work.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another process is busy with {what} in {}: wait for it, stop it, or name another --workspace",
                workspace.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_free_again_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path(), "train-a").unwrap();
        let error = Lock::take(dir.path(), "train-a").unwrap_err().to_string();
        assert!(error.contains("train-a") && error.contains("wait"), "{error}");
        assert!(Lock::take(dir.path(), "train-b").is_ok());
        drop(held);
        assert!(Lock::take(dir.path(), "train-a").is_ok());
    }
}
