//! Looking at an experiment before its end without calling chance an effect: group-sequential alpha spending.
//!
//! Each look spends a part of the level, by the O'Brien–Fleming-type function of Lan and DeMets (*Discrete sequential
//! boundaries for clinical trials*, Biometrika 1983): next to nothing at first, most of it at the end, so that the last
//! look loses hardly any power. Neither the number nor the times of the looks need be right beforehand. It was preferred to
//! an always-valid p-value (mSPRT; Johari et al., KDD 2017), which pays for looks at any moment with power at the planned
//! end: here looks are few and planned. A level of 5 % is two one-sided ones of 2.5 %, as in the tables of Reboussin et al.
//! (Controlled Clinical Trials 2000).
//!
//! The z-statistics of successive looks are correlated by `√(I_j / I_k)`, with the information `I = 1 / se²` that each look
//! itself estimates. For means over people this holds also when the same people come back every week. Time that has passed
//! rules the spending (calendar time; Lan and DeMets, Statistics in Medicine 1989). Boundaries come from the recursive
//! integration of Armitage, McPherson and Rowe (JRSS A 1969).

use serde::{Deserialize, Serialize};

/// Points of the grid on which the density of a going experiment is kept; odd, for Simpson's rule.
const POINTS: usize = 801;
/// Information grows by at least this from look to look: finer steps than the grid can show would be lost in it.
const LEAST_GROWTH: f64 = 1.01;
/// Beyond this no z-statistic ever lies.
const FAR: f64 = 40.0;

/// What a z-statistic has to reach at a look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Boundary {
    /// Significant when |z| is above this.
    pub z: f64,
    /// The same as a two-sided p-value: significant below this.
    pub p: f64,
    /// Share of false alarms spent so far, this look included; the level at the last look.
    pub spent: f64,
}

/// Boundaries of one experiment, look after look.
#[derive(Debug, Clone)]
pub struct Monitor {
    level: f64,
    information: f64,
    time: f64,
    /// Where `z · √I` of an experiment without an effect lies that has not been stopped, and how likely it is there.
    going: Vec<(f64, f64)>,
}

impl Monitor {
    /// For a two-sided level, say 0.05.
    #[must_use]
    pub fn new(level: f64) -> Self {
        Self { level, information: 0.0, time: 0.0, going: vec![(0.0, 1.0)] }
    }

    /// The boundary of the next look, after a share `time` in (0, 1] of the experiment, with the estimate's information
    /// `1 / se²` in any unit. Information that does not grow counts as having grown a little.
    pub fn look(&mut self, time: f64, information: f64) -> Boundary {
        let time = time.clamp(self.time, 1.0);
        let known = if information.is_finite() { information } else { 0.0 };
        let now = known.max(self.information * LEAST_GROWTH).max(f64::MIN_POSITIVE);
        let step = (now - self.information).sqrt();
        let one_sided = (spent(self.level, time) - spent(self.level, self.time)) / 2.0;
        let leaves = |z: f64| -> f64 {
            self.going.iter().map(|(at, weight)| weight * upper_tail((z * now.sqrt() - at) / step)).sum()
        };
        let z = falls_to(one_sided, leaves);
        let height = 2.0 * z / (POINTS - 1) as f64;
        let density = |z: f64| -> f64 {
            let kernel = |(at, weight): &(f64, f64)| weight * normal_density((z * now.sqrt() - at) / step);
            self.going.iter().map(kernel).sum::<f64>() * now.sqrt() / step
        };
        self.going = (0..POINTS)
            .map(|i| {
                let (at, simpson) = (-z + height * i as f64, if i % 2 == 1 { 4.0 } else { 2.0 });
                let edge = if i == 0 || i == POINTS - 1 { 0.5 } else { 1.0 };
                (at * now.sqrt(), density(at) * edge * simpson * height / 3.0)
            })
            .collect();
        (self.information, self.time) = (now, time);
        Boundary { z, p: two_sided_p(z), spent: spent(self.level, time) }
    }
}

