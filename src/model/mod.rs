//! The policy: a Qwen2 or Qwen3 decoder that can be trained, decoded from, read and written.
//!
//! candle's own Qwen models cannot be trained (their fused operations pass no gradient, without a word), so the
//! decoder here is our own. [`Policy::logprobs`] is the differentiable face, [`Policy::generate`] the fast one
//! without a graph; both read the same variables.

mod batch;
mod by_layer;
mod cached;
mod cancel;
mod chat;
pub mod checkpoint;
mod config;
mod decode;
pub mod device;
pub mod endpoints;
mod engine;
mod frozen;
mod fused;
mod gradient;
mod group;
pub mod hub;
mod lora;
mod peft;
mod prompting;
mod rows;
pub mod runs;
mod sampling;
mod scratch;
pub mod shipped;
mod tagger;
mod tokenizer;
mod transformer;
mod trie;
mod weights;
mod word_trie;

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};

pub use cancel::Cancel;
pub use config::{Config, Family};
pub use decode::Completion;
pub use engine::Memory;
pub use engine::simd::{Level, level as simd_level};
pub use gradient::{Pass, Slope};
pub use group::Group;
pub use lora::{ALL_LINEAR, LoraSettings, PROJECTIONS};
pub use sampling::{Decoding, Reluctant, distribution};
pub(crate) use tagger::common;
pub use tagger::{TAGGER, Tagger, TaggerSettings, calibrated};
pub use tokenizer::{DecodeStream, Tokenizer};
pub use transformer::Hidden;
pub use trie::Trie;
pub use weights::{Keep, read_safetensors, write_safetensors};
pub use word_trie::WordTrie;

use crate::recipe::Precision;
use batch::{Batch, Wanted};
use lora::Lora;
use transformer::Weights;

/// A decoder with its tokenizer.
pub struct Policy {
    /// Shape of the decoder.
    pub config: Config,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The decoder's own weights; frozen when there is an adapter.
    base: Vec<(String, Var)>,
    lora: Option<Lora>,
    /// The folder or hub id that the weights came from, for adapters to name.
    source: Option<String>,
    /// The variables in their places; operations on the trainable ones are recorded.
    tracked: Weights,
    /// The same storage, seen without a graph; it follows every change of the variables.
    plain: Weights,
    device: Device,
    /// Number format of products on candle's path.
    dtype: DType,
    /// Products of the CPU engine take operands rounded to bfloat16.
    half: bool,
    /// Activations are computed again in the backward pass instead of being kept.
    recompute: bool,
    /// Nothing of it is trained.
    frozen: bool,
    /// The decoder's own weights packed for decoding, once they have been needed and where they cannot change.
    packed: OnceLock<engine::Packed>,
}

