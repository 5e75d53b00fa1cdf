//! Releases in the store: what is in use for a log, how it came there, and what was before.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde_json::Value;

use super::logs::json;
use super::{Store, explain};

/// A model that was put in use for a log, now or once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReleaseInfo {
    /// Counted from 1, over all logs.
    pub id: i64,
    /// Name of the log it serves.
    pub log: String,
    /// Name of the run it was taken from.
    pub run: String,
    /// Optimizer step of the checkpoint.
    pub step: u64,
    /// When, Unix milliseconds.
    pub made_ms: i64,
    /// Why, in a sentence.
    pub reason: String,
    /// What a gate said, where one was asked.
    pub verdict: Option<Value>,
    /// Folder of its weights: the workspace's path and `releases/<id>`.
    pub folder: PathBuf,
    /// Tells its weights from others, and from what became of its folder.
    pub fingerprint: String,
    /// Whether it is in use for its log.
    pub in_use: bool,
}

/// What a promotion writes.
#[derive(Debug, Clone, Copy)]
pub struct Promotion<'a> {
    /// Number of the release: [`Store::next_release`].
    pub id: i64,
    /// Name of the log.
    pub log: &'a str,
    /// Name of the run.
    pub run: &'a str,
    /// Optimizer step of the checkpoint.
    pub step: u64,
    /// Unix milliseconds.
    pub made_ms: i64,
    /// A sentence.
    pub reason: &'a str,
    /// What a gate said.
    pub verdict: Option<&'a Value>,
    /// Folder of the weights, seen from the workspace.
    pub folder: &'a str,
    /// Of the files in it.
    pub fingerprint: &'a str,
}

/// A release was put in use: by a promotion or a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Name of the log.
    pub log: String,
    /// Which release is in use from then on.
    pub release: i64,
    /// When, Unix milliseconds.
    pub time_ms: i64,
    /// Why, in a sentence.
    pub why: String,
}

const SELECT: &str = "SELECT id, log, run, step, made_ms, reason, verdict_json, folder, fingerprint,
    id = (SELECT release FROM in_use WHERE in_use.log = release.log ORDER BY in_use.id DESC LIMIT 1) FROM release";

impl Store {
    /// Releases of a log or of all, oldest first.
    ///
    /// # Errors
    /// SQLite's; a verdict that is no JSON.
    pub fn releases(&self, log: Option<&str>) -> Result<Vec<ReleaseInfo>> {
        let mut stmt = self.conn.prepare(&format!("{SELECT} WHERE ?1 IS NULL OR log = ?1 ORDER BY id"))?;
        let mut rows = stmt.query([log])?;
        let mut releases = Vec::new();
        while let Some(row) = rows.next()? {
            releases.push(self.read_release(row)?);
        }
        Ok(releases)
    }

    /// A release of any log by its number.
    ///
    /// # Errors
    /// SQLite's; a verdict that is no JSON.
    pub fn release(&self, id: i64) -> Result<Option<ReleaseInfo>> {
        let mut stmt = self.conn.prepare(&format!("{SELECT} WHERE id = ?1"))?;
        let mut rows = stmt.query([id])?;
        rows.next()?.map(|row| self.read_release(row)).transpose()
    }

    /// The release in use for a log.
    ///
    /// # Errors
    /// SQLite's; a verdict that is no JSON.
    pub fn release_in_use(&self, log: &str) -> Result<Option<ReleaseInfo>> {
        Ok(self.releases(Some(log))?.into_iter().find(|release| release.in_use))
    }

    /// The release that was in use when release `id` was promoted; none where it was the log's first.
    ///
    /// # Errors
    /// SQLite's; a verdict that is no JSON.
    pub fn release_before(&self, id: i64) -> Result<Option<ReleaseInfo>> {
        // The first row of a release is its promotion; later ones are rollbacks to it.
        let sql = "SELECT release FROM in_use
                   WHERE log = (SELECT log FROM release WHERE id = ?1)
                     AND id < (SELECT min(id) FROM in_use WHERE release = ?1)
                   ORDER BY id DESC LIMIT 1";
        let before: Option<i64> = self.conn.query_row(sql, [id], |row| row.get(0)).optional()?;
        before.map_or(Ok(None), |before| self.release(before))
    }

