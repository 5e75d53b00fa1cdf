//! A reader of judged pairs: JSON lines of query, document and label, ESCI's four grades among them.
//!
//! A row is `{"query": …, "document": …, "label": …}`. The document is a title, or an object with `title` and, where there
//! are any, `id`, `tags` and `visual`; `title` or `product_title` may stand in the row instead. The label is 1 to 4, `L1` to
//! `L4`, or ESCI's `E`, `S`, `C`, `I` (also as `esci_label`), which are L4, L3, L2, L1.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::ubi::lines::{Line, Lines, excerpt};
use super::{Doc, Skipped};
use crate::recipe::Fingerprint;

/// A judged pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The query, without blanks around it.
    pub query: String,
    /// The document; its id is the file's, or made of what it says.
    pub doc: Doc,
    /// 1 to 4.
    pub label: u8,
}

/// What a file of judged pairs holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JudgedFile {
    /// Pairs in the file's order, each once.
    pub pairs: Vec<Judged>,
    /// Rows read, skipped ones included.
    pub rows_read: usize,
    /// Rows not used.
    pub skipped: Vec<Skipped>,
}

/// Reads a file of JSON lines; a row that cannot be used is kept with its line and the reason.
///
/// # Errors
/// A file that cannot be read, or has no row that can be used: the first bad line is named.
pub fn read(path: &Path) -> Result<JudgedFile> {
    let what = || format!("cannot read the judged pairs {}", path.display());
    let mut lines = Lines::new(BufReader::new(File::open(path).with_context(what)?));
    let mut file = JudgedFile::default();
    let mut labels: HashMap<(String, String), u8> = HashMap::new();
    while let Some(line) = lines.next_line().with_context(what)? {
        if line.bytes.trim_ascii().is_empty() {
            continue;
        }
        file.rows_read += 1;
        let row =
            pair(&line).and_then(|pair| match labels.insert((pair.query.clone(), pair.doc.id.clone()), pair.label) {
                None => Ok(pair),
                Some(earlier) if earlier == pair.label => Err("duplicate"),
                Some(earlier) => {
                    labels.insert((pair.query, pair.doc.id), earlier);
                    Err("another label for the same pair")
                }
            });
        match row {
            Ok(pair) => file.pairs.push(pair),
            Err(reason) => {
                let row = Skipped { line: line.number, reason: reason.to_owned(), excerpt: excerpt(line.bytes) };
                file.skipped.push(row);
            }
        }
    }
    match file.skipped.first().filter(|_| file.pairs.is_empty()) {
        Some(Skipped { line, reason, excerpt }) => {
            bail!("{}: no row can be used; line {line}: {reason}: {excerpt}", path.display())
        }
        None if file.pairs.is_empty() => bail!("{} holds no rows: give a file of JSON lines", path.display()),
        None => Ok(file),
    }
}

fn pair(line: &Line) -> Result<Judged, &'static str> {
    if line.too_long {
        return Err("line too long");
    }
    let text = std::str::from_utf8(line.bytes).map_err(|_| "invalid UTF-8")?;
    let row: Value = match serde_json::from_str(text) {
        Ok(row) => row,
        Err(_) if !line.ended => return Err("truncated last line"),
        Err(_) => return Err("invalid JSON"),
    };
    let Some(row) = row.as_object() else { return Err("no object") };
    let said = |keys: &[&str]| keys.iter().find_map(|key| row.get(*key).filter(|value| !value.is_null()));
    let query = said(&["query"]).and_then(Value::as_str).map(str::trim).filter(|q| !q.is_empty()).ok_or("no query")?;
    let label = label(said(&["label", "esci_label"]).ok_or("no label")?).ok_or("unknown label")?;
    let doc = doc(said(&["document", "title", "product_title"]).ok_or("no document")?).ok_or("no title")?;
    Ok(Judged { query: query.to_owned(), doc, label })
}

