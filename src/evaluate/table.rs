//! The table of `core eval`.

use super::Report;
use crate::journal::Table;
use crate::judge::cells;

impl Report {
    /// One row a rewriter, at most 120 columns wide.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = ["rewriter", "exact", "seen", "unseen", "reject_p", "reject_r", "mrr", "difference", "ci95", "p"];
        let first = self.scores.first();
        let (unseen, mrr) = first.map_or((0, None), |s| (s.unseen, s.mrr));
        let plain = mrr.map_or_else(String::new, |m| format!(": plain {:.4}, {} people", m.control, m.people));
        let title = format!(
            "Held-out searches: {}. exact: what the person typed next, or left alone; unseen: {unseen} pairs never trained on\n\
             reject p, r: precision and recall of leaving alone; mrr@10: of what satisfied{plain}",
            self.searches
        );
        let mut table = Table::new("held_out", title, &columns);
        for s in &self.scores {
            table.row([
                s.rewriter.as_str().into(),
                cells::percent(Some(s.exact_match)),
                cells::percent(s.seen_exact_match),
                cells::percent(s.unseen_exact_match),
                cells::percent(s.reject_precision),
                cells::percent(s.reject_recall),
                cells::fixed(s.mrr.map(|m| m.treatment)),
                cells::signed(s.mrr.map(|m| m.difference)),
                cells::interval(s.mrr.as_ref()),
                cells::p_value(s.mrr.map(|m| m.p)),
            ]);
        }
        table
    }
}
