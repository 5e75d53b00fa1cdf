//! What the weekly loop did: a row a week, as it is kept in the journal and shown in tables, pictures and the live view.

use serde::{Deserialize, Serialize};

use super::{Comparison, Verdict};
use crate::journal::{Cell, Table};

/// VV10s per search of one model against no rewriting, in the week after the gate's decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lift {
    /// Per cent of the control.
    pub percent: f64,
    /// 95 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Lift {
    /// Of a comparison; none where the control has nothing.
    #[must_use]
    pub fn of(found: &Comparison) -> Option<Self> {
        let percent = |x: f64| 100.0 * x / found.control;
        let lift = Self { percent: percent(found.difference), low: percent(found.low), high: percent(found.high) };
        (found.control != 0.0).then_some(lift)
    }

    /// As a person reads it: per cent and interval.
    #[must_use]
    pub fn words(self) -> String {
        format!("{:+.2} [{:+.2}, {:+.2}]", self.percent, self.low, self.high)
    }
}

/// One week: logged with what was in use, learnt from, gated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Week {
    /// From 1.
    pub week: u32,
    /// The release in use while the week was logged.
    pub incumbent: i64,
    /// Searches logged.
    pub searches: usize,
    /// Training examples mined from the window that ends with the week before; held-out ones of this week.
    pub examples: [usize; 2],
    /// The gate's verdict on the week's candidate.
    pub verdict: Verdict,
    /// The release in use from then on.
    pub in_use: i64,
    /// Share of rewrites that were worth more than their query, over the phases of the week's training.
    pub improvement_rate: Vec<f64>,
    /// Total variation between the queries of this week and of the one before, in [0, 1].
    pub drift: f64,
    /// Lift of what is in use after the decision.
    pub lift: Option<Lift>,
    /// Lift of the candidate, released or not: what would have shipped.
    pub candidate_lift: Option<Lift>,
    /// Lift of the first release, never trained again.
    pub first_lift: Option<Lift>,
    /// Lift of the model trained every week and released without a gate.
    pub ungated_lift: Option<Lift>,
    /// That model, by the name it opens under.
    pub ungated: Option<String>,
}

impl Week {
    /// Whether the candidate was released.
    #[must_use]
    pub fn promoted(&self) -> bool {
        self.verdict.promoted
    }

    /// Why the gate decided so, in a few words.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.verdict.failed().as_slice() {
            [] => "all checks passed".into(),
            failed => format!("failed: {}", failed.join(", ")),
        }
    }
}

/// All weeks of a loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weeks {
    /// The log they were written to.
    pub log: String,
    /// Weeks there are to be.
    pub planned: u32,
    /// Weeks done.
    pub weeks: u32,
    /// Of these, those whose candidate was released.
    pub promoted: u32,
    /// A row a week.
    pub rows: Vec<Week>,
    /// Lifts over all weeks, and what the gate and the training made of them.
    #[serde(default)]
    pub means: Vec<Mean>,
}

/// A mean over weeks. Its interval takes weeks for independent, which the same people live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Of what: `in use`, `in use − first release`, …
    pub of: String,
    /// Per cent of the control, or a difference of such.
    pub percent: f64,
    /// Mean less 1.96 standard errors.
    pub low: f64,
    /// Mean plus as much.
    pub high: f64,
}

impl Mean {
    /// None with fewer than two weeks that have both.
    fn of(name: &str, values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let wide = 1.96 * (variance / n).sqrt();
        let found = Self { of: name.to_owned(), percent: mean, low: mean - wide, high: mean + wide };
        (values.len() > 1).then_some(found)
    }
}

impl Weeks {
    /// Nothing done yet.
    #[must_use]
    pub fn new(log: &str, planned: u32) -> Self {
        Self { log: log.to_owned(), planned, weeks: 0, promoted: 0, rows: Vec::new(), means: Vec::new() }
    }

    /// Adds the next week.
    pub fn push(&mut self, week: Week) {
        self.promoted += u32::from(week.promoted());
        self.rows.push(week);
        self.weeks = self.rows.len() as u32;
        self.means = self.means();
    }

    fn means(&self) -> Vec<Mean> {
        type Of = fn(&Week) -> Option<Lift>;
        let (in_use, first, ungated): (Of, Of, Of) = (|w| w.lift, |w| w.first_lift, |w| w.ungated_lift);
        let lifts = |of: Of| self.rows.iter().filter_map(|w| Some(of(w)?.percent)).collect::<Vec<_>>();
        let over = |of: Of| -> Vec<f64> {
            self.rows.iter().filter_map(|w| Some(in_use(w)?.percent - of(w)?.percent)).collect()
        };
        let all = [
            ("in use", lifts(in_use)),
            ("first release", lifts(first)),
            ("without a gate", lifts(ungated)),
            ("in use − first release", over(first)),
            ("in use − without a gate", over(ungated)),
        ];
        all.iter().filter_map(|(name, values)| Mean::of(name, values)).collect()
    }

    /// A row a week.
    #[must_use]
    pub fn table(&self) -> Table {
        let means = self.means.iter().map(|m| format!("; {}: {:+.2} [{:+.2}, {:+.2}]", m.of, m.percent, m.low, m.high));
        let title = format!(
            "{}: {} of {} weeks, {} promoted; lifts of VV10s per search against no rewriting in the week after, per cent; \
             means over weeks{}",
            self.log,
            self.weeks,
            self.planned,
            self.promoted,
            means.collect::<String>().replacen(';', ":", 1)
        );
        let columns =
            ["week", "decision", "in use", "lift", "candidate", "first release", "without a gate", "drift", "reason"];
        let mut table = Table::new("weekly", &title, &columns);
        let lift = |lift: Option<Lift>| lift.map_or("–".into(), |lift| Cell::shown(lift.percent, lift.words()));
        for row in &self.rows {
            table.row([
                u64::from(row.week).into(),
                if row.promoted() { "promoted" } else { "refused" }.into(),
                row.in_use.to_string().into(),
                lift(row.lift),
                lift(row.candidate_lift),
                lift(row.first_lift),
                lift(row.ungated_lift),
                Cell::shown(row.drift, format!("{:.3}", row.drift)),
                row.reason().into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_an_interval_where_there_are_weeks_for_one() {
        assert_eq!(Mean::of("x", &[1.0]), None);
        let mean = Mean::of("x", &[1.0, 3.0]).unwrap();
        assert_eq!(mean.percent, 2.0);
        // Variance 2 over two weeks: a standard error of 1.
        assert!((mean.low - 0.04).abs() < 1e-12 && (mean.high - 3.96).abs() < 1e-12, "{mean:?}");
    }
}
