//! What an arm said to the searches of its people: whether an index answers its rewrites, whether it left functional needs alone.

use crate::world::Want;

/// Counts over searches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    rewrites: usize,
    /// Rewrites that are queries of the index.
    answered: usize,
    /// Searches for what is the same whoever asks.
    functional: usize,
    left_alone: usize,
}

impl Said {
    /// With one search more, of somebody who wants this; `answers` tells whether an index answers a text.
    pub fn add(mut self, want: Want, rewrite: Option<&str>, answers: impl Fn(&str) -> bool) -> Self {
        self.rewrites += usize::from(rewrite.is_some());
        self.answered += usize::from(rewrite.is_some_and(answers));
        if matches!(want, Want::Functional { .. }) {
            self.functional += 1;
            self.left_alone += usize::from(rewrite.is_none());
        }
        self
    }

    /// With another's.
    pub fn and(self, other: Self) -> Self {
        Self {
            rewrites: self.rewrites + other.rewrites,
            answered: self.answered + other.answered,
            functional: self.functional + other.functional,
            left_alone: self.left_alone + other.left_alone,
        }
    }

    /// Share of the rewrites that the index answers; none without a rewrite.
    pub fn index_hits(self) -> Option<f64> {
        share(self.answered, self.rewrites)
    }

    /// Share of the functional searches that were left alone; none where nobody searched for such a thing.
    pub fn functional_left_alone(self) -> Option<f64> {
        share(self.left_alone, self.functional)
    }
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_count_once_and_functional_needs_by_whether_they_were_left_alone() {
        let index = |text: &str| text == "jaguar car";
        let (functional, sense) = (Want::Functional { entry: 0, place: 0 }, Want::Sense { sense: 0, facet: None });
        assert_eq!((Said::default().index_hits(), Said::default().functional_left_alone()), (None, None));
        let said = Said::default()
            .add(sense, Some("jaguar car"), index)
            .add(sense, Some("jaguar vaper"), index)
            .add(sense, None, index)
            .add(functional, None, index);
        let other = (0..3).fold(Said::default(), |said, _| said.add(functional, Some("weather today"), index));
        let both = said.and(other);
        assert_eq!((said.index_hits(), said.functional_left_alone()), (Some(0.5), Some(1.0)));
        assert_eq!((both.index_hits(), both.functional_left_alone()), (Some(0.2), Some(0.25)));
    }
}
