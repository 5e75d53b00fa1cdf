//! Logs in the store: sessions, searches, clicks, documents, skipped rows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::{Click, Doc, Search, Session, Skipped, Watched};
use super::{Store, explain};

/// Where a log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// Simulated people.
    World,
    /// A User Behavior Insights file.
    Ubi,
    /// What a server showed, and what came back.
    Served,
    /// A file of judged pairs.
    Judged,
}

impl LogKind {
    /// Word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Ubi => "ubi",
            Self::Served => "served",
            Self::Judged => "judged",
        }
    }
}

/// A log and its sizes.
#[derive(Debug, Clone, Serialize)]
pub struct LogInfo {
    /// Key in the store.
    #[serde(skip)]
    pub id: i64,
    /// Unique name.
    pub name: String,
    /// `world`, `ubi`, `served` or `judged`.
    pub kind: String,
    /// Recipe fingerprint, or path of the file.
    pub origin: String,
    /// Rows of the file that were read; 0 for a world.
    pub rows_read: usize,
    /// Sessions held.
    pub sessions: usize,
    /// Searches held.
    pub searches: usize,
    /// Documents held.
    pub docs: usize,
}

impl Store {
    /// Writes a whole log in one transaction, replacing the one of the same name: all of it or nothing.
    ///
    /// `fill` gets a [`LogWriter`] and streams into it; what it returns is passed on.
    ///
    /// # Errors
    /// Those of `fill`, and a full or read-only disk; the earlier log of that name is then still there.
    pub fn write_log<T>(
        &mut self,
        name: &str,
        kind: LogKind,
        origin: &str,
        fill: impl FnOnce(&mut LogWriter) -> Result<T>,
    ) -> Result<T> {
        let path = self.path.clone();
        let inner = || -> Result<T> {
            let tx = self.conn.transaction()?;
            tx.execute("DELETE FROM log WHERE name = ?1", [name])?;
            tx.execute(
                "INSERT INTO log (name, kind, origin, created_ms) VALUES (?1, ?2, ?3, unixepoch('subsec') * 1000)",
                params![name, kind.as_str(), origin],
            )?;
            let log = tx.last_insert_rowid();
            let out = fill(&mut LogWriter { conn: &tx, log })?;
            tx.commit()?;
            Ok(out)
        };
        inner().map_err(|e| explain(e, &path))
    }

    /// Says anew where a log came from; everything in it stays.
    ///
    /// # Errors
    /// SQLite's.
    pub fn rename_origin(&mut self, log: &LogInfo, origin: &str) -> Result<()> {
        let set = self.conn.execute("UPDATE log SET origin = ?2 WHERE id = ?1", params![log.id, origin]);
        set.map(drop).map_err(|e| explain(e.into(), &self.path))
    }

    /// A log by name.
    ///
    /// # Errors
    /// SQLite's.
    pub fn find_log(&self, name: &str) -> Result<Option<LogInfo>> {
        Ok(self.logs()?.into_iter().find(|log| log.name == name))
    }

    /// A log by name that must be there.
    ///
    /// # Errors
    /// Names the logs that exist.
    pub fn log(&self, name: &str) -> Result<LogInfo> {
        let logs = self.logs()?;
        let names: Vec<_> = logs.iter().map(|l| l.name.clone()).collect();
        match logs.into_iter().find(|log| log.name == name) {
            Some(log) => Ok(log),
            None if names.is_empty() => {
                bail!(
                    "{} holds no log yet: run `core demo` or `core simulate`, or read one with `core mine --from ubi`",
                    self.path.display()
                )
            }
            None => bail!(
                "no log {name:?} in {}: it holds {}; name one of these, or make it with `core simulate`",
                self.path.display(),
                names.join(", ")
            ),
        }
    }

