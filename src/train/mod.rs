//! One training loop, one file per objective.
//!
//! batch → log-probabilities → loss → backward → step → journal → evaluate or save when due.

pub mod advantages;
pub mod grpo;
pub mod mpo;
pub mod optim;
pub mod sft;

mod checkpoint;
mod evaluate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::journal::words::bytes;
use crate::journal::{Event, Journal, Table, stop};
use crate::model::{Config, Keep, LoraSettings, Memory, Policy, Tokenizer, device, hub, runs};
use crate::recipe::{Lora, Recipe};
use crate::store::{ExampleRow, Lock, Split, Store};
use crate::task::{SPECIAL_TOKENS, spaced};

use checkpoint::Fingerprint;
use optim::{AdamW, AdamWSettings, Gradients};

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Name of the run and of its folder under `runs/`.
    pub name: &'a str,
    /// The mined log to learn from.
    pub log: &'a str,
    /// A checkpoint folder or hub name to start from; none trains from nothing. With `lora.rank` above 0 its weights
    /// stay as they are and an adapter is trained.
    pub init: Option<&'a str>,
    /// What to do about checkpoints that are already there.
    pub existing: Existing,
}

/// What to do about checkpoints that a run's folder already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, and say which flags there are.
    Refuse,
    /// Go on from the newest, to the same numbers as an uninterrupted run.
    Resume,
    /// Go on from the newest when the same recipe and data made it, else start over: for runs that a program owns.
    Renew,
    /// Delete them and start over.
    Replace,
}

/// What a run made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// Folder of the newest checkpoint.
    pub checkpoint: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Steps done by this call; 0 when everything was there already.
    pub steps_now: u64,
    /// Parameters trained.
    pub parameters: usize,
    /// Training examples.
    pub examples: usize,
}

impl Summary {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = ["checkpoint", "steps", "steps_now", "parameters", "examples"];
        let mut table = Table::new("train", "", &columns);
        table.row([
            self.checkpoint.display().to_string().into(),
            self.steps.into(),
            self.steps_now.into(),
            self.parameters.into(),
            self.examples.into(),
        ]);
        table
    }
}

/// Supervised fine-tuning on a log's mined examples.
///
/// # Errors
/// No examples; a checkpoint of another recipe; a non-finite loss; a full disk. `Stopped` after Ctrl-C, with a
/// checkpoint saved.
pub fn run(workspace: &Path, recipe: &Recipe, options: &Options) -> Result<Summary> {
    Journal::record(workspace, "train", options.name, &recipe.to_toml(), |journal| {
        let dir = runs::run_dir(workspace, options.name)?;
        let _alone = Lock::take(workspace, &format!("train-{}", options.name))?;
        prepare(workspace, recipe, options, dir, journal)?.train(journal)
    })
}

/// Everything the loop needs.
struct Trainer<'a> {
    recipe: &'a Recipe,
    dir: PathBuf,
    fingerprint: Fingerprint,
    policy: Policy,
    optimizer: AdamW,
    sft: sft::Sft,
    validation: Vec<ExampleRow>,
    step: u64,
    /// What a person who stopped the run is told.
    advice: &'static str,
}

fn prepare<'a>(
    workspace: &Path,
    recipe: &'a Recipe,
    options: &Options,
    dir: PathBuf,
    journal: &Journal,
) -> Result<Trainer<'a>> {
    let store = Store::open(workspace)?;
    let log = store.log(options.log)?;
    let examples = store.examples(&log, Split::Train)?;
    let validation = store.examples(&log, Split::Validation)?;
    if examples.is_empty() {
        bail!("log {:?} has no training examples: run `core mine --log {}` first", options.log, options.log);
    }
    let fingerprint = Fingerprint::of(recipe, options, &log.origin, examples.len());
    let device = device::open()?;
    let newest = checkpoint::existing(&dir, options.existing, &fingerprint, journal)?;
    let (policy, step) = match &newest {
        Some((folder, step)) => (Policy::load(folder, &device)?, *step),
        None => (start(recipe, options, &examples, &device)?, 0),
    };
    let policy = policy.with_precision(recipe.train.precision).recomputing(recipe.train.recompute);
    let mut optimizer = AdamW::new(policy.vars(), optim_settings(recipe))?;
    if let Some((folder, _)) = &newest {
        optimizer.restore(&folder.join(checkpoint::MOMENTS))?;
    }
    let sft = sft::Sft::new(&policy.tokenizer, &examples, recipe)?;
    journal.note(match device.is_cpu() {
        true => memory_in_words(&policy.training_memory(&sft.largest_batch(&recipe.train))?),
        false => format!("{} computes", device::name(&device)),
    })?;
    let advice = match options.existing {
        Existing::Renew => "the newest step is saved; run the same command again to go on",
        _ => "the newest step is saved; run the same command with --resume to go on",
    };
    Ok(Trainer { recipe, dir, fingerprint, policy, optimizer, sft, validation, step, advice })
}

