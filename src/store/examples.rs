//! Mined examples in the store.

use anyhow::Result;
use rusqlite::params;
use serde::Serialize;

use super::logs::json;
use super::{Context, LogInfo, Store, explain};

/// Which side of the time-and-person split an example lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// People and weeks that training may see.
    Train,
    /// Half of the people never trained on, in weeks never trained on: looked at while training.
    Validation,
    /// The other half: looked at once, for the report.
    Test,
}

impl Split {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// One mined example as a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExampleRow {
    /// Side of the split.
    pub split: Split,
    /// The person.
    pub user: String,
    /// Time of the query, Unix milliseconds.
    pub time_ms: i64,
    /// The query to rewrite or to leave alone.
    pub query: String,
    /// What the person typed next with success; `None` is `<reject>`.
    pub target: Option<String>,
    /// What was known at the time of the query.
    pub context: Context,
    /// The document whose dwell made the success.
    pub satisfied_doc: Option<String>,
}

impl Store {
    /// Replaces everything mined from a log, in one transaction.
    ///
    /// # Errors
    /// SQLite's; a full disk leaves the earlier examples.
    pub fn replace_examples(&mut self, log: &LogInfo, rows: &[ExampleRow]) -> Result<()> {
        let path = self.path.clone();
        let mut inner = || -> Result<()> {
            let tx = self.conn.transaction()?;
            tx.execute("DELETE FROM example WHERE log = ?1", [log.id])?;
            {
                let mut stmt = tx.prepare(
                    "INSERT INTO example (log, split, user, time_ms, query, target, context_json, satisfied_doc)
                     VALUES (?,?,?,?,?,?,?,?)",
                )?;
                for row in rows {
                    stmt.execute(params![
                        log.id,
                        row.split.as_str(),
                        row.user,
                        row.time_ms,
                        row.query,
                        row.target,
                        serde_json::to_string(&row.context)?,
                        row.satisfied_doc
                    ])?;
                }
            }
            Ok(tx.commit()?)
        };
        inner().map_err(|e| explain(e, &path))
    }

    /// Examples of one side of the split, in the order they were mined.
    ///
    /// # Errors
    /// SQLite's.
    pub fn examples(&self, log: &LogInfo, split: Split) -> Result<Vec<ExampleRow>> {
        let mut stmt = self.conn.prepare(
            "SELECT user, time_ms, query, target, context_json, satisfied_doc
             FROM example WHERE log = ?1 AND split = ?2 ORDER BY id",
        )?;
        let mut rows = stmt.query(params![log.id, split.as_str()])?;
        let mut examples = Vec::new();
        while let Some(r) = rows.next()? {
            examples.push(ExampleRow {
                split,
                user: r.get(0)?,
                time_ms: r.get(1)?,
                query: r.get(2)?,
                target: r.get(3)?,
                context: json(r.get(4)?)?,
                satisfied_doc: r.get(5)?,
            });
        }
        Ok(examples)
    }
}
