//! Logistic regression on pairs, by Newton's method: five weights, so it is exact and takes no time.

use super::pairs::Pair;

/// Strength with which weights are drawn to those they started from: little data changes little.
const PULL: f64 = 5.0;
/// Newton steps; the loss is convex and some ten are enough.
const STEPS: usize = 25;

/// Weights `w` with the least `Σ weight · ln(1 + e^(−w·difference)) + PULL/2 · |w − start|²`.
pub(super) fn fit(pairs: &[&Pair], start: [f64; 5]) -> [f64; 5] {
    let mut w = start;
    for _ in 0..STEPS {
        let mut gradient: [f64; 5] = std::array::from_fn(|i| PULL * (w[i] - start[i]));
        let mut curvature = [[0.0; 5]; 5];
        (0..5).for_each(|i| curvature[i][i] = PULL);
        for pair in pairs {
            let wrong = 1.0 / (1.0 + dot(&w, &pair.difference).exp());
            let steep = pair.weight * wrong * (1.0 - wrong);
            for (i, row) in curvature.iter_mut().enumerate() {
                gradient[i] -= pair.weight * wrong * pair.difference[i];
                row.iter_mut().zip(pair.difference).for_each(|(c, d)| *c += steep * pair.difference[i] * d);
            }
        }
        let step = solve(curvature, gradient);
        (0..5).for_each(|i| w[i] -= step[i]);
        if step.iter().all(|s| s.abs() < 1e-9) {
            break;
        }
    }
    w
}

/// Share of pairs that weights put in the right order, by the pairs' weight; none without pairs.
pub(super) fn agreement(pairs: &[&Pair], w: [f64; 5]) -> Option<f64> {
    let all: f64 = pairs.iter().map(|p| p.weight).sum();
    let right: f64 = pairs.iter().filter(|p| dot(&w, &p.difference) > 0.0).map(|p| p.weight).sum();
    (all > 0.0).then_some(right / all)
}

fn dot(a: &[f64; 5], b: &[f64; 5]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Solves `a x = b` for a symmetric, positive definite `a`: Gauss without a search for pivots.
fn solve(mut a: [[f64; 5]; 5], mut b: [f64; 5]) -> [f64; 5] {
    for i in 0..5 {
        let row = a[i];
        for j in i + 1..5 {
            let factor = a[j][i] / row[i];
            (i..5).for_each(|k| a[j][k] -= factor * row[k]);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..5).rev() {
        let known: f64 = (i + 1..5).map(|k| a[i][k] * b[k]).sum();
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
        let truth = [1.5, -0.5, 0.0, 2.0, 0.7];
        let pairs: Vec<Pair> = (0..60_000)
            .map(|_| {
                let d: [f64; 5] = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
                let right = rng.random::<f64>() < 1.0 / (1.0 + (-dot(&truth, &d)).exp());
                Pair { difference: if right { d } else { d.map(|x| -x) }, weight: 1.0 }
            })
            .collect();
        let all: Vec<&Pair> = pairs.iter().collect();
        let found = fit(&all, [0.0; 5]);
        assert!(found.iter().zip(truth).all(|(a, b)| (a - b).abs() < 0.1), "{found:?}");
        assert!(agreement(&all, found) > agreement(&all, [1.0; 5]));
        // A handful of them leaves what was believed before nearly as it was.
        let few = fit(&all[..3], [1.0; 5]);
        assert!(few.iter().all(|w| (w - 1.0).abs() < 0.3), "{few:?}");
    }

    #[test]
    fn equations_are_solved() {
        let mut a = [[0.5; 5]; 5];
        (0..5).for_each(|i| a[i][i] = 2.0 + i as f64);
        let x = [1.0, -2.0, 3.0, 0.5, 4.0];
        let b = a.map(|row| dot(&row, &x));
        assert!(solve(a, b).iter().zip(x).all(|(got, want)| (got - want).abs() < 1e-12));
        assert_eq!(agreement(&[], [1.0; 5]), None);
    }
}
