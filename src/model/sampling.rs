//! From logits to the next token: penalties and filters in transformers' order, then a draw.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use rand::Rng;

use super::engine::log_sum_exp;
use super::trie::Trie;
use super::word_trie::WordTrie;

/// How completions are decoded. The filters are those of transformers' `generate`, in its order:
/// repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoding {
    /// Tokens after which a completion ends even without an end token.
    pub max_new_tokens: usize,
    /// Logits are divided by this; 0 takes the most probable token.
    pub temperature: f64,
    /// Keeps the k largest logits and all ties with the k-th; 0 is off.
    pub top_k: usize,
    /// Keeps the smallest set of tokens that reaches this probability; 1 is off.
    pub top_p: f64,
    /// Drops tokens below this share of the largest probability; 0 is off.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens seen before; 1 is off.
    pub repetition_penalty: f64,
    /// Tokens that end a completion.
    pub eos: Vec<u32>,
    /// The completions that may be said; all when there is none. Logits of tokens that lead to no such completion are left
    /// out before anything else, and where one token alone is left the model is not asked.
    pub within: Option<Within>,
    /// A completion that is said only where it is probable enough beside what would be said without it.
    pub reluctant: Option<Reluctant>,
}

/// A completion that has to be probable enough: of its own probability and that of the completion decoded without it, it needs
/// a share. Probabilities are the model's at temperature 1 without any filter, of the tokens it is asked for: of this one
/// the first, of the other those that it was left a choice of. Where nothing else could be said, it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Reluctant {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The share, in (0, 1].
    pub least: f64,
}

impl Reluctant {
    /// The logits of a completion's first token without its own; none where it cannot be said, or nothing else.
    pub(super) fn without(&self, logits: &[f32]) -> Option<Vec<f32>> {
        let own = *self.ids.first()? as usize;
        let possible = |id: usize| logits[id] > f32::NEG_INFINITY;
        if own >= logits.len() || !possible(own) || !(0..logits.len()).any(|id| id != own && possible(id)) {
            return None;
        }
        let mut logits = logits.to_vec();
        logits[own] = f32::NEG_INFINITY;
        Some(logits)
    }

    /// Whether it has its share, by its log-probability and the other's.
    pub(crate) fn prevails(&self, own: f64, other: f64) -> bool {
        1.0 / (1.0 + (other - own).exp()) >= self.least
    }
}

/// What completions are kept within.
#[derive(Debug, Clone, PartialEq)]
pub enum Within {
    /// The same for all.
    One(Arc<Trie>),
    /// Of each prompt its own, in their order; nothing for one that may say anything.
    Each(Arc<Vec<Option<WordTrie>>>),
}

impl Decoding {
    /// The most probable token at every step.
    #[must_use]
    pub fn greedy(max_new_tokens: usize, eos: Vec<u32>) -> Self {
        Self {
            max_new_tokens,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            eos,
            within: None,
            reluctant: None,
        }
    }

    /// Draws from the model's own distribution at a temperature.
    #[must_use]
    pub fn sampled(max_new_tokens: usize, temperature: f64, eos: Vec<u32>) -> Self {
        Self { temperature, ..Self::greedy(max_new_tokens, eos) }
    }

    /// The same, but of these completions alone.
    #[must_use]
    pub fn within(self, completions: Arc<Trie>) -> Self {
        Self { within: Some(Within::One(completions)), ..self }
    }

    /// The same, but of each prompt's own words alone.
    #[must_use]
    pub fn within_words(self, words: Vec<Option<WordTrie>>) -> Self {
        Self { within: Some(Within::Each(Arc::new(words))), ..self }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting out of its range.
    pub fn check(&self) -> Result<()> {
        let t = self.temperature;
        ensure!(t >= 0.0 && t.is_finite(), "temperature = {t} must be 0 or more");
        ensure!(self.top_p > 0.0 && self.top_p <= 1.0, "top_p = {} must be above 0 and at most 1", self.top_p);
        ensure!((0.0..=1.0).contains(&self.min_p), "min_p = {} must lie in [0, 1]", self.min_p);
        let penalty = self.repetition_penalty;
        if let Some(Reluctant { ids, least }) = &self.reluctant {
            ensure!(
                *least > 0.0 && *least <= 1.0,
                "a completion's least share = {least} must be above 0 and at most 1"
            );
            ensure!(!ids.is_empty(), "a completion that needs a share has no token");
        }
        ensure!(penalty > 0.0 && penalty.is_finite(), "repetition_penalty = {penalty} must be above 0");
        Ok(())
    }
}

/// The distribution a token is drawn from: ids with a probability above 0, ascending, and their probabilities.
///
/// With temperature 0 all of it lies on the most probable token (the first of equals).
/// `previous` are the tokens that the repetition penalty counts as seen: prompt and completion so far.
///
/// # Errors
/// No logit is finite, or one is NaN: the weights are broken.
pub fn distribution(logits: &[f32], previous: &[u32], settings: &Decoding) -> Result<Vec<(u32, f32)>> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    ensure!(
        largest.is_finite() && !logits.iter().any(|x| x.is_nan()),
        "the model's logits are not finite: the checkpoint is damaged, or its training diverged"
    );
    let mut scores = logits.to_vec();
    penalise(&mut scores, previous, settings.repetition_penalty as f32);
    if settings.temperature == 0.0 {
        let mut best = 0;
        for (i, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = i;
            }
        }
        return Ok(vec![(best as u32, 1.0)]);
    }
    if settings.temperature != 1.0 {
        scores.iter_mut().for_each(|s| *s /= settings.temperature as f32);
    }
    if settings.top_k == 0 && settings.top_p >= 1.0 && settings.min_p == 0.0 {
        // Nothing is filtered: the vector as a whole becomes probabilities.
        let possible: Vec<bool> = scores.iter().map(|s| *s > f32::NEG_INFINITY).collect();
        log_sum_exp(&mut scores, 1.0);
        return Ok((0..)
            .zip(scores)
            .zip(possible)
            .filter(|((_, p), is)| *is && *p > 0.0)
            .map(|(kept, _)| kept)
            .collect());
    }
    let mut kept: Vec<(u32, f32)> = (0..).zip(scores).filter(|(_, s)| *s > f32::NEG_INFINITY).collect();
    if settings.top_k > 0 && settings.top_k < kept.len() {
        keep_top_k(&mut kept, settings.top_k);
    }
    if settings.top_p < 1.0 {
        keep_top_p(&mut kept, settings.top_p);
    }
    if settings.min_p > 0.0 {
        keep_min_p(&mut kept, settings.min_p);
    }
    softmax(&mut kept);
    // A probability that rounds to zero is not one that can be drawn.
    kept.retain(|(_, p)| *p > 0.0);
    Ok(kept)
}

