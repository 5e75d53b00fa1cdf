//! SQLite's own full-text search (FTS5): what one would otherwise embed, and so what `core bench` compares ours with.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

use super::Doc;

/// An FTS5 index of its own file.
pub struct FullText {
    conn: Connection,
}

impl FullText {
    /// Indexes title, tags and creator of documents, stemmed as English, in one transaction.
    ///
    /// # Errors
    /// SQLite's, such as a full disk.
    pub fn build(path: &Path, docs: &[Doc]) -> Result<Self> {
        let mut conn = Connection::open(path).with_context(|| format!("cannot make {}", path.display()))?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.execute_batch(
            "CREATE VIRTUAL TABLE doc USING fts5(id UNINDEXED, title, tags, creator, tokenize = 'porter unicode61')",
        )?;
        let tx = conn.transaction()?;
        {
            let mut insert = tx.prepare("INSERT INTO doc (id, title, tags, creator) VALUES (?,?,?,?)")?;
            for doc in docs {
                insert.execute(params![doc.id, doc.title, doc.tags.join(" "), doc.creator])?;
            }
        }
        tx.commit()?;
        Ok(Self { conn })
    }

    /// Ids and titles of the best documents by FTS5's own BM25 that have any of the words.
    ///
    /// # Errors
    /// SQLite's.
    pub fn search(&self, words: &[String], limit: usize) -> Result<Vec<(String, String)>> {
        // Quoted, a word is never syntax.
        let any: Vec<String> = words.iter().map(|word| format!("\"{}\"", word.replace('"', ""))).collect();
        if any.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT id, title FROM doc WHERE doc MATCH ? ORDER BY rank LIMIT ?";
        let mut select = self.conn.prepare_cached(sql)?;
        let rows = select.query_map(params![any.join(" OR "), limit], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_their_stems_and_are_never_syntax() {
        let dir = tempfile::tempdir().unwrap();
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), ..Doc::default() };
        let docs = [doc("a", "jaguars in the wild"), doc("b", "bread baking")];
        let peer = FullText::build(&dir.path().join("fts.db"), &docs).unwrap();
        let find = |words: &[&str]| -> Vec<String> {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            peer.search(&words, 10).unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(find(&["jaguar"]), ["a"]);
        assert_eq!(find(&["baked", "jaguar"]).len(), 2);
        assert_eq!(find(&["OR", "title:bread", "\"("]), [""; 0]);
        assert_eq!(find(&[]), [""; 0]);
    }
}
