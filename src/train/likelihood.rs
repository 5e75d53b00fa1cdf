//! The loss of learning by example: weighted token-mean negative log-likelihood (WeWrite eq. 3 where every weight is 1).

/// `−Σ w·logπ / total`; `total` sums the weights of *all* micro-batches of the step, so that accumulation gives the loss of
/// the whole batch.
#[must_use]
pub fn loss(logprobs: &[f32], weights: &[f32], total: f64) -> f64 {
    let sum: f64 = logprobs.iter().zip(weights).map(|(&lp, &w)| f64::from(lp) * f64::from(w)).sum();
    -sum / total.max(f64::MIN_POSITIVE)
}

/// The slope of [`loss`] at each log-probability.
#[must_use]
pub fn slope(weights: &[f32], total: f64) -> Vec<f32> {
    weights.iter().map(|&w| (-f64::from(w) / total.max(f64::MIN_POSITIVE)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_by_its_weight_and_the_slope_is_that_of_the_loss() {
        let (logprobs, weights) = ([-1.0, -2.0, -4.0], [1.0, 0.5, 0.0]);
        assert_eq!(loss(&logprobs, &weights, 1.5), 2.0 / 1.5);
        let slopes = slope(&weights, 1.5);
        for (i, slope) in slopes.into_iter().enumerate() {
            let mut moved = logprobs;
            moved[i] += 0.5;
            let difference = (loss(&moved, &weights, 1.5) - loss(&logprobs, &weights, 1.5)) / 0.5;
            assert!((difference - f64::from(slope)).abs() < 1e-6);
        }
    }
}
