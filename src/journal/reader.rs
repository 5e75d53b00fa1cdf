//! Reading the stream: the list of runs, and the events after a given one.

use std::path::Path;

use anyhow::Result;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::Event;
use crate::store::Store;

/// One run as a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// Number of the run.
    pub id: i64,
    /// What was run: `demo`, `mine`, `train`, …
    pub verb: String,
    /// Name given to it.
    pub name: String,
    /// `running`, `done`, `failed`, `stopped`, or `lost` when its process is gone without a word.
    pub status: String,
    /// Unix milliseconds.
    pub started_ms: i64,
    /// Unix milliseconds; none while it runs.
    pub finished_ms: Option<i64>,
    /// Events it has written.
    pub events: usize,
}

/// A report and the run that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// The run.
    pub run: i64,
    /// When it began, Unix milliseconds.
    pub started_ms: i64,
    /// Its recipe, as TOML.
    pub recipe: String,
    /// The numbers.
    pub body: serde_json::Value,
}

impl RunInfo {
    /// How long it took, or has taken so far; nothing when its end was never written.
    #[must_use]
    pub fn duration_ms(&self, now_ms: i64) -> Option<i64> {
        let end = self.finished_ms.or((self.status == "running").then_some(now_ms));
        end.map(|end| end - self.started_ms)
    }
}

/// An event with its place in the stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logged {
    /// Place in the stream; grows.
    pub id: i64,
    /// The run that wrote it.
    pub run: i64,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// What it says.
    pub event: Event,
}

/// A reader of one workspace's journal.
pub struct Reader {
    store: Store,
}

impl Reader {
    /// Opens a workspace's journal for reading.
    ///
    /// # Errors
    /// No store there; a store of a newer version.
    pub fn open(workspace: &Path) -> Result<Self> {
        Ok(Self { store: Store::open_existing(workspace)? })
    }

