//! The table of `core mine`: what became of every row and every search.

use super::Summary;
use crate::journal::{Table, words};

/// Longest line, in characters.
const WIDTH: usize = 110;

impl Summary {
    /// One row a count.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table =
            Table::new("mine", words::wrap(&format!("Log {}. {}", self.log, self.note), WIDTH), &["what", "count"]);
        let mut row = |what: &str, count: usize| table.row([what.into(), count.into()]);
        row("rows read", self.rows_read);
        row("rows skipped", self.rows_skipped);
        for (reason, count) in &self.skipped_by_reason {
            row(&format!("  skipped: {reason}"), *count);
        }
        row("sessions", self.sessions);
        row("queries", self.queries);
        row("candidates", self.candidates);
        for (reason, count) in &self.dropped_by_reason {
            row(&format!("  dropped: {reason}"), *count);
        }
        row("unused by the split", self.unused);
        row("kept", self.samples);
        row("  rewrites", self.rewrites);
        row("  rejects", self.rejects);
        row("  to train on", self.train);
        row("  held out", self.held_out);
        table
    }
}
