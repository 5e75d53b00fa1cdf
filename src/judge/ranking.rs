//! Metrics of one ranking.

/// nDCG over the first `n` places, gains as they are and discounted by `log2(1 + place)` as in trec_eval; `ideal` holds the
/// gains of all that could have been found, best first. None when nothing could.
#[must_use]
pub fn ndcg(gains: &[f64], ideal: &[f64], n: usize) -> Option<f64> {
    let dcg = |gains: &[f64]| -> f64 {
        gains.iter().take(n).enumerate().map(|(place, gain)| gain / (place as f64 + 2.0).log2()).sum()
    };
    let best = dcg(ideal);
    (best > 0.0).then(|| dcg(gains) / best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_order_is_1_and_lower_places_count_less() {
        let ideal = [1.0, 1.0, 0.4];
        assert_eq!(ndcg(&ideal, &ideal, 10), Some(1.0));
        // 1/log2(3) + 0.4/log2(4) over 1 + 1/log2(3) + 0.4/log2(4), by hand.
        let missed = ndcg(&[0.0, 1.0, 0.4], &ideal, 10).unwrap();
        assert!((missed - 0.830_930 / 1.830_930).abs() < 1e-6, "{missed}");
        assert!(ndcg(&[1.0, 0.0, 0.4], &ideal, 10) > ndcg(&[0.0, 1.0, 0.4], &ideal, 10));
        assert_eq!(ndcg(&[0.0, 1.0], &ideal, 1), Some(0.0));
        assert_eq!(ndcg(&[], &[0.0], 10), None);
    }
}