fn label(value: &Value) -> Option<u8> {
    if let Some(text) = value.as_str() {
        return match text.trim().to_lowercase().as_str() {
            "4" | "l4" | "e" | "exact" => Some(4),
            "3" | "l3" | "s" | "substitute" => Some(3),
            "2" | "l2" | "c" | "complement" => Some(2),
            "1" | "l1" | "i" | "irrelevant" => Some(1),
            _ => None,
        };
    }
    let number = value.as_f64()?;
    [1, 2, 3, 4].into_iter().find(|label| f64::from(*label) == number)
}

fn doc(value: &Value) -> Option<Doc> {
    let list = |key: &str| -> Vec<String> {
        let items = value.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let title = value.as_str().or_else(|| value.get("title")?.as_str())?.trim().to_owned();
    let doc = Doc { title, tags: list("tags"), visual: list("visual"), popularity: 1.0, ..Doc::default() };
    if doc.title.is_empty() && doc.tags.is_empty() {
        return None;
    }
    let mut print = Fingerprint::default();
    std::iter::once(&doc.title).chain(&doc.tags).chain(&doc.visual).for_each(|text| print.add(text.as_bytes()));
    let named =
        value.get("id").and_then(|id| id.as_str().map(str::to_owned).or_else(|| Some(id.as_u64()?.to_string())));
    Some(Doc { id: named.unwrap_or_else(|| print.hex()), ..doc })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> Result<JudgedFile> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn every_spelling_of_a_pair_is_read_and_every_bad_row_counted_with_its_line() {
        let rows: [&[u8]; 14] = [
            br#"{"query": " jaguar car ", "document": "Jaguar XJS", "label": 4}"#,
            br#"{"query": "jaguar car", "document": {"id": 7, "title": "Cat", "tags": ["a"], "visual": ["see:b"]}, "label": "L2"}"#,
            br#"{"query": "usb cable", "product_title": "USB cable", "esci_label": "E", "split": "train"}"#,
            br#"{"query": "usb cable", "title": "Hub", "label": "c"}"#,
            b"",
            b"not json",
            br#"{"query": "", "document": "x", "label": 1}"#,
            br#"{"query": "q", "label": 1}"#,
            br#"{"query": "q", "document": "x", "label": 5}"#,
            br#"{"query": "q", "document": "x"}"#,
            br#"{"query": "usb cable", "title": "Hub", "label": "C"}"#,
            br#"{"query": "usb cable", "title": "Hub", "label": "S"}"#,
            b"{\"query\": \"\xff\", \"document\": \"x\", \"label\": 1}",
            br#"{"query": "cut off", "docu"#,
        ];
        let file = read_text(&rows.join(&b'\n')).unwrap();
        let pairs: Vec<_> = file.pairs.iter().map(|p| (p.query.as_str(), p.doc.title.as_str(), p.label)).collect();
        let wanted = [
            ("jaguar car", "Jaguar XJS", 4),
            ("jaguar car", "Cat", 2),
            ("usb cable", "USB cable", 4),
            ("usb cable", "Hub", 2),
        ];
        assert_eq!(pairs, wanted);
        assert_eq!((file.pairs[1].doc.id.as_str(), file.pairs[1].doc.visual.len()), ("7", 1));
        let skipped: Vec<_> = file.skipped.iter().map(|s| (s.line, s.reason.as_str())).collect();
        let reasons = [
            (6, "invalid JSON"),
            (7, "no query"),
            (8, "no document"),
            (9, "unknown label"),
            (10, "no label"),
            (11, "duplicate"),
            (12, "another label for the same pair"),
            (13, "invalid UTF-8"),
            (14, "truncated last line"),
        ];
        assert_eq!(skipped, reasons);
        assert_eq!(file.rows_read, 13);
    }

    #[test]
    fn a_file_without_a_usable_row_names_its_first_bad_line() {
        let error = read_text(b"\n{\"query\": \"q\"}\n").unwrap_err().to_string();
        assert!(error.contains("line 2: no label"), "{error}");
        assert!(read_text(b"").unwrap_err().to_string().contains("no rows"));
        let error = format!("{:#}", read(Path::new("absent.jsonl")).unwrap_err());
        assert!(error.contains("absent.jsonl"), "{error}");
    }
}
