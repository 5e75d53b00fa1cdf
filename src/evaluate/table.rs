//! The table of `core eval`.

use super::Report;
use crate::journal::Table;
use crate::judge::cells;

impl Report {
    /// One row a rewriter; MRR@10 is of the document that satisfied the person.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = [
            "rewriter",
            "exact_match",
            "seen",
            "unseen",
            "reject_precision",
            "reject_recall",
            "mrr_plain",
            "mrr_fused",
            "difference",
            "ci95",
            "p",
        ];
        let unseen = self.scores.first().map_or(0, |s| s.unseen);
        let title = format!("Held-out searches: {} (unseen pairs: {})", self.searches, unseen);
        let mut table = Table::new("held_out", title, &columns);
        for s in &self.scores {
            table.row([
                s.rewriter.as_str().into(),
                cells::percent(Some(s.exact_match)),
                cells::percent(s.seen_exact_match),
                cells::percent(s.unseen_exact_match),
                cells::percent(s.reject_precision),
                cells::percent(s.reject_recall),
                cells::fixed(s.mrr.map(|m| m.control)),
                cells::fixed(s.mrr.map(|m| m.treatment)),
                cells::signed(s.mrr.map(|m| m.difference)),
                cells::interval(s.mrr.as_ref()),
                cells::p_value(s.mrr.map(|m| m.p)),
            ]);
        }
        table
    }
}
