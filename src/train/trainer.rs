//! The loop: batch → log-probabilities → loss → backward → step → journal → evaluate or save when due.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};

use super::checkpoint::{self, Fingerprint};
use super::objective::{Lessons, Objective, Step};
use super::optim::{self, AdamW, Gradients};
use super::reinforced::Rewarded;
use super::{Summary, likelihood};
use crate::journal::{Event, Journal, stop};
use crate::model::{Policy, runs};
use crate::recipe::Recipe;

/// Everything the loop needs.
pub(super) struct Trainer<'a> {
    pub recipe: &'a Recipe,
    pub dir: PathBuf,
    pub fingerprint: Fingerprint,
    pub policy: Policy,
    pub optimizer: AdamW,
    pub objective: Objective,
    pub step: u64,
    /// Tokens read so far.
    pub num_tokens: u64,
    /// What a person who stopped the run is told.
    pub advice: &'static str,
}

impl Trainer<'_> {
    pub fn train(&mut self, journal: &Journal) -> Result<Summary> {
        let first = self.step;
        let (steps, train) = (self.recipe.train.steps, &self.recipe.train);
        let progress = journal.progress("train", steps);
        progress.inc(first);
        while self.step < steps {
            let started = Instant::now();
            let (mut values, tokens, events) = self.update()?;
            self.step += 1;
            self.num_tokens += tokens as u64;
            values.insert("num_tokens".into(), self.num_tokens as f64);
            if let Some(epoch) = self.objective.epoch(self.step, train) {
                values.insert("epoch".into(), epoch);
            }
            values.insert("tokens_per_s".into(), tokens as f64 / started.elapsed().as_secs_f64());
            let loss = values["loss"];
            self.emit(journal, "train", values)?;
            events.iter().try_for_each(|event| journal.emit(event))?;
            progress.message(format!("loss {loss:.3}"));
            progress.inc(1);
            if self.step.is_multiple_of(train.eval_every) || self.step == steps {
                let (values, samples) = self.objective.evaluate(&self.policy, train)?;
                self.emit(journal, "eval", values)?;
                samples.into_iter().try_for_each(|sample| journal.emit(&sample.into_event(self.step)))?;
            }
            let border = self.objective.at_border(self.step);
            let stopping = border && stop::requested();
            if self.step == steps || border && self.step.is_multiple_of(train.save_every) || stopping {
                let path = self.save()?.display().to_string();
                journal.emit(&Event::Checkpoint { step: self.step, path })?;
            }
            if border {
                stop::check(self.advice)?;
            }
        }
        progress.finish(&format!("{} steps", steps - first));
        let checkpoint = runs::step_dir(&self.dir, self.step);
        if let Some(note) = self.objective.close(&self.policy, &checkpoint)? {
            journal.note(note)?;
        }
        Ok(Summary {
            checkpoint,
            steps: self.step,
            steps_now: self.step - first,
            parameters: self.policy.vars().iter().map(|(_, var)| var.elem_count()).sum(),
            examples: self.objective.examples(),
        })
    }

    /// One optimizer step; metrics by their TRL names, tokens read, and what to look at.
    fn update(&mut self) -> Result<(BTreeMap<String, f64>, usize, Vec<Event>)> {
        let train = &self.recipe.train;
        let mut step = self.objective.next_step(&self.policy, self.step, train)?;
        let mut sum = Sum::default();
        let mut loss = step.likelihood * self.likelihood(&step, &mut sum)?;
        let mut values = std::mem::take(&mut step.values);
        if let Some(rewarded) = &step.rewarded {
            if !step.lessons.is_empty() {
                values.insert("loss/sft".into(), loss);
            }
            let own = self.rewarded(rewarded, &mut values, &mut sum)?;
            values.insert(rewarded.objective.name().into(), own);
            loss += rewarded.weight * own;
        }
        if !loss.is_finite() {
            bail!(
                "the loss is {loss} at step {}: lower the learning rate ({}) and start over",
                self.step + 1,
                train.lr
            );
        }
        let warmup = (train.warmup * train.steps as f64).ceil() as u64;
        let lr = optim::cosine(self.step, train.steps, warmup, train.lr, train.lr_floor * train.lr);
        // Where all answers were worth the same there is nothing to learn, and the weights stay as they are.
        let grad_norm = match sum.0 {
            Some(gradients) => self.optimizer.step(&gradients, lr, train.max_grad_norm)?,
            None => 0.0,
        };
        let own = [("loss", loss), ("grad_norm", grad_norm), ("learning_rate", lr)];
        values.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Ok((values, step.tokens(), step.events))
    }

    /// The loss of the examples over `train.accumulate` micro-batches, its gradient added to `sum`.
    fn likelihood(&self, step: &Step, sum: &mut Sum) -> Result<f64> {
        let total: f64 = step.lessons.iter().map(Lessons::total).sum();
        let mut loss = 0.0;
        for lessons in &step.lessons {
            // A weight of the whole term is a larger total.
            let slopes = |group: usize, _: &[f32]| likelihood::slope(&lessons.weights[group], total / step.likelihood);
            let pass = self.policy.weighted_gradient(&lessons.groups, &lessons.weights, 1.0, &slopes)?;
            loss += likelihood::loss(&pass.logprobs, &lessons.weights.concat(), total);
            sum.add(Gradients::new(pass.grads))?;
        }
        Ok(loss)
    }

    /// The loss of what was tried, its gradient times its weight added to `sum`.
    fn rewarded(&mut self, own: &Rewarded, values: &mut BTreeMap<String, f64>, sum: &mut Sum) -> Result<f64> {
        let slopes = |group: usize, logprobs: &[f32]| -> Vec<f32> {
            let slopes = own.objective.slopes(group, logprobs);
            slopes.into_iter().map(|slope| slope * own.weight as f32).collect()
        };
        let pass = self.policy.gradient(&own.groups, own.temperature, &slopes)?;
        let (loss, statistics) = own.objective.tally(&pass);
        values.extend(statistics);
        self.objective.learnt(&own.objective, &pass.logprobs);
        sum.add(Gradients::new(pass.grads))?;
        Ok(loss)
    }

    fn emit(&self, journal: &Journal, split: &str, values: BTreeMap<String, f64>) -> Result<()> {
        let (step, steps) = (self.step, self.recipe.train.steps);
        journal.emit(&Event::Metrics { step, steps, split: split.into(), values })
    }

    fn save(&self) -> Result<PathBuf> {
        let at = (self.step, self.num_tokens);
        let beside = |folder: &Path| self.objective.beside(folder);
        let keep = self.recipe.train.keep;
        checkpoint::save(&self.dir, at, &self.policy, &self.optimizer, &self.fingerprint, beside, keep)
    }
}

/// Gradients of parts of a step, added up.
#[derive(Default)]
struct Sum(Option<Gradients>);

impl Sum {
    fn add(&mut self, part: Gradients) -> Result<()> {
        match &mut self.0 {
            Some(sum) => sum.add(&part)?,
            None => self.0 = Some(part),
        }
        Ok(())
    }
}
