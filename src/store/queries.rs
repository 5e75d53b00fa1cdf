//! Whole-log figures that SQLite sorts and counts on disk, so that memory stays flat however long the log is.

use anyhow::Result;
use rusqlite::params;

use super::{LogInfo, Store};

/// How often a query was typed on one day by one half of the people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryDay {
    /// The query, in lower case and without blanks around it.
    pub query: String,
    /// Days since `from_ms`.
    pub day: usize,
    /// Which half: the parity of the last character of the person's id.
    pub half: usize,
    /// Searches.
    pub count: u64,
}

/// One search, as far as it tells which queries are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typed<'a> {
    /// The query as it was typed.
    pub query: &'a str,
    /// The person.
    pub user: &'a str,
    /// Whether a document of the log was shown for it.
    pub answered: bool,
}

/// Documents that came out while the log was written, and the clicks on them; index is days.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Births {
    /// Documents published on each day since `from_ms`.
    pub published: Vec<u64>,
    /// Clicks on such documents by their age in days.
    pub clicks_by_age: Vec<u64>,
}

impl Store {
    /// Passes every query of a log to `visit`, one day and half of the people at a time, ordered by query and then by day.
    ///
    /// # Errors
    /// SQLite's, and those of `visit`.
    pub fn for_each_query_day(
        &self,
        log: &LogInfo,
        from_ms: i64,
        mut visit: impl FnMut(QueryDay) -> Result<()>,
    ) -> Result<()> {
        let mut stmt = self.conn.prepare(
            "SELECT lower(trim(query)) AS q, (time_ms - ?2) / 86400000 AS day,
                    coalesce(unicode(substr(user, -1)), 0) % 2 AS half, count(*)
             FROM session JOIN search ON search.session = session.pk
             WHERE log = ?1 AND time_ms >= ?2 GROUP BY q, day, half ORDER BY q, day, half",
        )?;
        let mut rows = stmt.query(params![log.id, from_ms])?;
        while let Some(r) = rows.next()? {
            visit(QueryDay { query: r.get(0)?, day: r.get(1)?, half: r.get(2)?, count: r.get(3)? })?;
        }
        Ok(())
    }

