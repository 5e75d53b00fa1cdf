//! Small random draws that the world is made of.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A standard normal number (Box and Muller, one of the pair).
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A log-normal number with the given median and the standard deviation of its logarithm.
pub(super) fn log_normal(rng: &mut ChaCha8Rng, median: f64, sigma: f64) -> f64 {
    median * (sigma * normal(rng)).exp()
}

/// A Poisson count (Knuth's product, so its time grows with the mean; the recipe bounds it).
pub(super) fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> usize {
    let floor = (-mean).exp();
    let (mut count, mut product) = (0, rng.random::<f64>());
    while product > floor {
        count += 1;
        product *= rng.random::<f64>();
    }
    count
}

/// How many times in a row something happens that stops happening after `mean` times on average.
pub(super) fn geometric(rng: &mut ChaCha8Rng, mean: f64) -> usize {
    let u = 1.0 - rng.random::<f64>();
    if mean <= 0.0 { 0 } else { (u.ln() / (mean / (1.0 + mean)).ln()) as usize }
}

/// Whether something of this probability happens. Always one draw, so that streams stay aligned.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// An element, each equally likely; none of an empty slice.
pub(super) fn pick<'a, T>(rng: &mut ChaCha8Rng, from: &'a [T]) -> Option<&'a T> {
    let place = (rng.random::<f64>() * from.len() as f64) as usize;
    from.get(place)
}

/// Indices drawn in proportion to weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Weighted {
    sums: Vec<f64>,
}

impl Weighted {
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums = weights.into_iter().map(|w| {
            sum += w;
            sum
        });
        Self { sums: sums.collect() }
    }

    /// An index; 0 when there is no weight at all. One draw.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        self.draw_first(self.sums.len(), rng)
    }

    /// An index below `n`; 0 when there is no weight. One draw.
    pub(super) fn draw_first(&self, n: usize, rng: &mut ChaCha8Rng) -> usize {
        let at = rng.random::<f64>() * self.total(n);
        self.sums[..n].partition_point(|sum| *sum <= at).min(n.saturating_sub(1))
    }

    /// Weight of the first `n`.
    pub(super) fn total(&self, n: usize) -> f64 {
        n.checked_sub(1).map_or(0.0, |last| self.sums[last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    #[test]
    fn draws_have_the_moments_they_claim() {
        let mut rng = stream(1, "draw", &[]);
        let n = 20_000;
        let mean = |f: &mut dyn FnMut() -> f64| (0..n).map(|_| f()).sum::<f64>() / f64::from(n);
        assert!(mean(&mut || normal(&mut rng)).abs() < 0.03);
        assert!((mean(&mut || normal(&mut rng).powi(2)) - 1.0).abs() < 0.05);
        assert!((mean(&mut || poisson(&mut rng, 2.5) as f64) - 2.5).abs() < 0.06);
        assert!((mean(&mut || geometric(&mut rng, 2.5) as f64) - 2.5).abs() < 0.1);
        assert_eq!(mean(&mut || geometric(&mut rng, 0.0) as f64), 0.0);
    }

    #[test]
    fn weights_are_kept_and_zero_weight_is_never_drawn() {
        let mut rng = stream(1, "weighted", &[]);
        let weighted = Weighted::new([0.0, 3.0, 0.0, 1.0]);
        let mut counts = [0; 4];
        (0..8_000).for_each(|_| counts[weighted.draw(&mut rng)] += 1);
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!((5_700..6_300).contains(&counts[1]), "{counts:?}");
    }
}
