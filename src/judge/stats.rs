//! Two systems on the same people: difference of ratios, bootstrap interval, permutation p-value.
//!
//! People are the unit, since one person's searches are not independent of each other.

use rand::Rng;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A person's share in a ratio metric, such as clicks over searches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ratio {
    /// What is counted.
    pub num: f64,
    /// Out of how many.
    pub den: f64,
}

impl Ratio {
    /// Counts one more event out of one more chance.
    pub fn add(&mut self, hit: f64) {
        self.num += hit;
        self.den += 1.0;
    }
}

/// Treatment against control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Ratio of sums over people in the control.
    pub control: f64,
    /// The same in the treatment.
    pub treatment: f64,
    /// Treatment less control.
    pub difference: f64,
    /// 2.5th percentile of the bootstrap distribution of the difference.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
    /// Two-sided p-value of a permutation test that swaps the arms of whole people.
    pub p: f64,
    /// People that count.
    pub people: usize,
}

impl Comparison {
    /// Difference relative to the control; NaN when the control is 0.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.control == 0.0 { f64::NAN } else { self.difference / self.control }
    }
}

/// 95 % interval of a share, `part` of `whole` independent draws: Wilson's score interval (JASA 22, 1927), which stays within
/// [0, 1] and says something of none and of all. None of nothing.
#[must_use]
pub fn share_interval(part: usize, whole: usize) -> Option<[f64; 2]> {
    const Z: f64 = 1.959_964;
    let n = whole as f64;
    let share = part as f64 / n;
    let (middle, wide) = (share + Z * Z / (2.0 * n), (share * (1.0 - share) / n + (Z / (2.0 * n)).powi(2)).sqrt());
    let at = |sign: f64| ((middle + sign * Z * wide) / (1.0 + Z * Z / n)).clamp(0.0, 1.0);
    (whole > 0).then(|| [at(-1.0), at(1.0)])
}

