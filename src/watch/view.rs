//! What is known of one run from its events alone, in bounded memory: reading them live or all at once gives the same.

use std::collections::{BTreeMap, VecDeque};

use super::curve::Curve;
use super::judged::Judged;
use super::served::Served;
use crate::journal::{Event, Logged, Sampled, words};

/// Most samples kept, newest first to stay.
const SAMPLES: usize = 500;
/// Most prompts of rollouts kept, and completions of one.
const ROLLOUTS: usize = 200;
const SAMPLED: usize = 64;
/// Most log lines kept.
const LINES: usize = 2_000;
/// Most stages kept.
const STAGES: usize = 64;
/// Most metrics kept; a run has a dozen or two.
const METRICS: usize = 128;
/// Training steps that the pace is taken over.
const PACE: usize = 32;
/// Longest text kept of one field, in characters.
const TEXT: usize = 2_000;

/// One metric on both sides of the split.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metric {
    pub train: Curve,
    pub eval: Curve,
}

/// A rewrite to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub id: i64,
    pub step: u64,
    pub query: String,
    pub context: String,
    pub target: String,
    pub output: String,
}

impl Sample {
    pub(super) fn right(&self) -> bool {
        self.output == self.target
    }
}

/// One prompt with all that was tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rollout {
    pub id: i64,
    pub step: u64,
    pub query: String,
    pub context: String,
    pub target: String,
    pub sampled: Vec<Sampled>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub id: i64,
    pub time_ms: i64,
    pub text: String,
}

/// A long step and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub name: String,
    pub done: u64,
    /// 0 when not known.
    pub total: u64,
    pub first_ms: i64,
    pub last_ms: i64,
}

/// One run, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunView {
    /// Place of the newest event taken in.
    pub last_event: i64,
    /// Time of it; Unix milliseconds.
    pub last_ms: i64,
    pub step: u64,
    pub steps: u64,
    pub metrics: BTreeMap<String, Metric>,
    pub samples: VecDeque<Sample>,
    pub rollouts: VecDeque<Rollout>,
    pub lines: VecDeque<Line>,
    pub stages: Vec<Stage>,
    pub served: Served,
    pub judged: Judged,
    pace: VecDeque<(u64, i64)>,
}

impl RunView {
    /// Takes in the next event of the run.
    pub(super) fn take(&mut self, logged: &Logged) {
        let Logged { id, time_ms, event, .. } = logged;
        self.last_event = *id;
        self.last_ms = *time_ms;
        match event {
            Event::Progress { stage, done, total } => self.progress(stage, *done, *total, *time_ms),
            Event::Metrics { step, steps, split, values } => {
                self.step = *step;
                self.steps = *steps;
                if split == "train" {
                    bounded(&mut self.pace, (*step, *time_ms), PACE);
                }
                values.iter().for_each(|(name, value)| self.metric(name, split, *step, *value));
            }
            Event::Sample { step, query, context, target, output } => {
                let sample = Sample {
                    id: *id,
                    step: *step,
                    query: text(query),
                    context: text(context),
                    target: text(target),
                    output: text(output),
                };
                bounded(&mut self.samples, sample, SAMPLES);
            }
            Event::Rollout { step, query, context, target, sampled } => {
                let rollout = Rollout {
                    id: *id,
                    step: *step,
                    query: text(query),
                    context: text(context),
                    target: text(target),
                    sampled: sampled.iter().take(SAMPLED).cloned().collect(),
                };
                bounded(&mut self.rollouts, rollout, ROLLOUTS);
            }
            Event::Checkpoint { step, path } => self.line(logged, format!("checkpoint of step {step}: {path}")),
            Event::Report { title, body, .. } => {
                self.judged.take(title, body);
                self.line(logged, format!("report of {title} is in the store"));
            }
            Event::Serving { span_ms, paths, rewriting, refused } => {
                self.served.take(*time_ms, *span_ms, paths, rewriting, *refused);
            }
            Event::Note { text } => self.line(logged, text.clone()),
        }
    }

    fn metric(&mut self, name: &str, split: &str, step: u64, value: f64) {
        let known = split == "train" || split == "eval";
        let name = text(&if known { name.to_owned() } else { format!("{split} {name}") });
        if self.metrics.len() == METRICS && !self.metrics.contains_key(&name) {
            return;
        }
        let metric = self.metrics.entry(name).or_default();
        if split == "train" { &mut metric.train } else { &mut metric.eval }.push(step, value);
    }

