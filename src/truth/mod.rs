//! The hidden tables: what the world knows about each search of a simulated log, one file a log, `truth/<log>.db`.
//!
//! `simulate` writes them and `describe` reads them. No other room may import this one (`tests/suite/library/house.rs`), and the store
//! knows nothing of these files: with all of them deleted everything that learns, ranks and serves goes on.

mod row;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rusqlite::{Connection, OpenFlags};

use crate::store::LogInfo;
use crate::world::SimSession;

pub use crate::world::{Hints, Need, Phrasing, SearchTruth, Want};

const SCHEMA: &str = include_str!("schema.sql");
/// Changes when the tables do. There is no migration: the same recipe simulates them again.
const VERSION: i64 = 2;

/// Where the hidden tables of a log lie.
fn path_of(workspace: &Path, log: &str) -> PathBuf {
    workspace.join("truth").join(format!("{log}.db"))
}

/// Writes the truth of one simulation. It takes the earlier one's place when it is whole, and not before.
pub struct Writer {
    log: String,
    conn: Connection,
    beside: PathBuf,
    path: PathBuf,
}

impl Writer {
    /// Starts a file for the log of this name.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn create(workspace: &Path, log: &str) -> Result<Self> {
        let path = path_of(workspace, log);
        let beside = path.with_extension("db.new");
        let open = || -> Result<Connection> {
            fs::create_dir_all(path.parent().unwrap_or(workspace))?;
            if beside.exists() {
                fs::remove_file(&beside)?;
            }
            let conn = Connection::open(&beside)?;
            // Nobody sees this file before it is renamed, so a crash has nothing to undo.
            conn.pragma_update(None, "journal_mode", "OFF")?;
            conn.pragma_update(None, "synchronous", "OFF")?;
            conn.execute_batch(SCHEMA)?;
            conn.pragma_update(None, "user_version", VERSION)?;
            conn.execute_batch("BEGIN")?;
            Ok(conn)
        };
        let conn = open().with_context(|| unwritable(&beside))?;
        Ok(Self { log: log.to_owned(), conn, beside, path })
    }

    /// Adds the searches of a session.
    ///
    /// # Errors
    /// A full disk; two sessions of one id.
    pub fn session(&mut self, s: &SimSession) -> Result<()> {
        let mut rows = s.truth.iter().enumerate();
        rows.try_for_each(|(number, truth)| row::insert(&self.conn, &s.session.id, number, truth))
            .with_context(|| unwritable(&self.beside))
    }

    /// Puts the file into place, as that of the log of this origin.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(self, origin: &str) -> Result<()> {
        let place = || -> Result<()> {
            self.conn.execute("INSERT INTO log VALUES (?, ?)", [&self.log, origin])?;
            self.conn.execute_batch("COMMIT")?;
            self.conn.close().map_err(|(_, error)| error)?;
            fs::File::open(&self.beside)?.sync_all()?;
            Ok(fs::rename(&self.beside, &self.path)?)
        };
        place().with_context(|| unwritable(&self.path))
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write the hidden tables {}: check the disk's space and the folder's permissions", path.display())
}

/// The hidden tables of a log, opened to be read.
pub struct Truth {
    conn: Connection,
    path: PathBuf,
}

impl Truth {
    /// Whether the hidden tables of a log are there.
    #[must_use]
    pub fn is_there(workspace: &Path, log: &LogInfo) -> bool {
        Self::read(&path_of(workspace, &log.name)).is_ok_and(|(_, found)| found == log.origin)
    }

    /// Opens the hidden tables of a log.
    ///
    /// # Errors
    /// They are not there, or belong to another simulation; the sentence says how to get them.
    pub fn open(workspace: &Path, log: &LogInfo) -> Result<Self> {
        let path = path_of(workspace, &log.name);
        let wrong = |what: &str| {
            anyhow!("the hidden tables {} {what}: run `core simulate` again with the log's recipe", path.display())
        };
        if !path.exists() {
            return Err(wrong("are not there"));
        }
        let (conn, origin) = Self::read(&path).map_err(|error| wrong(&format!("cannot be read ({error})")))?;
        if origin != log.origin {
            return Err(wrong("belong to another simulation"));
        }
        Ok(Self { conn, path })
    }

