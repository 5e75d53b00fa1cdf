//! The policy: a Qwen2 or Qwen3 decoder that can be trained, decoded from, read and written.
//!
//! candle's own Qwen models cannot be trained (their fused operations pass no gradient, without a word), so the
//! decoder here is our own. [`Policy::logprobs`] is the differentiable face, [`Policy::generate`] the fast one
//! without a graph; both read the same variables.

mod cached;
mod cancel;
mod chat;
pub mod checkpoint;
mod config;
mod decode;
mod engine;
mod frozen;
mod gradient;
pub mod hub;
mod lora;
mod peft;
mod prompting;
pub mod runs;
mod sampling;
mod tokenizer;
mod transformer;
mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{D, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use cancel::Cancel;
pub use config::{Config, Family};
pub use decode::Completion;
pub use gradient::{Pass, Slope};
pub use lora::{ALL_LINEAR, LoraSettings, PROJECTIONS};
pub use sampling::{Decoding, distribution};
pub use tokenizer::{DecodeStream, Tokenizer};
pub use transformer::Hidden;
pub use weights::{read_safetensors, write_safetensors};

use lora::Lora;
use transformer::{Batch, Weights};

/// One prompt and its completions: the unit of training, sampling and scoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Token ids; at least one.
    pub prompt: Vec<u32>,
    /// Token ids of each completion; one may be empty.
    pub completions: Vec<Vec<u32>>,
}

impl Group {
    /// Tokens in it.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.completions.iter().map(Vec::len).sum::<usize>()
    }
}

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
}

