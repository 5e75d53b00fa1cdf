//! The table of `core ab`.

use super::Report;
use crate::journal::{Cell, Table};
use crate::judge::cells;

impl Report {
    /// One row a metric and a share of the searches.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!(
            "A/B after the log ({} week(s)): {} against no rewriting\n{} held-out people in both arms; {:.1} % of searches rewritten",
            self.weeks,
            self.treatment,
            self.people,
            100.0 * self.rewritten_share
        );
        let columns = ["metric", "on", "control", "treatment", "relative", "difference", "ci95", "p"];
        let mut table = Table::new("ab", title, &columns);
        for row in &self.rows {
            for (on, comparison) in [("all", &row.all), ("rewritten", &row.impacted)] {
                let Some(c) = comparison else { continue };
                let arrow = if row.more_is_better { "↑" } else { "↓" };
                table.row([
                    Cell::shown(row.metric.as_str(), format!("{} {arrow}", row.metric)),
                    on.into(),
                    cells::fixed(Some(c.control)),
                    cells::fixed(Some(c.treatment)),
                    cells::relative(c),
                    cells::signed(Some(c.difference)),
                    cells::interval(Some(c)),
                    cells::p_value(Some(c.p)),
                ]);
            }
        }
        table
    }
}
