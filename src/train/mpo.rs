//! MPO, mixed preference optimisation (arXiv 2411.10442): DPO's pairwise term, BCO's term of each side, and the
//! cross-entropy of the chosen. Pure functions of numbers; names of statistics are TRL's.
//!
//! With `h(y) = Σ logπ − Σ logπ_ref` and the implicit reward `r = β·h`, a pair costs
//! `w_p·−log σ(r_w − r_l) + w_q·(−log σ(r_w − δ) − log σ(δ − r_l))`, the mean over pairs is taken, and
//! `w_g·−Σ logπ(y_w) / tokens` is added. Pairs of one prompt share a group: each completion is computed once, and
//! counts as often as it stands in a pair.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Constants of the objective; the defaults are InternVL's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// β: how much reward a nat of departure from the reference is.
    pub beta: f64,
    /// `w_p`: which of the two is better.
    pub sigmoid: f64,
    /// `w_q`: how good each is by itself.
    pub bco_pair: f64,
    /// `w_g`: how to say the chosen.
    pub sft: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { beta: 0.1, sigmoid: 0.8, bco_pair: 0.2, sft: 1.0 }
    }
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first constant out of its range.
    pub fn check(&self) -> Result<()> {
        ensure!(self.beta > 0.0 && self.beta.is_finite(), "beta = {} must be above 0", self.beta);
        for (name, x) in [("sigmoid", self.sigmoid), ("bco_pair", self.bco_pair), ("sft", self.sft)] {
            ensure!(x >= 0.0 && x.is_finite(), "the weight {name} = {x} must be 0 or more");
        }
        Ok(())
    }
}

/// What is constant about a group while its policy is updated.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// Tokens of each completion.
    pub lengths: Vec<usize>,
    /// Chosen and rejected, by their places among the completions.
    pub pairs: Vec<(usize, usize)>,
    /// Log-probabilities under the reference, one a token.
    pub reference: Vec<f32>,
}

impl Pairs {
    /// Every one of the first `chosen` completions against every other.
    #[must_use]
    pub fn crossed(lengths: Vec<usize>, chosen: usize, reference: Vec<f32>) -> Self {
        let all = lengths.len();
        let pairs = (0..chosen).flat_map(|w| (chosen..all).map(move |l| (w, l))).collect();
        Self { lengths, pairs, reference }
    }

    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// Totals of an optimizer step, known before its first forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Pairs.
    pub pairs: usize,
    /// Tokens of the chosen, counted once a pair.
    pub chosen_tokens: usize,
}

impl Counts {
    /// Counts all groups of a step, micro-batches together.
    #[must_use]
    pub fn of(groups: &[Pairs]) -> Self {
        let pairs = groups.iter().map(|g| g.pairs.len()).sum();
        let tokens = |g: &Pairs| g.pairs.iter().filter_map(|(w, _)| g.lengths.get(*w)).sum::<usize>();
        Self { pairs, chosen_tokens: groups.iter().map(tokens).sum() }
    }
}

/// δ: the mean over batches of the mean implicit reward of both sides (BCO, arXiv 2404.04656; a batch counts once,
/// whatever its size, as in TRL up to 0.19 and in InternVL).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningMean {
    mean: f64,
    batches: f64,
}

impl RunningMean {
    /// Takes in a batch's rewards and gives the mean of all batches so far; 0 before the first.
    pub fn update(&mut self, rewards: &[f64]) -> f64 {
        if !rewards.is_empty() {
            let of_batch = rewards.iter().sum::<f64>() / rewards.len() as f64;
            self.batches += 1.0;
            self.mean += (of_batch - self.mean) / self.batches;
        }
        self.mean
    }

    /// The mean of all batches so far.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }
}

/// The objective over some groups of a step.
#[derive(Debug, Clone)]
pub struct Mpo {
    settings: Settings,
    groups: Vec<Pairs>,
    counts: Counts,
    delta: f64,
}

impl Mpo {
    /// Binds the groups of a (micro-)batch, with δ = 0; `counts` are those of the whole step, so that accumulation
    /// gives the loss of the whole batch.
    ///
    /// # Errors
    /// Settings out of range; a group whose lists do not belong together.
    pub fn new(settings: Settings, groups: Vec<Pairs>, counts: Counts) -> Result<Self> {
        settings.check()?;
        for (i, group) in groups.iter().enumerate() {
            let (n, tokens) = (group.reference.len(), group.tokens());
            ensure!(n == tokens, "group {i} has {n} reference log-probabilities for {tokens} tokens");
            let all = group.lengths.len();
            let known = group.pairs.iter().all(|(w, l)| *w < all && *l < all && w != l);
            ensure!(known, "a pair of group {i} is not made of two of its {all} completions");
        }
        Ok(Self { settings, groups, counts, delta: 0.0 })
    }

    /// With another δ, a constant of the step: what a [`RunningMean`] gave. 0 is TRL's `bco_pair`.
    #[must_use]
    pub fn with_delta(self, delta: f64) -> Self {
        Self { delta, ..self }
    }

    /// `d loss / d logprob` for the tokens of a group, from their log-probabilities.
    ///
    /// # Panics
    /// When the group or its number of tokens is another: a mistake in the program.
    #[must_use]
    pub fn slopes(&self, group: usize, logprobs: &[f32]) -> Vec<f32> {
        let group = &self.groups[group];
        let sums = Sums::new(group, logprobs, self.settings.beta);
        let mut slopes = vec![0.0; group.lengths.len()];
        for &(w, l) in &group.pairs {
            let cost = self.cost(&sums, w, l);
            slopes[w] += cost.slope_chosen;
            slopes[l] += cost.slope_rejected;
        }
        slopes.iter().zip(&group.lengths).flat_map(|(slope, n)| std::iter::repeat_n(*slope as f32, *n)).collect()
    }

