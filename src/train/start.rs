//! Before the first step: the data, the model to start from, the checkpoint to go on from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;

use super::augment::augment;
use super::beside;
use super::checkpoint::{self, Fingerprint};
use super::objective::Objective;
use super::optim::{AdamW, AdamWSettings};
use super::phases::{self, Phases};
use super::pretrain::{self, Stream};
use super::reinforced::{Reinforced, Taught};
use super::rollouts::{Rewriting, Rollouts, Sampler, Source};
use super::sft::Sft;
use super::tagging::{Pairs, Tagging};
use super::trainer::Trainer;
use super::{Existing, Options, Task, taught};
use crate::journal::Journal;
use crate::journal::words::bytes;
use crate::judge::reward::Side;
use crate::model::shipped::{self, BASE};
use crate::model::{Config, Keep, LoraSettings, Memory, Policy, Tokenizer, device, hub, runs};
use crate::recipe::{Lora, Recipe, Reference};
use crate::rewriter::Decoder;
use crate::store::{ExampleRow, Split, Store};
use crate::task::{SPECIAL_TOKENS, spaced};

/// What is learnt from, before there is a tokenizer for it.
enum Data {
    Stream,
    Log { origin: String, examples: Vec<ExampleRow>, taught: Vec<ExampleRow>, validation: Vec<ExampleRow> },
    Pairs(Pairs),
}

