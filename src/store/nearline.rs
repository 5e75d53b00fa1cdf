//! Near-line rewrites in the store: computed behind a request, read by the next one that asks the same.

use anyhow::Result;
use rusqlite::{OptionalExtension, params};

use super::{Store, explain};

/// A rewrite that was computed behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Query and last watched video.
    pub key: String,
    /// The rewrite; none leaves the query alone.
    pub rewrite: Option<String>,
    /// Why: `rewritten`, `rejected`, `unchanged` or `truncated`.
    pub reason: String,
    /// When it was computed, Unix milliseconds.
    pub made_ms: i64,
}

impl Store {
    /// What a rewriter said about a key, if it was asked yet.
    ///
    /// # Errors
    /// SQLite's.
    pub fn nearline(&self, rewriter: &str, key: &str) -> Result<Option<Kept>> {
        let sql = "SELECT rewrite, reason, made_ms FROM nearline WHERE rewriter = ? AND key = ?";
        let mut stmt = self.conn.prepare_cached(sql)?;
        let kept = stmt.query_row([rewriter, key], |r| {
            Ok(Kept { key: key.to_owned(), rewrite: r.get(0)?, reason: r.get(1)?, made_ms: r.get(2)? })
        });
        Ok(kept.optional()?)
    }

    /// Keeps what a rewriter said, in one transaction; of two answers to one key the later counts.
    ///
    /// # Errors
    /// SQLite's; a full disk keeps none of them.
    pub fn keep_nearline(&mut self, rewriter: &str, rows: &[Kept]) -> Result<()> {
        let path = self.path.clone();
        let mut inner = || -> Result<()> {
            let tx = self.conn.transaction()?;
            for row in rows {
                tx.prepare_cached("INSERT OR REPLACE INTO nearline VALUES (?,?,?,?,?)")?.execute(params![
                    rewriter,
                    row.key,
                    row.rewrite,
                    row.reason,
                    row.made_ms
                ])?;
            }
            Ok(tx.commit()?)
        };
        inner().map_err(|e| explain(e, &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_by_rewriter_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let kept = |key: &str, rewrite: Option<&str>, made_ms| Kept {
            key: key.into(),
            rewrite: rewrite.map(str::to_owned),
            reason: if rewrite.is_some() { "rewritten" } else { "rejected" }.into(),
            made_ms,
        };
        store.keep_nearline("m@1", &[kept("jaguar", Some("jaguar car"), 1), kept("weather", None, 2)]).unwrap();
        store.keep_nearline("m@1", &[kept("jaguar", Some("jaguar cat"), 3)]).unwrap();
        let reader = Store::open_existing(dir.path()).unwrap();
        assert_eq!(reader.nearline("m@1", "jaguar").unwrap(), Some(kept("jaguar", Some("jaguar cat"), 3)));
        assert_eq!(reader.nearline("m@1", "weather").unwrap(), Some(kept("weather", None, 2)));
        assert_eq!(reader.nearline("m@2", "jaguar").unwrap(), None, "a new model says it anew");
        assert_eq!(reader.nearline("m@1", "puma").unwrap(), None);
    }
}
