//! The two file formats: `query Q0 document rank score tag` and `query iteration document relevance`, a line each.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};

/// What a system retrieved: for each query its documents, best first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Run {
    /// The tag of its first line.
    pub tag: String,
    /// By query.
    pub queries: BTreeMap<String, Vec<String>>,
}

/// What people judged: for each query its documents with their relevance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qrels {
    /// By query, then by document; 0 and below is not relevant.
    pub queries: BTreeMap<String, BTreeMap<String, i64>>,
}

impl Run {
    /// Reads a run. The rank written in it plays no part: as in `trec_eval` documents are ordered by score in single precision,
    /// equal ones by their ids from the end of the alphabet.
    ///
    /// # Errors
    /// A file that cannot be read; a line that is none of a run; a document twice for a query.
    pub fn read(path: &Path) -> Result<Self> {
        let mut run = Self::default();
        let mut scored: BTreeMap<String, Vec<(f32, String)>> = BTreeMap::new();
        for_each_line(path, |fields| {
            let [query, _, doc, _, score, tag] = fields else {
                return Err(anyhow!("{} fields, and a run has 6: query Q0 document rank score tag", fields.len()));
            };
            let score: f32 = score.parse().map_err(|_| anyhow!("{score:?} is no score"))?;
            ensure!(score.is_finite(), "{score} is no score");
            if run.tag.is_empty() {
                run.tag = (*tag).to_owned();
            }
            scored.entry((*query).to_owned()).or_default().push((score, (*doc).to_owned()));
            Ok(())
        })?;
        for (query, mut docs) in scored {
            docs.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
            let mut ids: Vec<&String> = docs.iter().map(|(_, doc)| doc).collect();
            ids.sort_unstable();
            if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(anyhow!("{}: query {query} has document {} twice", path.display(), twice[0]));
            }
            run.queries.insert(query, docs.into_iter().map(|(_, doc)| doc).collect());
        }
        ensure!(!run.queries.is_empty(), "{} holds no line of a run", path.display());
        Ok(run)
    }
}

impl Qrels {
    /// Reads judgments; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// A file that cannot be read; a line that is none of judgments; a document judged twice for a query.
    pub fn read(path: &Path) -> Result<Self> {
        let mut qrels = Self::default();
        for_each_line(path, |fields| {
            let [query, _, doc, relevance] = fields else {
                let n = fields.len();
                return Err(anyhow!("{n} fields, and judgments have 4: query iteration document relevance"));
            };
            let relevance = relevance.parse().map_err(|_| anyhow!("{relevance:?} is no relevance"))?;
            match qrels.queries.entry((*query).to_owned()).or_default().entry((*doc).to_owned()) {
                Entry::Vacant(place) => place.insert(relevance),
                Entry::Occupied(_) => return Err(anyhow!("query {query} has document {doc} twice")),
            };
            Ok(())
        })?;
        ensure!(!qrels.queries.is_empty(), "{} holds no judgment", path.display());
        Ok(qrels)
    }
}

/// Passes the fields of every line that has any; an error names file and line.
fn for_each_line(path: &Path, mut visit: impl FnMut(&[&str]) -> Result<()>) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| anyhow!("{} is no text: unpack it first if it is packed", path.display()))?;
    for (number, line) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.is_empty() || line.starts_with('#') {
            continue;
        }
        visit(&fields).with_context(|| format!("{}, line {number}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn documents_stand_by_score_and_equal_ones_from_the_end_of_the_alphabet() {
        let run = file("1 Q0 a 1 0.5 mine\n\n1 Q0 c 2 0.7 mine\n1 Q0 b 3 0.5000000001 mine\n2 Q0 z 1 -3 mine\n");
        let run = Run::read(run.path()).unwrap();
        // In single precision a and b are equal.
        assert_eq!((run.tag.as_str(), &run.queries["1"]), ("mine", &vec!["c".into(), "b".into(), "a".to_owned()]));
        assert_eq!(run.queries["2"], ["z"]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, wanted) in [
            ("1 Q0 a 1 0.5 t\n1 Q0 a 1 0.5\n", "line 2: 5 fields"),
            ("1 Q0 a 1 high t\n", "\"high\" is no score"),
            ("1 Q0 a 1 NaN t\n", "is no score"),
            ("1 Q0 a 1 1 t\n1 Q0 a 2 2 t\n", "document a twice"),
            ("\n", "holds no line"),
        ] {
            let error = format!("{:#}", Run::read(file(text).path()).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
        for (text, wanted) in [
            ("# of 2019\n1 0 a 1\n1 0 a 0\n", "line 3: query 1 has document a twice"),
            ("1 0 a much\n", "\"much\" is no relevance"),
            ("1 a 1\n", "3 fields"),
        ] {
            let error = format!("{:#}", Qrels::read(file(text).path()).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
    }
}