    fn line(&mut self, logged: &Logged, said: String) {
        bounded(&mut self.lines, Line { id: logged.id, time_ms: logged.time_ms, text: text(&said) }, LINES);
    }

    fn progress(&mut self, stage: &str, done: u64, total: u64, now_ms: i64) {
        let name = text(stage);
        match self.stages.iter_mut().rfind(|s| s.name == name) {
            // The same step once more, from the start: a new line.
            Some(known) if done >= known.done && total == known.total => {
                (known.done, known.last_ms) = (done, now_ms);
            }
            _ => {
                if self.stages.len() == STAGES {
                    self.stages.remove(0);
                }
                self.stages.push(Stage { name, done, total, first_ms: now_ms, last_ms: now_ms });
            }
        }
    }

    /// Names of the metrics, those most looked at first.
    pub(super) fn metric_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.metrics.keys().map(String::as_str).collect();
        names.sort_by_key(|name| (rank(name), *name));
        names
    }

    /// The newest value of the first of these names that the run has, of training if it is there.
    pub(super) fn newest(&self, names: &[&str]) -> Option<f64> {
        let metric = names.iter().find_map(|name| self.metrics.get(*name))?;
        metric.train.last().or(metric.eval.last())
    }

    /// Milliseconds left at the pace of the last steps.
    pub(super) fn left_ms(&self) -> Option<i64> {
        let (&(first, from_ms), &(last, to_ms)) = (self.pace.front()?, self.pace.back()?);
        let steps = last.checked_sub(first).filter(|&steps| steps > 0)?;
        let left = self.steps.saturating_sub(self.step);
        Some((to_ms.saturating_sub(from_ms) as f64 / steps as f64 * left as f64) as i64)
    }
}

/// Names of training speed, learning rate and gradient size: said in one line, so last in the table.
pub(super) const SPEED: [&str; 3] = ["tokens_per_s", "tokens_per_second", "tokens_s"];
pub(super) const RATE: [&str; 2] = ["learning_rate", "lr"];
pub(super) const NORM: [&str; 1] = ["grad_norm"];

fn rank(name: &str) -> usize {
    const FIRST: [&str; 6] = ["loss", "mean_token_accuracy", "exact_match", "reject", "reward", "kl"];
    let machine = SPEED.iter().chain(&RATE).chain(&NORM).any(|n| *n == name);
    let first = FIRST.iter().position(|first| name.starts_with(first)).unwrap_or(FIRST.len());
    if machine { FIRST.len() + 1 } else { first }
}

/// Text of a journal as it is kept: on one line, and not endlessly long.
pub(super) fn text(from: &str) -> String {
    words::one_line(from).chars().take(TEXT).collect()
}

fn bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(id: i64, step: u64, split: &str, name: &str, value: f64) -> Logged {
        let values = [(name.to_owned(), value)].into();
        Logged {
            id,
            run: 1,
            time_ms: id * 100,
            event: Event::Metrics { step, steps: 200_000, split: split.into(), values },
        }
    }

    #[test]
    fn a_run_that_says_ever_new_things_stays_bounded() {
        let mut view = RunView::default();
        for id in 1..=10_000 {
            view.take(&metrics(id, id as u64, "train", &format!("metric{id}"), 1.0));
            view.take(&Logged { id, run: 1, time_ms: id, event: Event::Note { text: "n".repeat(9_000) } });
            let progress = Event::Progress { stage: format!("s{id}"), done: 1, total: 2 };
            view.take(&Logged { id, run: 1, time_ms: id, event: progress });
        }
        assert_eq!((view.metrics.len(), view.lines.len(), view.stages.len()), (METRICS, LINES, STAGES));
        assert_eq!(view.lines[0].text.len(), TEXT);
    }

    #[test]
    fn time_left_is_the_pace_of_the_last_steps_times_the_steps_left() {
        let mut view = RunView::default();
        assert_eq!(view.left_ms(), None);
        (1..=100_000).for_each(|id| view.take(&metrics(id, id as u64, "train", "loss", 1.0)));
        assert_eq!(view.left_ms(), Some(100_000 * 100));
    }

    #[test]
    fn a_stage_that_starts_again_is_a_new_one() {
        let mut view = RunView::default();
        for (id, done) in [(1, 5), (2, 10), (3, 1)] {
            let event = Event::Progress { stage: "eval".into(), done, total: 10 };
            view.take(&Logged { id, run: 1, time_ms: id, event });
        }
        assert_eq!(view.stages.iter().map(|s| s.done).collect::<Vec<_>>(), [10, 1]);
    }
}
