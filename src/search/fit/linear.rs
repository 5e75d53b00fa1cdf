//! Conditional logistic regression on pairs, by Newton's method: a dozen weights, so it is exact and takes no time.

use super::pairs::{PARTS, Pair};

/// Strength with which weights are drawn to those they started from. Little data changes little; nor does much of it where
/// pages hardly differ: all their documents match well, which tells little of what a bad match would be worth.
const PULL: f64 = 50.0;
/// Newton steps; the loss is convex and some ten are enough.
const STEPS: usize = 25;

/// One weight for each part of a pair.
pub(super) type Parts = [f64; PARTS];

/// Weights `w` with the least `Σ weight · ln(1 + e^(−w·difference)) + PULL/2 · |w − start|²`.
pub(super) fn fit(pairs: &[&Pair], start: Parts) -> Parts {
    let mut w = start;
    for _ in 0..STEPS {
        let mut gradient: Parts = std::array::from_fn(|i| PULL * (w[i] - start[i]));
        let mut curvature = [[0.0; PARTS]; PARTS];
        (0..PARTS).for_each(|i| curvature[i][i] = PULL);
        for pair in pairs {
            let wrong = 1.0 / (1.0 + dot(&w, &pair.difference).exp());
            let steep = pair.weight * wrong * (1.0 - wrong);
            for (i, row) in curvature.iter_mut().enumerate() {
                gradient[i] -= pair.weight * wrong * pair.difference[i];
                row.iter_mut().zip(pair.difference).for_each(|(c, d)| *c += steep * pair.difference[i] * d);
            }
        }
        let step = solve(curvature, gradient);
        (0..PARTS).for_each(|i| w[i] -= step[i]);
        if step.iter().all(|s| s.abs() < 1e-9) {
            break;
        }
    }
    w
}

/// Share of pairs that weights put in the right order, by the pairs' weight; none without pairs.
pub(super) fn agreement(pairs: &[&Pair], w: Parts) -> Option<f64> {
    let all: f64 = pairs.iter().map(|p| p.weight).sum();
    let right: f64 = pairs.iter().filter(|p| dot(&w, &p.difference) > 0.0).map(|p| p.weight).sum();
    (all > 0.0).then_some(right / all)
}

fn dot(a: &Parts, b: &Parts) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Solves `a x = b` for a symmetric, positive definite `a`: Gauss without a search for pivots.
fn solve(mut a: [Parts; PARTS], mut b: Parts) -> Parts {
    for i in 0..PARTS {
        let (above, below) = a.split_at_mut(i + 1);
        let (row, known) = (above[i], b[i]);
        for (lower, value) in below.iter_mut().zip(&mut b[i + 1..]) {
            let factor = lower[i] / row[i];
            lower.iter_mut().zip(row).for_each(|(x, y)| *x -= factor * y);
            *value -= factor * known;
        }
    }
    for i in (0..PARTS).rev() {
        let known: f64 = (i + 1..PARTS).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::recipe::stream;

    #[test]
    fn weights_that_made_the_choices_are_found_again() {
        let mut rng = stream(2, "choices", &[]);
        let truth: Parts = std::array::from_fn(|i| 2.0 - 0.3 * i as f64);
        let pairs: Vec<Pair> = (0..60_000)
            .map(|_| {
                let d: Parts = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
                let right = rng.random::<f64>() < 1.0 / (1.0 + (-dot(&truth, &d)).exp());
                Pair { difference: if right { d } else { d.map(|x| -x) }, weight: 1.0 }
            })
            .collect();
        let all: Vec<&Pair> = pairs.iter().collect();
        let found = fit(&all, [0.0; PARTS]);
        assert!(found.iter().zip(truth).all(|(a, b)| (a - b).abs() < 0.15), "{found:?}");
        assert!(agreement(&all, found) > agreement(&all, [1.0; PARTS]));
        // A handful of them leaves what was believed before nearly as it was.
        let few = fit(&all[..3], [1.0; PARTS]);
        assert!(few.iter().all(|w| (w - 1.0).abs() < 0.3), "{few:?}");
    }

    #[test]
    fn equations_are_solved() {
        let mut a = [[0.5; PARTS]; PARTS];
        (0..PARTS).for_each(|i| a[i][i] = 2.0 + i as f64);
        let x: Parts = std::array::from_fn(|i| i as f64 - 3.0);
        let b = a.map(|row| dot(&row, &x));
        assert!(solve(a, b).iter().zip(x).all(|(got, want)| (got - want).abs() < 1e-9));
        assert_eq!(agreement(&[], [1.0; PARTS]), None);
    }
}
