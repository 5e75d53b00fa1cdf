//! CoRe's reward: how a rewrite moves what people liked against what they passed over, as the ranker will see it.
//!
//! `r = clip[(S_pos^(1+γ) / S_neg) · (S_pos / S_rand)^α]`, less punishments for length and for having no end. `S_x` is the mean
//! over documents, with weights, of the factor by which finerank multiplies a document's score for this rewrite,
//! `(1 + rel)^w`. So with γ = α = 0 the odds of a positive over a negative move by exactly this ratio. γ > 0 and `S_rand` stop
//! the two cheap wins: a rewrite that scores nothing, and one that matches everything.

use super::Said;
use crate::recipe::{Flaw, Form, Ratio as Settings};

/// Weighted mean factors of the three kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Scored {
    /// `S_pos`: of documents people stayed with.
    pub positive: f64,
    /// `S_neg`: of documents shown and passed over.
    pub negative: f64,
    /// `S_rand`: of random ones.
    pub random: f64,
}

/// A reward with its parts.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Ratio {
    /// The scores; none of an answer that has no text.
    pub scored: Option<Scored>,
    /// In [−1, 0]: too long, softly.
    pub length: f64,
    /// Whether there is no end, or no text.
    pub truncated: bool,
    /// The reward.
    pub value: f64,
}

impl Scored {
    /// `S_pos^(1+γ) / S_neg`: the gate's `r_main`.
    #[must_use]
    pub fn main(&self, settings: &Settings) -> f64 {
        self.floored(settings, |s| s.positive).powf(1.0 + settings.gamma) / self.floored(settings, |s| s.negative)
    }

    /// `S_pos / S_rand`: the gate's `r_rand`.
    #[must_use]
    pub fn rand(&self, settings: &Settings) -> f64 {
        self.floored(settings, |s| s.positive) / self.floored(settings, |s| s.random)
    }

    fn floored(&self, settings: &Settings, of: impl Fn(&Self) -> f64) -> f64 {
        of(self).max(settings.floor)
    }

    /// The clipped form, before punishments.
    fn formed(&self, settings: &Settings) -> f64 {
        let Settings { gamma, alpha, low, high, .. } = *settings;
        let ratio = (self.main(settings) * self.rand(settings).powf(alpha)).clamp(low, high);
        match settings.form {
            Form::Log => ratio.ln(),
            Form::Ratio => ratio,
            Form::Additive => (1.0 + gamma) * self.positive - self.negative + alpha * (self.positive - self.random),
        }
    }
}

impl Ratio {
    /// Of an answer's scores; `length` in [−1, 0].
    #[must_use]
    pub fn of(scored: Scored, length: f64, settings: &Settings) -> Self {
        let value = scored.formed(settings) + settings.length * length;
        Self { scored: Some(scored), length, truncated: false, value }
    }

    /// Of an answer without an end: what the worst ratio earns, less the punishment.
    #[must_use]
    pub fn truncated(settings: &Settings) -> Self {
        let worst = match settings.form {
            Form::Log => settings.low.ln(),
            Form::Ratio => settings.low,
            // All that can be lost: nothing liked, everything else multiplied by 1 or more.
            Form::Additive => -settings.high,
        };
        Self { scored: None, length: 0.0, truncated: true, value: worst - settings.truncated }
    }
}

/// The text whose relevance an answer is judged by: leaving a query alone is worth what the query itself is worth, so abstaining
/// is never a safe win.
#[must_use]
pub fn text_of<'a>(query: &'a str, said: &'a Said) -> Option<&'a str> {
    match said {
        Said::Rewrite(text) => Some(text),
        Said::Reject => Some(query),
        Said::Faulty => None,
    }
}

/// A relevance as a scorer with a weakness gives it; `prominence` in [0, 1] is how often the text is typed.
#[must_use]
pub fn flawed(relevance: f64, flaw: Flaw, words: usize, prominence: f64) -> f64 {
    match flaw {
        Flaw::None | Flaw::Abstention => relevance,
        Flaw::Verbosity => (relevance * (words as f64 / 2.0).max(1.0)).min(1.0),
        Flaw::Popularity => (relevance * (1.0 + prominence)).min(1.0),
    }
}

