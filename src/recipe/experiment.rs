//! Sections of a recipe about experiments: the experiment itself, and the baselines that every model is held against.

use serde::{Deserialize, Serialize};

/// The simulated experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbTest {
    /// Weeks that an experiment takes.
    pub weeks: u32,
    /// How often everybody lives these weeks, each time with other wishes of the same person: more searches of the same
    /// people and weeks, and narrower intervals, which a simulation can have and a site cannot. People stay the units.
    pub lives: u32,
    /// Weeks left out between the log and the experiment: how far what was learnt has to carry.
    pub after_weeks: u32,
    /// How often the result is looked at, evenly in time, the end included; each look but the last may end the experiment.
    pub looks: u32,
    /// Chance of calling equal arms different, all looks taken together.
    pub level: f64,
    /// Bootstrap resamples over people.
    pub resamples: usize,
}

impl Default for AbTest {
    fn default() -> Self {
        Self { weeks: 1, lives: 1, after_weeks: 0, looks: 1, level: 0.05, resamples: 2_000 }
    }
}

/// What the rules that a model must beat are fitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baselines {
    /// A query, or a pair of queries, counts when at least this many different people of the training split stand behind it.
    pub min_people: usize,
    /// `cooccurrence`: least log-likelihood ratio of a pair (Dunning 1993); 10.83 is p = 0.001 under independence.
    pub min_llr: f64,
    /// `cooccurrence`: least share of a query's reformulations that go to its successor. Below a half, most people meant
    /// something else.
    pub min_share: f64,
    /// `nearest`: weight of the likeness to the last watched title beside the likeness to the query.
    pub context_weight: f64,
    /// `nearest`: a query less like the person's own than this (cosine) is never its rewrite.
    pub min_cosine: f64,
    /// `prf`: documents taken to be relevant. 10 documents, 10 terms, weight 0.5 are the values in common use for RM3.
    pub fb_docs: usize,
    /// `prf`: terms added.
    pub fb_terms: usize,
    /// `prf`: λ, the weight of the person's own query in the mixture with the documents' terms.
    pub fb_lambda: f64,
}

impl Default for Baselines {
    fn default() -> Self {
        Self {
            min_people: 3,
            min_llr: 10.83,
            min_share: 0.5,
            context_weight: 1.0,
            min_cosine: 0.5,
            fb_docs: 10,
            fb_terms: 10,
            fb_lambda: 0.5,
        }
    }
}
