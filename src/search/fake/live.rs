//! A fake index that is replaced while it is read: whoever holds a version keeps it, whoever asks next gets the new one.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::Result;

use super::FakeIndex;

/// The newest whole version of a file.
pub struct Live {
    path: PathBuf,
    current: RwLock<Option<Arc<FakeIndex>>>,
    /// The file that was looked at last, good or not.
    seen: Mutex<Option<Stamp>>,
}

/// Tells one file of a name from the next.
type Stamp = (u64, Option<SystemTime>, u64);

impl Live {
    /// Watches a file, which need not be there yet; [`Live::refresh`] takes it up.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), current: RwLock::default(), seen: Mutex::default() }
    }

    /// The version in use, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<Arc<FakeIndex>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up the file when it is another than at the last look; its version then. A file that is gone changes nothing.
    ///
    /// # Errors
    /// A file that cannot be used, once for each: the version before stays in use.
    pub fn refresh(&self) -> Result<Option<u64>> {
        let stamp = std::fs::metadata(&self.path).ok().map(|m| stamp(&m));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() || *seen == stamp {
            return Ok(None);
        }
        *seen = stamp;
        let index = FakeIndex::open(&self.path)?;
        let version = index.info().version;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
        Ok(Some(version))
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let file = 0;
    (metadata.len(), metadata.modified().ok(), file)
}

#[cfg(test)]
mod tests {
    use super::super::{Card, List, write};
    use super::*;

    fn build(path: &Path, key: &str) {
        let card = Card { doc: key.into(), ..Card::default() };
        let list = List { key: key.into(), head: false, docs: vec![(0, 1.0)] };
        write(path, &[], &[card], std::iter::once(list), |_| ()).unwrap();
    }

    #[test]
    fn a_new_version_is_taken_up_and_a_damaged_one_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.fake");
        let live = Live::new(&path);
        assert_eq!((live.refresh().unwrap(), live.current().is_none()), (None, true));
        build(&path, "one");
        assert_eq!(live.refresh().unwrap(), Some(1));
        assert_eq!(live.refresh().unwrap(), None);
        let held = live.current().unwrap();
        build(&path, "two");
        assert!(live.current().unwrap().get("one").is_some());
        assert_eq!(live.refresh().unwrap(), Some(2));
        assert!(held.get("one").is_some() && live.current().unwrap().get("one").is_none());
        // Renamed as a build does: a file under a map is never written to.
        std::fs::write(dir.path().join("bad"), "COREFAKE and no more").unwrap();
        std::fs::rename(dir.path().join("bad"), &path).unwrap();
        assert!(live.refresh().unwrap_err().to_string().contains("core fake build"));
        assert_eq!(live.refresh().unwrap(), None);
        assert!(live.current().unwrap().get("two").is_some());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(live.refresh().unwrap(), None);
        assert!(live.current().unwrap().get("two").is_some());
    }
}
