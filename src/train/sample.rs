//! A uniform sample of a stream of unknown length (reservoir sampling, Vitter 1985, algorithm R).

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What was kept so far.
pub(super) struct Sample<T> {
    pub kept: Vec<T>,
    size: usize,
    offered: usize,
}

impl<T> Sample<T> {
    /// Keeps so many.
    pub fn of(size: usize) -> Self {
        Self { kept: Vec::new(), size, offered: 0 }
    }

    pub fn offer(&mut self, new: T, rng: &mut ChaCha8Rng) {
        self.offered += 1;
        if self.kept.len() < self.size {
            self.kept.push(new);
            return;
        }
        let place = rng.random_range(0..self.offered);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    #[test]
    fn everything_that_is_offered_is_kept_equally_often() {
        let mut times = [0; 10];
        for n in 0..4_000 {
            let (mut sample, mut rng) = (Sample::of(3), stream(7, "test", &[n]));
            (0..10).for_each(|i| sample.offer(i, &mut rng));
            assert_eq!(sample.kept.len(), 3);
            sample.kept.iter().for_each(|kept| times[*kept] += 1);
        }
        // Five standard deviations of a binomial count of 0.3 in 4,000 are 145.
        assert!(times.iter().all(|n| (1_055..=1_345).contains(n)), "{times:?}");
    }
}
