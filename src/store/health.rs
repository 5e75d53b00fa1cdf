//! A look at a store that changes nothing: not even a migration, and not even an empty file made whole.

use std::path::{Path, PathBuf};

use super::{FILE_NAME, MIGRATIONS, Store, explain, open_to_read};
use anyhow::Result;

/// What a store is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where the file lies.
    pub path: PathBuf,
    /// Version of its schema, and the one this program writes.
    pub version: (usize, usize),
    /// Size on disk in bytes, with the part not yet written back.
    pub bytes: u64,
    /// Logs held.
    pub logs: usize,
    /// Runs held.
    pub runs: usize,
    /// What SQLite's quick check found wrong; empty when the file is sound.
    pub damage: Vec<String>,
}

/// Looks at the store of a workspace; `None` when there is none.
///
/// # Errors
/// A store of a newer version, a file that is no store, one that cannot be read.
pub fn health(workspace: &Path) -> Result<Option<Health>> {
    let path = workspace.join(FILE_NAME);
    if !path.exists() {
        return Ok(None);
    }
    look(&path).map(Some).map_err(|error| explain(error, &path))
}

fn look(path: &Path) -> Result<Health> {
    let store = Store { conn: open_to_read(path)?, path: path.to_owned() };
    let version = store.version()?;
    let mut check = store.conn.prepare("PRAGMA quick_check(10)")?;
    let said: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    drop(check);
    let damage: Vec<_> = said.into_iter().filter(|line| line != "ok").collect();
    // A version 0 file has no tables yet, and those of a damaged one may not be readable.
    let count = |table: &str| -> Result<usize> {
        if version == 0 || !damage.is_empty() {
            return Ok(0);
        }
        Ok(store.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    };
    let (logs, runs) = (count("log")?, count("run")?);
    let size = |ending: &str| std::fs::metadata(format!("{}{ending}", path.display())).map_or(0, |m| m.len());
    let bytes = size("") + size("-wal");
    Ok(Health { path: path.to_owned(), version: (version, MIGRATIONS.len()), bytes, logs, runs, damage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_store_a_damaged_one_and_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(health(dir.path()).unwrap(), None);
        let store = Store::open(dir.path()).unwrap();
        let sql = "INSERT INTO run VALUES (1,'v','n','',1,1,NULL,'done'); PRAGMA wal_checkpoint(TRUNCATE);";
        store.conn.execute_batch(sql).unwrap();
        let (path, pages): (_, u64) =
            (store.path().to_owned(), store.conn.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap());
        drop(store);
        let sound = health(dir.path()).unwrap().unwrap();
        assert_eq!((sound.runs, sound.logs, sound.damage.len()), (1, 0, 0));
        assert!(sound.bytes >= pages * 4096);
        // Overwrites the inner pages; the header still says that this is a store.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let found = health(dir.path());
        assert!(found.as_ref().map_or(true, |h| h.as_ref().is_some_and(|h| !h.damage.is_empty())), "{found:?}");
    }

    #[test]
    fn looking_makes_nothing_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "").unwrap();
        let empty = health(dir.path()).unwrap().unwrap();
        assert_eq!((empty.version.0, empty.runs), (0, 0));
        assert_eq!(std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len(), 0);
    }
}
