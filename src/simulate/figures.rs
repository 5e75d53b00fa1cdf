//! How a simulated log lies against published figures, counted while it is made.

use serde::{Deserialize, Serialize};

use crate::world::{Phrasing, SimSession};

/// Counts over a log; shares follow from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Sessions.
    pub sessions: usize,
    /// Searches.
    pub searches: usize,
    /// Needs, each of one to three searches.
    pub needs: usize,
    /// Searches without a click.
    pub no_click: usize,
    /// Searches that found nothing.
    pub zero_results: usize,
    /// Needs met in the end.
    pub met: usize,
    /// Needs whose first query is a bare ambiguous head.
    pub bare: usize,
    /// Of these, met at that first query.
    pub bare_met_at_once: usize,
    /// Needs that go against what was watched.
    pub against_history: usize,
    /// Needs for a (head, sense) pair that was held back at first.
    pub new_pairs: usize,
}

impl Figures {
    /// Counts a session.
    pub(super) fn add(&mut self, s: &SimSession) {
        self.sessions += 1;
        for (search, truth) in s.session.searches.iter().zip(&s.truth) {
            self.searches += 1;
            self.no_click += usize::from(search.clicks.is_empty());
            self.zero_results += usize::from(search.shown.is_empty());
            self.met += usize::from(truth.satisfied);
            if truth.step == 0 {
                let bare = truth.phrasing == Phrasing::Bare;
                self.needs += 1;
                self.bare += usize::from(bare);
                self.bare_met_at_once += usize::from(bare && truth.satisfied);
                self.against_history += usize::from(truth.need.against_history);
                self.new_pairs += usize::from(truth.need.new_pair);
            }
        }
    }
}
