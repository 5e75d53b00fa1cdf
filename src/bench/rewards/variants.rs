//! The rows: one reward, or one setting, at a time.

use crate::recipe::{Recipe, Reward};

/// Which rows to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Rewards, one family at a time.
    Rewards,
    /// λ, β, G, and the examples beside them.
    Settings,
}

/// The row that all others start from.
pub(super) const START: &str = "sft";

/// What a row learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Examples alone, for as long as the first run on rewards took.
    Examples,
    /// Rewards, with examples beside them.
    Rewards,
}

/// A row.
pub(super) struct Variant {
    pub name: &'static str,
    pub kind: Kind,
    change: fn(&mut Recipe),
}

impl Variant {
    pub fn recipe(&self, recipe: &Recipe) -> Recipe {
        let mut recipe = recipe.clone();
        (self.change)(&mut recipe);
        recipe
    }
}

/// The rows of a set; the recipe's own rewards come first, since its time is everybody's.
pub(super) fn of(set: Set) -> Vec<Variant> {
    let rewards = |name, change| Variant { name, kind: Kind::Rewards, change };
    let mut rows = vec![rewards("grpo", |_| {}), Variant { name: "more-sft", kind: Kind::Examples, change: |_| {} }];
    rows.extend(match set {
        Set::Rewards => vec![
            rewards("posterior", |r| r.reward = Reward { posterior: 1.0, ..nothing(&r.reward) }),
            rewards("posterior-gated", |r| {
                r.reward = Reward { posterior: 1.0, relevance_gate: 0.5, ..nothing(&r.reward) };
            }),
            rewards("fusion", |r| {
                let parts = Reward { relevance: 1.0, hit: 1.0, format: 1.0, ..nothing(&r.reward) };
                r.reward = Reward { normalize: true, ..parts };
            }),
            rewards("decision", |r| r.reward = Reward { decision: 1.0, ..nothing(&r.reward) }),
        ],
        Set::Settings => vec![
            rewards("lambda-0.3", |r| r.grpo.lambda = 0.3),
            rewards("lambda-3", |r| r.grpo.lambda = 3.0),
            rewards("beta-0", |r| r.grpo.beta = 0.0),
            rewards("beta-0.1", |r| r.grpo.beta = 0.1),
            rewards("group-4", |r| r.grpo.num_generations = 4),
            rewards("group-16", |r| r.grpo.num_generations = 16),
            rewards("no-sft", |r| r.grpo.sft = 0.0),
        ],
    });
    rows
}

/// No part of a reward has a weight.
fn nothing(reward: &Reward) -> Reward {
    Reward { posterior: 0.0, relevance: 0.0, hit: 0.0, decision: 0.0, format: 0.0, ratio: 0.0, ..reward.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_differ_from_the_first_in_what_they_say() {
        for set in [Set::Rewards, Set::Settings] {
            let rows = of(set);
            let recipe = Recipe::default();
            assert_eq!((rows[0].kind, rows[1].kind), (Kind::Rewards, Kind::Examples));
            for (place, row) in rows.iter().enumerate().skip(2) {
                assert_ne!(row.recipe(&recipe), recipe, "{}", row.name);
                assert!(rows[..place].iter().all(|other| other.name != row.name), "{}", row.name);
            }
        }
    }
}