/// Compares `(control, treatment)` pairs, one a person, by `resamples` bootstrap draws and as many permutations.
///
/// None when no one counts in one of the arms. Same seed, same answer, on any number of threads.
#[must_use]
pub fn compare(people: &[(Ratio, Ratio)], resamples: usize, seed: u64) -> Option<Comparison> {
    let people: Vec<_> = people.iter().copied().filter(|(c, t)| c.den > 0.0 || t.den > 0.0).collect();
    let (control, treatment) = ratios(people.iter().copied())?;
    let difference = treatment - control;
    let mut draws: Vec<f64> = (0..resamples)
        .into_par_iter()
        .filter_map(|i| {
            let mut rng = draw(seed, i, 0);
            let sample = (0..people.len()).map(|_| people[rng.random_range(0..people.len())]);
            ratios(sample).map(|(c, t)| t - c)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let as_extreme = (0..resamples)
        .into_par_iter()
        .filter(|&i| {
            let mut rng = draw(seed, i, 1);
            let swapped = people.iter().map(|&(c, t)| if rng.random::<bool>() { (t, c) } else { (c, t) });
            ratios(swapped).is_some_and(|(c, t)| (t - c).abs() >= difference.abs() - 1e-12)
        })
        .count();
    Some(Comparison {
        control,
        treatment,
        difference,
        low: percentile(&draws, 0.025),
        high: percentile(&draws, 0.975),
        // The observed arrangement counts as one of the permutations, so p is never 0.
        p: (as_extreme + 1) as f64 / (resamples + 1) as f64,
        people: people.len(),
    })
}

/// Compares two groups of different people, such as the arms of an experiment that hashes them.
///
/// The interval comes from resampling each group, the p-value from dealing all people out to the two anew. None when no
/// one counts in one of the groups. Same seed, same answer, on any number of threads.
#[must_use]
pub fn compare_groups(control: &[Ratio], treatment: &[Ratio], resamples: usize, seed: u64) -> Option<Comparison> {
    let counting = |arm: &[Ratio]| arm.iter().copied().filter(|r| r.den > 0.0).collect::<Vec<_>>();
    let (control, treatment) = (counting(control), counting(treatment));
    let of = |arm: &mut dyn Iterator<Item = Ratio>| {
        let (num, den) = arm.fold((0.0, 0.0), |(num, den), r| (num + r.num, den + r.den));
        (den > 0.0).then(|| num / den)
    };
    let (before, after) = (of(&mut control.iter().copied())?, of(&mut treatment.iter().copied())?);
    let (difference, everybody) = (after - before, [control.as_slice(), &treatment].concat());
    let mut draws: Vec<f64> = (0..resamples)
        .into_par_iter()
        .filter_map(|i| {
            let mut rng = draw(seed, i, 0);
            let mut resampled = |arm: &[Ratio]| of(&mut (0..arm.len()).map(|_| arm[rng.random_range(0..arm.len())]));
            let (c, t) = (resampled(&control)?, resampled(&treatment)?);
            Some(t - c)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let as_extreme = (0..resamples)
        .into_par_iter()
        .filter(|&i| {
            let mut dealt = everybody.clone();
            dealt.shuffle(&mut draw(seed, i, 1));
            let (c, t) = dealt.split_at(control.len());
            let difference_dealt = of(&mut t.iter().copied()).zip(of(&mut c.iter().copied())).map(|(t, c)| t - c);
            difference_dealt.is_some_and(|d| d.abs() >= difference.abs() - 1e-12)
        })
        .count();
    Some(Comparison {
        control: before,
        treatment: after,
        difference,
        low: percentile(&draws, 0.025),
        high: percentile(&draws, 0.975),
        p: (as_extreme + 1) as f64 / (resamples + 1) as f64,
        people: everybody.len(),
    })
}

/// A difference and its standard error, by the delta method for ratios (Deng, Knoblich and Lu, KDD 2018): quick, and with
/// tails that resampling cannot reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Treatment less control.
    pub difference: f64,
    /// Its standard error.
    pub se: f64,
}

impl Estimate {
    /// Of two groups of different people; none when one of them has fewer than two that count.
    #[must_use]
    pub fn of_groups(control: &[Ratio], treatment: &[Ratio]) -> Option<Self> {
        let ((c, of_c), (t, of_t)) = (influences(control.iter())?, influences(treatment.iter())?);
        Some(Self { difference: t - c, se: (squared_error(&of_c)? + squared_error(&of_t)?).sqrt() })
    }

    /// Of people who are in both, `(control, treatment)`; none when fewer than two count.
    #[must_use]
    pub fn of_pairs(people: &[(Ratio, Ratio)]) -> Option<Self> {
        let people: Vec<_> = people.iter().filter(|(c, t)| c.den > 0.0 || t.den > 0.0).collect();
        let (c, of_c) = influences(people.iter().map(|(c, _)| c))?;
        let (t, of_t) = influences(people.iter().map(|(_, t)| t))?;
        let each: Vec<f64> = of_t.iter().zip(&of_c).map(|(t, c)| t - c).collect();
        Some(Self { difference: t - c, se: squared_error(&each)?.sqrt() })
    }

    /// Difference over standard error; 0 where there is no difference.
    #[must_use]
    pub fn z(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { self.difference / self.se }
    }
}

/// How the relative lift `treatment / control − 1` differs between two experiments on the same people: `late` less `early`,
/// each `[control, treatment]` with one entry a person, empty for who was not in that arm. None when an arm is empty or a
/// control is 0.
#[must_use]
pub fn lift_change(early: [&[Ratio]; 2], late: [&[Ratio]; 2]) -> Option<Estimate> {
    let lift = |[control, treatment]: [&[Ratio]; 2]| -> Option<(f64, Vec<f64>)> {
        let ((c, of_c), (t, of_t)) = (influences(control.iter())?, influences(treatment.iter())?);
        let each = of_c.iter().zip(&of_t).map(|(of_c, of_t)| of_t / c - of_c * t / (c * c)).collect();
        (c != 0.0).then_some((t / c - 1.0, each))
    };
    let ((early, of_early), (late, of_late)) = (lift(early)?, lift(late)?);
    let each: Vec<f64> = of_late.iter().zip(&of_early).map(|(late, early)| late - early).collect();
    Some(Estimate { difference: late - early, se: squared_error(&each)?.sqrt() })
}

/// A ratio of sums, and how much each person moves it; those without chances of their own count, and move nothing.
fn influences<'a>(people: impl Iterator<Item = &'a Ratio> + Clone) -> Option<(f64, Vec<f64>)> {
    let (num, den) = people.clone().fold((0.0, 0.0), |(num, den), r| (num + r.num, den + r.den));
    let n = people.clone().count() as f64;
    let ratio = num / den;
    (den > 0.0).then(|| (ratio, people.map(|r| (r.num - ratio * r.den) * n / den).collect()))
}

/// Squared standard error of a mean of values around 0.
fn squared_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    (values.len() > 1).then(|| values.iter().map(|x| x * x).sum::<f64>() / (n - 1.0) / n)
}

/// The random numbers of one resample: bootstrap in stream 0, permutation in stream 1.
fn draw(seed: u64, index: usize, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((index as u64) << 1 | stream);
    rng
}

/// Places of one bootstrap draw among `n`, as [`compare`] draws them.
pub(super) fn resampled(n: usize, seed: u64, index: usize) -> impl Iterator<Item = usize> {
    let mut rng = draw(seed, index, 0);
    (0..n).map(move |_| rng.random_range(0..n))
}

/// 2.5th and 97.5th percentile of a bootstrap distribution, which is sorted for it; draws that are no number do not count.
pub(super) fn interval(draws: &mut Vec<f64>) -> (f64, f64) {
    draws.retain(|x| !x.is_nan());
    draws.sort_by(f64::total_cmp);
    (percentile(draws, 0.025), percentile(draws, 0.975))
}

/// Ratio of sums in each arm; none where an arm has no chances.
fn ratios(people: impl Iterator<Item = (Ratio, Ratio)>) -> Option<(f64, f64)> {
    let (mut control, mut treatment) = (Ratio::default(), Ratio::default());
    for (c, t) in people {
        control.num += c.num;
        control.den += c.den;
        treatment.num += t.num;
        treatment.den += t.den;
    }
    (control.den > 0.0 && treatment.den > 0.0).then(|| (control.num / control.den, treatment.num / treatment.den))
}

/// Linear-interpolated percentile of sorted values, as numpy's default.
fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(control: f64, treatment: f64) -> (Ratio, Ratio) {
        (Ratio { num: control, den: 10.0 }, Ratio { num: treatment, den: 10.0 })
    }

    #[test]
    fn a_share_s_interval_is_wilson_s() {
        let of = |part, whole| share_interval(part, whole).unwrap().map(|x| (1e4 * x).round() / 1e4);
        // Newcombe (Statistics in Medicine 17, 1998), table I, method 3.
        assert_eq!(of(81, 263), [0.2553, 0.3662]);
        assert_eq!(of(15, 148), [0.0624, 0.1605]);
        assert_eq!(of(0, 20), [0.0, 0.1611]);
        assert_eq!(of(1, 29), [0.0061, 0.1718]);
        assert_eq!((of(20, 20)[1], share_interval(0, 0)), (1.0, None));
    }

    #[test]
    fn a_clear_difference_is_significant_and_the_interval_holds_it() {
        let people: Vec<_> = (0..100).map(|i| person(f64::from(i % 3), f64::from(i % 3) + 1.0)).collect();
        let c = compare(&people, 999, 1).unwrap();
        assert!((c.difference - 0.1).abs() < 1e-9);
        assert!(c.p < 0.01 && c.low > 0.0 && c.low <= c.difference && c.difference <= c.high, "{c:?}");
    }

    #[test]
    fn equal_arms_reject_at_about_the_nominal_rate() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rejected = (0..200)
            .filter(|&i| {
                let people: Vec<_> =
                    (0..60).map(|_| person(rng.random_range(0.0..4.0), rng.random_range(0.0..4.0))).collect();
                compare(&people, 199, i).unwrap().p < 0.05
            })
            .count();
        // Binomial(200, 0.05): beyond 21 has probability below 0.001.
        assert!(rejected <= 21, "{rejected} of 200 A/A comparisons were significant");
    }

    #[test]
    fn groups_of_different_people_are_compared_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut arm = |n: usize, lift: f64| -> Vec<Ratio> {
            (0..n).map(|_| Ratio { num: rng.random_range(0.0..4.0) + lift, den: 10.0 }).collect()
        };
        let c = compare_groups(&arm(150, 0.0), &arm(120, 1.0), 999, 1).unwrap();
        assert!(c.p < 0.01 && c.low > 0.0 && c.low <= c.difference && c.difference <= c.high, "{c:?}");
        assert!((c.difference - 0.1).abs() < 0.05 && c.people == 270, "{c:?}");
        let rejected = (0..200).filter(|&i| compare_groups(&arm(40, 0.0), &arm(30, 0.0), 199, i).unwrap().p < 0.05);
        // Binomial(200, 0.05): beyond 21 has probability below 0.001.
        let rejected = rejected.count();
        assert!(rejected <= 21, "{rejected} of 200 A/A comparisons were significant");
        assert_eq!(compare_groups(&[], &arm(3, 0.0), 10, 1), None);
    }

    #[test]
    fn the_quick_standard_error_agrees_with_the_bootstrap() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut arm = |n: usize| -> Vec<Ratio> {
            let one = |_| {
                let den = f64::from(rng.random_range(0..9_u8));
                Ratio { num: (den * rng.random_range(0.0..1.5)).floor(), den }
            };
            (0..n).map(one).collect()
        };
        let (control, treatment) = (arm(400), arm(300));
        let (c, e) =
            (compare_groups(&control, &treatment, 2_000, 1).unwrap(), Estimate::of_groups(&control, &treatment));
        let e = e.unwrap();
        assert!((e.difference - c.difference).abs() < 1e-12);
        let bootstrap_se = (c.high - c.low) / (2.0 * 1.96);
        assert!((e.se / bootstrap_se - 1.0).abs() < 0.1, "{e:?} {bootstrap_se}");
        let pairs: Vec<_> = control.iter().copied().zip(treatment).collect();
        let (c, e) = (compare(&pairs, 2_000, 1).unwrap(), Estimate::of_pairs(&pairs).unwrap());
        let bootstrap_se = (c.high - c.low) / (2.0 * 1.96);
        assert!((e.se / bootstrap_se - 1.0).abs() < 0.1, "{e:?} {bootstrap_se}");
        assert_eq!(Estimate::of_groups(&[Ratio { num: 1.0, den: 1.0 }], &control), None);
    }

    #[test]
    fn a_lift_that_fades_is_told_from_one_that_stays() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut arm = |lift: f64| -> Vec<Ratio> {
            (0..300).map(|_| Ratio { num: 10.0 * lift + rng.random_range(-1.0..1.0), den: 10.0 }).collect()
        };
        let (control, up, less) = (arm(1.0), arm(1.2), arm(1.1));
        let (control_late, up_late) = (arm(1.0), arm(1.2));
        let faded = lift_change([&control, &up], [&control_late, &less]).unwrap();
        assert!((faded.difference + 0.1).abs() < 0.03 && faded.z() < -5.0, "{faded:?}");
        let stayed = lift_change([&control, &up], [&control_late, &up_late]).unwrap();
        assert!(stayed.z().abs() < 3.0, "{stayed:?}");
        assert_eq!(lift_change([&[], &[]], [&control, &up]), None);
    }

    #[test]
    fn nobody_gives_no_answer() {
        assert_eq!(compare(&[], 10, 1), None);
        assert_eq!(compare(&[(Ratio::default(), Ratio::default())], 10, 1), None);
    }

    #[test]
    fn percentiles_follow_numpy() {
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0], 0.5) - 2.5).abs() < 1e-12);
        assert!((percentile(&[1.0, 2.0, 3.0, 4.0], 0.025) - 1.075).abs() < 1e-12);
    }
}
