//! The one way a command prints a table: aligned text for a person, JSON for a program.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::words;

/// Rows under named columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Machine name: the key of the rows in JSON.
    pub name: String,
    /// Line above the columns, for people.
    pub title: String,
    /// Machine names of the columns, unit last (`duration_s`); people see them with spaces.
    pub columns: Vec<String>,
    /// One cell per column in each.
    pub rows: Vec<Vec<Cell>>,
}

/// A value, and how a person reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    value: Value,
    text: String,
}

impl Cell {
    /// A value that people read in other words than programs do, say a time or a size.
    #[must_use]
    pub fn shown(value: impl Into<Value>, text: impl Into<String>) -> Self {
        Self { value: value.into(), text: text.into() }
    }

    fn missing() -> Self {
        Self::shown(Value::Null, "–")
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::shown(text, words::one_line(text))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<f64> for Cell {
    fn from(x: f64) -> Self {
        Self::shown(x, words::number(x))
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Self::shown(yes, if yes { "yes" } else { "no" })
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Self::shown(n, n.to_string())
    }
}

impl From<u64> for Cell {
    fn from(n: u64) -> Self {
        Self::shown(n, n.to_string())
    }
}

impl From<usize> for Cell {
    fn from(n: usize) -> Self {
        Self::shown(n, n.to_string())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(maybe: Option<T>) -> Self {
        maybe.map_or_else(Self::missing, Into::into)
    }
}

impl Table {
    /// A table without rows yet.
    #[must_use]
    pub fn new(name: &str, title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        Self { name: name.into(), title: title.into(), columns, rows: Vec::new() }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// When the row has not one cell per column: a mistake in the program.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a row of table {} against its columns", self.name);
        self.rows.push(cells);
    }

    /// The table as aligned text; columns of numbers stand at the right.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if !self.title.is_empty() {
            out += &format!("{}\n", self.title);
        }
        let heads: Vec<_> = self.columns.iter().map(|c| c.replace('_', " ")).collect();
        let layout: Vec<_> = (0..heads.len()).map(|i| self.column(i, &heads[i])).collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (cell, &(width, right)) in cells.zip(&layout) {
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                text += &if right { format!("  {gap}{cell}") } else { format!("  {cell}{gap}") };
            }
            out += text.trim_end();
            out.push('\n');
        };
        line(&mut heads.iter().map(String::as_str));
        for row in &self.rows {
            line(&mut row.iter().map(|cell| cell.text.as_str()));
        }
        if self.rows.is_empty() {
            line(&mut std::iter::once("(none)"));
        }
        out
    }

    /// Width of a column in terminal cells, and whether it stands at the right.
    fn column(&self, i: usize, head: &str) -> (usize, bool) {
        let cells = || self.rows.iter().map(|row| &row[i]);
        let width = cells().map(|c| c.text.width()).max().unwrap_or(0).max(head.width());
        let right = cells().any(|c| c.value.is_number()) && cells().all(|c| c.value.is_number() || c.value.is_null());
        (width, right)
    }

    /// The table as one line of JSON: `{"<name>": [{"<column>": value}]}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        struct Row<'a>(&'a [String], &'a [Cell]);
        impl Serialize for Row<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_map(self.0.iter().zip(self.1.iter().map(|cell| &cell.value)))
            }
        }
        let rows: Vec<_> = self.rows.iter().map(|cells| Row(&self.columns, cells)).collect();
        let named = std::collections::BTreeMap::from([(&self.name, rows)]);
        serde_json::to_string(&named).expect("strings and JSON values")
    }
}

/// Prints a table on standard output, as text or as JSON.
///
/// # Errors
/// A standard output that cannot be written, such as a full disk. A reader that has gone (`| head`) is no error.
pub fn print(table: &Table, json: bool) -> Result<()> {
    let text = if json { table.to_json() + "\n" } else { table.to_text() };
    say(&text)
}

/// Writes text to standard output, to the last byte.
///
/// # Errors
/// Those of [`print`].
pub fn say(text: &str) -> Result<()> {
    write_all(&mut std::io::stdout().lock(), text)
}

fn write_all(out: &mut impl Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output: free some space, or send it elsewhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("runs", "Runs", &["id", "name", "loss", "time_s"]);
        table.row([9_i64.into(), "猫\u{1b}[31m \"x\"".into(), 0.51234.into(), Cell::shown(90, "1:30")]);
        table.row([10_i64.into(), "b".into(), None::<f64>.into(), Cell::shown(5, "5 s")]);
        table
    }

    #[test]
    fn numbers_stand_right_and_wide_characters_keep_the_columns() {
        let wanted = "Runs
  id  name           loss  time s
   9  猫 [31m \"x\"  0.5123    1:30
  10  b                 –     5 s
";
        assert_eq!(table().to_text(), wanted);
        let empty = Table::new("runs", "", &["id", "name"]).to_text();
        assert_eq!(empty, "  id  name\n  (none)\n");
    }

    #[test]
    fn json_has_machine_names_and_whole_values_in_column_order() {
        let wanted = r#"{"runs":[{"id":9,"name":"猫\u001b[31m \"x\"","loss":0.51234,"time_s":90},{"id":10,"name":"b","loss":null,"time_s":5}]}"#;
        assert_eq!(table().to_json(), wanted);
        assert_eq!(Table::new("runs", "", &["id"]).to_json(), r#"{"runs":[]}"#);
    }

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_fine_and_a_full_disk_is_not() {
        assert!(write_all(&mut Broken(ErrorKind::BrokenPipe), "x").is_ok());
        let error = write_all(&mut Broken(ErrorKind::StorageFull), "x").unwrap_err();
        assert!(error.to_string().contains("standard output"), "{error:#}");
    }
}