/// Two-sided p-value of a standard normal statistic.
#[must_use]
pub fn two_sided_p(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Share of false alarms spent after a share `time` of the experiment, both sides together.
fn spent(level: f64, time: f64) -> f64 {
    if time <= 0.0 {
        return 0.0;
    }
    let z = falls_to(level / 4.0, upper_tail);
    4.0 * upper_tail(z / time.sqrt())
}

fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Where a falling function reaches a value, between 0 and [`FAR`].
fn falls_to(value: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, FAR);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if f(middle) > value { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(level: f64, times: &[f64]) -> Vec<f64> {
        let mut monitor = Monitor::new(level);
        times.iter().map(|t| monitor.look(*t, *t).z).collect()
    }

    fn evenly(looks: usize) -> Vec<f64> {
        (1..=looks).map(|k| k as f64 / looks as f64).collect()
    }

    fn assert_close(ours: &[f64], published: &[f64], within: f64) {
        assert_eq!(ours.len(), published.len());
        for (our, theirs) in ours.iter().zip(published) {
            assert!((our - theirs).abs() < within, "{ours:?} {published:?}");
        }
    }

    /// Two-sided 5 %, evenly spaced looks, O'Brien–Fleming-type spending: values of the program ld98 (Reboussin et al. 2000)
    /// and its successor, the R package ldbounds.
    #[test]
    fn boundaries_are_those_published() {
        assert_close(&boundaries(0.05, &evenly(1)), &[1.9600], 1e-4);
        assert_close(&boundaries(0.05, &evenly(2)), &[2.9626, 1.9686], 2e-4);
        assert_close(&boundaries(0.05, &evenly(3)), &[3.7103, 2.5114, 1.9930], 2e-4);
        assert_close(&boundaries(0.05, &evenly(4)), &[4.3326, 2.9631, 2.3590, 2.0141], 2e-4);
        assert_close(&boundaries(0.05, &evenly(5)), &[4.8769, 3.3569, 2.6803, 2.2898, 2.0310], 2e-4);
    }

    /// The example in the read-me of SeqBounds.jl: one-sided 5 %, which is two-sided 10 %.
    #[test]
    fn boundaries_and_spending_are_those_of_another_program() {
        assert_close(&boundaries(0.1, &evenly(4)), &[3.74955, 2.53993, 2.01604, 1.72014], 2e-4);
        let spent: Vec<_> = evenly(4).iter().map(|t| spent(0.1, *t) / 2.0).collect();
        assert_close(&spent, &[8.857_54e-5, 0.005_574_6, 0.023_625_1, 0.05], 1e-6);
    }

    #[test]
    fn looks_at_what_has_hardly_grown_cost_little_and_nothing_breaks_them() {
        // Looks that are nearly the same look leave nearly the whole level to the last.
        let mut monitor = Monitor::new(0.05);
        let z = [0.2, 0.4, 0.6, 0.8, 1.0].map(|time| monitor.look(time, 100.0 + time).z);
        assert!(z.is_sorted_by(|a, b| a > b) && (z[4] - 1.96).abs() < 0.03, "{z:?}");
        let mut monitor = Monitor::new(0.05);
        for (time, information) in [(0.5, f64::NAN), (0.5, f64::INFINITY), (2.0, -1.0)] {
            let boundary = monitor.look(time, information);
            assert!(boundary.z.is_finite() && boundary.z > 0.0 && boundary.spent <= 0.05 + 1e-9, "{boundary:?}");
        }
    }

    #[test]
    fn p_values_are_two_sided() {
        assert!((two_sided_p(1.959_964) - 0.05).abs() < 1e-6 && (two_sided_p(-1.959_964) - 0.05).abs() < 1e-6);
        assert_eq!(two_sided_p(0.0), 1.0);
    }
}