    /// Every log, by name.
    ///
    /// # Errors
    /// SQLite's.
    pub fn logs(&self) -> Result<Vec<LogInfo>> {
        let mut stmt = self.conn.prepare(
            "SELECT id, name, kind, origin, rows_read,
                    (SELECT count(*) FROM session WHERE log = log.id),
                    (SELECT count(*) FROM search JOIN session ON search.session = session.pk WHERE log = log.id),
                    (SELECT count(*) FROM doc WHERE log = log.id)
             FROM log ORDER BY name",
        )?;
        let rows = stmt.query_map([], |r| {
            Ok(LogInfo {
                id: r.get(0)?,
                name: r.get(1)?,
                kind: r.get(2)?,
                origin: r.get(3)?,
                rows_read: r.get(4)?,
                sessions: r.get(5)?,
                searches: r.get(6)?,
                docs: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets a log and everything mined from it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn delete_log(&mut self, name: &str) -> Result<()> {
        self.conn.execute("DELETE FROM log WHERE name = ?1", [name])?;
        Ok(())
    }

    /// Passes every session of a log to `visit`, by person and then by time; memory stays flat.
    ///
    /// # Errors
    /// SQLite's, and those of `visit`.
    pub fn for_each_session(&self, log: &LogInfo, mut visit: impl FnMut(Session) -> Result<()>) -> Result<()> {
        let mut sessions = self.conn.prepare(
            "SELECT pk, id, user, start_ms, place, watched_json FROM session WHERE log = ?1 ORDER BY user, start_ms, pk",
        )?;
        let mut rows = sessions.query([log.id])?;
        while let Some(r) = rows.next()? {
            let watched: Vec<Watched> = json(r.get(5)?)?;
            visit(Session {
                id: r.get(1)?,
                user: r.get(2)?,
                start_ms: r.get(3)?,
                place: r.get(4)?,
                watched,
                searches: searches_of(&self.conn, r.get(0)?)?,
            })?;
        }
        Ok(())
    }

    /// How many rows of an import were skipped, by reason.
    ///
    /// # Errors
    /// SQLite's.
    pub fn skipped_by_reason(&self, log: &LogInfo) -> Result<BTreeMap<String, usize>> {
        let mut stmt = self.conn.prepare("SELECT reason, count(*) FROM skipped WHERE log = ?1 GROUP BY reason")?;
        let rows = stmt.query_map([log.id], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The time of the first and the last search of a log.
    ///
    /// # Errors
    /// SQLite's.
    pub fn time_span(&self, log: &LogInfo) -> Result<Option<(i64, i64)>> {
        let sql = "SELECT min(search.time_ms), max(search.time_ms)
                   FROM search JOIN session ON search.session = session.pk WHERE session.log = ?1";
        let span: Option<(Option<i64>, Option<i64>)> =
            self.conn.query_row(sql, [log.id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        Ok(span.and_then(|(a, b)| a.zip(b)))
    }
}

/// Streams a log into the store, inside one transaction.
pub struct LogWriter<'a> {
    conn: &'a Connection,
    log: i64,
}

impl LogWriter<'_> {
    /// Adds a session with its searches and clicks.
    ///
    /// # Errors
    /// SQLite's; two sessions of one id.
    pub fn session(&mut self, s: &Session) -> Result<()> {
        self.conn
            .prepare_cached("INSERT INTO session (log, id, user, start_ms, place, watched_json) VALUES (?,?,?,?,?,?)")?
            .execute(params![self.log, s.id, s.user, s.start_ms, s.place, serde_json::to_string(&s.watched)?])
            .with_context(|| format!("session {}", s.id))?;
        let session = self.conn.last_insert_rowid();
        for search in &s.searches {
            self.conn
                .prepare_cached("INSERT INTO search (session, id, query, time_ms, shown_json) VALUES (?,?,?,?,?)")?
                .execute(params![
                    session,
                    search.id,
                    search.query,
                    search.time_ms,
                    serde_json::to_string(&search.shown)?
                ])?;
            let pk = self.conn.last_insert_rowid();
            for c in &search.clicks {
                self.conn
                    .prepare_cached("INSERT INTO click VALUES (?,?,?,?,?,?)")?
                    .execute(params![pk, c.doc, c.rank, c.time_ms, c.dwell_s, c.bought])?;
            }
        }
        Ok(())
    }

    /// Bytes in use in the file, this transaction's own among them.
    ///
    /// # Errors
    /// SQLite's.
    pub fn bytes(&self) -> Result<u64> {
        let sql = "SELECT (page_count - freelist_count) * page_size
                   FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        Ok(self.conn.query_row(sql, [], |r| r.get(0))?)
    }

    /// Adds a document, or replaces the one of its id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn doc(&mut self, d: &Doc) -> Result<()> {
        self.conn.prepare_cached("INSERT OR REPLACE INTO doc VALUES (?,?,?,?,?,?,?,?,?)")?.execute(params![
            self.log,
            d.id,
            d.title,
            serde_json::to_string(&d.tags)?,
            d.creator,
            d.duration_s,
            d.published_ms,
            d.popularity,
            serde_json::to_string(&d.visual)?
        ])?;
        Ok(())
    }

    /// Keeps the rows that could not be used, and how many were read in all.
    ///
    /// # Errors
    /// SQLite's.
    pub fn skipped(&mut self, rows_read: usize, skipped: &[Skipped]) -> Result<()> {
        self.conn.execute("UPDATE log SET rows_read = ?2 WHERE id = ?1", params![self.log, rows_read])?;
        let mut stmt = self.conn.prepare_cached("INSERT INTO skipped VALUES (?,?,?,?)")?;
        for row in skipped {
            stmt.execute(params![self.log, row.line, row.reason, row.excerpt])?;
        }
        Ok(())
    }
}

fn searches_of(conn: &Connection, session: i64) -> Result<Vec<Search>> {
    let mut stmt = conn.prepare_cached(
        "SELECT pk, id, query, time_ms, shown_json FROM search WHERE session = ?1 ORDER BY time_ms, pk",
    )?;
    let mut clicks = conn
        .prepare_cached("SELECT doc, rank, time_ms, dwell_s, bought FROM click WHERE search = ?1 ORDER BY time_ms")?;
    let mut rows = stmt.query([session])?;
    let mut searches = Vec::new();
    while let Some(r) = rows.next()? {
        let pk: i64 = r.get(0)?;
        let of_search = clicks.query_map([pk], |c| {
            Ok(Click { doc: c.get(0)?, rank: c.get(1)?, time_ms: c.get(2)?, dwell_s: c.get(3)?, bought: c.get(4)? })
        })?;
        searches.push(Search {
            id: r.get(1)?,
            query: r.get(2)?,
            time_ms: r.get(3)?,
            shown: json(r.get(4)?)?,
            clicks: of_search.collect::<Result<_, _>>()?,
        });
    }
    Ok(searches)
}

pub(super) fn json<T: serde::de::DeserializeOwned>(text: String) -> Result<T> {
    serde_json::from_str(&text).with_context(|| format!("a JSON column of the store holds {text:.60}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, user: &str, start_ms: i64) -> Session {
        let click = Click { doc: "v1".into(), rank: 2, time_ms: start_ms + 9, dwell_s: Some(12.5), bought: false };
        let search = Search {
            id: format!("{id}-1"),
            query: "jaguar".into(),
            time_ms: start_ms + 5,
            shown: vec!["v0".into(), "v1".into()],
            clicks: vec![click],
        };
        Session { id: id.into(), user: user.into(), start_ms, searches: vec![search], ..Session::default() }
    }

    #[test]
    fn a_log_comes_back_as_it_went_in_ordered_by_person_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let sessions = [session("b", "u2", 10), session("a", "u1", 50), session("c", "u1", 20)];
        store.write_log("l", LogKind::World, "x", |w| sessions.iter().try_for_each(|s| w.session(s))).unwrap();
        let log = store.log("l").unwrap();
        assert_eq!((log.sessions, log.searches), (3, 3));
        let mut back = Vec::new();
        let keep = |s| {
            back.push(s);
            Ok(())
        };
        store.for_each_session(&log, keep).unwrap();
        assert_eq!(back, [sessions[2].clone(), sessions[1].clone(), sessions[0].clone()]);
        assert_eq!(store.time_span(&log).unwrap(), Some((15, 55)));
    }

    #[test]
    fn a_failed_rewrite_of_a_log_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.write_log("l", LogKind::World, "x", |w| w.session(&session("a", "u", 1))).unwrap();
        let failed = store.write_log("l", LogKind::World, "x", |_| -> Result<()> { bail!("stopped half-way") });
        assert!(failed.is_err());
        assert_eq!(store.log("l").unwrap().sessions, 1);
    }

    #[test]
    fn a_full_disk_is_said_and_nothing_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.write_log("l", LogKind::World, "x", |w| w.session(&session("a", "u", 1))).unwrap();
        // SQLite answers a file at its page limit exactly as it answers a full disk.
        let pages: i64 = store.conn.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        store.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |r| r.get::<_, i64>(0)).unwrap();
        let error = store
            .write_log("l", LogKind::World, "x", |w| {
                (0..5000).try_for_each(|i| w.session(&session(&format!("s{i}"), "u", i)))
            })
            .unwrap_err();
        assert!(error.to_string().contains("is full"), "{error:#}");
        assert_eq!(store.log("l").unwrap().sessions, 1);
    }
}
