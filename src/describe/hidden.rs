//! What only the world knows of a log: needs, whether the context could tell them apart, which places were looked at.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::drift::Wanted;
use super::people::{RANKS, half};
use crate::logs::Session;
use crate::truth::{Hints, Phrasing, SearchTruth, Truth, Want};

const WEEK_MS: i64 = 7 * 86_400_000;

/// Which way the watched videos of a context point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// To the wanted sense and to no other of its head.
    pub resolves: u64,
    /// To another sense of the head, and not to the wanted one.
    pub misleads: u64,
    /// To both.
    pub mixed: u64,
    /// To neither.
    pub silent: u64,
    /// Of those that resolve: a title or a tag says so, and not only the picture.
    pub resolves_in_words: u64,
}

impl Sides {
    fn add(&mut self, hints: Hints) {
        let side = match (hints.wanted > 0, hints.rival > 0) {
            (true, false) => &mut self.resolves,
            (false, true) => &mut self.misleads,
            (true, true) => &mut self.mixed,
            (false, false) => &mut self.silent,
        };
        *side += 1;
        self.resolves_in_words += u64::from(hints.wanted_in_words > 0 && hints.rival == 0);
    }

    /// All contexts counted.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.resolves + self.misleads + self.mixed + self.silent
    }

    fn plus(self, other: Self) -> Self {
        Self {
            resolves: self.resolves + other.resolves,
            misleads: self.misleads + other.misleads,
            mixed: self.mixed + other.mixed,
            silent: self.silent + other.silent,
            resolves_in_words: self.resolves_in_words + other.resolves_in_words,
        }
    }
}

/// Counts over the hidden tables of a log.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    pub needs: u64,
    pub functional: u64,
    pub known: u64,
    pub habits: u64,
    pub colloquial: u64,
    pub against_history: u64,
    pub new_pairs: u64,
    pub typos: u64,
    pub met: u64,
    pub met_at_once: u64,
    pub no_click: u64,
    pub no_click_satisfied: u64,
    pub good: u64,
    pub shown: u64,
    pub shown_by_rank: [u64; RANKS],
    pub seen_by_rank: [u64; RANKS],
    /// First queries of a need for a sense, by phrasing.
    pub sides: BTreeMap<Phrasing, Sides>,
    pub senses: Wanted,
    from_ms: i64,
}

impl Hidden {
    pub fn new(from_ms: i64) -> Self {
        Self { from_ms, ..Self::default() }
    }

    /// Adds a session, looked up in the hidden tables.
    pub fn add(&mut self, session: &Session, truth: &Truth) -> Result<()> {
        let known = truth.of_session(&session.id)?;
        ensure!(
            known.len() == session.searches.len(),
            "the hidden tables know {} searches of session {}, the log {}: run `core simulate --fresh`",
            known.len(),
            session.id,
            session.searches.len()
        );
        for (search, t) in session.searches.iter().zip(&known) {
            let abandoned = search.clicks.is_empty();
            self.no_click += u64::from(abandoned);
            self.no_click_satisfied += u64::from(abandoned && t.satisfied);
            self.page(t);
            if t.step == 0 {
                let week = ((search.time_ms - self.from_ms).max(0) / WEEK_MS) as usize;
                self.need(t, week, half(&session.user));
            }
        }
        Ok(())
    }

    fn page(&mut self, t: &SearchTruth) {
        self.met += u64::from(t.satisfied);
        self.shown += t.grades.len() as u64;
        self.good += t.grades.iter().filter(|grade| **grade > 0.0).count() as u64;
        for rank in 0..RANKS.min(t.grades.len()) {
            self.shown_by_rank[rank] += 1;
            self.seen_by_rank[rank] += t.seen >> rank & 1;
        }
    }

    fn need(&mut self, t: &SearchTruth, week: usize, half: usize) {
        self.needs += 1;
        self.met_at_once += u64::from(t.satisfied);
        self.colloquial += u64::from(t.phrasing == Phrasing::Colloquial);
        self.against_history += u64::from(t.need.against_history);
        self.new_pairs += u64::from(t.need.new_pair);
        self.habits += u64::from(t.need.habit);
        self.typos += u64::from(t.typo);
        match t.need.want {
            Want::Functional { .. } => self.functional += 1,
            Want::Video { .. } => self.known += 1,
            Want::Sense { sense, .. } => {
                self.sides.entry(t.phrasing).or_default().add(t.hints);
                self.senses.add(sense, week, half);
            }
        }
    }

    /// Contexts of queries that leave the sense open: a bare head, or a head with a facet.
    pub fn ambiguous(&self) -> Sides {
        let of = |phrasing| self.sides.get(&phrasing).copied().unwrap_or_default();
        of(Phrasing::Bare).plus(of(Phrasing::Facet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_points_one_way_only() {
        let mut sides = Sides::default();
        let hints = |wanted, wanted_in_words, rival| Hints { wanted, wanted_in_words, rival };
        [hints(2, 1, 0), hints(1, 0, 0), hints(0, 0, 3), hints(1, 1, 1), hints(0, 0, 0)]
            .into_iter()
            .for_each(|h| sides.add(h));
        assert_eq!(sides, Sides { resolves: 2, misleads: 1, mixed: 1, silent: 1, resolves_in_words: 1 });
        assert_eq!((sides.all(), sides.plus(sides).all()), (5, 10));
    }
}
