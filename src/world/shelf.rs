//! The videos of one sense by the time they were published, and which of them is watched at a given time.
//!
//! That old videos fade by a half-life means that a video born later weighs more by a factor that does not change with time:
//! `2^(−(t − a)/h) : 2^(−(t − b)/h) = 2^(a/h) : 2^(b/h)`. So one table of running sums serves all times; those who look at
//! time `t` draw from the videos born by then. A draw costs two binary searches, whatever the week.

use rand_chacha::ChaCha8Rng;

use super::draw::{Weighted, chance};

const DAY_MS: f64 = 86_400_000.0;

/// Videos in the order of their births.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    videos: Vec<usize>,
    born_ms: Vec<i64>,
    /// By popularity alone.
    lasting: Weighted,
    /// By popularity and newness.
    fading: Weighted,
}

impl Shelf {
    /// From `(video, published, weight)`, in any order.
    pub(super) fn new(mut videos: Vec<(usize, i64, f64)>, half_life_days: f64) -> Self {
        videos.sort_by_key(|(video, born_ms, _)| (*born_ms, *video));
        let newest_ms = videos.last().map_or(0, |(_, born_ms, _)| *born_ms);
        let fading = videos.iter().map(|(_, born_ms, weight)| {
            let days = (newest_ms - born_ms) as f64 / DAY_MS;
            weight * (-days / half_life_days).exp2()
        });
        Self {
            fading: Weighted::new(fading),
            lasting: Weighted::new(videos.iter().map(|(_, _, weight)| *weight)),
            born_ms: videos.iter().map(|(_, born_ms, _)| *born_ms).collect(),
            videos: videos.into_iter().map(|(video, _, _)| video).collect(),
        }
    }

    /// A video that is published by `now_ms`; for a share of draws whatever its age, else new ones more often.
    pub(super) fn draw(&self, now_ms: i64, evergreen_share: f64, rng: &mut ChaCha8Rng) -> Option<usize> {
        let born = self.born_ms.partition_point(|born_ms| *born_ms <= now_ms);
        let lasting = chance(rng, evergreen_share);
        // Where all have faded beyond what a number can say, age tells nothing any more.
        let table = if lasting || self.fading.total(born) < f64::MIN_POSITIVE { &self.lasting } else { &self.fading };
        let place = table.draw_first(born, rng);
        self.videos[..born].get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    const DAY: i64 = 86_400_000;

    fn counts(shelf: &Shelf, day: i64, evergreen: f64) -> [i32; 4] {
        let mut rng = stream(1, "shelf", &[]);
        let mut counts = [0; 4];
        for _ in 0..8_000 {
            if let Some(video) = shelf.draw(day * DAY, evergreen, &mut rng) {
                counts[video] += 1;
            }
        }
        counts
    }

    #[test]
    fn nothing_is_drawn_before_its_birth_and_a_half_life_halves() {
        let shelf = Shelf::new(vec![(2, 12 * DAY, 1.0), (0, 0, 1.0), (1, 6 * DAY, 1.0)], 6.0);
        assert_eq!(counts(&shelf, -1, 0.5), [0; 4]);
        assert_eq!(counts(&shelf, 5, 0.0), [8_000, 0, 0, 0]);
        let [a, b, c, _] = counts(&shelf, 11, 0.0);
        assert!(c == 0 && (a - 8_000 / 3).abs() < 200 && (b - 16_000 / 3).abs() < 200, "{a} {b}");
        // A week later their weights are as far apart, and the new one has come.
        let [a, b, c, _] = counts(&shelf, 18, 0.0);
        assert!(
            (a - 8_000 / 7).abs() < 150 && (b - 16_000 / 7).abs() < 200 && (c - 32_000 / 7).abs() < 200,
            "{a} {b} {c}"
        );
        let [a, b, c, _] = counts(&shelf, 18, 1.0);
        assert!((a - b).abs() < 250 && (b - c).abs() < 250);
    }

    #[test]
    fn a_video_that_faded_beyond_numbers_is_still_drawn_while_it_is_alone() {
        let shelf = Shelf::new(vec![(0, 0, 1.0), (1, 3_000 * DAY, 1.0)], 1.0);
        assert_eq!(counts(&shelf, 2_999, 0.0), [8_000, 0, 0, 0]);
        assert_eq!(counts(&shelf, 3_000, 0.0), [0, 8_000, 0, 0]);
    }
}