    /// Every run, newest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn runs(&self) -> Result<Vec<RunInfo>> {
        let mut stmt = self.store.conn.prepare_cached(
            "SELECT id, verb, name, status, pid, started_ms, finished_ms, (SELECT count(*) FROM event WHERE run = run.id)
             FROM run ORDER BY id DESC",
        )?;
        let rows = stmt.query_map([], |r| {
            let status: String = r.get(3)?;
            let lost = status == "running" && !alive(r.get(4)?);
            Ok(RunInfo {
                id: r.get(0)?,
                verb: r.get(1)?,
                name: r.get(2)?,
                status: if lost { "lost".into() } else { status },
                started_ms: r.get(5)?,
                finished_ms: r.get(6)?,
                events: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Up to `limit` events of a run that lie after event `after` (0 = from the start), in order.
    ///
    /// Events of a kind this program does not know are passed over, and do not count towards `limit`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn events(&self, run: i64, after: i64, limit: usize) -> Result<Vec<Logged>> {
        let mut stmt = self
            .store
            .conn
            .prepare_cached("SELECT id, time_ms, body_json FROM event WHERE run = ? AND id > ? ORDER BY id")?;
        let mut rows = stmt.query(params![run, after])?;
        let mut events = Vec::new();
        while events.len() < limit
            && let Some(r) = rows.next()?
        {
            let body: String = r.get(2)?;
            if let Ok(event) = serde_json::from_str(&body) {
                events.push(Logged { id: r.get(0)?, run, time_ms: r.get(1)?, event });
            }
        }
        Ok(events)
    }

    /// The newest report of a title and a fingerprint, if one was made.
    ///
    /// # Errors
    /// SQLite's.
    pub fn report(&self, title: &str, fingerprint: &str) -> Result<Option<serde_json::Value>> {
        let sql = "SELECT body_json ->> '$.body' FROM event WHERE body_json ->> '$.kind' = 'report'
                   AND body_json ->> '$.title' = ?1 AND body_json ->> '$.fingerprint' = ?2 ORDER BY id DESC LIMIT 1";
        let body: Option<String> = self.store.conn.query_row(sql, [title, fingerprint], |r| r.get(0)).optional()?;
        Ok(body.map(|text| serde_json::from_str(&text)).transpose()?)
    }
}

impl Reader {
    /// The newest report of a title.
    ///
    /// # Errors
    /// SQLite's.
    pub fn newest_report(&self, title: &str) -> Result<Option<Reported>> {
        let sql = "SELECT run.id, started_ms, recipe, body_json ->> '$.body' FROM event JOIN run ON run.id = event.run
                   WHERE body_json ->> '$.kind' = 'report' AND body_json ->> '$.title' = ?1
                   ORDER BY event.id DESC LIMIT 1";
        let row = |r: &rusqlite::Row| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?));
        let found: Option<(i64, i64, String, String)> = self.store.conn.query_row(sql, [title], row).optional()?;
        let read = |(run, started_ms, recipe, body): (i64, i64, String, String)| -> Result<Reported> {
            Ok(Reported { run, started_ms, recipe, body: serde_json::from_str(&body)? })
        };
        found.map(read).transpose()
    }

    /// The newest event after event `after` that holds metrics, as `(run, event)`: which run trains, or last did.
    ///
    /// # Errors
    /// SQLite's.
    pub fn newest_metrics(&self, after: i64) -> Result<Option<(i64, i64)>> {
        // The tag is written first, so its prefix tells the kind without parsing every body.
        let sql = "SELECT run, id FROM event WHERE id > ? AND body_json LIKE '{\"kind\":\"metrics\"%'
                   ORDER BY id DESC LIMIT 1";
        let mut stmt = self.store.conn.prepare_cached(sql)?;
        Ok(stmt.query_row([after], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    /// The run of the newest report of a title among the events after event `after`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn newest_reporting(&self, title: &str, after: i64) -> Result<Option<i64>> {
        // The tag and the title are written first: a body that is cut short still cannot stop the search.
        let sql = "SELECT run FROM event WHERE id > ? AND body_json LIKE ? ORDER BY id DESC LIMIT 1";
        let begins = format!(r#"{{"kind":"report","title":"{title}",%"#);
        let mut stmt = self.store.conn.prepare_cached(sql)?;
        Ok(stmt.query_row(params![after, begins], |r| r.get(0)).optional()?)
    }

    /// Place of the newest event of any run; 0 when there is none.
    ///
    /// # Errors
    /// SQLite's.
    pub fn end(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(id), 0) FROM event";
        Ok(self.store.conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?)
    }
}

/// Whether a process of this number exists; where that cannot be told, yes.
fn alive(pid: u32) -> bool {
    let proc = Path::new("/proc");
    !proc.join("self").exists() || proc.join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, Status};
    use super::*;

    #[test]
    fn events_come_back_in_order_and_only_those_after_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::start(dir.path(), "train", "t", "").unwrap();
        for text in ["a", "b", "c"] {
            journal.note(text).unwrap();
        }
        let reader = Reader::open(dir.path()).unwrap();
        let all = reader.events(journal.run(), 0, 100).unwrap();
        assert_eq!(all.len(), 3);
        let rest = reader.events(journal.run(), all[0].id, 100).unwrap();
        assert_eq!(rest, all[1..]);
        assert_eq!(reader.runs().unwrap()[0].status, "running");
        journal.finish(Status::Done).unwrap();
        assert_eq!(reader.runs().unwrap()[0].status, "done");
    }

    #[test]
    fn a_loss_that_is_no_number_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::start(dir.path(), "train", "t", "").unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        journal.note("before").unwrap();
        assert_eq!(reader.newest_metrics(0).unwrap(), None);
        let values = [("loss".to_owned(), f64::NAN), ("lr".to_owned(), 0.5)].into();
        journal.emit(&Event::Metrics { step: 1, steps: 2, split: "train".into(), values }).unwrap();
        let events = reader.events(journal.run(), 0, 10).unwrap();
        let Event::Metrics { values, .. } = &events[1].event else { panic!("{events:?}") };
        assert!(values["loss"].is_nan() && values["lr"] == 0.5);
        assert_eq!(reader.newest_metrics(0).unwrap(), Some((journal.run(), reader.end().unwrap())));
    }

    #[test]
    fn many_events_of_a_newer_kind_do_not_hide_the_known_one_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::start(dir.path(), "train", "t", "").unwrap();
        let store = Store::open(dir.path()).unwrap();
        let sql = "INSERT INTO event (run, time_ms, body_json) VALUES (?, 1, '{\"kind\":\"hologram\",\"depth\":3}')";
        (0..9).for_each(|_| assert_eq!(store.conn.execute(sql, [journal.run()]).unwrap(), 1));
        journal.note("known").unwrap();
        let events = Reader::open(dir.path()).unwrap().events(journal.run(), 0, 3).unwrap();
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn a_run_whose_process_is_gone_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let sql =
            "INSERT INTO run (verb, name, recipe, pid, started_ms, status) VALUES ('t','n','',4194305,1,'running')";
        store.conn.execute(sql, []).unwrap();
        assert_eq!(Reader::open(dir.path()).unwrap().runs().unwrap()[0].status, "lost");
    }
}
