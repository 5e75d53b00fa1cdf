//! The workspace's one SQLite file: schema, migrations, and every query outside the journal.
//!
//! The schema is documented in `schema.sql` and the files of later versions beside it. WAL lets `watch` and `serve` read while a run writes.

mod annotations;
mod docs;
mod examples;
mod health;
mod lock;
mod logs;
mod nearline;
mod peer;
mod queries;
mod records;
mod releases;
mod scores;
mod served;
mod split;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use annotations::{Annotation, Notes, Part};
pub use examples::{ExampleRow, Split};
pub use health::{Health, health};
pub use lock::Lock;
pub use logs::{LogInfo, LogKind, LogWriter};
pub use nearline::Kept;
pub use peer::FullText;
pub use queries::{Births, QueryDay, Typed};
pub use records::{Click, Context, Doc, Search, Seen, Session, Skipped, Watched};
pub use releases::{Change, Promotion, ReleaseInfo};
pub use scores::Scores;
pub use served::{Appender, Feedback, Served, Taken};
pub use split::{person_split, subject_split, training_ends_ms};

/// Each entry takes the store from version `index` to `index + 1`.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("schema_served.sql"),
    include_str!("schema_annotations.sql"),
    include_str!("schema_scores.sql"),
    include_str!("schema_releases.sql"),
];

/// Name of the store inside a workspace folder.
pub const FILE_NAME: &str = "core.db";

/// An open store.
pub struct Store {
    pub(crate) conn: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the store of a workspace folder, making folder and file where they do not exist yet.
    ///
    /// # Errors
    /// A folder that cannot be made, a file that is not a store, or a store of a newer version.
    pub fn open(workspace: &Path) -> Result<Self> {
        std::fs::create_dir_all(workspace).with_context(|| {
            format!("cannot make the workspace folder {}: name another --workspace", workspace.display())
        })?;
        let path = workspace.join(FILE_NAME);
        let conn = Connection::open(&path).with_context(|| format!("cannot open the store {}", path.display()))?;
        let mut store = Self { conn, path };
        store.prepare().map_err(|e| store.explain(e))?;
        Ok(store)
    }

    /// Opens a store that must exist, for reading only: what `watch` and `runs` use.
    ///
    /// # Errors
    /// No store there, or a newer version.
    pub fn open_existing(workspace: &Path) -> Result<Self> {
        let path = workspace.join(FILE_NAME);
        if !path.exists() {
            bail!("no store at {}: run `core demo` first, or name a workspace with --workspace", path.display());
        }
        let conn = open_to_read(&path).map_err(|e| explain(e, &path))?;
        let store = Self { conn, path };
        let version = store.version().map_err(|e| store.explain(e))?;
        if version < MIGRATIONS.len() {
            drop(store);
            return Self::open(workspace);
        }
        Ok(store)
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Version of the schema in the file.
    ///
    /// # Errors
    /// When the file is newer than this program, or is no SQLite file.
    pub fn version(&self) -> Result<usize> {
        let version: usize = self.conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > MIGRATIONS.len() {
            bail!(
                "the store {} has version {version}, this program knows up to {}: use a newer `core`, or another --workspace",
                self.path.display(),
                MIGRATIONS.len()
            );
        }
        Ok(version)
    }

    fn prepare(&mut self) -> Result<()> {
        self.conn.busy_timeout(Duration::from_secs(30))?;
        // The version first: a newer store is left exactly as it was.
        let from = self.version()?;
        self.conn.pragma_update(None, "journal_mode", "WAL")?;
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        self.conn.pragma_update(None, "foreign_keys", true)?;
        if from == MIGRATIONS.len() {
            return Ok(());
        }
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        // Read again under the lock: another process may have migrated meanwhile.
        let from: usize = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        for migration in &MIGRATIONS[from.min(MIGRATIONS.len())..] {
            tx.execute_batch(migration)?;
        }
        tx.pragma_update(None, "user_version", MIGRATIONS.len())?;
        Ok(tx.commit()?)
    }

    /// One sentence with a remedy for SQLite's own errors; others pass through.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        explain(error, &self.path)
    }
}

/// Opens a file for reading only.
///
/// SQLite wants to make files beside one in WAL mode even to read it. Where the folder cannot be written, and nothing
/// waits in a WAL beside it, the file is read as one that nobody changes.
fn open_to_read(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    let Err(error) = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) else {
        return Ok(conn);
    };
    let waiting = std::fs::metadata(path.with_extension("db-wal")).is_ok_and(|wal| wal.len() > 0);
    if waiting || !matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) {
        return Err(error.into());
    }
    let mut uri = String::from("file:");
    for &byte in std::path::absolute(path)?.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Ok(Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?)
}

/// Adds the file and the remedy to an SQLite error a person can do something about.
pub(crate) fn explain(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    let at = path.display();
    match code {
        Some(ErrorCode::NotADatabase) => anyhow!("{at} is not a store: move it away, or name another --workspace"),
        Some(ErrorCode::DatabaseCorrupt) => {
            anyhow!("the store {at} is damaged: restore it from a copy, or start over in another --workspace")
        }
        Some(ErrorCode::DiskFull) => {
            anyhow!(
                "the disk of {at} is full: free some space and run the same command again; nothing was half-written"
            )
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            anyhow!("cannot write the store {at}: check the folder's permissions, or name another --workspace")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            anyhow!("the store {at} is locked by another program that keeps writing: stop it and run again")
        }
        _ => error,
    }
}

/// Makes a workspace's store one that a newer program wrote.
#[cfg(test)]
pub(crate) fn pretend_newer(workspace: &Path) {
    let raw = Connection::open(workspace.join(FILE_NAME)).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        pretend_newer(dir.path());
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("version 99") && error.contains("newer `core`"), "{error}");
        let raw = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(raw.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap(), 99);
    }

    #[test]
    fn a_file_that_is_no_store_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "hello, this is text and not a database file".repeat(30)).unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("is not a store"), "{error}");
    }

    #[test]
    fn events_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let sql = "INSERT INTO run VALUES (1,'v','n','',1,1,NULL,'running'); INSERT INTO event VALUES (1,1,1,'{}');";
        store.conn.execute_batch(sql).unwrap();
        assert!(store.conn.execute("UPDATE event SET time_ms = 2", []).is_err());
        assert!(store.conn.execute("DELETE FROM event", []).is_err());
    }
}
