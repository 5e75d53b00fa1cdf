//! What changes by itself: which senses are wanted and filmed in which week, and which are new.
//!
//! Tables are made once for each week of the world, so that a search costs the same in the last week as in the first.

use rand::Rng;
use rand::seq::SliceRandom;

use super::draw::{Weighted, normal};
use super::lexicon::Lexicon;
use crate::recipe::{World as Settings, stream};

/// How much rarer a head's second, third and fourth sense are than its first.
const SENSE_WEIGHTS: [f64; 4] = [1.0, 0.4, 0.2, 0.12];
/// Wants are a little less skewed than the catalogue, so that rare senses are wanted in vain often enough.
const WANTED_SKEW: f64 = 0.75;
/// How much of a week's trend is left a week later.
const TREND_KEPT: f64 = 0.7;
/// Weeks whose news make a trend; older ones weigh less than a twentieth.
const TREND_WEEKS: usize = 8;
/// A new sense is at first wanted and filmed this many times as much as it will be later; the rest halves every two weeks.
const HYPE: f64 = 4.0;

/// The senses by week, for all simulated weeks.
pub(super) struct Timeline {
    /// The first week of each sense; 0 for those that were always there.
    pub born: Vec<u32>,
    weeks: Vec<Week>,
}

/// How often each sense is wanted, and filmed, in one week.
struct Week {
    wanted: Weighted,
    filmed: Weighted,
}

impl Timeline {
    /// For `weeks` weeks. What a week is like depends on neither how many there are nor on later ones, but for the weeks in
    /// which senses are born.
    pub(super) fn new(lexicon: &Lexicon, settings: &Settings, weeks: u32, seed: u64) -> Self {
        let base = base_weights(lexicon, seed);
        let born = births(base.len(), settings.new_sense_share, weeks, seed);
        let trends: Vec<Vec<f64>> = (0..base.len()).map(|sense| trend(sense, weeks, seed)).collect();
        let of_week = |week: u32| {
            let at = |sense: usize| {
                let swing = (settings.trend * trends[sense][week as usize]).exp();
                swing * hype(born[sense], week)
            };
            let wanted = Weighted::new(base.iter().enumerate().map(|(s, w)| w.powf(WANTED_SKEW) * at(s)));
            let filmed = Weighted::new(base.iter().enumerate().map(|(s, w)| w * at(s)));
            Week { wanted, filmed }
        };
        Self { weeks: (0..weeks).map(of_week).collect(), born }
    }

    /// Weeks that there are.
    pub(super) fn weeks(&self) -> u32 {
        self.weeks.len() as u32
    }

    /// How often each sense is wanted in a week; weeks beyond the last are like it.
    pub(super) fn wanted(&self, week: u32) -> &Weighted {
        &self.at(week).wanted
    }

    /// How often each sense is filmed in a week.
    pub(super) fn filmed(&self, week: u32) -> &Weighted {
        &self.at(week).filmed
    }

    fn at(&self, week: u32) -> &Week {
        &self.weeks[(week as usize).min(self.weeks.len() - 1)]
    }
}

/// How common each sense is in the long run.
fn base_weights(lexicon: &Lexicon, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, "world.senses", &[]);
    let mut weights = vec![0.0; lexicon.senses.len()];
    let mut ranks: Vec<usize> = (0..lexicon.heads.len()).collect();
    ranks.shuffle(&mut rng);
    for (head, senses) in lexicon.of_head.iter().enumerate() {
        let of_head = 1.0 / (1.0 + ranks[head] as f64 / 10.0).sqrt();
        let mut order = senses.clone();
        order.shuffle(&mut rng);
        for (place, sense) in order.into_iter().enumerate() {
            weights[sense] = of_head * SENSE_WEIGHTS[place.min(SENSE_WEIGHTS.len() - 1)];
        }
    }
    weights
}