impl Policy {
    /// Reads a Hugging Face folder: `config.json`, safetensors (one file or shards), `tokenizer.json` and, where
    /// present, `tokenizer_config.json`, `chat_template.jinja` and `generation_config.json`.
    /// Weights in bfloat16 or float16 become float32. A folder in PEFT's layout is read with the base it names,
    /// relative to itself, to a folder above it, to the current one, or as an id on the hub; the base stays as stored.
    ///
    /// # Errors
    /// A missing, damaged or unsupported file, by name and with the remedy.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_kept(dir, Keep::Float32, device)
    }

    /// [`Policy::load`] with a choice of how its own weights are kept. Only what is stored as [`Keep::Float32`] can be
    /// trained in full; on the rest stands an adapter, or nothing ([`Policy::frozen`]).
    ///
    /// # Errors
    /// Those of [`Policy::load`].
    pub fn load_kept(dir: &Path, keep: Keep, device: &Device) -> Result<Self> {
        checkpoint::read_whole(dir, |dir| Self::read(dir, keep, device))
    }

    fn read(dir: &Path, keep: Keep, device: &Device) -> Result<Self> {
        ensure!(dir.is_dir(), "there is no model folder at {}: train one, or give another path", dir.display());
        if peft::is_adapter(dir) {
            let (folder, source) = peft::base_of(dir)?;
            ensure!(!peft::is_adapter(&folder), "the base of {} is itself an adapter: merge that first", dir.display());
            return Self::load_kept(&folder, Keep::AsStored, device)?.sourced_from(&source).load_adapter(dir);
        }
        let config = Config::load(dir)?;
        let tokenizer = Tokenizer::load(dir)?;
        let vars = weights::load_weights(dir, &config, keep, device)?;
        let source = dir.canonicalize().unwrap_or_else(|_| dir.to_owned()).display().to_string();
        let policy = Self::assemble(config, tokenizer, vars, None, Some(source), device);
        policy.with_context(|| format!("cannot use {}", dir.display()))
    }

    /// Chooses how its products are computed: when nothing is chosen in float32 on a CPU, in bfloat16 on a card. All
    /// else is float32 always.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        if self.device.is_cpu() {
            self.half = precision_here(precision) == Precision::Bf16;
            self.packed = OnceLock::new();
            return self;
        }
        self.compute_in(if precision == Precision::F32 { DType::F32 } else { DType::BF16 })
    }

    /// Computes each layer's activations again in the backward pass instead of keeping them: the same numbers in less
    /// memory, for about a third more time. On a card it is always so.
    #[must_use]
    pub fn recomputing(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// What a training step on `groups` will keep in memory on a CPU.
    ///
    /// # Errors
    /// Only those of a shape that does not fit together, which a loaded policy has not.
    pub fn training_memory(&self, groups: &[Group]) -> Result<Memory> {
        let all = self.base.iter().chain(self.lora.iter().flat_map(|lora| &lora.vars));
        let weights = all.map(|(_, var)| var.elem_count() * var.dtype().size_in_bytes()).sum();
        let trained = self.vars().iter().map(|(_, var)| var.elem_count()).sum();
        let how = engine::How { half: self.half, shared: false };
        Ok(self.engine()?.memory(groups, weights, trained, how))
    }

    /// Gives up training it: [`Policy::vars`] is empty from here on, and weights are packed for decoding only once.
    /// For policies that serve, and for references.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.frozen = true;
        self
    }

    /// Says which folder or hub id an adapter saved from this policy names as its base; loading a folder sets that
    /// to its full path.
    #[must_use]
    pub fn sourced_from(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    fn assemble(
        config: Config,
        mut tokenizer: Tokenizer,
        base: Vec<(String, Var)>,
        lora: Option<Lora>,
        source: Option<String>,
        device: &Device,
    ) -> Result<Self> {
        let size = tokenizer.size();
        ensure!(
            size <= config.vocab,
            "the tokenizer has {size} ids, but the model only {} (vocab_size): they do not belong together",
            config.vocab
        );
        tokenizer.eos_if_unknown(&config.eos_ids());
        let detached = || Weights::new(&config, base.iter().map(|(_, var)| var.as_detached_tensor()));
        let (tracked, plain) = match &lora {
            None => (Weights::new(&config, base.iter().map(|(_, var)| var.as_tensor().clone())), detached()),
            Some(lora) => (
                detached().with_adapter(lora, |var| var.as_tensor().clone()),
                detached().with_adapter(lora, Var::as_detached_tensor),
            ),
        };
        let dtype = device::products(device);
        let (device, packed) = (device.clone(), OnceLock::new());
        let (half, recompute, frozen) = (false, false, false);
        Ok(Self {
            config,
            tokenizer,
            base,
            lora,
            source,
            tracked,
            plain,
            device,
            dtype,
            half,
            recompute,
            frozen,
            packed,
        })
    }

    /// Sets the number format of products on candle's path, as [`Policy::with_precision`] does on a card; anywhere else
    /// it is that of [`Policy::logprobs`], [`Policy::logits`] and the gradients in the graph. Weights keep their own.
    #[must_use]
    pub fn compute_in(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Writes the folder's contents into `dir`, which must exist and be empty; float32, in shards of at most
    /// `max_shard_bytes` when given. For a folder that appears whole, see [`checkpoint::write_atomically`].
    ///
    /// # Errors
    /// A policy with an adapter, which this layout cannot hold: [`Policy::save_adapter`] writes it alone, and
    /// [`Policy::merge`] makes it part of the weights. A full disk; a folder that cannot be written.
    pub fn save(&self, dir: &Path, max_shard_bytes: Option<u64>) -> Result<()> {
        self.save_as(dir, DType::F32, max_shard_bytes)
    }

    /// [`Policy::save`] with every weight in a number format of its own: bfloat16 takes half the space and rounds.
    ///
    /// # Errors
    /// Those of [`Policy::save`].
    pub fn save_as(&self, dir: &Path, dtype: DType, max_shard_bytes: Option<u64>) -> Result<()> {
        ensure!(self.lora.is_none(), "a policy with an adapter is not one whole model: merge it, or save the adapter");
        checkpoint::write_file(&dir.join("config.json"), self.config.to_json(dtype).as_bytes())?;
        self.tokenizer.save(dir)?;
        weights::save_weights(dir, &self.base, dtype, max_shard_bytes)
    }

    /// The trainable parameters, always in the same order: all of them under their Hugging Face names, or those of the
    /// adapter when there is one, under the names of PEFT's files. None when it is frozen.
    #[must_use]
    pub fn vars(&self) -> &[(String, Var)] {
        if self.frozen {
            return &[];
        }
        self.lora.as_ref().map_or(&self.base, |lora| &lora.vars)
    }

    /// Parameters in all, an adapter's included.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let all = self.base.iter().chain(self.lora.iter().flat_map(|lora| &lora.vars));
        all.map(|(_, var)| var.elem_count()).sum()
    }

    /// How its products are computed.
    #[must_use]
    pub fn precision(&self) -> Precision {
        let half = if self.device.is_cpu() { self.half } else { self.dtype == DType::BF16 };
        if half { Precision::Bf16 } else { Precision::F32 }
    }

    /// Where the weights are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Log-probabilities of all completion tokens, differentiable: float32 `[tokens]`, in the order group,
    /// completion, token; in nats. Logits are divided by `temperature` first.
    ///
    /// # Errors
    /// No completion token at all; an empty prompt; ids outside the vocabulary; a sequence longer than the model's
    /// positions; a temperature that is not positive.
    pub fn logprobs(&self, groups: &[Group], temperature: f64) -> Result<Tensor> {
        ensure!(temperature > 0.0 && temperature.is_finite(), "temperature = {temperature} must be above 0");
        self.check_groups(groups)?;
        self.logprobs_in_graph(&self.tracked, groups, temperature)
    }

    pub(super) fn check_groups(&self, groups: &[Group]) -> Result<()> {
        for (g, group) in groups.iter().enumerate() {
            ensure!(!group.prompt.is_empty(), "group {g} has an empty prompt: it needs at least one token");
            for completion in &group.completions {
                let ids = [group.prompt.as_slice(), completion].concat();
                decode::check_ids(&self.config, &ids).with_context(|| format!("group {g}"))?;
            }
        }
        let any = groups.iter().any(|g| g.completions.iter().any(|c| !c.is_empty()));
        ensure!(any, "no group has a completion token: there is nothing to score");
        Ok(())
    }

    /// [`Policy::logprobs`] from candle's own operations: for devices other than the CPU, and the engine's reference.
    fn logprobs_in_graph(&self, weights: &Weights, groups: &[Group], temperature: f64) -> Result<Tensor> {
        let Wanted { batch, rows, targets } = Wanted::new(groups, &self.device)?;
        let hidden = transformer::hidden_of(&self.pass(&batch)?, weights, &batch, &rows)?;
        Ok(fused::log_of_chosen(&weights.logits(&hidden)?, &targets, temperature)?)
    }

    fn pass(&self, batch: &Batch) -> Result<transformer::Pass<'_>> {
        transformer::Pass::new(&self.config, batch, self.dtype)
    }

    /// Next-token logits at every position of one sequence, `[T, V]`.
    ///
    /// # Errors
    /// No ids, too many, or ids outside the vocabulary.
    pub fn logits(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self.plain.logits(&self.hidden_states(ids)?.normed)?)
    }

    /// Hidden states of one sequence after every stage.
    ///
    /// # Errors
    /// Those of [`Policy::logits`].
    pub fn hidden_states(&self, ids: &[u32]) -> Result<Hidden> {
        decode::check_ids(&self.config, ids)?;
        let batch = Batch::new(&[ids.to_vec()], &self.device)?;
        transformer::hidden_states(&self.pass(&batch)?, &self.plain, &batch)
    }

    /// Decodes one completion per prompt with a key-value cache; prompts may differ in length and may repeat.
    /// The random stream of a prompt depends on `seed` and its index alone.
    ///
    /// # Errors
    /// An empty or too long prompt, ids outside the vocabulary, settings out of range, logits that are not finite.
    pub fn generate(&self, prompts: &[Vec<u32>], settings: &Decoding, seed: u64) -> Result<Vec<Completion>> {
        self.generate_until(prompts, settings, seed, &Cancel::default())
    }

    /// [`Policy::generate`] for someone who may leave: once `cancel` is set no further token is computed, and what was not
    /// done by then comes back unfinished.
    ///
    /// # Errors
    /// Those of [`Policy::generate`].
    pub fn generate_until(
        &self,
        prompts: &[Vec<u32>],
        settings: &Decoding,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<Vec<Completion>> {
        if self.device.is_cpu() {
            return self.with_packed(|engine, params| {
                let decode = |rows: &mut [decode::Row]| engine::decode(engine, params, rows, settings);
                decode::generate(&self.config, prompts, settings, seed, cancel, decode)
            });
        }
        self.generate_from_candle(prompts, settings, seed, cancel)
    }

    /// [`Policy::generate_until`] from candle's own operations: for devices other than the CPU, and the engine's
    /// reference.
    ///
    /// # Errors
    /// Those of [`Policy::generate`].
    pub fn generate_from_candle(
        &self,
        prompts: &[Vec<u32>],
        settings: &Decoding,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<Vec<Completion>> {
        let decode = |rows: &mut [decode::Row]| cached::decode(&self.config, &self.plain, self.dtype, rows, settings);
        decode::generate(&self.config, prompts, settings, seed, cancel, decode)
    }
}

/// What was asked for, or what this processor is faster with; never [`Precision::Auto`].
#[must_use]
pub fn precision_here(asked: Precision) -> Precision {
    match asked {
        Precision::Auto if simd_level() == Level::Avx512Bf16 => Precision::Bf16,
        Precision::Auto => Precision::F32,
        chosen => chosen,
    }
}

#[cfg(test)]
mod tests;
