//! How what is asked for changes: new queries, and the distance between one week and the first.

use std::collections::HashMap;

use crate::store::QueryDay;

/// Distance between the first week of one half of the people and a week of the other half, summed term by term.
///
/// Two samples of one distribution differ too. Since the halves are other people, the first week's own distance shows by how
/// much, and a later week's is drift as far as it is larger.
#[derive(Debug, Clone, Default)]
pub(super) struct Divergence {
    /// Jensen–Shannon divergence in bits, in [0, 1]; index is the week.
    pub bits: Vec<f64>,
}

impl Divergence {
    /// `totals[week][half]`: what the counts of [`Divergence::add`] will sum up to.
    pub fn new(totals: &[[u64; 2]]) -> Self {
        Self { bits: vec![0.0; totals.len()] }
    }

    /// Adds one thing that is asked for, by how often each week and half asked for it.
    pub fn add(&mut self, counts: &[[u64; 2]], totals: &[[u64; 2]]) {
        let share = |week: usize, half: usize| match totals[week][half] {
            0 => 0.0,
            total => counts[week][half] as f64 / total as f64,
        };
        let term = |x: f64, m: f64| if x > 0.0 { x * (x / m).log2() } else { 0.0 };
        for week in 0..self.bits.len() {
            let (p, q) = (share(0, 0), share(week, 1));
            let middle = (p + q) / 2.0;
            self.bits[week] += (term(p, middle) + term(q, middle)) / 2.0;
        }
    }
}

/// What a log's queries say, taken in by query and then by day.
#[derive(Debug)]
pub(super) struct Queries {
    totals: Vec<[u64; 2]>,
    pub distinct: u64,
    pub more_than_once: u64,
    pub more_than_thrice: u64,
    /// Searches of each day, and those whose query nobody typed on an earlier day.
    pub days: Vec<[u64; 2]>,
    /// The same by week.
    pub weeks: Vec<[u64; 2]>,
    pub divergence: Divergence,
    now: Option<(String, u64)>,
    by_week: Vec<[u64; 2]>,
    first: (usize, usize),
}

impl Queries {
    /// `totals[week][half]`: searches.
    pub fn new(totals: &[[u64; 2]]) -> Self {
        let weeks = totals.len();
        Self {
            totals: totals.to_vec(),
            distinct: 0,
            more_than_once: 0,
            more_than_thrice: 0,
            days: vec![[0; 2]; 7 * weeks],
            weeks: vec![[0; 2]; weeks],
            divergence: Divergence::new(totals),
            now: None,
            by_week: vec![[0; 2]; weeks],
            first: (0, 0),
        }
    }

    pub fn add(&mut self, q: QueryDay) {
        let week = q.day / 7;
        if week >= self.weeks.len() {
            return;
        }
        if self.now.as_ref().is_none_or(|(query, _)| *query != q.query) {
            self.close();
            self.now = Some((q.query, 0));
            self.first = (q.day, week);
        }
        if let Some((_, count)) = &mut self.now {
            *count += q.count;
        }
        self.by_week[week][q.half.min(1)] += q.count;
        for (place, first, counts) in [(q.day, self.first.0, &mut self.days), (week, self.first.1, &mut self.weeks)] {
            counts[place][0] += q.count;
            counts[place][1] += if place == first { q.count } else { 0 };
        }
    }

    /// Ends the last query; to be called once all is added.
    pub fn close(&mut self) {
        let Some((_, count)) = self.now.take() else { return };
        self.distinct += 1;
        self.more_than_once += u64::from(count > 1);
        self.more_than_thrice += u64::from(count > 3);
        self.divergence.add(&self.by_week, &self.totals);
        self.by_week.fill([0; 2]);
    }

    /// Mean share of never-seen queries over the days of the last week that had searches.
    pub fn new_a_day(&self) -> Option<f64> {
        let last: Vec<f64> =
            self.days.iter().rev().take(7).filter(|day| day[0] > 0).map(|day| day[1] as f64 / day[0] as f64).collect();
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }
}

/// How often each of few things was asked for, by week and half of the people.
#[derive(Debug, Default)]
pub(super) struct Wanted(HashMap<usize, Vec<[u64; 2]>>);

