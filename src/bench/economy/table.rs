//! The report as a table: where each run began, its best checkpoint, and what it had cost at the end.

use super::Report;
use crate::journal::{Cell, Table};

impl Report {
    /// A row a run.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!(
            "{}: mean log ratio of greedy answers to {} held-out searches, and what it cost",
            self.recipe, self.searches
        );
        let columns = [
            "run",
            "reward",
            "over the start",
            "best",
            "best at step",
            "improvement_rate",
            "seconds",
            "gradient_tokens",
            "syncs",
            "reward_calls",
        ];
        let mut table = Table::new("economy", title, &columns);
        for row in &self.rows {
            let Some(last) = row.points.last() else { continue };
            let best = row.points.iter().max_by(|a, b| a.reward.total_cmp(&b.reward)).unwrap_or(last);
            table.row([
                row.name.as_str().into(),
                Cell::shown(last.reward, format!("{:.4}", last.reward)),
                row.over_start.map_or("–".into(), |c| {
                    Cell::shown(c.difference, format!("{:+.4} [{:+.4}, {:+.4}]", c.difference, c.low, c.high))
                }),
                Cell::shown(best.reward, format!("{:.4}", best.reward)),
                best.step.into(),
                last.improvement_rate.into(),
                Cell::shown(last.seconds, format!("{:.1}", last.seconds)),
                Cell::shown(last.gradient_tokens, format!("{:.0}", last.gradient_tokens)),
                last.syncs.into(),
                Cell::shown(last.reward_calls, format!("{:.0}", last.reward_calls)),
            ]);
        }
        table
    }
}
