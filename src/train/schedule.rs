//! The learning rate over a run.

use crate::recipe::Train;

/// Linear warm-up, then half a cosine down to `lr_floor` of the peak; `step` counts from 0.
#[must_use]
pub fn cosine(step: u64, train: &Train) -> f64 {
    let warmup = (train.warmup * train.steps as f64).ceil();
    let step = step as f64;
    if step < warmup {
        return train.lr * (step + 1.0) / warmup;
    }
    let done = ((step - warmup) / (train.steps as f64 - warmup).max(1.0)).min(1.0);
    let shape = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
    train.lr * (train.lr_floor + (1.0 - train.lr_floor) * shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_floor() {
        let train = Train { steps: 100, warmup: 0.1, lr: 1.0, lr_floor: 0.1, ..Train::default() };
        assert!((cosine(0, &train) - 0.1).abs() < 1e-12);
        assert!((cosine(9, &train) - 1.0).abs() < 1e-12);
        assert!((cosine(10, &train) - 1.0).abs() < 1e-12);
        assert!((cosine(55, &train) - 0.55).abs() < 1e-9);
        assert!((cosine(100, &train) - 0.1).abs() < 1e-12);
    }
}