impl Policy {
    /// Reads a Hugging Face folder: `config.json`, safetensors (one file or shards), `tokenizer.json` and, where
    /// present, `tokenizer_config.json`, `chat_template.jinja` and `generation_config.json`.
    /// Weights in bfloat16 or float16 become float32. A folder in PEFT's layout is read with the base it names,
    /// relative to itself, to a folder above it, to the current one, or as an id on the hub.
    ///
    /// # Errors
    /// A missing, damaged or unsupported file, by name and with the remedy.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        checkpoint::read_whole(dir, |dir| Self::read(dir, device))
    }

    fn read(dir: &Path, device: &Device) -> Result<Self> {
        ensure!(dir.is_dir(), "there is no model folder at {}: train one, or give another path", dir.display());
        if peft::is_adapter(dir) {
            let (folder, source) = peft::base_of(dir)?;
            ensure!(!peft::is_adapter(&folder), "the base of {} is itself an adapter: merge that first", dir.display());
            return Self::load(&folder, device)?.sourced_from(&source).load_adapter(dir);
        }
        let config = Config::load(dir)?;
        let tokenizer = Tokenizer::load(dir)?;
        let vars = weights::load_weights(dir, &config, device)?;
        let source = dir.canonicalize().unwrap_or_else(|_| dir.to_owned()).display().to_string();
        let policy = Self::assemble(config, tokenizer, vars, None, Some(source), device);
        policy.with_context(|| format!("cannot use {}", dir.display()))
    }

    /// Makes a decoder with random weights.
    ///
    /// Embeddings are drawn with deviation `1/√hidden`, so that tied logits start near unit size; projections with
    /// 0.02 (GPT-2), those that write into the residual stream divided by `√(2·layers)`. Norms start at 1, biases at 0.
    ///
    /// # Errors
    /// A shape that does not fit together, or a tokenizer larger than the vocabulary.
    pub fn from_scratch(config: Config, tokenizer: Tokenizer, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut vars = Vec::new();
        for (name, shape) in config.parameters() {
            let n = shape.iter().product();
            let values = match initial_deviation(&config, &name) {
                Some(deviation) => (0..n).map(|_| (normal(&mut rng) * deviation) as f32).collect(),
                None => vec![if name.ends_with(".bias") { 0.0f32 } else { 1.0 }; n],
            };
            vars.push((name, Var::from_vec(values, shape, device)?));
        }
        Self::assemble(config, tokenizer, vars, None, None, device)
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
        Ok(Self { config, tokenizer, base, lora, source, tracked, plain, device: device.clone() })
    }

    /// Writes the folder's contents into `dir`, which must exist and be empty; float32, in shards of at most
    /// `max_shard_bytes` when given. For a folder that appears whole, see [`checkpoint::write_atomically`].
    ///
    /// # Errors
    /// A policy with an adapter, which this layout cannot hold: [`Policy::save_adapter`] writes it alone, and
    /// [`Policy::merge`] makes it part of the weights. A full disk; a folder that cannot be written.
    pub fn save(&self, dir: &Path, max_shard_bytes: Option<u64>) -> Result<()> {
        ensure!(self.lora.is_none(), "a policy with an adapter is not one whole model: merge it, or save the adapter");
        checkpoint::write_file(&dir.join("config.json"), self.config.to_json().as_bytes())?;
        self.tokenizer.save(dir)?;
        weights::save_weights(dir, &self.base, max_shard_bytes)
    }

    /// The trainable parameters, always in the same order: all of them under their Hugging Face names, or those of the
    /// adapter when there is one, under the names of PEFT's files.
    #[must_use]
    pub fn vars(&self) -> &[(String, Var)] {
        self.lora.as_ref().map_or(&self.base, |lora| &lora.vars)
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
        let (logits, targets) = self.completion_logits(weights, groups)?;
        let logits = if temperature == 1.0 { logits } else { (logits / temperature)? };
        let largest = logits.max_keepdim(D::Minus1)?.detach();
        let shifted = logits.broadcast_sub(&largest)?;
        let chosen = shifted.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?;
        Ok((chosen - shifted.exp()?.sum(D::Minus1)?.log()?)?)
    }

    /// Logits that predict each completion token, `[tokens, V]`, and the tokens, `[tokens]`.
    fn completion_logits(&self, weights: &Weights, groups: &[Group]) -> Result<(Tensor, Tensor)> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let mut places = Vec::new();
        for group in groups {
            for completion in group.completions.iter().filter(|c| !c.is_empty()) {
                let mut ids = [group.prompt.as_slice(), completion].concat();
                // The last token is predicted, but predicts nothing.
                ids.pop();
                places.push((rows.len(), group.prompt.len() - 1, completion.len()));
                targets.extend_from_slice(completion);
                rows.push(ids);
            }
        }
        let batch = Batch::new(&rows, &self.device)?;
        let wanted: Vec<u32> = places
            .iter()
            .flat_map(|(row, from, n)| (0..*n).map(move |j| (row, from + j)))
            .map(|(row, at)| (row * batch.width() + at) as u32)
            .collect();
        let wanted = Tensor::new(wanted, &self.device)?;
        let hidden = transformer::hidden_of(&self.config, weights, &batch, &wanted)?;
        Ok((weights.head.forward(&hidden)?, Tensor::new(targets, &self.device)?))
    }

    /// Next-token logits at every position of one sequence, `[T, V]`.
    ///
    /// # Errors
    /// No ids, too many, or ids outside the vocabulary.
    pub fn logits(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self.plain.head.forward(&self.hidden_states(ids)?.normed)?)
    }

    /// Hidden states of one sequence after every stage.
    ///
    /// # Errors
    /// Those of [`Policy::logits`].
    pub fn hidden_states(&self, ids: &[u32]) -> Result<Hidden> {
        decode::check_ids(&self.config, ids)?;
        transformer::hidden_states(&self.config, &self.plain, &Batch::new(&[ids.to_vec()], &self.device)?)
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
            let engine = self.engine()?;
            return self.on_slices(|params| {
                let decode = |rows: &mut [decode::Row]| engine::decode(&engine, params, rows, settings);
                decode::generate(&self.config, prompts, settings, seed, cancel, decode)
            });
        }
        self.generate_from_candle(prompts, settings, seed, cancel)
    }

    /// [`Policy::generate_until`] from candle's own operations: for devices other than the CPU, and the engine's reference.
    fn generate_from_candle(
        &self,
        prompts: &[Vec<u32>],
        settings: &Decoding,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<Vec<Completion>> {
        let decode = |rows: &mut [decode::Row]| cached::decode(&self.config, &self.plain, rows, settings);
        decode::generate(&self.config, prompts, settings, seed, cancel, decode)
    }
}

/// Deviation of a parameter's first values; `None` for norms and biases, which start at constants.
fn initial_deviation(config: &Config, name: &str) -> Option<f64> {
    if name.contains("norm") || name.ends_with(".bias") {
        return None;
    }
    Some(match name {
        "model.embed_tokens.weight" | "lm_head.weight" => 1.0 / (config.hidden as f64).sqrt(),
        _ if name.contains("o_proj") || name.contains("down_proj") => 0.02 / (2.0 * config.layers as f64).sqrt(),
        _ => 0.02,
    })
}

/// A standard normal draw (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests;
