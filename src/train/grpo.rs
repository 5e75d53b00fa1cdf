//! GRPO and its kin: the loss of sampled completions, its slope at every log-probability, and statistics by their TRL
//! names. Pure functions of numbers.
//!
//! With the ratio `ρ = exp(logπ − logπ_old)` a token costs `−min(ρA, clip(ρ, 1−ε_low, 1+ε_high)·A) + β·k3`, where
//! `k3 = e^(logπ_ref−logπ) − (logπ_ref−logπ) − 1` estimates the divergence from the reference (arXiv 2402.03300).

mod tally;

use std::ops::Range;

use anyhow::{Result, ensure};

use tally::Part;
pub use tally::Tally;

/// What the tokens' costs are divided by, and for [`Loss::Cispo`] what a token costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Mean over the tokens of a completion, then over completions (arXiv 2402.03300).
    Grpo,
    /// Mean over the tokens of the batch that [`Counts`] counts: a micro-batch's counts give TRL's `bnpo` there.
    Bnpo,
    /// Mean over the tokens of the whole step (DAPO, arXiv 2503.14476).
    Dapo,
    /// Sum over completions × `max_completion_length` (Dr. GRPO, arXiv 2503.20783).
    DrGrpo,
    /// `−min(ρ, ε_high)·A·logπ` with a constant weight, mean over the tokens of the step (arXiv 2506.13585).
    /// `epsilon_high` is the cap of the ratio itself here.
    Cispo,
}

/// Where ratios are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Per token.
    Token,
    /// One a completion: the geometric mean of its tokens' (GSPO, arXiv 2507.18071).
    Sequence,
}

/// Constants of the objective; the defaults are TRL's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Normaliser.
    pub loss: Loss,
    /// Level of the ratio.
    pub importance: Importance,
    /// Weight of the divergence from the reference; 0 needs no reference.
    pub beta: f64,
    /// The ratio is clipped below at `1 − epsilon_low`.
    pub epsilon_low: f64,
    /// The ratio is clipped above at `1 + epsilon_high`; at `epsilon_high` itself in [`Loss::Cispo`].
    pub epsilon_high: f64,
    /// Upper bound of the ratio where the advantage is negative (two-sided clip, arXiv 2505.07291).
    pub delta: Option<f64>,
    /// Longest completion in tokens, for [`Loss::DrGrpo`].
    pub max_completion_length: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss: Loss::Dapo,
            importance: Importance::Token,
            beta: 0.0,
            epsilon_low: 0.2,
            epsilon_high: 0.2,
            delta: None,
            max_completion_length: 256,
        }
    }
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first constant out of its range.
    pub fn check(&self) -> Result<()> {
        for (name, x) in [("beta", self.beta), ("epsilon_low", self.epsilon_low), ("epsilon_high", self.epsilon_high)] {
            ensure!(x >= 0.0 && x.is_finite(), "{name} = {x} must be 0 or more");
        }
        if let Some(delta) = self.delta {
            ensure!(delta > 0.0 && delta.is_finite(), "delta = {delta} must be above 0");
        }
        ensure!(self.max_completion_length > 0, "max_completion_length must be at least 1");
        Ok(())
    }

    /// A token's cost without the divergence.
    fn cost(&self, log_ratio: f64, advantage: f64, logprob: f64) -> Cost {
        let ratio = log_ratio.exp();
        if self.loss == Loss::Cispo {
            let weight = -ratio.min(self.epsilon_high) * advantage;
            let high = ratio > self.epsilon_high && advantage > 0.0;
            return Cost { value: weight * logprob, slope: weight, low: false, high };
        }
        let (floor, ceiling) = (1.0 - self.epsilon_low, 1.0 + self.epsilon_high);
        let capped = self.delta.map_or(ratio, |delta| ratio.min(delta));
        let clipped = ratio.clamp(floor, ceiling);
        let gain = capped * advantage;
        let clipped_gain = clipped * advantage;
        // dρ/d logπ = ρ, and nothing passes through a bound that holds.
        let slope = |bounded: f64| if bounded == ratio { ratio * advantage } else { 0.0 };
        let slope = match gain.total_cmp(&clipped_gain) {
            std::cmp::Ordering::Less => slope(capped),
            std::cmp::Ordering::Greater => slope(clipped),
            std::cmp::Ordering::Equal => 0.5 * (slope(capped) + slope(clipped)),
        };
        Cost {
            value: -gain.min(clipped_gain),
            slope: -slope,
            low: capped < floor && advantage < 0.0,
            high: capped > ceiling && advantage > 0.0,
        }
    }
}

struct Cost {
    value: f64,
    /// `d value / d logπ` of this token; at sequence level the share that all of the completion's equal costs pass to
    /// it, `n · (1/n)` of one.
    slope: f64,
    low: bool,
    high: bool,
}

/// What is constant about a group while its policy is updated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Tokens of each completion; may be 0.
    pub lengths: Vec<usize>,
    /// One a completion.
    pub advantages: Vec<f64>,
    /// Log-probabilities under the policy that sampled, one a token; `None` while that is the policy itself.
    pub old: Option<Vec<f32>>,
    /// Log-probabilities under the reference, one a token; needed when `beta` is not 0.
    pub reference: Option<Vec<f32>>,
}