/// A model to start from: a checkpoint, or a fresh one with a tokenizer made from the training text.
fn start(recipe: &Recipe, options: &Options, examples: &[ExampleRow], device: &Device) -> Result<Policy> {
    if let Some(init) = options.init {
        // Below an adapter the weights stay as they are, and so may their form.
        let keep = if recipe.lora.rank == 0 { Keep::Float32 } else { Keep::AsStored };
        return adapt(Policy::load_kept(&hub::resolve(init, None)?, keep, device)?, init, recipe);
    }
    ensure!(
        recipe.lora.rank == 0,
        "lora.rank is {} but there is no model to put an adapter on: give one with --init, or set lora.rank to 0",
        recipe.lora.rank
    );
    let texts = examples.iter().flat_map(|e| {
        let of_context = e.context.watched.iter().map(|seen| seen.title.as_str());
        let queries = e.context.queries.iter().map(String::as_str);
        of_context.chain(queries).chain(e.context.place.as_deref()).chain([e.query.as_str()]).chain(e.target.as_deref())
    });
    // Spaced as in the prompts, so that merges are learnt on what will be read.
    let texts = texts.map(spaced);
    let tokenizer = Tokenizer::train(texts, recipe.model.vocab, &SPECIAL_TOKENS).context("training the tokenizer")?;
    let config = Config::scratch(&recipe.model, tokenizer.size());
    Policy::from_scratch(config, tokenizer, recipe.seed, device)
}

/// Gives a model what the recipe trains: an adapter, or all of its weights.
fn adapt(policy: Policy, init: &str, recipe: &Recipe) -> Result<Policy> {
    let Lora { rank, alpha, rslora, targets } = recipe.lora.clone();
    if rank == 0 {
        // Full fine-tuning of a base with an adapter starts from the sum of both.
        return policy.merge();
    }
    let settings = LoraSettings { rank, alpha, rslora, targets };
    if policy.lora().is_some() {
        ensure!(
            policy.has_lora(&settings)?,
            "--init {init} holds an adapter made with other settings than the recipe's [lora]: give the same there, or a model without an adapter"
        );
        return Ok(policy);
    }
    // A hub's id is worth more in an adapter's file than a folder of this machine's cache.
    let policy = if Path::new(init).is_dir() { policy } else { policy.sourced_from(init) };
    policy.with_lora(settings, recipe.seed)
}

/// Where the memory of a step goes, for the journal.
fn memory_in_words(memory: &Memory) -> String {
    let Memory { weights, packed, gradients, optimizer, activations } = memory;
    let [total, weights, packed, gradients, optimizer, activations] =
        [memory.total(), *weights, *packed, *gradients, *optimizer, *activations].map(|n| bytes(n as u64));
    format!(
        "a step takes up to {total}: weights {weights}, packed again {packed}, gradients {gradients}, AdamW {optimizer}, activations {activations}"
    )
}

fn optim_settings(recipe: &Recipe) -> AdamWSettings {
    AdamWSettings { weight_decay: recipe.train.weight_decay, ..AdamWSettings::default() }
}

impl Trainer<'_> {
    fn train(&mut self, journal: &Journal) -> Result<Summary> {
        let first = self.step;
        let (steps, train) = (self.recipe.train.steps, &self.recipe.train);
        let progress = journal.progress("train", steps);
        progress.inc(first);
        while self.step < steps {
            let started = Instant::now();
            let (mut values, tokens) = self.update()?;
            self.step += 1;
            values.insert("epoch".into(), self.sft.epoch(self.step, train));
            values.insert("tokens_per_s".into(), tokens as f64 / started.elapsed().as_secs_f64());
            let loss = values["loss"];
            self.emit(journal, "train", values)?;
            progress.message(format!("loss {loss:.3}"));
            progress.inc(1);
            if self.step.is_multiple_of(train.eval_every) || self.step == steps {
                let (values, samples) =
                    evaluate::evaluate(&self.policy, &self.validation, train.eval_examples, train.max_prompt_tokens)?;
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
        Ok(Summary {
            checkpoint: runs::step_dir(&self.dir, self.step),
            steps: self.step,
            steps_now: self.step - first,
            parameters: self.policy.vars().iter().map(|(_, var)| var.elem_count()).sum(),
            examples: self.sft.len(),
        })
    }

    /// One optimizer step over `train.accumulate` micro-batches; metrics by their TRL names, and tokens read.
    fn update(&mut self) -> Result<(BTreeMap<String, f64>, usize)> {
        let train = &self.recipe.train;
        let batches = self.sft.next_batch(self.step, train);
        let loss_tokens: usize = batches.iter().flatten().flat_map(|g| &g.completions).map(Vec::len).sum();
        let mut gradients: Option<Gradients> = None;
        let mut loss = 0.0;
        for groups in &batches {
            let pass = self.policy.gradient(groups, 1.0, &|_, logprobs| sft::slope(logprobs, loss_tokens))?;
            loss += sft::loss(&pass.logprobs, loss_tokens);
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
        let tokens = batches.iter().flatten().map(|g| g.tokens()).sum();
        let values = [("loss", loss), ("grad_norm", grad_norm), ("learning_rate", lr)];
        Ok((values.map(|(name, value)| (name.to_owned(), value)).into(), tokens))
    }

    fn emit(&self, journal: &Journal, split: &str, values: BTreeMap<String, f64>) -> Result<()> {
        let (step, steps) = (self.step, self.recipe.train.steps);
        journal.emit(&Event::Metrics { step, steps, split: split.into(), values })
    }

    fn save(&self) -> Result<PathBuf> {
        checkpoint::save(&self.dir, self.step, &self.policy, &self.optimizer, &self.fingerprint, self.recipe.train.keep)
    }
}
