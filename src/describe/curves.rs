//! The curves of a log as plain numbers: what is drawn, and what `--json` gives.

use std::collections::BTreeMap;

use serde::Serialize;

use super::hidden::Sides;
use super::people::RANKS;
use super::rows::Measured;
use crate::truth::Phrasing;

/// Bins of a power of ten in the histogram of dwell.
const BINS: usize = 8;

/// Curves of a log; those from the hidden tables are empty without them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curves {
    /// `(from_s, to_s, share)` of the dwell of clicks.
    pub dwell: Vec<(f64, f64, f64)>,
    /// Shape and scale (seconds) of the Weibull distribution that fits them.
    pub dwell_weibull: Option<(f64, f64)>,
    /// Share of pages clicked at each rank, from 1; those that no page reached are left out.
    pub ctr_by_rank: Vec<f64>,
    /// Share of pages looked at, at each rank.
    pub examined_by_rank: Vec<f64>,
    /// Share of sittings with 1, 2, … queries; the last stands for all longer ones.
    pub queries_per_sitting: Vec<f64>,
    /// Share of each day's searches by a query that no earlier day had; none for a day without searches.
    pub new_by_day: Vec<Option<f64>>,
    /// Share of each week's searches by a query that no earlier week had.
    pub new_by_week: Vec<Option<f64>>,
    /// Jensen–Shannon divergence in bits between one half's first week and the other half's week: of queries.
    pub query_divergence: Vec<f64>,
    /// The same of wanted senses.
    pub sense_divergence: Vec<f64>,
    /// Which way contexts point, by the phrasing of the first query.
    pub context: BTreeMap<Phrasing, Sides>,
}

impl Curves {
    pub(super) fn new(m: &Measured) -> Self {
        let (people, queries) = (m.people, m.queries);
        let sittings = people.sittings.iter().sum::<u64>().max(1) as f64;
        Self {
            dwell: people.dwells.shares(BINS),
            dwell_weibull: people.dwells.weibull(),
            ctr_by_rank: shares(&people.clicks_by_rank, &people.shown_by_rank),
            examined_by_rank: m.hidden.map_or(vec![], |h| shares(&h.seen_by_rank, &h.shown_by_rank)),
            queries_per_sitting: people.sittings.iter().map(|n| *n as f64 / sittings).collect(),
            new_by_day: queries.days.iter().map(new).collect(),
            new_by_week: queries.weeks.iter().map(new).collect(),
            query_divergence: queries.divergence.bits.clone(),
            sense_divergence: m.hidden.map_or(vec![], |h| h.senses.divergence(people.weeks.len()).bits),
            context: m.hidden.map(|h| h.sides.clone()).unwrap_or_default(),
        }
    }
}

fn shares(num: &[u64; RANKS], den: &[u64; RANKS]) -> Vec<f64> {
    num.iter().zip(den).take_while(|(_, den)| **den > 0).map(|(num, den)| *num as f64 / *den as f64).collect()
}

fn new([all, new]: &[u64; 2]) -> Option<f64> {
    (*all > 0).then(|| *new as f64 / *all as f64)
}