    /// The loss and its statistics, from the log-probabilities of all these groups in their order.
    ///
    /// # Panics
    /// When the number of tokens is another: a mistake in the program.
    #[must_use]
    pub fn tally(&self, logprobs: &[f32]) -> Tally {
        let mut tally = Tally::default();
        for (group, sums) in self.sums(logprobs) {
            for &(w, l) in &group.pairs {
                let (chosen, rejected) = (sums.rewards[w], sums.rewards[l]);
                let cost = self.cost(&sums, w, l);
                tally.loss += cost.value;
                tally.terms.iter_mut().zip(cost.terms).for_each(|(sum, term)| *sum += term);
                tally.pairs += 1;
                tally.chosen += chosen;
                tally.rejected += rejected;
                tally.right += usize::from(chosen > rejected);
                tally.chosen_logps += sums.logprobs[w];
                tally.rejected_logps += sums.logprobs[l];
            }
        }
        tally
    }

    /// The implicit rewards of both sides of every pair, in nats times β: what [`RunningMean`] takes in.
    ///
    /// # Panics
    /// When the number of tokens is another: a mistake in the program.
    #[must_use]
    pub fn rewards(&self, logprobs: &[f32]) -> Vec<f64> {
        let both = |(group, sums): (&Pairs, Sums)| {
            group.pairs.iter().flat_map(|&(w, l)| [sums.rewards[w], sums.rewards[l]]).collect::<Vec<_>>()
        };
        self.sums(logprobs).flat_map(both).collect()
    }

    fn sums<'a>(&'a self, logprobs: &'a [f32]) -> impl Iterator<Item = (&'a Pairs, Sums)> + 'a {
        let mut from = 0;
        self.groups.iter().map(move |group| {
            from += group.tokens();
            (group, Sums::new(group, &logprobs[from - group.tokens()..from], self.settings.beta))
        })
    }

    /// A pair's share of the loss.
    fn cost(&self, sums: &Sums, w: usize, l: usize) -> Cost {
        let Settings { beta, sigmoid: w_p, bco_pair: w_q, sft: w_g } = self.settings;
        let (chosen, rejected) = (sums.rewards[w], sums.rewards[l]);
        let margin = chosen - rejected;
        let (pairs, tokens) = (self.counts.pairs.max(1) as f64, self.counts.chosen_tokens.max(1) as f64);
        let quality = softplus(self.delta - chosen) + softplus(rejected - self.delta);
        let terms = [softplus(-margin) / pairs, quality / pairs, -sums.logprobs[w] / tokens];
        let push = w_p * logistic(-margin);
        Cost {
            value: w_p * terms[0] + w_q * terms[1] + w_g * terms[2],
            terms,
            slope_chosen: -beta * (push + w_q * logistic(self.delta - chosen)) / pairs - w_g / tokens,
            slope_rejected: beta * (push + w_q * logistic(rejected - self.delta)) / pairs,
        }
    }
}

struct Cost {
    value: f64,
    /// DPO's, BCO's, the cross-entropy; without their weights.
    terms: [f64; 3],
    slope_chosen: f64,
    slope_rejected: f64,
}

/// Per completion: the sum of its log-probabilities, and its implicit reward.
struct Sums {
    logprobs: Vec<f64>,
    rewards: Vec<f64>,
}

impl Sums {
    fn new(group: &Pairs, logprobs: &[f32], beta: f64) -> Self {
        assert_eq!(logprobs.len(), group.tokens(), "log-probabilities of another group");
        let mut from = 0;
        let mut sums = Self { logprobs: Vec::new(), rewards: Vec::new() };
        for n in &group.lengths {
            let sum = |list: &[f32]| list[from..from + n].iter().map(|&lp| f64::from(lp)).sum::<f64>();
            let own = sum(logprobs);
            sums.rewards.push(beta * (own - sum(&group.reference)));
            sums.logprobs.push(own);
            from += n;
        }
        sums
    }
}

/// `−log σ(−x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `σ(x)`.
fn logistic(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

/// Sums over pairs; those of micro-batches add up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// The loss, or this micro-batch's share of it.
    pub loss: f64,
    terms: [f64; 3],
    pairs: usize,
    chosen: f64,
    rejected: f64,
    right: usize,
    chosen_logps: f64,
    rejected_logps: f64,
}

impl Tally {
    /// Adds another micro-batch's sums.
    pub fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.terms.iter_mut().zip(other.terms).for_each(|(sum, term)| *sum += term);
        self.pairs += other.pairs;
        self.chosen += other.chosen;
        self.rejected += other.rejected;
        self.right += other.right;
        self.chosen_logps += other.chosen_logps;
        self.rejected_logps += other.rejected_logps;
    }

    /// Means over pairs by their TRL names: `rewards/{chosen,rejected,margins,accuracies}` and
    /// `logps/{chosen,rejected}` (token sums, nats); and each term of the loss without its weight,
    /// `loss/{sigmoid,bco_pair,sft}`.
    #[must_use]
    pub fn statistics(&self) -> BTreeMap<String, f64> {
        let pairs = self.pairs.max(1) as f64;
        let values = [
            ("rewards/chosen", self.chosen),
            ("rewards/rejected", self.rejected),
            ("rewards/margins", self.chosen - self.rejected),
            ("rewards/accuracies", self.right as f64),
            ("logps/chosen", self.chosen_logps),
            ("logps/rejected", self.rejected_logps),
        ];
        let terms = ["loss/sigmoid", "loss/bco_pair", "loss/sft"].into_iter().zip(self.terms);
        let means = values.into_iter().map(|(name, sum)| (name, sum / pairs));
        means.chain(terms).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests;
