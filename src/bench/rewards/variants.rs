//! The rows: one reward, or one setting, at a time.

use anyhow::Result;

use crate::recipe::{Form, Recipe, Reference, Reward, Usage};

/// Which rows to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Rewards, one family at a time.
    Rewards,
    /// λ, β, G, and the examples beside them.
    Settings,
    /// Relevance as a reward, told by the search path or by a model; and tagging learnt beside rewriting.
    Relevance,
    /// Forms of the ratio and terms of MPO.
    Core,
}

/// The row that all others start from.
pub(super) const START: &str = "sft";

/// What a row learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Examples alone, for as long as the first run on rewards took.
    Examples,
    /// Examples and relevance annotations, for as long (JD's multi-task training).
    Mixed,
    /// Rewards, with examples beside them.
    Rewards,
    /// Pairs of its own answers, by the ratio.
    Pairs,
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
    match set {
        Set::Core => return of_core(),
        Set::Relevance => return of_relevance(),
        Set::Rewards | Set::Settings => {}
    }
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
        Set::Relevance | Set::Core => Vec::new(),
    });
    rows
}

/// The first row of a set, and of the others those that are named; all where none is.
///
/// # Errors
/// A name that no row of the set has.
pub(super) fn some_of(set: Set, names: &[String]) -> Result<Vec<Variant>> {
    let rows = of(set);
    let known: Vec<&str> = rows.iter().map(|row| row.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Usage(format!("--only {name} is no row here: use one of {}", known.join(", "))).into());
    }
    let wanted =
        |(place, row): &(usize, Variant)| *place == 0 || names.is_empty() || names.iter().any(|n| n == row.name);
    Ok(rows.into_iter().enumerate().filter(wanted).map(|(_, row)| row).collect())
}

/// The run of a world's relevance model.
pub(super) fn tagger(recipe: &Recipe) -> String {
    format!("{}-rewards-tagger", recipe.name)
}

/// The same rewards by the search path's relevance and by a model's.
fn of_relevance() -> Vec<Variant> {
    let rewards = |name, change| Variant { name, kind: Kind::Rewards, change };
    let others = |name, kind| Variant { name, kind, change: |_| {} };
    vec![
        rewards("grpo", |_| {}),
        others("more-sft", Kind::Examples),
        others("multi-task", Kind::Mixed),
        rewards("relevance", |r| r.reward = Reward { relevance: 1.0, ..nothing(&r.reward) }),
        rewards("relevance-learned", |r| {
            r.reward = Reward { relevance: 1.0, scorer: tagger(r), ..nothing(&r.reward) };
        }),
        rewards("gated", |r| r.reward.relevance_gate = 0.5),
        rewards("gated-learned", |r| (r.reward.relevance_gate, r.reward.scorer) = (0.5, tagger(r))),
        rewards("fusion-learned", |r| {
            let parts = Reward { relevance: 1.0, hit: 1.0, format: 1.0, ..nothing(&r.reward) };
            r.reward = Reward { normalize: true, scorer: tagger(r), ..parts };
        }),
    ]
}

/// Forms of the ratio, and MPO's terms, one left out at a time.
fn of_core() -> Vec<Variant> {
    let pairs = |name, change| Variant { name, kind: Kind::Pairs, change };
    vec![
        pairs("mpo", |_| {}),
        Variant { name: "more-sft", kind: Kind::Examples, change: |_| {} },
        pairs("additive", |r| r.ratio.form = Form::Additive),
        pairs("gamma-0", |r| r.ratio.gamma = 0.0),
        pairs("alpha-0", |r| r.ratio.alpha = 0.0),
        pairs("text-only", |r| r.ratio.visual = false),
        pairs("no-sft", |r| r.mpo.sft = 0.0),
        pairs("no-bco", |r| r.mpo.bco_pair = 0.0),
        pairs("dpo-alone", |r| (r.mpo.sigmoid, r.mpo.bco_pair, r.mpo.sft) = (1.0, 0.0, 0.0)),
        pairs("running-delta", |r| r.mpo.running_delta = true),
        pairs("phase-reference", |r| r.mpo.reference = Reference::Phase),
    ]
}

/// No part of a reward has a weight.
fn nothing(reward: &Reward) -> Reward {
    Reward {
        posterior: 0.0,
        relevance: 0.0,
        hit: 0.0,
        decision: 0.0,
        format: 0.0,
        ratio: 0.0,
        exact: 0.0,
        ..reward.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_rows_stand_beside_the_first_alone_and_a_name_that_there_is_not_is_an_error() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            some_of(Set::Rewards, &names).map(|rows| rows.iter().map(|row| row.name).collect::<Vec<_>>())
        };
        assert_eq!(of(&["fusion", "more-sft"]).unwrap(), ["grpo", "more-sft", "fusion"]);
        assert_eq!(of(&[]).unwrap().len(), super::of(Set::Rewards).len());
        // Called wrongly, code 2.
        let error = of(&["gamma-0"]).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--only gamma-0"), "{error}");
    }

    #[test]
    fn rows_have_names_of_their_own_and_differ_from_the_first_in_what_they_say() {
        for set in [Set::Rewards, Set::Settings, Set::Relevance, Set::Core] {
            let rows = of(set);
            let recipe = Recipe::default();
            let first = if set == Set::Core { Kind::Pairs } else { Kind::Rewards };
            assert_eq!((rows[0].kind, rows[1].kind), (first, Kind::Examples));
            for (place, row) in rows.iter().enumerate().filter(|(place, row)| *place > 1 && row.kind != Kind::Mixed) {
                assert_ne!(row.recipe(&recipe), recipe, "{}", row.name);
                assert!(rows[..place].iter().all(|other| other.name != row.name), "{}", row.name);
            }
        }
    }
}
