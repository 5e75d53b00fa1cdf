//! Sums of a step's losses, and the statistics they give.

use std::collections::BTreeMap;

use super::{Importance, Loss, Settings};

/// What one completion adds.
#[derive(Default)]
pub(super) struct Part {
    pub tokens: usize,
    pub loss: f64,
    pub slopes: Vec<f32>,
    pub kl: f64,
    /// Tokens clipped below and above.
    pub low: usize,
    pub high: usize,
}

/// Sums over groups; those of micro-batches add up.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    settings: Settings,
    /// The loss, or this micro-batch's share of it.
    pub loss: f64,
    tokens: usize,
    kl: f64,
    /// Tokens, or at sequence level completions, that could be clipped, and that were.
    units: f64,
    low: f64,
    high: f64,
    low_min: f64,
    high_max: f64,
}

impl Tally {
    pub(super) fn new(settings: Settings) -> Self {
        let (low_min, high_max) = (f64::INFINITY, 0.0);
        Self { settings, loss: 0.0, tokens: 0, kl: 0.0, units: 0.0, low: 0.0, high: 0.0, low_min, high_max }
    }

    pub(super) fn count(&mut self, part: &Part) {
        self.loss += part.loss;
        self.tokens += part.tokens;
        self.kl += part.kl;
        let tokens = part.tokens.max(1) as f64;
        let (low, high) = (part.low as f64 / tokens, part.high as f64 / tokens);
        // A completion's tokens share one ratio at sequence level: it counts once, whatever its length.
        let weight = if self.settings.importance == Importance::Token { part.tokens as f64 } else { 1.0 };
        self.units += weight;
        self.low += weight * low;
        self.high += weight * high;
        if part.tokens > 0 {
            self.low_min = self.low_min.min(low);
            self.high_max = self.high_max.max(high);
        }
    }

    /// Adds another micro-batch's sums.
    pub fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.kl += other.kl;
        self.units += other.units;
        self.low += other.low;
        self.high += other.high;
        self.low_min = self.low_min.min(other.low_min);
        self.high_max = self.high_max.max(other.high_max);
    }

    /// By their TRL names: `kl` (when `beta` is not 0), `clip_ratio/…` or `cispo_clip_ratio`.
    #[must_use]
    pub fn statistics(&self) -> BTreeMap<String, f64> {
        let (tokens, units) = (self.tokens.max(1) as f64, self.units.max(1.0));
        let mut values = Vec::new();
        if self.settings.beta != 0.0 {
            values.push(("kl", self.kl / tokens));
        }
        if self.settings.loss == Loss::Cispo {
            values.push(("cispo_clip_ratio", self.high / units));
        } else {
            values.extend([
                ("clip_ratio/low_mean", self.low / units),
                ("clip_ratio/high_mean", self.high / units),
                // No token is clipped on both sides.
                ("clip_ratio/region_mean", (self.low + self.high) / units),
                ("clip_ratio/low_min", if self.low_min.is_finite() { self.low_min } else { 0.0 }),
                ("clip_ratio/high_max", self.high_max),
            ]);
        }
        values.into_iter().map(|(name, x)| (name.to_owned(), x)).collect()
    }
}