/// The first week of each sense: 0, or for a share of them any later week with equal chance.
fn births(senses: usize, share: f64, weeks: u32, seed: u64) -> Vec<u32> {
    let mut rng = stream(seed, "world.births", &[]);
    let mut order: Vec<usize> = (0..senses).collect();
    order.shuffle(&mut rng);
    let mut born = vec![0; senses];
    if weeks > 1 {
        let new = (share * senses as f64).round() as usize;
        order[..new.min(senses)].iter().for_each(|sense| born[*sense] = rng.random_range(1..weeks));
    }
    born
}

/// A sense's trend by week: a stationary series of variance 1 in which each week keeps most of the last.
fn trend(sense: usize, weeks: u32, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, "world.trend", &[sense as u64]);
    let news: Vec<f64> = (0..weeks as usize + TREND_WEEKS).map(|_| normal(&mut rng)).collect();
    let scale = (1.0 - TREND_KEPT * TREND_KEPT).sqrt();
    let kept: Vec<f64> = (0..TREND_WEEKS).map(|ago| TREND_KEPT.powi((TREND_WEEKS - 1 - ago) as i32)).collect();
    news.windows(TREND_WEEKS)
        .take(weeks as usize)
        .map(|w| scale * w.iter().zip(&kept).map(|(n, k)| n * k).sum::<f64>())
        .collect()
}

/// What newness multiplies; 0 before birth.
fn hype(born: u32, week: u32) -> f64 {
    match (born, week.checked_sub(born)) {
        (0, _) => 1.0,
        (_, Some(age)) => 1.0 + (HYPE - 1.0) * 0.5f64.powf(f64::from(age) / 2.0),
        (_, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(weeks: u32, change: impl FnOnce(&mut Settings)) -> (Lexicon, Timeline) {
        let mut settings = Settings { heads: 40, ..Settings::default() };
        change(&mut settings);
        let lexicon = Lexicon::new(&settings).unwrap();
        let timeline = Timeline::new(&lexicon, &settings, weeks, 7);
        (lexicon, timeline)
    }

    fn counts(weighted: &Weighted, senses: usize) -> Vec<f64> {
        let mut rng = stream(1, "counts", &[]);
        let mut counts = vec![0.0; senses];
        (0..40_000).for_each(|_| counts[weighted.draw(&mut rng)] += 1.0 / 40_000.0);
        counts
    }

    #[test]
    fn a_sense_is_neither_wanted_nor_filmed_before_its_week_and_both_in_it() {
        let (lexicon, timeline) = timeline(6, |s| s.new_sense_share = 0.3);
        let n = lexicon.senses.len();
        let new = timeline.born.iter().filter(|week| **week > 0).count();
        assert_eq!(new, (0.3 * n as f64).round() as usize);
        for week in 0..6 {
            for table in [timeline.wanted(week), timeline.filmed(week)] {
                let counts = counts(table, n);
                let early = (0..n).filter(|s| timeline.born[*s] > week).map(|s| counts[s]).sum::<f64>();
                assert_eq!(early, 0.0);
                let share = (0..n).filter(|s| timeline.born[*s] == week && week > 0).map(|s| counts[s]).sum::<f64>();
                assert_eq!(share > 0.0, timeline.born.contains(&week) && week > 0);
            }
        }
    }

    #[test]
    fn weeks_farther_apart_differ_more_and_without_drift_not_at_all() {
        let distance = |timeline: &Timeline, a: u32, b: u32, n: usize| -> f64 {
            let (a, b) = (counts(timeline.wanted(a), n), counts(timeline.wanted(b), n));
            a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
        };
        let (lexicon, drifting) = timeline(6, |_| ());
        let n = lexicon.senses.len();
        let (near, far) = (distance(&drifting, 0, 1, n), distance(&drifting, 0, 5, n));
        assert!(near > 0.02 && far > 1.3 * near, "{near} {far}");
        let (_, still) = timeline(6, |s| (s.trend, s.new_sense_share) = (0.0, 0.0));
        assert_eq!(distance(&still, 0, 5, n), 0.0);
    }
}
