//! Documents of a log in the store.

use anyhow::Result;

use super::logs::json;
use super::{Doc, LogInfo, Store};

impl Store {
    /// Every document of a log.
    ///
    /// # Errors
    /// SQLite's.
    pub fn docs(&self, log: &LogInfo) -> Result<Vec<Doc>> {
        self.docs_where(log, "log = ?1")
    }

    /// The documents of a log that an annotation names.
    ///
    /// # Errors
    /// SQLite's.
    pub fn annotated_docs(&self, log: &LogInfo) -> Result<Vec<Doc>> {
        self.docs_where(log, "log = ?1 AND id IN (SELECT doc FROM annotation WHERE log = ?1)")
    }

    fn docs_where(&self, log: &LogInfo, condition: &str) -> Result<Vec<Doc>> {
        let mut stmt = self.conn.prepare(&format!(
            "SELECT id, title, tags_json, creator, duration_s, published_ms, popularity, visual_json
             FROM doc WHERE {condition} ORDER BY id"
        ))?;
        let mut rows = stmt.query([log.id])?;
        let mut docs = Vec::new();
        while let Some(r) = rows.next()? {
            docs.push(Doc {
                id: r.get(0)?,
                title: r.get(1)?,
                tags: json(r.get(2)?)?,
                creator: r.get(3)?,
                duration_s: r.get(4)?,
                published_ms: r.get(5)?,
                popularity: r.get(6)?,
                visual: json(r.get(7)?)?,
            });
        }
        Ok(docs)
    }
}
