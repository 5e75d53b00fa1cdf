//! Before the first step: the data, the model to start from, the checkpoint to go on from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;

use super::checkpoint::{self, Fingerprint};
use super::objective::Objective;
use super::optim::{AdamW, AdamWSettings};
use super::pretrain::{self, Stream};
use super::sft::Sft;
use super::tagging::{Pairs, Tagging};
use super::trainer::Trainer;
use super::{Existing, Options, Task};
use crate::journal::Journal;
use crate::journal::words::bytes;
use crate::model::shipped::{self, BASE};
use crate::model::{Config, Keep, LoraSettings, Memory, Policy, Tokenizer, device, hub};
use crate::recipe::{Lora, Recipe};
use crate::store::{ExampleRow, Split, Store};
use crate::task::{SPECIAL_TOKENS, spaced};

/// What is learnt from, before there is a tokenizer for it.
enum Data {
    Stream,
    Log { origin: String, examples: Vec<ExampleRow>, validation: Vec<ExampleRow> },
    Pairs(Pairs),
}

impl Data {
    fn of(workspace: &Path, task: Task, recipe: &Recipe) -> Result<Self> {
        let name = match task {
            Task::Pretrain => return Ok(Self::Stream),
            Task::Sft { log } => log,
            Task::Tagging { log } => {
                let store = Store::open(workspace)?;
                return Ok(Self::Pairs(Pairs::load(&store, &store.log(log)?, recipe)?));
            }
        };
        let store = Store::open(workspace)?;
        let log = store.log(name)?;
        let examples = store.examples(&log, Split::Train)?;
        let validation = store.examples(&log, Split::Validation)?;
        if examples.is_empty() {
            bail!("log {name:?} has no training examples: run `core mine --log {name}` first");
        }
        Ok(Self::Log { origin: log.origin, examples, validation })
    }

    fn fingerprint(&self, recipe: &Recipe, options: &Options) -> Fingerprint {
        match self {
            Self::Stream => Fingerprint::of_stream(recipe, options),
            Self::Log { origin, examples, .. } => Fingerprint::of_log(recipe, options, origin, examples.len()),
            Self::Pairs(pairs) => Fingerprint::of_log(recipe, options, &pairs.origin, pairs.train.len()),
        }
    }

    /// A tokenizer made from the training text.
    fn tokenizer(&self, recipe: &Recipe) -> Result<Tokenizer> {
        let examples = match self {
            Self::Stream => return pretrain::tokenizer(recipe),
            Self::Pairs(pairs) => return tokenizer_of(pairs.texts(), recipe),
            Self::Log { examples, .. } => examples,
        };
        let texts = examples.iter().flat_map(|e| {
            let of_context = e.context.watched.iter().map(|seen| seen.title.as_str());
            let queries = e.context.queries.iter().map(String::as_str);
            let place = e.context.place.as_deref();
            of_context.chain(queries).chain(place).chain([e.query.as_str()]).chain(e.target.as_deref())
        });
        tokenizer_of(texts, recipe)
    }

    fn objective(self, tokenizer: &Tokenizer, recipe: &Recipe) -> Result<Objective> {
        Ok(match self {
            Self::Stream => Objective::Pretrain(Stream::new(tokenizer, recipe)),
            Self::Log { examples, validation, .. } => {
                Objective::Sft { sft: Sft::new(tokenizer, &examples, recipe)?, validation }
            }
            Self::Pairs(pairs) => Objective::Tagging(Box::new(Tagging::new(tokenizer, pairs, recipe)?)),
        })
    }
}

/// A tokenizer of texts spaced as in the prompts, so that merges are learnt on what will be read.
fn tokenizer_of<'a>(texts: impl Iterator<Item = &'a str> + Send, recipe: &Recipe) -> Result<Tokenizer> {
    Tokenizer::train(texts.map(spaced), recipe.model.vocab, &SPECIAL_TOKENS).context("training the tokenizer")
}

/// Everything a run needs before its first step.
///
/// # Errors
/// Those of [`super::run`].
pub(super) fn prepare<'a>(
    workspace: &Path,
    recipe: &'a Recipe,
    options: &Options,
    dir: PathBuf,
    journal: &Journal,
) -> Result<Trainer<'a>> {
    let data = Data::of(workspace, options.task, recipe)?;
    let fingerprint = data.fingerprint(recipe, options);
    let device = device::open()?;
    let newest = checkpoint::existing(&dir, options.existing, &fingerprint, journal)?;
    let (policy, step, num_tokens) = match &newest {
        Some((folder, step)) => (Policy::load(folder, &device)?, *step, checkpoint::tokens_read(folder)?),
        None => (model(workspace, recipe, options, &data, &device)?, 0, 0),
    };
    let policy = policy.with_precision(recipe.train.precision).recomputing(recipe.train.recompute);
    let mut optimizer = AdamW::new(policy.vars(), optim_settings(recipe))?;
    if let Some((folder, _)) = &newest {
        optimizer.restore(&folder.join(checkpoint::MOMENTS))?;
    }
    let objective = data.objective(&policy.tokenizer, recipe)?;
    journal.note(match device.is_cpu() {
        true => memory_in_words(&policy.training_memory(&objective.largest_batch(&recipe.train))?),
        false => format!("{} computes", device::name(&device)),
    })?;
    let advice = match options.existing {
        Existing::Renew => "the newest step is saved; run the same command again to go on",
        _ => "the newest step is saved; run the same command with --resume to go on",
    };
    Ok(Trainer { recipe, dir, fingerprint, policy, optimizer, objective, step, num_tokens, advice })
}

/// A model to start from: a checkpoint, or a fresh one with a tokenizer made from the training text.
fn model(workspace: &Path, recipe: &Recipe, options: &Options, data: &Data, device: &Device) -> Result<Policy> {
    if let Some(init) = options.init {
        // Below an adapter the weights stay as they are, and so may their form.
        let keep = if recipe.lora.rank == 0 { Keep::Float32 } else { Keep::AsStored };
        let folder = if init == BASE { shipped::folder(workspace)? } else { hub::resolve(init, None)? };
        return adapt(Policy::load_kept(&folder, keep, device)?, init, recipe);
    }
    ensure!(
        recipe.lora.rank == 0,
        "lora.rank is {} but there is no model to put an adapter on: give one with --init, or set lora.rank to 0",
        recipe.lora.rank
    );
    let tokenizer = data.tokenizer(recipe)?;
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