impl Rollout {
    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// Totals of an optimizer step, known before its first forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Completions.
    pub completions: usize,
    /// Their tokens.
    pub tokens: usize,
}

impl Counts {
    /// Counts all groups of a step, micro-batches together.
    #[must_use]
    pub fn of(rollouts: &[Rollout]) -> Self {
        let completions = rollouts.iter().map(|r| r.lengths.len()).sum();
        Self { completions, tokens: rollouts.iter().map(Rollout::tokens).sum() }
    }
}

/// The objective over some groups of a step.
#[derive(Debug, Clone)]
pub struct Grpo {
    settings: Settings,
    rollouts: Vec<Rollout>,
    counts: Counts,
}

impl Grpo {
    /// Binds the groups of a (micro-)batch; `counts` are those of the whole step, so that accumulation gives the loss
    /// of the whole batch.
    ///
    /// # Errors
    /// Settings out of range; a group whose lists do not belong together, or without the reference that `beta` needs.
    pub fn new(settings: Settings, rollouts: Vec<Rollout>, counts: Counts) -> Result<Self> {
        settings.check()?;
        for (i, r) in rollouts.iter().enumerate() {
            let (completions, tokens) = (r.lengths.len(), r.tokens());
            let n = r.advantages.len();
            ensure!(n == completions, "group {i} has {n} advantages for {completions} completions");
            for (name, list) in [("old", &r.old), ("reference", &r.reference)] {
                let n = list.as_ref().map_or(tokens, Vec::len);
                ensure!(n == tokens, "group {i} has {n} {name} log-probabilities for {tokens} tokens");
            }
            let known = settings.beta == 0.0 || r.reference.is_some();
            ensure!(
                known,
                "group {i} has no reference log-probabilities: score it with the reference, or set beta = 0"
            );
        }
        Ok(Self { settings, rollouts, counts })
    }

    /// `d loss / d logprob` for the tokens of a group, from their log-probabilities.
    ///
    /// # Panics
    /// When the group or its number of tokens is another: a mistake in the program.
    #[must_use]
    pub fn slopes(&self, group: usize, logprobs: &[f32]) -> Vec<f32> {
        self.parts(&self.rollouts[group], logprobs).flat_map(|part| part.slopes).collect()
    }

    /// The loss and its statistics, from the log-probabilities of all these groups in their order.
    ///
    /// # Panics
    /// When the number of tokens is another: a mistake in the program.
    #[must_use]
    pub fn tally(&self, logprobs: &[f32]) -> Tally {
        let mut tally = Tally::new(self.settings);
        let mut from = 0;
        for rollout in &self.rollouts {
            let own = &logprobs[from..from + rollout.tokens()];
            from += own.len();
            self.parts(rollout, own).for_each(|part| tally.count(&part));
        }
        tally
    }

    fn parts<'a>(&'a self, rollout: &'a Rollout, logprobs: &'a [f32]) -> impl Iterator<Item = Part> + 'a {
        assert_eq!(logprobs.len(), rollout.tokens(), "log-probabilities of another group");
        let mut from = 0;
        rollout.lengths.iter().zip(&rollout.advantages).map(move |(n, advantage)| {
            from += n;
            self.completion(rollout, from - n..from, *advantage, logprobs)
        })
    }

    fn completion(&self, rollout: &Rollout, at: Range<usize>, advantage: f64, logprobs: &[f32]) -> Part {
        let weight = self.weight(at.len());
        let old = rollout.old.as_deref().unwrap_or(logprobs);
        let log_ratio = |t: usize| f64::from(logprobs[t]) - f64::from(old[t]);
        let mean = at.clone().map(log_ratio).sum::<f64>() / at.len().max(1) as f64;
        let mut part = Part { tokens: at.len(), ..Part::default() };
        for t in at {
            let logprob = f64::from(logprobs[t]);
            let log_ratio = if self.settings.importance == Importance::Token { log_ratio(t) } else { mean };
            let mut cost = self.settings.cost(log_ratio, advantage, logprob);
            if let Some(reference) = rollout.reference.as_ref().filter(|_| self.settings.beta != 0.0) {
                let over = f64::from(reference[t]) - logprob;
                let k3 = over.exp() - over - 1.0;
                part.kl += k3;
                cost.value += self.settings.beta * k3;
                cost.slope += self.settings.beta * (1.0 - over.exp());
            }
            part.loss += weight * cost.value;
            part.slopes.push((weight * cost.slope) as f32);
            part.low += usize::from(cost.low);
            part.high += usize::from(cost.high);
        }
        part
    }

    /// The share of one token's cost in the loss, in a completion of `n` tokens.
    fn weight(&self, n: usize) -> f64 {
        let Counts { completions, tokens } = self.counts;
        let whole = match self.settings.loss {
            Loss::Grpo => completions * n.max(1),
            Loss::Bnpo | Loss::Dapo | Loss::Cispo => tokens,
            Loss::DrGrpo => completions * self.settings.max_completion_length,
        };
        1.0 / whole.max(1) as f64
    }
}

#[cfg(test)]
mod tests;