impl Data {
    fn of(workspace: &Path, task: Task, recipe: &Recipe) -> Result<Self> {
        let name = match task {
            Task::Pretrain => return Ok(Self::Stream),
            Task::Sft { log } | Task::Mpo { log } | Task::Grpo { log, tags: false } => log,
            Task::Tagging { log } | Task::Grpo { log, tags: true } => {
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
        // Pairs are learnt from alone.
        let taught = match task {
            Task::Mpo { .. } => Vec::new(),
            _ => taught::taught(&store, &log, recipe, &examples)?,
        };
        Ok(Self::Log { origin: log.origin, examples, taught, validation })
    }

    fn fingerprint(&self, recipe: &Recipe, options: &Options) -> Fingerprint {
        match self {
            Self::Stream => Fingerprint::of_stream(recipe, options),
            Self::Log { origin, examples, taught, .. } => {
                Fingerprint::of_log(recipe, options, origin, examples.len() + taught.len())
            }
            Self::Pairs(pairs) => Fingerprint::of_log(recipe, options, &pairs.origin, pairs.train.len()),
        }
    }

    /// A tokenizer made from the training text.
    fn tokenizer(&self, recipe: &Recipe) -> Result<Tokenizer> {
        let (examples, taught) = match self {
            Self::Stream => return pretrain::tokenizer(recipe),
            Self::Pairs(pairs) => return tokenizer_of(pairs.texts(), recipe),
            Self::Log { examples, taught, .. } => (examples, taught),
        };
        let texts = examples.iter().chain(taught).flat_map(|e| {
            let of_context = e.context.watched.iter().map(|seen| seen.title.as_str());
            let queries = e.context.queries.iter().map(String::as_str);
            let place = e.context.place.as_deref();
            of_context.chain(queries).chain(place).chain([e.query.as_str()]).chain(e.target.as_deref())
        });
        tokenizer_of(texts, recipe)
    }

    fn objective(self, start: &Start, tokenizer: &Tokenizer) -> Result<Objective> {
        let recipe = start.recipe;
        Ok(match self {
            Self::Stream => Objective::Pretrain(Stream::new(tokenizer, recipe)),
            Self::Log { validation, .. } if matches!(start.options.task, Task::Mpo { .. }) => {
                Objective::Mpo(Box::new(start.phases(validation, tokenizer)?))
            }
            Self::Log { examples, taught, validation, .. } => match start.options.task {
                Task::Grpo { log, .. } => {
                    Objective::Grpo(Box::new(start.rewarded(log, &examples, &taught, validation, tokenizer)?))
                }
                _ => {
                    let rows = augment(&[examples, taught].concat(), recipe);
                    let sft = Sft::of_rows(tokenizer, &rows, recipe)?;
                    Objective::Sft { sft, validation }
                }
            },
            Self::Pairs(pairs) => {
                let tagging = Box::new(Tagging::new(tokenizer, pairs, recipe)?);
                match start.options.task {
                    Task::Grpo { .. } => {
                        let tags = tagging.tags(tokenizer, recipe)?;
                        let (prompts, sampler) = (tags.prompts(), start.sampler(Decoder::free(tokenizer)?)?);
                        let rollouts = Rollouts::new(Source::Tags(tags), prompts, sampler, start.reference()?, recipe);
                        Objective::Grpo(Box::new(Reinforced::new(Taught::Tagging(tagging), rollouts, recipe)))
                    }
                    _ => Objective::Tagging(tagging),
                }
            }
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
        optimizer.restore(&folder.join(runs::MOMENTS))?;
    }
    let start = Start { workspace, recipe, options, device: &device, dir: &dir, fingerprint: &fingerprint };
    let mut objective = data.objective(&start, &policy.tokenizer)?;
    if let Some((folder, _)) = &newest {
        objective.restore(folder)?;
    }
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

/// What a run starts from.
struct Start<'a> {
    workspace: &'a Path,
    recipe: &'a Recipe,
    options: &'a Options<'a>,
    device: &'a Device,
    dir: &'a Path,
    fingerprint: &'a Fingerprint,
}

impl Start<'_> {
    /// Phases over searches of training people, looked at on held-out ones.
    fn phases(&self, validation: Vec<ExampleRow>, tokenizer: &Tokenizer) -> Result<Phases> {
        let Task::Mpo { log } = self.options.task else { bail!("phases belong to a run on pairs") };
        // What is earned is said by the log that is learnt from, whatever the recipe is called.
        let of_log = Recipe { name: log.to_owned(), ..self.recipe.clone() };
        let m = &self.recipe.mpo;
        let searched = |side, most| Rewriting::searched(self.workspace, &of_log, side, most);
        // No prompt is asked twice while there are others.
        let source = searched(Side::Training, m.steps as usize * m.groups)?;
        let held_out = searched(Side::HeldOut, self.recipe.train.eval_examples)?;
        let decoder = source.decoder(tokenizer, m.decoding, m.max_completion_length)?;
        let sampler = self.sampler(decoder.clone())?;
        let (dir, fingerprint) = (self.dir.to_owned(), self.fingerprint.clone());
        let reference = self.reference()?;
        let parts = phases::Parts { source, held_out, validation, sampler, decoder, reference, dir, fingerprint };
        Phases::new(parts, tokenizer, self.recipe)
    }

    /// Rewards for the examples' searches, and what is learnt by example beside them.
    fn rewarded(
        &self,
        log: &str,
        examples: &[ExampleRow],
        taught: &[ExampleRow],
        validation: Vec<ExampleRow>,
        tokenizer: &Tokenizer,
    ) -> Result<Reinforced> {
        let (recipe, g) = (self.recipe, &self.recipe.grpo);
        // What is earned is said by the log that is learnt from, whatever the recipe is called.
        let of_log = Recipe { name: log.to_owned(), ..recipe.clone() };
        let mut own = Rewriting::new(self.workspace, examples, &of_log)?;
        let all = augment(&[examples, taught].concat(), recipe);
        let (mined, made) = all.split_at(examples.len());
        let [mined, made] = [mined, made].map(|rows| beside::learnt(rows, g.examples, |text| own.answers(text)));
        ensure!(
            !mined.is_empty() || !made.is_empty(),
            "an index answers none of the examples of log {log:?}: set grpo.examples to \"all\", or use a longer log"
        );
        let searched = (examples.len() as f64 * g.searched).round() as usize;
        if searched > 0 {
            own.ask_searched(self.workspace, &of_log, searched)?;
        }
        own.ask_also(beside::tried(&made, examples, recipe));
        let sft = Sft::of_rows(tokenizer, &[mined, made].concat(), recipe)?;
        let prompts = own.prompts(tokenizer, recipe.train.max_prompt_tokens)?;
        let sampler = self.sampler(own.decoder(tokenizer, g.decoding, g.max_completion_length)?)?;
        let source = Source::Rewriting(Box::new(own));
        let rollouts = Rollouts::new(source, prompts, sampler, self.reference()?, recipe);
        Ok(Reinforced::new(Taught::Rewriting { sft: Box::new(sft), validation }, rollouts, recipe))
    }

    /// Who samples for the run.
    fn sampler(&self, decoder: Decoder) -> Result<Sampler> {
        Sampler::open(self.workspace, self.options.name, decoder, self.recipe)
    }

    /// The model that the run starts from, to measure the divergence from; none where it does not count.
    fn reference(&self) -> Result<Option<Policy>> {
        let counts = match self.options.task {
            Task::Mpo { .. } => self.recipe.mpo.reference == Reference::Start,
            _ => self.recipe.grpo.beta > 0.0,
        };
        let init = self.options.init.filter(|_| counts);
        let load = |init| {
            let policy = Policy::load_kept(&folder_of(self.workspace, init)?, Keep::AsStored, self.device)?;
            Ok(policy.with_precision(self.recipe.train.precision).frozen())
        };
        init.map(load).transpose()
    }
}

/// The folder that `--init` names: the program's own base, a run of the workspace, a folder, or a hub's id.
fn folder_of(workspace: &Path, init: &str) -> Result<PathBuf> {
    if init == BASE {
        return shipped::folder(workspace);
    }
    let of_run = runs::run_dir(workspace, init).ok().map(|dir| runs::latest(&dir)).transpose()?.flatten();
    of_run.map_or_else(|| hub::resolve(init, None), |(folder, _)| Ok(folder))
}

/// A model to start from: a checkpoint, or a fresh one with a tokenizer made from the training text.
fn model(workspace: &Path, recipe: &Recipe, options: &Options, data: &Data, device: &Device) -> Result<Policy> {
    if let Some(init) = options.init {
        // Below an adapter the weights stay as they are, and so may their form.
        let keep = if recipe.lora.rank == 0 { Keep::Float32 } else { Keep::AsStored };
        return adapt(Policy::load_kept(&folder_of(workspace, init)?, keep, device)?, init, recipe);
    }
    ensure!(
        !matches!(options.task, Task::Grpo { .. } | Task::Mpo { .. }),
        "there is no model to try anything: give one that rewrites already with --init, say a run of `core train sft`"
    );
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
    // A hub's id is worth more in an adapter's file than a folder of this machine's cache; a run's name, or the word for the
    // program's own base, says nothing to who reads the adapter later.
    let policy = if Path::new(init).is_dir() || !init.contains('/') { policy } else { policy.sourced_from(init) };
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
