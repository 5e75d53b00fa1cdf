//! The report as a table.

use super::{Report, Row};
use crate::journal::{Cell, Table};
use crate::judge::Verdict;

impl Report {
    /// A row a model: rewards by the weak scorer and by the sound one, what is stable about it, the verdict, and what people
    /// would have got.
    #[must_use]
    pub fn table(&self) -> Table {
        let title =
            format!("{}: differences of the gate's metrics from the release; VV10s against no rewriting", self.recipe);
        let columns = [
            "weakness",
            "model",
            "r_main seen",
            "r_main sound",
            "length",
            "entropy",
            "popularity",
            "kl",
            "verdict",
            "of the seven",
            "of ours",
            "VV10s, %",
            "of the release",
        ];
        let mut table = Table::new("incident", title, &columns);
        self.rows.iter().for_each(|row| table.rows.push(cells(row)));
        table
    }
}

fn cells(row: &Row) -> Vec<Cell> {
    let failed = |names: Vec<&str>| if names.is_empty() { "–".to_owned() } else { names.join(", ") };
    vec![
        format!("{:?}", row.flaw).to_lowercase().into(),
        row.name.as_str().into(),
        moved(&row.seen, "r_main"),
        moved(&row.sound, "r_main"),
        moved(&row.seen, "mean_length"),
        moved(&row.seen, "entropy"),
        moved(&row.seen, "popularity"),
        moved(&row.seen, "kl"),
        if row.seen.promoted { "promoted" } else { "refused" }.into(),
        failed(row.failed_of_seven()).into(),
        failed(row.failed_of_ours()).into(),
        row.lift.map_or("–".into(), |lift| Cell::shown(lift.percent, lift.words())),
        row.release.map_or("–".into(), |lift| Cell::shown(lift.percent, lift.words())),
    ]
}

fn moved(verdict: &Verdict, metric: &str) -> Cell {
    let found = verdict.checks.iter().find(|check| check.measure == metric).map(|check| check.found);
    found.map_or("–".into(), |c| {
        Cell::shown(c.difference, format!("{:+.3} [{:+.3}, {:+.3}]", c.difference, c.low, c.high))
    })
}
