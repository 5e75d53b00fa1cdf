//! The report as a table.

use super::{Report, Row};
use crate::journal::{Cell, Table};
use crate::judge::Comparison;

impl Report {
    /// A row for each of the variants, over all worlds and, where there are several, in each.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!(
            "{}, {} worlds: greedy answers to held-out people; reward, MRR and VV10s as differences [95 %], \
             reward and MRR from the fine-tuned model, VV10s from the plain path",
            self.recipe,
            self.seeds.len()
        );
        let columns = [
            "seed",
            "row",
            "seconds",
            "reward",
            "mrr",
            "log ratio",
            "vv10s",
            "exact_match",
            "reject_rate",
            "reject_precision",
            "index_hit_rate",
            "off_context",
            "popularity",
            "words",
        ];
        let mut table = Table::new("rewards", title, &columns);
        let alone: &[_] = if self.seeds.len() > 1 { &self.by_seed } else { &[] };
        for (seed, rows) in alone {
            rows.iter().for_each(|row| table.rows.push(cells(&seed.to_string(), row)));
        }
        self.rows.iter().for_each(|row| table.rows.push(cells("all", row)));
        table
    }
}

fn cells(seed: &str, row: &Row) -> Vec<Cell> {
    vec![
        seed.into(),
        row.name.as_str().into(),
        Cell::shown(row.seconds, format!("{:.0}", row.seconds)),
        difference(row.reward),
        difference(row.mrr),
        difference(row.ratio),
        lift(row.vv10s),
        share(Some(row.exact_match)),
        share(Some(row.reject_rate)),
        share(row.reject_precision),
        share(row.index_hit_rate),
        share(row.off_context),
        row.popularity.into(),
        row.words.into(),
    ]
}

fn difference(found: Option<Comparison>) -> Cell {
    found.map_or(Cell::from(None::<f64>), |c| {
        Cell::shown(c.difference, format!("{:+.3} [{:+.3}, {:+.3}]", c.difference, c.low, c.high))
    })
}

fn lift(found: Option<Comparison>) -> Cell {
    found.map_or(Cell::from(None::<f64>), |c| {
        let [mean, low, high] = [c.difference, c.low, c.high].map(|x| 100.0 * x / c.control);
        Cell::shown(c.relative(), format!("{mean:+.2}% [{low:+.2}, {high:+.2}]"))
    })
}

fn share(value: Option<f64>) -> Cell {
    value.map_or(Cell::from(None::<f64>), |x| Cell::shown(x, format!("{:.0}%", 100.0 * x)))
}