/// The mean of factors `(1 + rel)^w` with weights; none where no weight is above 0.
#[must_use]
pub fn mean_factor(relevances: impl Iterator<Item = (f64, f64)>, exponent: f64) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (relevance, weight) in relevances {
        sum += weight * (1.0 + relevance).powf(exponent);
        weights += weight;
    }
    (weights > 0.0).then(|| sum / weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(positive: f64, negative: f64, random: f64) -> Scored {
        Scored { positive, negative, random }
    }

    #[test]
    fn the_reward_is_the_formula() {
        let settings = Settings { form: Form::Ratio, ..Settings::default() };
        let found = Ratio::of(scored(2.0, 1.5, 1.1), -0.5, &settings);
        let by_hand = 2.0_f64.powf(1.5) / 1.5 * (2.0_f64 / 1.1).sqrt() - 0.25;
        assert!((found.value - by_hand).abs() < 1e-12, "{found:?}");
        let log = Ratio::of(scored(2.0, 1.5, 1.1), -0.5, &Settings::default());
        assert!((log.value - ((by_hand + 0.25).ln() - 0.25)).abs() < 1e-12);
    }

    #[test]
    fn it_rises_with_what_was_liked_and_falls_with_what_was_passed_over_and_with_chance() {
        for form in [Form::Log, Form::Ratio, Form::Additive] {
            let settings = Settings { form, ..Settings::default() };
            let of = |p, n, r| Ratio::of(scored(p, n, r), 0.0, &settings).value;
            let base = of(2.0, 1.5, 1.1);
            assert!(of(2.1, 1.5, 1.1) > base && of(2.0, 1.6, 1.1) < base && of(2.0, 1.5, 1.2) < base, "{form:?}");
            assert!(Ratio::truncated(&settings).value < of(1.0, 4.0, 4.0), "{form:?}");
        }
    }

    #[test]
    fn scoring_nothing_and_matching_everything_are_no_cheap_wins() {
        let settings = Settings::default();
        let of = |p, n, r| Ratio::of(scored(p, n, r), 0.0, &settings).value;
        let right = of(2.0, 1.4, 1.0);
        assert!(of(1.0, 0.7, 1.0) < right, "the same ratio, both scores halved");
        assert!(of(2.0, 1.4, 2.0) < right, "random documents match as well");
        let careless = Settings { gamma: 0.0, alpha: 0.0, ..Settings::default() };
        let of = |p, n, r| Ratio::of(scored(p, n, r), 0.0, &careless).value;
        assert!((of(1.0, 0.7, 1.0) - of(2.0, 1.4, 2.0)).abs() < 1e-12, "without γ and α both would pay");
    }

    #[test]
    fn extremes_are_clipped_and_nothing_is_infinite() {
        let settings = Settings { form: Form::Ratio, ..Settings::default() };
        let of = |p, n, r| Ratio::of(scored(p, n, r), 0.0, &settings).value;
        assert_eq!((of(50.0, 1.0, 1.0), of(1.0, 90.0, 9.0)), (10.0, 0.1));
        assert!(of(0.0, 0.0, 0.0).is_finite());
    }

    #[test]
    fn weaknesses_do_what_they_are_called_after() {
        assert_eq!(flawed(0.4, Flaw::None, 9, 1.0), 0.4);
        assert_eq!([1, 2, 4, 9].map(|n| flawed(0.4, Flaw::Verbosity, n, 0.0)), [0.4, 0.4, 0.8, 1.0]);
        assert_eq!(flawed(0.4, Flaw::Popularity, 2, 0.5), 0.4 * 1.5);
        assert_eq!(flawed(0.0, Flaw::Verbosity, 50, 1.0), 0.0);
    }

    #[test]
    fn means_are_weighted_and_need_a_weight() {
        let mean = mean_factor([(1.0, 3.0), (0.0, 1.0)].into_iter(), 2.0);
        assert_eq!(mean, Some((3.0 * 4.0 + 1.0) / 4.0));
        assert_eq!(mean_factor([(1.0, 0.0)].into_iter(), 2.0), None);
    }
}