    fn read(path: &Path) -> Result<(Connection, String)> {
        let conn =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let version: i64 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        anyhow::ensure!(version == VERSION, "version {version} instead of {VERSION}");
        let origin = conn.query_row("SELECT origin FROM log", [], |r| r.get(0))?;
        Ok((conn, origin))
    }

    /// What the world knows about the searches of a session, in their order; nothing for a session it does not know.
    ///
    /// # Errors
    /// A damaged file.
    pub fn of_session(&self, session: &str) -> Result<Vec<SearchTruth>> {
        row::select(&self.conn, session).with_context(|| {
            format!("the hidden tables {} are damaged: run `core simulate` again", self.path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Search, Session};

    fn truth(want: Want, step: u32) -> SearchTruth {
        SearchTruth {
            need: Need { want, against_history: step == 1, new_pair: false, habit: step == 2 },
            phrasing: Phrasing::TitleWord,
            typo: true,
            step,
            rewritten: (step == 0).then(|| "jaguar car".into()),
            grades: vec![1.0, 0.4, 0.0],
            satisfied: false,
            seen: 1 << 63 | 5,
            hints: Hints { wanted: 2, wanted_in_words: 1, rival: 3 },
        }
    }

    fn session() -> SimSession {
        let wants = [Want::Sense { sense: 3, facet: Some(1) }, Want::Sense { sense: 3, facet: None }];
        let wants = wants.into_iter().chain([Want::Video { video: 9 }, Want::Functional { entry: 2, place: 7 }]);
        let truth: Vec<_> = wants.zip(0..).map(|(want, step)| truth(want, step)).collect();
        let searches = vec![Search::default(); truth.len()];
        SimSession { session: Session { id: "p1-0-0".into(), searches, ..Session::default() }, truth }
    }

    fn log(origin: &str) -> LogInfo {
        LogInfo {
            id: 1,
            name: "l".into(),
            kind: "world".into(),
            origin: origin.into(),
            rows_read: 0,
            sessions: 1,
            searches: 3,
            docs: 0,
        }
    }

    #[test]
    fn the_truth_comes_back_as_it_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path(), "l").unwrap();
        writer.session(&session()).unwrap();
        assert!(!Truth::is_there(dir.path(), &log("world 1")), "nothing is there before it is whole");
        writer.finish("world 1").unwrap();
        assert!(Truth::is_there(dir.path(), &log("world 1")));
        let back = Truth::open(dir.path(), &log("world 1")).unwrap();
        assert_eq!(back.of_session("p1-0-0").unwrap(), session().truth);
        assert_eq!(back.of_session("p2-0-0").unwrap(), []);
        assert_eq!(fs::read_dir(dir.path().join("truth")).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_a_foreign_and_a_damaged_file_are_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let complaint = |origin| Truth::open(dir.path(), &log(origin)).err().unwrap().to_string();
        assert!(complaint("world 1").contains("l.db are not there"), "{}", complaint("world 1"));
        Writer::create(dir.path(), "l").unwrap().finish("world 1").unwrap();
        assert!(complaint("world 2").contains("another simulation"), "{}", complaint("world 2"));
        fs::write(path_of(dir.path(), "l"), "no database".repeat(500)).unwrap();
        assert!(complaint("world 1").contains("cannot be read"), "{}", complaint("world 1"));
        assert!(complaint("world 1").contains("core simulate"));
        // A killed simulation leaves a file that the next one replaces.
        fs::write(path_of(dir.path(), "l").with_extension("db.new"), "half").unwrap();
        Writer::create(dir.path(), "l").unwrap().finish("world 1").unwrap();
        assert!(Truth::is_there(dir.path(), &log("world 1")));
    }
}