    /// Every change of what is in use, of a log or of all, oldest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn changes(&self, log: Option<&str>) -> Result<Vec<Change>> {
        let sql = "SELECT log, release, time_ms, why FROM in_use WHERE ?1 IS NULL OR log = ?1 ORDER BY id";
        let mut stmt = self.conn.prepare(sql)?;
        let read =
            |row: &Row| Ok(Change { log: row.get(0)?, release: row.get(1)?, time_ms: row.get(2)?, why: row.get(3)? });
        Ok(stmt.query_map([log], read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The number that the next release gets.
    ///
    /// # Errors
    /// SQLite's.
    pub fn next_release(&self) -> Result<i64> {
        Ok(self.conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM release", [], |row| row.get(0))?)
    }

    /// Adds a release and puts it in use, both or neither.
    ///
    /// # Errors
    /// SQLite's: a number that is taken; a full disk.
    pub fn promote(&mut self, new: &Promotion) -> Result<()> {
        let verdict = new.verdict.map(serde_json::to_string).transpose()?;
        self.in_one(|tx| {
            tx.execute(
                "INSERT INTO release VALUES (?,?,?,?,?,?,?,?,?)",
                params![
                    new.id,
                    new.log,
                    new.run,
                    new.step,
                    new.made_ms,
                    new.reason,
                    verdict,
                    new.folder,
                    new.fingerprint
                ],
            )?;
            put_in_use(tx, new.id, new.made_ms, new.reason)
        })
    }

    /// Puts an earlier release in use again.
    ///
    /// # Errors
    /// SQLite's: no such release; a full disk.
    pub fn put_in_use(&mut self, id: i64, time_ms: i64, why: &str) -> Result<()> {
        self.in_one(|tx| put_in_use(tx, id, time_ms, why))
    }

    fn in_one(&mut self, work: impl FnOnce(&Transaction) -> Result<()>) -> Result<()> {
        let path = self.path.clone();
        let inner = || -> Result<()> {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&tx)?;
            Ok(tx.commit()?)
        };
        inner().map_err(|e| explain(e, &path))
    }

    fn read_release(&self, row: &Row) -> Result<ReleaseInfo> {
        let (verdict, folder): (Option<String>, String) = (row.get(6)?, row.get(7)?);
        Ok(ReleaseInfo {
            id: row.get(0)?,
            log: row.get(1)?,
            run: row.get(2)?,
            step: row.get(3)?,
            made_ms: row.get(4)?,
            reason: row.get(5)?,
            verdict: verdict.map(json).transpose()?,
            folder: self.path.parent().unwrap_or(Path::new("")).join(folder),
            fingerprint: row.get(8)?,
            in_use: row.get::<_, Option<bool>>(9)?.unwrap_or(false),
        })
    }
}

fn put_in_use(tx: &Transaction, id: i64, time_ms: i64, why: &str) -> Result<()> {
    let sql = "INSERT INTO in_use (log, release, time_ms, why) SELECT log, id, ?2, ?3 FROM release WHERE id = ?1";
    let added = tx.execute(sql, params![id, time_ms, why])?;
    (added == 1).then_some(()).with_context(|| format!("there is no release {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FILE_NAME, MIGRATIONS};

    fn promote(store: &mut Store, id: i64, log: &str) -> Result<()> {
        let verdict = serde_json::json!({"promoted": true});
        let (made_ms, folder) = (id * 10, format!("releases/{id}"));
        store.promote(&Promotion {
            id,
            log,
            run: "r",
            step: 4,
            made_ms,
            reason: "better",
            verdict: Some(&verdict),
            folder: &folder,
            fingerprint: "f",
        })
    }

    fn ids(store: &Store, log: &str) -> Vec<i64> {
        store.changes(Some(log)).unwrap().into_iter().map(|change| change.release).collect()
    }

    #[test]
    fn the_newest_change_of_a_log_is_in_use_and_the_way_back_never_leads_forward() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!((store.next_release().unwrap(), store.release_in_use("a").unwrap()), (1, None));
        for (id, log) in [(1, "a"), (2, "b"), (3, "a"), (4, "a")] {
            promote(&mut store, id, log).unwrap();
        }
        let now = |store: &Store, log: &str| store.release_in_use(log).unwrap().unwrap().id;
        let before = |store: &Store, id: i64| store.release_before(id).unwrap().map(|release| release.id);
        assert_eq!((now(&store, "a"), now(&store, "b"), store.next_release().unwrap()), (4, 2, 5));
        assert_eq!(before(&store, 4), Some(3));
        store.put_in_use(3, 50, "4 was worse").unwrap();
        // Not 4, which was in use a moment ago.
        assert_eq!(
            (now(&store, "a"), before(&store, 3), before(&store, 1), before(&store, 2)),
            (3, Some(1), None, None)
        );
        promote(&mut store, 5, "a").unwrap();
        assert_eq!(before(&store, 5), Some(3));
        assert_eq!(ids(&store, "a"), [1, 3, 4, 3, 5]);

        let first = store.release(1).unwrap().unwrap();
        assert_eq!((first.folder, first.in_use, first.made_ms), (dir.path().join("releases/1"), false, 10));
        assert_eq!(first.verdict.unwrap()["promoted"], true);
        assert_eq!(store.releases(None).unwrap().len(), 5);
        assert_eq!(store.releases(Some("b")).unwrap().len(), 1);
    }

    #[test]
    fn a_promotion_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        promote(&mut store, 1, "a").unwrap();
        assert!(promote(&mut store, 1, "a").is_err(), "the number is taken");
        assert_eq!(ids(&store, "a"), [1]);
        // The second of the two rows fails: the first must go with it.
        let trigger = "CREATE TRIGGER no BEFORE INSERT ON in_use BEGIN SELECT RAISE(ABORT, 'full'); END";
        store.conn.execute_batch(trigger).unwrap();
        assert!(promote(&mut store, 2, "a").is_err());
        assert_eq!((store.release(2).unwrap(), store.release_in_use("a").unwrap().unwrap().id), (None, 1));
    }

    #[test]
    fn history_is_added_to_only_and_holds_no_release_of_another_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        promote(&mut store, 1, "a").unwrap();
        for sql in [
            "UPDATE release SET reason = 'x'",
            "DELETE FROM release",
            "UPDATE in_use SET why = 'x'",
            "DELETE FROM in_use",
        ] {
            assert!(store.conn.execute(sql, []).unwrap_err().to_string().contains("append-only"), "{sql}");
        }
        assert!(store.put_in_use(7, 1, "x").unwrap_err().to_string().contains("no release 7"));
        let foreign = "INSERT INTO in_use (log, release, time_ms, why) VALUES ('b', 1, 1, 'x')";
        assert!(store.conn.execute(foreign, []).is_err());
    }

    #[test]
    fn a_store_from_before_releases_gets_their_tables_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let raw = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
        MIGRATIONS[..3].iter().for_each(|sql| raw.execute_batch(sql).unwrap());
        raw.execute_batch("PRAGMA user_version = 3; INSERT INTO run VALUES (1,'v','n','',1,1,NULL,'done')").unwrap();
        drop(raw);
        // What only reads migrates too.
        let store = Store::open_existing(dir.path()).unwrap();
        assert_eq!((store.next_release().unwrap(), store.version().unwrap()), (1, MIGRATIONS.len()));
        assert_eq!(store.conn.query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
