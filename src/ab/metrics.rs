//! What an experiment counts, from logged sessions alone.

use crate::judge::Ratio;
use crate::logs::{Search, words};
use crate::recipe::Mine;
use crate::world::SimSession;

/// One metric: its place in a [`Tally`] and which way is up.
pub(super) struct Metric {
    pub name: &'static str,
    pub index: usize,
    pub more_is_better: bool,
}

/// Views of at least ten seconds a search; share of searches with a click; share of searches followed by a
/// reformulation; share followed by any other query; share without a result; share of shown documents that answer the
/// need at least from another side (GoodRate: of exposed pairs, those judged L3 or L4, LORE), which the world alone knows.
pub(super) const METRICS: [Metric; 6] = [
    Metric { name: "vv10s_per_search", index: 0, more_is_better: true },
    Metric { name: "ctr", index: 1, more_is_better: true },
    Metric { name: "query_reformulation_rate", index: 2, more_is_better: false },
    Metric { name: "change_query_rate", index: 3, more_is_better: false },
    Metric { name: "zero_result_rate", index: 4, more_is_better: false },
    Metric { name: "good_rate", index: 5, more_is_better: true },
];

/// A view counts from here on (VV10s).
const LONG_VIEW_S: f32 = 10.0;

/// One person's counts in one arm.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Over all searches, by [`Metric::index`].
    pub all: [Ratio; METRICS.len()],
    /// Over searches that the rewriter rewrote, or would have.
    pub impacted: [Ratio; METRICS.len()],
    pub searches: usize,
    pub rewritten: usize,
}

impl Tally {
    /// Counts a person's sessions.
    pub fn of(sessions: &[SimSession], mine: &Mine) -> Self {
        let mut tally = Self::default();
        for sim in sessions {
            let searches = &sim.session.searches;
            for (i, search) in searches.iter().enumerate() {
                let next = searches.get(i + 1).filter(|next| follows(search, next, mine));
                let Some(truth) = sim.truth.get(i) else { continue };
                let values = values(search, next, &truth.grades);
                let rewritten = truth.rewritten.is_some();
                tally.searches += 1;
                tally.rewritten += usize::from(rewritten);
                for (index, Ratio { num, den }) in values.into_iter().enumerate() {
                    for ratio in [Some(&mut tally.all[index]), rewritten.then_some(&mut tally.impacted[index])] {
                        let Some(ratio) = ratio else { continue };
                        ratio.num += num;
                        ratio.den += den;
                    }
                }
            }
        }
        tally
    }
}

fn follows(search: &Search, next: &Search, mine: &Mine) -> bool {
    let gap_s = (next.time_ms - search.time_ms) as f64 / 1000.0;
    next.query != search.query && gap_s <= mine.reformulation_gap_s
}

fn values(search: &Search, next: Option<&Search>, grades: &[f64]) -> [Ratio; METRICS.len()] {
    let long_views = search.clicks.iter().filter(|c| c.dwell_s.is_some_and(|s| s >= LONG_VIEW_S)).count();
    let of_search = |num: f64| Ratio { num, den: 1.0 };
    let share = |yes: bool| of_search(f64::from(u8::from(yes)));
    // A reformulation keeps a word of the query; any other next query is a change.
    let asked: Vec<String> = words(&search.query).collect();
    let reformulated = next.is_some_and(|next| words(&next.query).any(|word| asked.contains(&word)));
    [
        of_search(long_views as f64),
        share(!search.clicks.is_empty()),
        share(reformulated),
        share(next.is_some()),
        share(search.shown.is_empty()),
        Ratio { num: grades.iter().filter(|grade| **grade > 0.0).count() as f64, den: grades.len() as f64 },
    ]
}