    /// Passes every search of a log up to `until_ms` (inclusive) to `visit`, in no order.
    ///
    /// # Errors
    /// SQLite's, and those of `visit`.
    pub fn for_each_typed(
        &self,
        log: &LogInfo,
        until_ms: i64,
        mut visit: impl FnMut(Typed) -> Result<()>,
    ) -> Result<()> {
        // CROSS keeps SQLite from walking the whole catalogue for every search, a hundred times slower.
        let mut stmt = self.conn.prepare(
            "SELECT query, user, EXISTS (SELECT 1 FROM json_each(shown_json) AS shown
                                         CROSS JOIN doc ON doc.log = ?1 AND doc.id = shown.value)
             FROM session JOIN search ON search.session = session.pk WHERE session.log = ?1 AND time_ms <= ?2",
        )?;
        let mut rows = stmt.query(params![log.id, until_ms])?;
        while let Some(r) = rows.next()? {
            let (query, user) = (r.get_ref(0)?.as_str()?, r.get_ref(1)?.as_str()?);
            visit(Typed { query, user, answered: r.get(2)? })?;
        }
        Ok(())
    }

    /// Passes on every query typed until `until_ms` and who typed it, and nothing else of the search: the cheapest look at a log.
    ///
    /// # Errors
    /// SQLite's, and those of `visit`.
    pub fn for_each_query(
        &self,
        log: &LogInfo,
        until_ms: i64,
        mut visit: impl FnMut(&str, &str) -> Result<()>,
    ) -> Result<()> {
        let sql = "SELECT query, user FROM session JOIN search ON search.session = session.pk WHERE session.log = ?1 AND time_ms <= ?2";
        let mut stmt = self.conn.prepare(sql)?;
        let mut rows = stmt.query(params![log.id, until_ms])?;
        while let Some(r) = rows.next()? {
            visit(r.get_ref(0)?.as_str()?, r.get_ref(1)?.as_str()?)?;
        }
        Ok(())
    }

    /// Documents published from `from_ms` on, at most `days` later, and the clicks on them by age.
    ///
    /// # Errors
    /// SQLite's.
    pub fn births(&self, log: &LogInfo, from_ms: i64, days: usize) -> Result<Births> {
        let counts = |sql: &str| -> Result<Vec<u64>> {
            let mut counts = vec![0; days];
            let mut stmt = self.conn.prepare(sql)?;
            let mut rows = stmt.query(params![log.id, from_ms])?;
            while let Some(r) = rows.next()? {
                if let Some(count) = counts.get_mut(r.get::<_, usize>(0)?) {
                    *count = r.get(1)?;
                }
            }
            Ok(counts)
        };
        Ok(Births {
            published: counts(
                "SELECT (published_ms - ?2) / 86400000 AS day, count(*) FROM doc
                 WHERE log = ?1 AND published_ms >= ?2 GROUP BY day",
            )?,
            clicks_by_age: counts(
                "SELECT (click.time_ms - published_ms) / 86400000 AS age, count(*)
                 FROM session JOIN search ON search.session = session.pk JOIN click ON click.search = search.pk
                      JOIN doc ON doc.log = session.log AND doc.id = click.doc
                 WHERE session.log = ?1 AND published_ms >= ?2 AND click.time_ms >= published_ms GROUP BY age",
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Click, Doc, LogKind, Search, Session};

    const DAY_MS: i64 = 86_400_000;

    fn session(id: &str, user: &str, searches: &[(&str, i64)]) -> Session {
        let search = |(query, time_ms): &(&str, i64)| {
            let click = Click { doc: "new".into(), rank: 1, time_ms: time_ms + DAY_MS, ..Click::default() };
            let shown = vec![if *query == "car" { "unknown".into() } else { "new".into() }];
            Search { query: (*query).into(), time_ms: *time_ms, shown, clicks: vec![click], ..Search::default() }
        };
        let searches = searches.iter().map(search).collect();
        Session { id: id.into(), user: user.into(), searches, ..Session::default() }
    }

    #[test]
    fn queries_and_births_are_counted_by_day() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let sessions = [
            session("a", "u1", &[("Jaguar ", DAY_MS), ("jaguar", DAY_MS + 5), ("jaguar", 3 * DAY_MS)]),
            session("b", "u2", &[("jaguar", DAY_MS), ("car", DAY_MS), ("too early", 0)]),
        ];
        let doc = |id: &str, published_ms| Doc { id: id.into(), published_ms, ..Doc::default() };
        store
            .write_log("l", LogKind::World, "x", |w| {
                w.doc(&doc("new", DAY_MS))?;
                w.doc(&doc("old", 0))?;
                sessions.iter().try_for_each(|s| w.session(s))
            })
            .unwrap();
        let log = store.log("l").unwrap();
        let mut found = Vec::new();
        let keep = |q: QueryDay| {
            found.push((q.query, q.day, q.half, q.count));
            Ok(())
        };
        store.for_each_query_day(&log, DAY_MS, keep).unwrap();
        let wanted = [("car", 0, 0, 1), ("jaguar", 0, 0, 1), ("jaguar", 0, 1, 2), ("jaguar", 2, 1, 1)];
        assert_eq!(found, wanted.map(|(q, day, half, n)| (q.to_owned(), day, half, n)));
        let mut typed = Vec::new();
        let keep = |t: Typed| {
            typed.push((t.query.to_owned(), t.user.to_owned(), t.answered));
            Ok(())
        };
        store.for_each_typed(&log, DAY_MS, keep).unwrap();
        typed.sort();
        let wanted = [("Jaguar ", "u1", true), ("car", "u2", false), ("jaguar", "u2", true), ("too early", "u2", true)];
        assert_eq!(typed, wanted.map(|(query, user, answered)| (query.to_owned(), user.to_owned(), answered)));
        let mut queries = Vec::new();
        store
            .for_each_query(&log, DAY_MS, |query, user| {
                queries.push((query.to_owned(), user.to_owned()));
                Ok(())
            })
            .unwrap();
        queries.sort();
        assert_eq!(queries, wanted.map(|(query, user, _)| (query.to_owned(), user.to_owned())));
        let births = store.births(&log, DAY_MS, 4).unwrap();
        assert_eq!(births, Births { published: vec![1, 0, 0, 0], clicks_by_age: vec![1, 4, 0, 1] });
    }
}
