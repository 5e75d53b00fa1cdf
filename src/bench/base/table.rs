//! The report as tables: for a terminal, and for a card.

use std::fmt::Write;

use super::Report;
use super::tally::{METRICS, Share, System};
use crate::journal::{Cell, Table};

impl Report {
    /// Rewriters after fitting, a row each.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!(
            "{} parameters; {} worlds; fine-tuned for {} s; first queries of held-out people in the weeks after the log",
            self.parameters,
            self.seeds.len(),
            self.sft_seconds.iter().map(|s| format!("{s:.0}")).collect::<Vec<_>>().join(", "),
        );
        let mut columns = vec!["seed", "rewriter"];
        columns.extend(METRICS);
        columns.push("answer_ms");
        let mut table = Table::new("base", title, &columns);
        let worlds = self.by_seed.iter().map(|(seed, systems)| (seed.to_string(), systems));
        for (seed, systems) in worlds.chain([("all".to_owned(), &self.systems)]) {
            for system in systems {
                let mut row = vec![Cell::from(seed.as_str()), Cell::from(system.rewriter.as_str())];
                row.extend(system.shares.iter().map(|share| cell(*share)));
                row.push(system.answer_ms.into());
                table.rows.push(row);
            }
        }
        table
    }
}

fn cell(share: Option<Share>) -> Cell {
    share.map_or(Cell::from(None::<f64>), |share| Cell::shown(share.value, text(&share)))
}

fn text(share: &Share) -> String {
    let Share { value, low, high, .. } = share;
    format!("{:.0}% [{:.0}, {:.0}]", 100.0 * value, 100.0 * low, 100.0 * high)
}

/// Both tables in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut page = String::from("| question | asked | right |\n|---|---|---|\n");
    for row in &report.reading {
        let _ = writeln!(page, "| {} | {} | {:.0} % |", row.probe, row.questions, 100.0 * row.exact_match);
    }
    if report.systems.is_empty() {
        return page;
    }
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    let seconds: Vec<String> = report.sft_seconds.iter().map(|s| format!("{s:.0}")).collect();
    let _ = writeln!(
        page,
        "\nAfter fine-tuning ({} s) in the worlds of seeds {}, on held-out people's first queries in the weeks after the log:\n",
        seconds.join(", "),
        seeds.join(", ")
    );
    let names: Vec<&str> = report.systems.iter().map(|s| s.rewriter.as_str()).collect();
    let _ = writeln!(page, "| | asked | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (metric, name) in METRICS.iter().enumerate() {
        let asked = report.systems[0].shares[metric].map_or(0, |share| share.questions);
        let of = |system: &System| system.shares[metric].as_ref().map_or("–".to_owned(), text);
        let cells: Vec<String> = report.systems.iter().map(of).collect();
        let _ = writeln!(page, "| {name} | {asked} | {} |", cells.join(" | "));
    }
    let times: Vec<String> = report.systems.iter().map(|system| format!("{:.3}", system.answer_ms)).collect();
    let _ = writeln!(page, "| ms an answer | | {} |", times.join(" | "));
    page
}