/// Draws an id from a distribution made by [`distribution`].
pub(super) fn draw(distribution: &[(u32, f32)], rng: &mut impl Rng) -> u32 {
    let total: f64 = distribution.iter().map(|(_, p)| f64::from(*p)).sum();
    let mut left = rng.random::<f64>() * total;
    for (id, p) in distribution {
        left -= f64::from(*p);
        if left < 0.0 {
            return *id;
        }
    }
    // Rounding may leave a hair; the last token is as good as any.
    distribution.last().map_or(0, |(id, _)| *id)
}

/// Log-probability of `id` under the unfiltered logits at temperature 1, in nats.
pub(super) fn log_probability(logits: &[f32], id: u32) -> f32 {
    // As the training pass computes it, so that the two agree.
    logits[id as usize] - log_sum_exp(&mut logits.to_vec(), 1.0).0
}

/// Logits with those of all other tokens than `ids` at -∞.
pub(super) fn only(logits: &[f32], ids: impl Iterator<Item = u32>) -> Vec<f32> {
    let mut kept = vec![f32::NEG_INFINITY; logits.len()];
    for id in ids {
        // An id beyond the model's vocabulary cannot be said.
        if let Some(logit) = logits.get(id as usize) {
            kept[id as usize] = *logit;
        }
    }
    kept
}

fn penalise(scores: &mut [f32], previous: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    for id in previous.iter().collect::<HashSet<_>>() {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

fn keep_top_k(kept: &mut Vec<(u32, f32)>, k: usize) {
    let mut scores: Vec<f32> = kept.iter().map(|(_, s)| *s).collect();
    let (_, kth, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let kth = *kth;
    kept.retain(|(_, s)| *s >= kth);
}

/// Removes, from the least probable up, what together stays within `1 - top_p`; the most probable token stays.
fn keep_top_p(kept: &mut Vec<(u32, f32)>, top_p: f64) {
    let mut order: Vec<(u32, f32)> = kept.clone();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    softmax(&mut order);
    let (mut sum, mut removed) = (0.0f64, HashSet::new());
    for (id, p) in &order[..order.len() - 1] {
        sum += f64::from(*p);
        // In float32, as the reference compares.
        if sum as f32 <= (1.0 - top_p) as f32 {
            removed.insert(*id);
        }
    }
    kept.retain(|(id, _)| !removed.contains(id));
}

fn keep_min_p(kept: &mut Vec<(u32, f32)>, min_p: f64) {
    let mut probabilities = kept.clone();
    softmax(&mut probabilities);
    let largest = probabilities.iter().map(|(_, p)| *p).fold(0.0, f32::max);
    let mut i = 0;
    kept.retain(|_| {
        i += 1;
        probabilities[i - 1].1 >= largest * min_p as f32
    });
}

fn softmax(scores: &mut [(u32, f32)]) {
    let largest = scores.iter().map(|(_, s)| *s).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for (_, s) in scores.iter_mut() {
        *s = (*s - largest).exp();
        sum += f64::from(*s);
    }
    scores.iter_mut().for_each(|(_, s)| *s = (f64::from(*s) / sum) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn draws_follow_the_distribution() {
        let dist = distribution(&[0.0, 1.0, f32::NEG_INFINITY, 2.0], &[], &Decoding::sampled(1, 1.0, vec![])).unwrap();
        assert_eq!(dist.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 3]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draws = 40_000;
        let mut counts = [0usize; 4];
        for _ in 0..draws {
            counts[draw(&dist, &mut rng) as usize] += 1;
        }
        for (id, p) in dist {
            let p = f64::from(p);
            let expected = p * f64::from(draws);
            // Five standard deviations of a binomial count.
            let spread = 5.0 * (expected * (1.0 - p)).sqrt();
            assert!((counts[id as usize] as f64 - expected).abs() < spread, "{id}: {counts:?}");
        }
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn broken_logits_are_an_error_and_not_a_token() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(distribution(&[0.0, bad], &[], &Decoding::greedy(1, vec![])).is_err());
        }
        assert!(distribution(&[f32::NEG_INFINITY; 2], &[], &Decoding::greedy(1, vec![])).is_err());
    }
}
