//! The table of `core ab`.

use super::{Design, Report};
use crate::journal::{Cell, Table};
use crate::judge::cells;

impl Report {
    /// One row a metric and a share of the searches.
    #[must_use]
    pub fn table(&self) -> Table {
        let design = match self.design {
            Design::Hashed => "hashed to one arm each",
            Design::Paired => "in both arms",
        };
        let title = format!(
            "A/B after the log ({} week(s)): {} against {}\n{} held-out people, {design}; {:.1} % of searches rewritten, \
             {:.2} ms a rewrite",
            self.weeks,
            self.treatment,
            self.control,
            self.people,
            100.0 * self.rewritten_share,
            self.rewrite_ms
        );
        let columns = ["metric", "on", "control", "treatment", "relative", "difference", "ci95", "p", "of_oracle"];
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
                    cells::percent(row.share_of_oracle().filter(|_| on == "all")),
                ]);
            }
        }
        table
    }
}
