//! What an experiment counts, from logged sessions alone.

use super::said::Said;
use crate::judge::Ratio;
use crate::logs::{Search, words};
use crate::recipe::Mine;
use crate::world::SimSession;

/// One metric: its place in [`Counts`] and which way is up.
pub(super) struct Metric {
    pub name: &'static str,
    pub index: usize,
    pub more_is_better: bool,
    per_person: bool,
}

const fn metric(name: &'static str, index: usize, more_is_better: bool) -> Metric {
    Metric { name, index, more_is_better, per_person: false }
}

/// Views of at least ten seconds a search (the main metric); share of searches with a click; share of searches followed by
/// a reformulation; share followed by any other query; share without a result; share of shown documents that answer the
/// need at least from another side (GoodRate: of exposed pairs, those judged L3 or L4, LORE), which the world alone knows;
/// purchases per person (UCVR, Relevance Matters).
pub(super) const METRICS: [Metric; 7] = [
    metric("vv10s_per_search", 0, true),
    metric("ctr", 1, true),
    metric("query_reformulation_rate", 2, false),
    metric("change_query_rate", 3, false),
    metric("zero_result_rate", 4, false),
    metric("good_rate", 5, true),
    Metric { name: "ucvr", index: 6, more_is_better: true, per_person: true },
];

/// A view counts from here on (VV10s).
const LONG_VIEW_S: f32 = 10.0;

/// Sums of every metric, by [`Metric::index`].
pub(super) type Counts = [Ratio; METRICS.len()];

impl Metric {
    /// A person's share in this metric.
    pub fn of(&self, counts: &Counts) -> Ratio {
        let Ratio { num, den } = counts[self.index];
        Ratio { num, den: if self.per_person { den.min(1.0) } else { den } }
    }

    /// Whether the log can tell it: a log without purchases says nothing of them.
    pub fn told(&self, everything: &[Counts]) -> bool {
        !self.per_person || everything.iter().any(|counts| counts[self.index].num > 0.0)
    }
}

/// One person's weeks in one arm.
#[derive(Debug, Clone)]
pub(super) struct Lived {
    /// Over all searches, by the stretch of the experiment they lie in.
    parts: Vec<Counts>,
    /// Over searches where the arms' rewrites differ, or would have: one entry a treatment that was asked.
    pub impacted: Vec<Counts>,
    /// How many these are.
    pub rewritten: Vec<usize>,
    pub searches: usize,
    /// What the arm said.
    pub said: Said,
}

impl Lived {
    /// Nothing yet, of an experiment looked at `parts` times, with so many treatments asked.
    pub fn new(parts: usize, asked: usize) -> Self {
        let none = Counts::default();
        let (parts, impacted) = (vec![none; parts], vec![none; asked]);
        Self { parts, impacted, rewritten: vec![0; asked], searches: 0, said: Said::default() }
    }

    /// Counts sessions of one part. `differs` says of each search, in order, whether each treatment asked would rewrite it
    /// otherwise than the control.
    pub fn add(&mut self, part: usize, sim: &SimSession, differs: &[Vec<bool>], mine: &Mine) {
        let searches = &sim.session.searches;
        for ((i, search), (truth, differs)) in searches.iter().enumerate().zip(sim.truth.iter().zip(differs)) {
            let next = searches.get(i + 1).filter(|next| follows(search, next, mine));
            let values = values(search, next, &truth.grades);
            self.searches += 1;
            add(&mut self.parts[part], &values);
            for (asked, _) in differs.iter().enumerate().filter(|(_, differs)| **differs) {
                self.rewritten[asked] += 1;
                add(&mut self.impacted[asked], &values);
            }
        }
    }

    /// Sums over the first `parts` parts.
    pub fn until(&self, parts: usize) -> Counts {
        let mut sum = Counts::default();
        self.parts.iter().take(parts).for_each(|part| add(&mut sum, part));
        sum
    }

    /// Sums over everything.
    pub fn all(&self) -> Counts {
        self.until(self.parts.len())
    }
}

fn add(sum: &mut Counts, values: &Counts) {
    for (sum, value) in sum.iter_mut().zip(values) {
        sum.num += value.num;
        sum.den += value.den;
    }
}

fn follows(search: &Search, next: &Search, mine: &Mine) -> bool {
    let gap_s = (next.time_ms - search.time_ms) as f64 / 1000.0;
    next.query != search.query && gap_s <= mine.reformulation_gap_s
}

fn values(search: &Search, next: Option<&Search>, grades: &[f64]) -> Counts {
    let long_views = search.clicks.iter().filter(|c| c.dwell_s.is_some_and(|s| s >= LONG_VIEW_S)).count();
    let bought = search.clicks.iter().filter(|c| c.bought).count();
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
        of_search(bought as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Click;

    #[test]
    fn purchases_are_counted_per_person_and_told_only_where_there_are_any() {
        let ucvr = METRICS.iter().find(|m| m.name == "ucvr").unwrap();
        let mut search = Search::default();
        let mut sum = Counts::default();
        (0..3).for_each(|_| add(&mut sum, &values(&search, None, &[])));
        assert_eq!(ucvr.of(&sum), Ratio { num: 0.0, den: 1.0 });
        assert!(!ucvr.told(&[sum]) && METRICS[0].told(&[sum]));
        search.clicks =
            vec![true, false, true].into_iter().map(|bought| Click { bought, ..Click::default() }).collect();
        add(&mut sum, &values(&search, None, &[]));
        assert_eq!(ucvr.of(&sum), Ratio { num: 2.0, den: 1.0 });
        assert!(ucvr.told(&[sum]));
        assert_eq!(ucvr.of(&Counts::default()).den, 0.0, "who did not search does not count");
    }
}
