//! Right answers counted by question and person, and shares with intervals made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::questions::Question;
use crate::judge::{Comparison, Ratio, compare};
use crate::logs::words;
use crate::task::Target;
use crate::world::Probe;

/// What is counted, in the order of the columns.
///
/// `unseen` and `seen`: heads whose sense the context tells, by whether a mined training example has head and gain term
/// together; titles, which rules and [`crate::train`]'s teacher count, have both.
/// `reject_recall`: heads about which the context says nothing; `reject_precision`: of the heads that were left alone, the share
/// about which it says nothing. Queries that say what they want are most queries and easy: `clear_left_alone` counts them, and
/// `functional_left_alone` those that want the same thing whoever asks. `typos_mended`: the words that were meant come first in
/// the answer.
pub(super) const METRICS: [&str; 8] = [
    "unseen_exact_match",
    "seen_exact_match",
    "reject_precision",
    "reject_recall",
    "typos_mended",
    "typos_in_context_mended",
    "clear_left_alone",
    "functional_left_alone",
];
const UNSEEN: usize = 0;
const SEEN: usize = 1;
const PRECISION: usize = 2;
const RECALL: usize = 3;
const TYPOS: usize = 4;
const IN_CONTEXT: usize = 5;
const CLEAR: usize = 6;
const FUNCTIONAL: usize = 7;

/// A share over people, with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The share.
    pub value: f64,
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
    /// Out of how many questions.
    pub questions: usize,
}

/// One rewriter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Its name.
    pub rewriter: String,
    /// Milliseconds an answer, 64 asked at once.
    pub answer_ms: f64,
    /// A share for each of the metrics; none where nothing was asked.
    pub shares: Vec<Option<Share>>,
    /// The base less this one, on unseen and on seen pairs, people as the unit; none of the base itself.
    pub base_over: Option<[Option<Comparison>; 2]>,
}

/// One rewriter in one world.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    pub name: String,
    /// Seconds taken for all answers.
    pub seconds: f64,
    answers: usize,
    people: BTreeMap<usize, [Ratio; METRICS.len()]>,
}

impl Tally {
    pub fn new(name: String) -> Self {
        Self { name, seconds: 0.0, answers: 0, people: BTreeMap::new() }
    }

    pub fn count(&mut self, question: &Question, answer: &Target) {
        self.answers += 1;
        let of_person = self.people.entry(question.person).or_default();
        let mut add = |metric: usize, right: bool| of_person[metric].add(f64::from(u8::from(right)));
        let rejected = *answer == Target::Reject;
        let said: Vec<String> = answer.text().map(|text| words(text).collect()).unwrap_or_default();
        match &question.probe {
            Probe::Supported { right, .. } => {
                if rejected {
                    add(PRECISION, false);
                }
                let exact = !rejected && right.iter().any(|right| words(right).eq(said.iter().cloned()));
                add(if question.seen { SEEN } else { UNSEEN }, exact);
            }
            Probe::Unsupported => {
                add(RECALL, rejected);
                if rejected {
                    add(PRECISION, true);
                }
            }
            Probe::Mistyped { meant, in_context } => {
                let meant: Vec<String> = words(meant).collect();
                let mended = said.starts_with(&meant);
                add(TYPOS, mended);
                if *in_context {
                    add(IN_CONTEXT, mended);
                }
            }
            Probe::Clear => add(CLEAR, rejected),
            Probe::Functional => add(FUNCTIONAL, rejected),
        }
    }
}

/// Every rewriter over all worlds; `worlds` holds the same rewriters in the same order, the base first.
pub(super) fn systems(worlds: &[Vec<Tally>], resamples: usize, seed: u64) -> Vec<System> {
    let Some(first) = worlds.first() else { return Vec::new() };
    let systems = first.iter().enumerate().map(|(place, tally)| {
        let people = |place: usize| worlds.iter().flat_map(move |world| world[place].people.values());
        let shares = (0..METRICS.len()).map(|metric| {
            // Against nothing at all, the difference is the share itself.
            let against_nothing = |ratios: &[Ratio; METRICS.len()]| {
                let ratio = ratios[metric];
                (Ratio { num: 0.0, den: ratio.den }, ratio)
            };
            let pairs: Vec<_> = people(place).map(against_nothing).collect();
            let questions = pairs.iter().map(|(_, ratio)| ratio.den).sum::<f64>() as usize;
            let share = compare(&pairs, resamples, seed)?;
            Some(Share { value: share.treatment, low: share.low, high: share.high, questions })
        });
        let over = |metric: usize| {
            let pairs: Vec<_> = people(place).zip(people(0)).map(|(own, base)| (own[metric], base[metric])).collect();
            compare(&pairs, resamples, seed)
        };
        let base_over = (place > 0).then(|| [over(UNSEEN), over(SEEN)]);
        let sum = |of: &dyn Fn(&Tally) -> f64| worlds.iter().map(|world| of(&world[place])).sum::<f64>();
        let answer_ms = 1e3 * sum(&|tally| tally.seconds) / sum(&|tally| tally.answers as f64).max(1.0);
        System { rewriter: tally.name.clone(), answer_ms, shares: shares.collect(), base_over }
    });
    systems.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Context;

    fn question(person: usize, probe: Probe, seen: bool) -> Question {
        Question { person, context: Context::default(), query: String::new(), probe, seen }
    }

    #[test]
    fn each_question_counts_where_it_belongs() {
        let supported = |seen| {
            let right = vec!["jaguar car".to_owned(), "jaguar car review".to_owned()];
            question(1, Probe::Supported { head: "jaguar".into(), gain: "car".into(), right }, seen)
        };
        let typo = |in_context| question(2, Probe::Mistyped { meant: "jaguar".into(), in_context }, true);
        let rewrite = |text: &str| Target::Rewrite(text.into());
        let mut tally = Tally::new("x".into());
        for (question, answer) in [
            (supported(false), rewrite("Jaguar car")),
            (supported(false), Target::Reject),
            (supported(true), rewrite("jaguar cat")),
            (question(1, Probe::Unsupported, true), Target::Reject),
            (question(2, Probe::Unsupported, true), rewrite("jaguar car")),
            (typo(true), rewrite("jaguar car")),
            (typo(false), Target::Reject),
            (question(2, Probe::Clear, true), Target::Reject),
            (question(2, Probe::Functional, true), rewrite("opening hours")),
        ] {
            tally.count(&question, &answer);
        }
        let systems = systems(&[vec![tally.clone(), tally]], 50, 1);
        let values: Vec<f64> = systems[0].shares.iter().map(|s| s.unwrap().value).collect();
        // Two heads were left alone, one of them rightly.
        assert_eq!(values, [0.5, 0.0, 0.5, 0.5, 0.5, 1.0, 1.0, 0.0]);
        let over = systems[1].base_over.unwrap()[0].unwrap();
        assert_eq!((over.difference, over.people), (0.0, 1));
    }
}
