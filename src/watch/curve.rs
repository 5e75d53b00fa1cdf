//! One number over the steps of a run, in bounded memory.

/// Most points kept; half of them are dropped when one more comes.
const POINTS: usize = 4096;

/// Values by step. When full it keeps every second point, then takes only every second new one, and so on: what is
/// kept lies evenly over the run and depends on the values alone, not on when they were read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    stride: usize,
    seen: usize,
    last: Option<(u64, f64)>,
    range: Option<(f64, f64)>,
    bad_step: Option<u64>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, seen: 0, last: None, range: None, bad_step: None }
    }
}

impl Curve {
    /// Adds the value of a step.
    pub(super) fn push(&mut self, step: u64, value: f64) {
        self.last = Some((step, value));
        if !value.is_finite() {
            self.bad_step = Some(step);
            return;
        }
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() == POINTS {
                let mut index = 0;
                self.points.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            self.points.push((step as f64, value));
        }
        self.seen += 1;
    }

    /// `(step, value)` of what is kept, always with the newest finite value at the end.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let mut points = self.points.clone();
        if let Some((step, value)) = self.last.filter(|(_, value)| value.is_finite())
            && points.last().is_none_or(|p| p.0 != step as f64)
        {
            points.push((step as f64, value));
        }
        points
    }

    /// The newest value.
    pub(super) fn last(&self) -> Option<f64> {
        self.last.map(|(_, value)| value)
    }

    /// Lowest and highest finite value ever seen, thinned ones too.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// The newest step whose value was not a finite number.
    pub(super) fn bad_step(&self) -> Option<u64> {
        self.bad_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_thinned_evenly_and_keeps_its_ends() {
        let mut curve = Curve::default();
        (1..=100_000_u64).for_each(|step| curve.push(step, step as f64 / 2.0));
        let points = curve.points();
        assert!(points.len() <= POINTS + 1 && points.len() > POINTS / 2, "{}", points.len());
        assert_eq!((points[0], *points.last().unwrap()), ((1.0, 0.5), (100_000.0, 50_000.0)));
        let kept = &points[..points.len() - 1];
        assert!(kept.windows(2).all(|w| w[1].0 - w[0].0 == 32.0), "uneven");
        assert_eq!(curve.range(), Some((0.5, 50_000.0)));
    }

    #[test]
    fn what_is_no_number_is_kept_apart() {
        let mut curve = Curve::default();
        curve.push(1, 2.0);
        curve.push(2, f64::NAN);
        assert_eq!((curve.points(), curve.bad_step(), curve.range()), (vec![(1.0, 2.0)], Some(2), Some((2.0, 2.0))));
        assert!(curve.last().unwrap().is_nan());
    }
}
