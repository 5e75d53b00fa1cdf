//! Reader of User Behavior Insights logs (UBI 1.0.0 to 1.3.0, <https://github.com/o19s/ubi>).
//!
//! What is a row: every line that is neither blank nor a bulk file's action line (`{"index": …}`); those are framing
//! and carry no data. Every row is used or skipped with one of the reasons in [`reason`], so
//! `rows_read = used + skipped`; [`read`] stops if that ever fails to hold.
//!
//! What the standard leaves open, and how it is read here:
//! - `event_attributes.dwell_time` is taken for seconds. Without it the dwell of a click lasts to the next thing
//!   logged for that session that is not about the same object, and is unknown past `session_gap_s`.
//! - `position.ordinal` counts from 0 in an application that uses 0 anywhere, else from 1.
//! - One query id may carry several query texts (clients reuse ids); each text is a search of its own.
//! - Something opened outside search, or opened from a search and not left within `fail_dwell_s`, counts as watched.

mod build;
mod event;
pub(super) mod lines;
mod row;
mod sessions;
mod time;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{LogFile, Skipped};
use crate::recipe;
pub use event::{Heard, hear};
use lines::{Lines, excerpt};
use row::Parsed;

/// Why rows are not used: the words that counts are grouped by.
pub mod reason {
    /// Over 1 MiB in one line.
    pub const TOO_LONG: &str = "line too long";
    /// Bytes that are no text.
    pub const NOT_UTF8: &str = "invalid UTF-8";
    /// Text that is no JSON object.
    pub const NOT_JSON: &str = "invalid JSON";
    /// The file ends inside this row.
    pub const TRUNCATED: &str = "truncated last line";
    /// No action and no query in it.
    pub const NEITHER: &str = "neither query nor event";
    /// No timestamp, or one that cannot be read.
    pub const NO_TIME: &str = "unknown time";
    /// A query without words.
    pub const EMPTY_QUERY: &str = "empty query";
    /// Nothing to join the row to a query by.
    pub const NO_QUERY_ID: &str = "no query id";
    /// Nobody logged what was typed under this id.
    pub const NO_QUERY: &str = "no query for the id";
    /// Filters, sorting, page exits and the like.
    pub const OTHER_ACTION: &str = "action not about a result";
    /// A click or an impression of nothing.
    pub const NO_OBJECT: &str = "no object id";
    /// The same row was there before.
    pub const DUPLICATE: &str = "duplicate";
    /// A query that was still being typed.
    pub const TYPING: &str = "typed on within 2 s";
    /// Neither session nor client nor user is named.
    pub const NOBODY: &str = "no session, client or user id";
}

/// Endings of the files taken from a folder.
const ENDINGS: [&str; 4] = ["ndjson", "jsonl", "json", "tsv"];

/// Reads a UBI file, or every `.ndjson`, `.jsonl`, `.json` and `.tsv` file of a folder in name order.
///
/// Takes bulk files, plain lines of JSON, `index<TAB>json` lines and index dumps (`_source`), queries and events mixed
/// in any order. `tick` hears how many bytes were read since it was last called.
///
/// # Errors
/// A file or folder that cannot be read, or a folder without such files. Bad rows are no error: they are counted.
pub fn read(path: &Path, settings: &recipe::Mine, tick: &dyn Fn(u64)) -> Result<LogFile> {
    let files = files(path)?;
    let (mut rows, mut skipped, mut rows_read) = (Vec::new(), Vec::new(), 0);
    for file in &files {
        // Line numbers start over in each file, so its name goes before the excerpt.
        let prefix =
            if path.is_dir() { format!("{}: ", file.file_name().unwrap_or_default().display()) } else { String::new() };
        let opened = File::open(file)
            .with_context(|| format!("cannot open {}: check the path and its permissions", file.display()))?;
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, opened));
        while let Some(line) = lines
            .next_line()
            .with_context(|| format!("cannot read on in {}: copy the file and try again", file.display()))?
        {
            tick(line.read);
            match row::parse(&line) {
                Parsed::Frame => continue,
                Parsed::Row(mut row) => {
                    row.excerpt.insert_str(0, &prefix);
                    rows.push(*row);
                }
                Parsed::Skip(why) => {
                    let excerpt = format!("{prefix}{}", excerpt(line.bytes));
                    skipped.push(Skipped { line: line.number, reason: why.into(), excerpt });
                }
            }
            rows_read += 1;
        }
    }
    let built = build::build(rows, settings);
    skipped.extend(built.skipped);
    ensure!(
        rows_read == built.used + skipped.len(),
        "{}: {rows_read} rows read, {} used and {} skipped do not add up: this is a fault of the reader, please report it",
        path.display(),
        built.used,
        skipped.len()
    );
    skipped.sort_by_key(|s| s.line);
    Ok(LogFile { sessions: built.sessions, docs: built.docs, rows_read, skipped })
}

/// Bytes that [`read`] will report to its `tick` for this path; 0 when that cannot be told.
#[must_use]
pub fn size(path: &Path) -> u64 {
    files(path).map_or(0, |all| all.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum())
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().with_context(|| format!("cannot list {}: check its permissions", path.display()))?;
    let mut files = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|f| {
        f.is_file() && f.extension().is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
    });
    ensure!(
        !files.is_empty(),
        "no log in {}: it holds no .{} file; name the file itself",
        path.display(),
        ENDINGS.join(", .")
    );
    files.sort();
    Ok(files)
}
