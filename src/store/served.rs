//! The log of a server: searches and feedback are appended as they come, in the tables that mining reads.

use anyhow::{Result, bail};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::logs::json;
use super::{LogKind, Seen, Store, Watched, explain};

/// A search as a server answered it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Served {
    /// Unique; feedback names the search by it.
    pub query_id: String,
    /// The person, or what stands for one.
    pub user: String,
    /// The sitting, where the client says; else the person's last one goes on until they pause too long.
    pub session: Option<String>,
    /// City or region.
    pub place: Option<String>,
    /// Watched before the search, newest first.
    pub watched: Vec<Seen>,
    /// As the person typed it.
    pub query: String,
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Document ids from the top of the page down.
    pub shown: Vec<String>,
    /// `plain`, `fused` or `fake`.
    pub path: String,
    /// `rewritten`, or why not.
    pub rewriting: String,
    /// What the page was fused with.
    pub rewrite: Option<String>,
    /// Time from request to answer.
    pub latency_ms: f64,
}

/// What a person did about a result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Feedback {
    /// The search.
    pub query_id: String,
    /// The document.
    pub doc: String,
    /// When it was opened, Unix milliseconds; none means now.
    pub time_ms: Option<i64>,
    /// When the server heard of it.
    pub now_ms: i64,
    /// Seconds spent, once known.
    pub dwell_s: Option<f32>,
    /// Whether it was bought.
    pub bought: bool,
    /// Title and tags; with a dwell that lasts it counts as watched from then on.
    pub seen: Option<Seen>,
    /// Dwell from which it does, seconds.
    pub watched_from_s: f64,
}

/// What became of a feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the log.
    Yes,
    /// No search of this log has the id.
    UnknownSearch,
    /// The search is there, and did not show the document.
    NotShown,
}

impl Store {
    /// The log of a server, made where it is not there yet.
    ///
    /// # Errors
    /// A log of that name from elsewhere; SQLite's.
    pub fn served_log(&mut self, name: &str, origin: &str) -> Result<i64> {
        if let Some(log) = self.find_log(name)? {
            if log.kind != LogKind::Served.as_str() {
                bail!("the log {name:?} was made from {}: a server's log needs a name of its own", log.origin);
            }
            return Ok(log.id);
        }
        self.write_log(name, LogKind::Served, origin, |_| Ok(()))?;
        Ok(self.log(name)?.id)
    }

    /// Appends to a server's log in one transaction: all that `fill` does, or nothing.
    ///
    /// # Errors
    /// Those of `fill`; a full disk.
    pub fn append<T>(
        &mut self,
        log: i64,
        session_gap_ms: i64,
        fill: impl FnOnce(&mut Appender) -> Result<T>,
    ) -> Result<T> {
        let path = self.path.clone();
        let inner = || -> Result<T> {
            // For writing from the start: a transaction that reads first is refused, not made to wait, when another one wrote
            // in between.
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let out = fill(&mut Appender { conn: &tx, log, session_gap_ms })?;
            tx.commit()?;
            Ok(out)
        };
        inner().map_err(|e| explain(e, &path))
    }
}

/// Appends to a server's log inside one transaction.
pub struct Appender<'a> {
    conn: &'a Connection,
    log: i64,
    session_gap_ms: i64,
}

