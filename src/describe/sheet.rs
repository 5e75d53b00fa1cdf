//! The sheet: ours and the published figure, row by row.

use anyhow::Result;
use serde::Serialize;

use super::published::{self, Figure};
use crate::journal::{Cell, Table, words};

/// What a value is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Part of a whole, in [0, 1].
    Share,
    /// Things.
    Count,
    /// A plain number.
    Number,
    /// Seconds.
    Seconds,
    /// Days.
    Days,
    /// Bits.
    Bits,
}

/// One figure of the log, beside what was published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is about: `log`, `sessions`, `queries`, …
    pub section: &'static str,
    /// Machine name.
    pub key: &'static str,
    /// What is measured.
    pub what: String,
    /// Ours; none where the log cannot say.
    pub value: Option<f64>,
    /// What `value` is counted in.
    pub unit: Unit,
    /// How many things a share is a share of.
    pub of: Option<u64>,
    /// What was published about it.
    pub published: Vec<Figure>,
}

impl Row {
    fn cell(&self) -> Cell {
        let Some(value) = self.value else { return None::<f64>.into() };
        let text = match self.unit {
            Unit::Share => format!("{:.1} %", 100.0 * value),
            Unit::Count => format!("{value:.0}"),
            Unit::Number => words::number(value),
            Unit::Seconds => format!("{value:.1} s"),
            Unit::Days => format!("{value:.1} days"),
            Unit::Bits => format!("{value:.3} bits"),
        };
        Cell::shown(value, text)
    }
}

/// Rows under way.
pub(super) struct Sheet {
    figures: Vec<Figure>,
    rows: Vec<Row>,
    section: &'static str,
}

impl Sheet {
    pub fn new() -> Result<Self> {
        Ok(Self { figures: published::figures()?, rows: Vec::new(), section: "" })
    }

    pub fn section(&mut self, section: &'static str) {
        self.section = section;
    }

    /// A share of `den` things; none of nothing.
    pub fn share(&mut self, key: &'static str, what: &str, num: u64, den: u64) {
        let value = (den > 0).then(|| num as f64 / den as f64);
        self.push(key, what, value, Unit::Share, Some(den));
    }

    pub fn count(&mut self, key: &'static str, what: &str, n: u64) {
        self.push(key, what, Some(n as f64), Unit::Count, None);
    }

    pub fn value(&mut self, key: &'static str, what: &str, value: Option<f64>, unit: Unit) {
        self.push(key, what, value, unit, None);
    }

    fn push(&mut self, key: &'static str, what: &str, value: Option<f64>, unit: Unit, of: Option<u64>) {
        let published = self.figures.extract_if(.., |figure| figure.key == key).collect();
        let value = value.filter(|value| value.is_finite());
        self.rows.push(Row { section: self.section, key, what: what.into(), value, unit, of, published });
    }

    /// The rows, and the published figures that stand beside none.
    pub fn finish(self) -> (Vec<Row>, Vec<Figure>) {
        (self.rows, self.figures)
    }
}

/// The rows as people read them.
pub(super) fn table(title: String, rows: &[Row]) -> Table {
    let columns = ["about", "what", "ours", "of", "published", "source", "sure"];
    let mut table = Table::new("describe", title, &columns);
    let mut section = "";
    for row in rows {
        let join = |pick: fn(&Figure) -> &'static str| -> Cell {
            let all: Vec<_> = row.published.iter().map(pick).collect();
            all.join(" · ").into()
        };
        let about = if row.section == section { "" } else { row.section };
        section = row.section;
        table.row([
            Cell::shown(row.section, about),
            row.what.as_str().into(),
            row.cell(),
            row.of.into(),
            join(|f| f.figure),
            join(|f| f.source),
            join(|f| f.sure),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_figure_stands_beside_its_row() {
        let mut sheet = Sheet::new().unwrap();
        let all = sheet.figures.len();
        sheet.section("queries");
        sheet.share("unique_share", "distinct queries", 1, 4);
        sheet.share("nothing", "of nothing", 1, 0);
        let (rows, left) = sheet.finish();
        assert_eq!(left.len(), all - 1);
        assert_eq!((rows[0].value, rows[0].published.len(), rows[1].value), (Some(0.25), 1, None));
        let text = table("t".into(), &rows).to_text();
        assert!(text.contains("25.0 %") && text.contains("AOL 2006"), "{text}");
    }
}
