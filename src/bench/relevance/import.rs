//! A file of judged pairs as a log of its own: documents, and annotations split by a seeded hash of the query.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use super::Unused;
use crate::logs::{Judged, read_judged};
use crate::recipe::Recipe;
use crate::store::{Annotation, LogKind, Notes, Part, Store, subject_split};

/// Reads the file into the log of that name, in place of what an earlier reading of a file left there.
pub(super) fn import(
    workspace: &Path,
    recipe: &Recipe,
    file: &Path,
    log: &str,
) -> Result<(Vec<Annotation>, Vec<Unused>)> {
    let read = read_judged(file)?;
    let mut store = Store::open(workspace)?;
    if let Some(earlier) = store.find_log(log)?.filter(|earlier| earlier.kind != LogKind::Judged.as_str()) {
        bail!("the log {log:?} was made from {}: rename the file, or use another --workspace", earlier.origin);
    }
    let rows = annotations(recipe, &read.pairs);
    let origin = file.display().to_string();
    store.write_log(log, LogKind::Judged, &origin, |writer| {
        read.pairs.iter().try_for_each(|pair| writer.doc(&pair.doc))?;
        writer.skipped(read.rows_read, &read.skipped)
    })?;
    store.replace_annotations(&store.log(log)?, &rows)?;
    let mut unused: BTreeMap<&str, Unused> = BTreeMap::new();
    for row in &read.skipped {
        let (reason, first_line) = (row.reason.clone(), row.line);
        unused.entry(&row.reason).or_insert(Unused { reason, rows: 0, first_line }).rows += 1;
    }
    Ok((rows, unused.into_values().collect()))
}

/// Pairs of one query stand together, in the order in which queries first come.
fn annotations(recipe: &Recipe, pairs: &[Judged]) -> Vec<Annotation> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in pairs {
        let next = places.len();
        places.entry(&pair.query).or_insert(next);
    }
    let mut sorted: Vec<&Judged> = pairs.iter().collect();
    sorted.sort_by_key(|pair| places[pair.query.as_str()]);
    let row = |pair: &Judged| Annotation {
        split: subject_split(recipe, &pair.query.to_lowercase()),
        part: Part::General,
        query: pair.query.clone(),
        doc: pair.doc.id.clone(),
        label: pair.label,
        notes: Notes::new(),
    };
    sorted.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Split;

    #[test]
    fn a_file_becomes_a_log_whose_queries_lie_on_one_side_each() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pairs.jsonl");
        // Two rounds, so that rows of a query do not stand together in the file.
        let mut text = String::from("broken\n");
        for round in 0..2 {
            for q in 0..60 {
                text += &format!(
                    "{{\"query\":\"query {q}\",\"title\":\"title {q} {round}\",\"label\":\"{}\"}}\n",
                    ["E", "I"][round]
                );
            }
        }
        std::fs::write(&file, text).unwrap();
        let (workspace, recipe) = (dir.path().join("w"), Recipe::default());
        let (rows, unused) = import(&workspace, &recipe, &file, "pairs").unwrap();
        assert_eq!(rows.len(), 120);
        assert!(rows.chunks(2).all(|two| two[0].query == two[1].query && two[0].split == two[1].split));
        assert_eq!(unused, [Unused { reason: "invalid JSON".into(), rows: 1, first_line: 1 }]);
        let store = Store::open(&workspace).unwrap();
        let log = store.log("pairs").unwrap();
        assert_eq!((log.docs, store.annotated_docs(&log).unwrap().len()), (120, 120));
        assert!(store.annotations(&log, Split::Test).unwrap().len() > 10);
        drop(store);
        assert_eq!(import(&workspace, &recipe, &file, "pairs").unwrap().0, rows, "again, and not twice");
        Store::open(&workspace).unwrap().write_log("world", LogKind::World, "x", |_| Ok(())).unwrap();
        let error = import(&workspace, &recipe, &file, "world").unwrap_err().to_string();
        assert!(error.contains("rename the file"), "{error}");
    }
}
