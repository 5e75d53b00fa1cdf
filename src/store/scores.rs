//! Relevance scores in the store: what was scored once is not scored again.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use rusqlite::{OptionalExtension, params};

use super::{Store, explain};

/// Relevance by document number.
pub type Scores = BTreeMap<u32, f64>;

/// Bytes of a document's score.
const WIDTH: usize = 12;

impl Store {
    /// What a scorer said of a text, document by document; nothing where it was not asked yet.
    ///
    /// # Errors
    /// SQLite's; a row that no program of ours wrote.
    pub fn scores(&self, scorer: &str, text: &str) -> Result<Scores> {
        let sql = "SELECT scores FROM score WHERE scorer = ? AND text = ?";
        let mut stmt = self.conn.prepare_cached(sql)?;
        let blob: Option<Vec<u8>> = stmt.query_row([scorer, text], |r| r.get(0)).optional()?;
        let blob = blob.unwrap_or_default();
        ensure!(blob.len().is_multiple_of(WIDTH), "the scores of {text:?} in {} are damaged", self.path.display());
        let one = |bytes: &[u8]| {
            let (number, score) = bytes.split_at(4);
            let number = number.try_into().map(u32::from_le_bytes)?;
            Ok::<_, std::array::TryFromSliceError>((number, score.try_into().map(f64::from_le_bytes)?))
        };
        Ok(blob.chunks_exact(WIDTH).map(one).collect::<Result<_, _>>()?)
    }

    /// Keeps all that a scorer has said of texts, in one transaction; each replaces what was kept of its text.
    ///
    /// # Errors
    /// SQLite's; a full disk keeps none of them.
    pub fn keep_scores<'a>(&mut self, scorer: &str, texts: impl Iterator<Item = (&'a str, &'a Scores)>) -> Result<()> {
        let path = self.path.clone();
        let inner = || -> Result<()> {
            let tx = self.conn.transaction()?;
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO score VALUES (?,?,?)")?;
            for (text, scores) in texts {
                let bytes = |(number, score): (&u32, &f64)| [&number.to_le_bytes()[..], &score.to_le_bytes()].concat();
                put.execute(params![scorer, text, scores.iter().flat_map(bytes).collect::<Vec<u8>>()])?;
            }
            drop(put);
            Ok(tx.commit()?)
        };
        inner().map_err(|e| explain(e, &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_to_the_last_bit_by_scorer_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let scores: Scores = [(0, 0.1 + 0.2), (70_000, 1.0)].into();
        store.keep_scores("plain", [("jaguar car", &scores)].into_iter()).unwrap();
        assert_eq!(store.scores("plain", "jaguar car").unwrap(), scores);
        assert_eq!(store.scores("other", "jaguar car").unwrap(), Scores::new());
        let more: Scores = [(3, 0.5)].into();
        store.keep_scores("plain", [("jaguar car", &more)].into_iter()).unwrap();
        assert_eq!(store.scores("plain", "jaguar car").unwrap(), more);
        store.conn.execute("UPDATE score SET scores = x'00'", []).unwrap();
        assert!(store.scores("plain", "jaguar car").unwrap_err().to_string().contains("damaged"));
    }
}