impl Appender<'_> {
    /// Adds a search. One that is there already, a page asked for twice, is left as it was.
    ///
    /// # Errors
    /// SQLite's.
    pub fn search(&mut self, served: &Served) -> Result<()> {
        if self.find(&served.query_id)?.is_some() {
            return Ok(());
        }
        let session = self.session(served)?;
        self.watch(session, &served.watched, served.time_ms)?;
        self.conn
            .prepare_cached("INSERT INTO search (session, id, query, time_ms, shown_json) VALUES (?,?,?,?,?)")?
            .execute(params![
                session,
                served.query_id,
                served.query,
                served.time_ms,
                serde_json::to_string(&served.shown)?
            ])?;
        let search = self.conn.last_insert_rowid();
        self.conn.prepare_cached("INSERT INTO served VALUES (?,?,?,?,?)")?.execute(params![
            search,
            served.path,
            served.rewriting,
            served.rewrite,
            served.latency_ms
        ])?;
        Ok(())
    }

    /// Adds a click, or what is learnt about one later: the longest dwell counts.
    ///
    /// # Errors
    /// SQLite's.
    pub fn feedback(&mut self, feedback: &Feedback) -> Result<Taken> {
        let Some((search, session, searched_ms, shown)) = self.find(&feedback.query_id)? else {
            return Ok(Taken::UnknownSearch);
        };
        let shown: Vec<String> = json(shown)?;
        let Some(place) = shown.iter().position(|doc| *doc == feedback.doc) else { return Ok(Taken::NotShown) };
        // The person's clock may be off; nothing is opened before it was shown, or after it is told of.
        let time_ms = feedback.time_ms.unwrap_or(feedback.now_ms).min(feedback.now_ms).max(searched_ms);
        let mut known = self.conn.prepare_cached(
            "UPDATE click SET dwell_s = max(coalesce(dwell_s, ?3), coalesce(?3, dwell_s)), bought = max(bought, ?4)
             WHERE search = ?1 AND doc = ?2",
        )?;
        let changed = known.execute(params![search, feedback.doc, feedback.dwell_s, feedback.bought])?;
        if changed == 0 {
            self.conn.prepare_cached("INSERT INTO click VALUES (?,?,?,?,?,?)")?.execute(params![
                search,
                feedback.doc,
                place + 1,
                time_ms,
                feedback.dwell_s,
                feedback.bought
            ])?;
        }
        let lasted = feedback.dwell_s.is_some_and(|s| f64::from(s) >= feedback.watched_from_s);
        if let Some(seen) = feedback.seen.as_ref().filter(|_| lasted) {
            self.watch(session, std::slice::from_ref(seen), time_ms + 1)?;
        }
        Ok(Taken::Yes)
    }

    /// Row, session, time and page of a search.
    fn find(&self, query_id: &str) -> Result<Option<(i64, i64, i64, String)>> {
        let sql = "SELECT search.pk, search.session, search.time_ms, search.shown_json
                   FROM search JOIN session ON search.session = session.pk WHERE search.id = ? AND session.log = ?";
        let mut stmt = self.conn.prepare_cached(sql)?;
        let found = stmt.query_row(params![query_id, self.log], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)));
        Ok(found.optional()?)
    }

    /// The session of a search: the one it names, else the person's last one if they searched not long ago, else a new one.
    fn session(&self, served: &Served) -> Result<i64> {
        if served.session.is_none() {
            let sql = "SELECT session.pk, (SELECT max(time_ms) FROM search WHERE session = session.pk)
                       FROM session WHERE log = ? AND user = ? ORDER BY start_ms DESC LIMIT 1";
            let mut stmt = self.conn.prepare_cached(sql)?;
            let last: Option<(i64, Option<i64>)> =
                stmt.query_row(params![self.log, served.user], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            if let Some((pk, Some(at))) = last
                && served.time_ms - at <= self.session_gap_ms
            {
                return Ok(pk);
            }
        }
        let id = served.session.clone().unwrap_or_else(|| format!("{}@{}", served.user, served.query_id));
        let mut stmt = self.conn.prepare_cached("SELECT pk FROM session WHERE log = ? AND id = ?")?;
        if let Some(pk) = stmt.query_row(params![self.log, id], |r| r.get(0)).optional()? {
            return Ok(pk);
        }
        self.conn
            .prepare_cached(
                "INSERT INTO session (log, id, user, start_ms, place, watched_json) VALUES (?,?,?,?,?,'[]')",
            )?
            .execute(params![self.log, id, served.user, served.time_ms, served.place])?;
        Ok(self.conn.last_insert_rowid())
    }

    /// Adds what was watched before `before_ms`, newest first, as far as the session does not say so yet.
    fn watch(&self, session: i64, seen: &[Seen], before_ms: i64) -> Result<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let text: String = self
            .conn
            .prepare_cached("SELECT watched_json FROM session WHERE pk = ?")?
            .query_row([session], |r| r.get(0))?;
        let mut watched: Vec<Watched> = json(text)?;
        let known = watched.len();
        for (back, seen) in (1..).zip(seen) {
            if watched.iter().all(|w| w.title != seen.title) {
                let (title, tags) = (seen.title.clone(), seen.tags.clone());
                // A client says what was watched, not when: in the order it says, right before.
                watched.push(Watched { title, tags, time_ms: before_ms - back, ..Watched::default() });
            }
        }
        if watched.len() > known {
            watched.sort_by_key(|w| w.time_ms);
            self.conn
                .prepare_cached("UPDATE session SET watched_json = ?2 WHERE pk = ?1")?
                .execute(params![session, serde_json::to_string(&watched)?])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Session;

    const GAP_MS: i64 = 1_000;

    fn served(query_id: &str, user: &str, time_ms: i64, watched: &[&str]) -> Served {
        let seen = |title: &&str| Seen { title: (*title).into(), tags: vec![] };
        Served {
            query_id: query_id.into(),
            user: user.into(),
            watched: watched.iter().map(seen).collect(),
            query: "jaguar".into(),
            time_ms,
            shown: vec!["v1".into(), "v2".into()],
            path: "plain".into(),
            rewriting: "missed".into(),
            ..Served::default()
        }
    }

    fn click(query_id: &str, doc: &str, time_ms: Option<i64>, dwell_s: Option<f32>) -> Feedback {
        let (query_id, doc) = (query_id.into(), doc.into());
        Feedback { query_id, doc, time_ms, now_ms: 9_000, dwell_s, watched_from_s: 2.0, ..Feedback::default() }
    }

    fn sessions(store: &Store) -> Vec<Session> {
        let mut all = Vec::new();
        let keep = |s| {
            all.push(s);
            Ok(())
        };
        store.for_each_session(&store.log("l").unwrap(), keep).unwrap();
        all
    }

    #[test]
    fn searches_fall_into_sittings_and_what_was_watched_is_kept_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let log = store.served_log("l", "here").unwrap();
        let all = [
            served("a", "u", 100, &["new", "old"]),
            served("b", "u", 1_100, &["newer", "new"]),
            served("c", "u", 2_200, &[]),
            Served { session: Some("given".into()), ..served("d", "u", 2_300, &[]) },
            served("a", "u", 5_000, &[]),
        ];
        store.append(log, GAP_MS, |a| all.iter().try_for_each(|s| a.search(s))).unwrap();
        assert_eq!(store.served_log("l", "here").unwrap(), log);
        let sessions = sessions(&store);
        let ids = |s: &Session| s.searches.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
        assert_eq!(sessions.iter().map(ids).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c"], vec!["d"]]);
        let titles: Vec<_> = sessions[0].watched.iter().map(|w| w.title.as_str()).collect();
        assert_eq!(titles, ["old", "new", "newer"]);
        assert!(sessions[0].watched[2].time_ms < 1_100 && sessions[0].watched[2].time_ms > 100);
    }

    #[test]
    fn feedback_joins_its_search_and_the_longest_dwell_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let log = store.served_log("l", "here").unwrap();
        let seen = Some(Seen { title: "Jaguar car".into(), tags: vec![] });
        let taken = store
            .append(log, GAP_MS, |a| {
                a.search(&served("a", "u", 5_000, &[]))?;
                [
                    click("a", "v2", Some(10), None),
                    click("a", "v2", None, Some(3.0)),
                    Feedback { seen, bought: true, ..click("a", "v2", None, Some(2.5)) },
                    click("a", "v1", Some(99_999_999), Some(0.5)),
                    click("z", "v1", None, None),
                    click("a", "v9", None, None),
                ]
                .iter()
                .map(|f| a.feedback(f))
                .collect::<Result<Vec<_>>>()
            })
            .unwrap();
        assert_eq!(taken, [Taken::Yes, Taken::Yes, Taken::Yes, Taken::Yes, Taken::UnknownSearch, Taken::NotShown]);
        let session = &sessions(&store)[0];
        let clicks = &session.searches[0].clicks;
        let as_kept: Vec<_> = clicks.iter().map(|c| (c.doc.as_str(), c.rank, c.time_ms, c.dwell_s, c.bought)).collect();
        assert_eq!(as_kept, [("v2", 2, 5_000, Some(3.0), true), ("v1", 1, 9_000, Some(0.5), false)]);
        assert_eq!(session.watched.iter().map(|w| w.title.as_str()).collect::<Vec<_>>(), ["Jaguar car"]);
    }

    #[test]
    fn an_append_holds_the_store_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut other) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
        let log = store.served_log("l", "here").unwrap();
        other.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        let kept = crate::store::Kept { key: "k".into(), rewrite: None, reason: "rejected".into(), made_ms: 1 };
        let appended = store.append(log, GAP_MS, |a| {
            // It has only read so far; whoever writes now would have it refused.
            a.find("a")?;
            let refused = other.keep_nearline("m", std::slice::from_ref(&kept)).is_err();
            a.search(&served("a", "u", 1, &[]))?;
            Ok(refused)
        });
        assert!(appended.unwrap(), "another writer came in between");
        other.keep_nearline("m", &[kept]).unwrap();
    }

    #[test]
    fn a_log_from_elsewhere_is_not_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.write_log("l", LogKind::Ubi, "shop.jsonl", |_| Ok(())).unwrap();
        assert!(store.served_log("l", "x").unwrap_err().to_string().contains("shop.jsonl"));
    }
}
