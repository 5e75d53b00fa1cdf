//! The loop: batch → log-probabilities → loss → backward → step → journal → evaluate or save when due.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::checkpoint::{self, Fingerprint};
use super::objective::{Lessons, Objective};
use super::optim::{self, AdamW, Gradients};
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
            let (mut values, tokens) = self.update()?;
            self.step += 1;
            self.num_tokens += tokens as u64;
            values.insert("num_tokens".into(), self.num_tokens as f64);
            if let Some(epoch) = self.objective.epoch(self.step, train) {
                values.insert("epoch".into(), epoch);
            }
            values.insert("tokens_per_s".into(), tokens as f64 / started.elapsed().as_secs_f64());
            let loss = values["loss"];
            self.emit(journal, "train", values)?;
            progress.message(format!("loss {loss:.3}"));
            progress.inc(1);
            if self.step.is_multiple_of(train.eval_every) || self.step == steps {
                let (values, samples) = self.objective.evaluate(&self.policy, train)?;
                self.emit(journal, "eval", values)?;
                samples.into_iter().try_for_each(|sample| journal.emit(&sample.into_event(self.step)))?;
            }
            let stopping = stop::requested();
            if self.step.is_multiple_of(train.save_every) || self.step == steps || stopping {
                let path = self.save()?.display().to_string();
                journal.emit(&Event::Checkpoint { step: self.step, path })?;
            }
            stop::check(self.advice)?;
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

    /// One optimizer step over `train.accumulate` micro-batches; metrics by their TRL names, and tokens read.
    fn update(&mut self) -> Result<(BTreeMap<String, f64>, usize)> {
        let train = &self.recipe.train;
        let batches = self.objective.next_batch(self.step, train)?;
        let total: f64 = batches.iter().map(Lessons::total).sum();
        let mut gradients: Option<Gradients> = None;
        let mut loss = 0.0;
        for lessons in &batches {
            let slopes = |group: usize, _: &[f32]| likelihood::slope(&lessons.weights[group], total);
            let pass = self.policy.gradient(&lessons.groups, 1.0, &slopes)?;
            loss += likelihood::loss(&pass.logprobs, &lessons.weights.concat(), total);
            let of_batch = Gradients::new(pass.grads);
            match &mut gradients {
                Some(sum) => sum.add(&of_batch)?,
                None => gradients = Some(of_batch),
            }
        }
        if !loss.is_finite() {
            bail!("the loss is {loss} at step {}: lower train.lr ({}) and start over", self.step + 1, train.lr);
        }
        let warmup = (train.warmup * train.steps as f64).ceil() as u64;
        let lr = optim::cosine(self.step, train.steps, warmup, train.lr, train.lr_floor * train.lr);
        let gradients = gradients.context("a step has at least one micro-batch")?;
        let grad_norm = self.optimizer.step(&gradients, lr, train.max_grad_norm)?;
        let tokens = batches.iter().map(Lessons::tokens).sum();
        let values = [("loss", loss), ("grad_norm", grad_norm), ("learning_rate", lr)];
        Ok((values.map(|(name, value)| (name.to_owned(), value)).into(), tokens))
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
