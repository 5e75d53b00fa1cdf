//! Relevance annotations in the store.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::logs::json;
use super::{LogInfo, Split, Store, explain};
use crate::recipe::Reason;

/// Which kind of pair (RAIR's three subsets).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// As they come: from the top of the page, and from anywhere.
    General,
    /// Near misses.
    Hard,
    /// Words leave the sense open and the picture tells it.
    Salient,
}

impl Part {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::General, Self::Hard, Self::Salient];

    /// Word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Hard => "hard",
            Self::Salient => "salient",
        }
    }
}

/// What an annotator wrote beside a label.
pub type Notes = BTreeMap<Reason, String>;

/// One annotated pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// Side of the split.
    pub split: Split,
    /// Kind of pair.
    pub part: Part,
    /// The query.
    pub query: String,
    /// Id of the document in the same log.
    pub doc: String,
    /// 1 to 4.
    pub label: u8,
    /// Reasoning, step by step; may be empty.
    pub notes: Notes,
}

impl Store {
    /// Replaces all annotations of a log, in one transaction.
    ///
    /// # Errors
    /// SQLite's; a full disk leaves the earlier ones.
    pub fn replace_annotations(&mut self, log: &LogInfo, rows: &[Annotation]) -> Result<()> {
        let path = self.path.clone();
        let mut inner = || -> Result<()> {
            let tx = self.conn.transaction()?;
            tx.execute("DELETE FROM annotation WHERE log = ?1", [log.id])?;
            {
                let sql =
                    "INSERT INTO annotation (log, split, part, query, doc, label, notes_json) VALUES (?,?,?,?,?,?,?)";
                let mut stmt = tx.prepare(sql)?;
                for row in rows {
                    let notes = serde_json::to_string(&row.notes)?;
                    let (split, part) = (row.split.as_str(), row.part.as_str());
                    stmt.execute(params![log.id, split, part, row.query, row.doc, row.label, notes])?;
                }
            }
            Ok(tx.commit()?)
        };
        inner().map_err(|e| explain(e, &path))
    }

    /// Annotations of one side of the split, in the order they were written.
    ///
    /// # Errors
    /// SQLite's; a row with a word or a label that this program does not know.
    pub fn annotations(&self, log: &LogInfo, split: Split) -> Result<Vec<Annotation>> {
        let mut stmt = self.conn.prepare(
            "SELECT part, query, doc, label, notes_json FROM annotation WHERE log = ?1 AND split = ?2 ORDER BY id",
        )?;
        let mut rows = stmt.query(params![log.id, split.as_str()])?;
        let mut annotations = Vec::new();
        while let Some(r) = rows.next()? {
            let part: String = r.get(0)?;
            let known = Part::ALL.into_iter().find(|p| p.as_str() == part);
            let part = known.with_context(|| format!("an annotation of log {:?} is of the part {part:?}", log.name))?;
            let notes = json(r.get(4)?)?;
            annotations.push(Annotation { split, part, query: r.get(1)?, doc: r.get(2)?, label: r.get(3)?, notes });
        }
        Ok(annotations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LogKind;

    #[test]
    fn annotations_come_back_by_split_and_go_with_their_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.write_log("l", LogKind::World, "x", |_| Ok(())).unwrap();
        let log = store.log("l").unwrap();
        let row = |split, part, label| Annotation {
            split,
            part,
            query: "jaguar car".into(),
            doc: "v1".into(),
            label,
            notes: Notes::from([(Reason::Rules, "sense yes".to_owned())]),
        };
        let rows =
            [row(Split::Train, Part::Hard, 3), row(Split::Test, Part::Salient, 4), row(Split::Train, Part::General, 1)];
        store.replace_annotations(&log, &rows).unwrap();
        store.replace_annotations(&log, &rows).unwrap();
        assert_eq!(store.annotations(&log, Split::Train).unwrap(), [rows[0].clone(), rows[2].clone()]);
        assert_eq!(store.annotations(&log, Split::Test).unwrap(), [rows[1].clone()]);
        assert!(store.annotations(&log, Split::Validation).unwrap().is_empty());
        store.delete_log("l").unwrap();
        assert!(store.annotations(&log, Split::Train).unwrap().is_empty());
    }
}