impl Wanted {
    pub fn add(&mut self, thing: usize, week: usize, half: usize) {
        let weeks = self.0.entry(thing).or_default();
        if weeks.len() <= week {
            weeks.resize(week + 1, [0; 2]);
        }
        weeks[week][half] += 1;
    }

    /// Distances over `weeks` weeks.
    pub fn divergence(&self, weeks: usize) -> Divergence {
        let padded = |counts: &Vec<[u64; 2]>| {
            let mut counts = counts.clone();
            counts.resize(weeks, [0; 2]);
            counts
        };
        let mut totals = vec![[0; 2]; weeks];
        for counts in self.0.values().map(padded) {
            for (total, count) in totals.iter_mut().zip(counts) {
                total[0] += count[0];
                total[1] += count[1];
            }
        }
        let mut divergence = Divergence::new(&totals);
        // In order, so that the sum is the same each time.
        let mut things: Vec<_> = self.0.iter().collect();
        things.sort_by_key(|(thing, _)| **thing);
        things.iter().for_each(|(_, counts)| divergence.add(&padded(counts), &totals));
        divergence
    }
}

/// Age in days at which what came out during the log has half of the clicks that it gets in the days seen.
///
/// A young log sees the early days of many documents and the late days of few, so clicks of an age are divided by the documents
/// that were seen at that age.
pub(super) fn half_life_days(published: &[u64], clicks_by_age: &[u64]) -> Option<f64> {
    let days = published.len();
    let seen_at = |age: usize| published[..days - age].iter().sum::<u64>();
    let rate = |age: usize| clicks_by_age[age] as f64 / seen_at(age) as f64;
    let rates: Vec<f64> = (0..days.min(clicks_by_age.len())).take_while(|age| seen_at(*age) > 0).map(rate).collect();
    let half = rates.iter().sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let age = rates.iter().position(|rate| {
        sum += rate;
        sum >= half && half > 0.0
    })?;
    // Within its day, as if clicks were spread evenly over it.
    Some(age as f64 + 1.0 - (sum - half) / rates[age])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weeks_are_no_distance_apart_and_disjoint_ones_a_whole_bit() {
        let totals = [[4, 2], [0, 8], [0, 8]];
        let mut d = Divergence::new(&totals);
        d.add(&[[2, 1], [0, 4], [0, 0]], &totals);
        d.add(&[[2, 1], [0, 4], [0, 0]], &totals);
        d.add(&[[0, 0], [0, 0], [0, 8]], &totals);
        for (found, wanted) in d.bits.iter().zip([0.0, 0.0, 1.0]) {
            assert!((found - wanted).abs() < 1e-12, "{:?}", d.bits);
        }
        // P = (1, 0), Q = (½, ½): by hand ½·log2(4/3) + ½·(½·log2(2/3) + ½·log2 2) = 0.3113 bits.
        let totals = [[1, 2]];
        let mut d = Divergence::new(&totals);
        d.add(&[[1, 1]], &totals);
        d.add(&[[0, 1]], &totals);
        assert!((d.bits[0] - 0.311_278).abs() < 1e-6, "{:?}", d.bits);
    }

    #[test]
    fn queries_are_new_on_their_first_day_and_in_their_first_week() {
        let mut queries = Queries::new(&[[3, 0], [2, 0]]);
        let day = |query: &str, day, count| QueryDay { query: query.into(), day, half: 0, count };
        [day("a", 0, 2), day("a", 8, 1), day("b", 8, 1), day("c", 1, 1), day("late", 99, 1)]
            .into_iter()
            .for_each(|q| queries.add(q));
        queries.close();
        assert_eq!((queries.distinct, queries.more_than_once, queries.more_than_thrice), (3, 1, 0));
        assert_eq!(queries.weeks, [[3, 3], [2, 1]]);
        assert_eq!((queries.days[8], queries.new_a_day()), ([2, 1], Some(0.5)));
    }

    #[test]
    fn half_of_the_clicks_are_reckoned_per_document_seen() {
        // Ten documents on the first day, ten on the third: the second ones were seen for one day only.
        let clicks = [40, 10, 10];
        // Rates 2, 1, 1 a document: half of 4 is reached at the end of the first day.
        assert_eq!(half_life_days(&[10, 0, 10], &clicks), Some(1.0));
        assert_eq!(half_life_days(&[0, 0, 0], &[0, 0, 0]), None);
        assert_eq!(half_life_days(&[5, 0], &[0, 0]), None);
    }
}
