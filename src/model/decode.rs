//! Decoding with a key-value cache, many prompts at once, on weights that record no graph.
//!
//! Prompts are padded on the right and prefilled once each, however often they occur. Every row then appends its
//! own tokens at one common column; a mask hides the padding in between. Rotary positions are per row, so a row
//! computes what it would compute alone. Only here are candle's fused operations without backward used.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use candle_nn::{ops, rotary_emb};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::config::Config;
use super::sampling::{Decoding, distribution, draw, log_probability};
use super::transformer::{Layer, Weights, causal_mask, rotary};

/// Rows decoded together; more are decoded in turns, to bound the memory of the cache.
const ROWS_AT_ONCE: usize = 64;

/// One decoded completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Token ids; the end token, when there is one, is the last.
    pub ids: Vec<u32>,
    /// Per id, its log-probability under the model at temperature 1 without any filter, in nats.
    pub logprobs: Vec<f32>,
    /// Whether an end token closed it, not the limit.
    pub finished: bool,
}

/// Decodes one completion per prompt; see `Policy::generate`.
pub(super) fn generate(
    config: &Config,
    weights: &Weights,
    prompts: &[Vec<u32>],
    settings: &Decoding,
    seed: u64,
) -> Result<Vec<Completion>> {
    settings.check()?;
    for (i, prompt) in prompts.iter().enumerate() {
        check_ids(config, prompt).with_context(|| format!("prompt {i}"))?;
    }
    let mut completions = Vec::with_capacity(prompts.len());
    for (turn, part) in prompts.chunks(ROWS_AT_ONCE).enumerate() {
        let mut rows: Vec<Row> = part
            .iter()
            .enumerate()
            .map(|(i, p)| Row::new(config, p, settings, seed, turn * ROWS_AT_ONCE + i))
            .collect();
        decode(config, weights, &mut rows, settings)?;
        completions.extend(rows.into_iter().map(|row| row.out));
    }
    Ok(completions)
}

/// Checks that ids can be fed to the decoder.
///
/// # Errors
/// No ids at all, more than the model has positions, or an id beyond the embedding.
pub(super) fn check_ids(config: &Config, ids: &[u32]) -> Result<()> {
    ensure!(!ids.is_empty(), "there are no tokens: a prompt needs at least one");
    ensure!(
        ids.len() <= config.max_positions,
        "{} tokens are more than the {} positions of this model: shorten the context",
        ids.len(),
        config.max_positions
    );
    if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab) {
        anyhow::bail!("token id {id} is outside the model's vocabulary of {}", config.vocab);
    }
    Ok(())
}

struct Row<'a> {
    prompt: &'a [u32],
    limit: usize,
    rng: ChaCha8Rng,
    out: Completion,
    done: bool,
}

impl<'a> Row<'a> {
    fn new(config: &Config, prompt: &'a [u32], settings: &Decoding, seed: u64, index: usize) -> Self {
        // The stream depends on the prompt's index alone, never on who shares the batch.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let limit = settings.max_new_tokens.min(config.max_positions - prompt.len());
        let out = Completion { ids: Vec::new(), logprobs: Vec::new(), finished: false };
        Self { prompt, limit, rng, out, done: limit == 0 }
    }

    fn take(&mut self, logits: &[f32], settings: &Decoding) -> Result<()> {
        let previous: Vec<u32> = match settings.repetition_penalty {
            1.0 => Vec::new(),
            _ => [self.prompt, &self.out.ids].concat(),
        };
        let id = draw(&distribution(logits, &previous, settings)?, &mut self.rng);
        self.out.ids.push(id);
        self.out.logprobs.push(log_probability(logits, id));
        self.out.finished = settings.eos.contains(&id);
        self.done = self.out.finished || self.out.ids.len() == self.limit;
        Ok(())
    }
}

fn decode(config: &Config, weights: &Weights, rows: &mut [Row], settings: &Decoding) -> Result<()> {
    let mut alive: Vec<usize> = (0..rows.len()).filter(|i| !rows[*i].done).collect();
    if alive.is_empty() {
        return Ok(());
    }
    let device = weights.embed.device();
    let longest = alive.iter().map(|i| rows[*i].prompt.len()).max().unwrap_or(0);
    let room = alive.iter().map(|i| rows[*i].limit).max().unwrap_or(0);
    let mut decoder = Decoder::new(config, weights, longest, longest + room)?;
    let mut logits = decoder.prefill(&alive.iter().map(|i| rows[*i].prompt).collect::<Vec<_>>())?;
    loop {
        for (i, logits) in alive.iter().zip(logits.to_vec2::<f32>()?) {
            rows[*i].take(&logits, settings)?;
        }
        let left: Vec<u32> = (0..).zip(&alive).filter(|(_, i)| !rows[**i].done).map(|(at, _)| at).collect();
        if left.is_empty() {
            return Ok(());
        }
        if left.len() < alive.len() {
            alive = left.iter().map(|at| alive[*at as usize]).collect();
            decoder.keep(&left, device)?;
        }
        let last: Vec<u32> = alive.iter().map(|i| rows[*i].out.ids[rows[*i].out.ids.len() - 1]).collect();
        let positions: Vec<usize> = alive.iter().map(|i| rows[*i].prompt.len() + rows[*i].out.ids.len() - 1).collect();
        logits = decoder.step(&last, &positions)?;
    }
}

/// Keys and values of one layer, `[b, k, capacity, d]`.
struct Cache {
    keys: Tensor,
    values: Tensor,
}

struct Decoder<'a> {
    config: &'a Config,
    weights: &'a Weights,
    cos: Tensor,
    sin: Tensor,
    caches: Vec<Cache>,
    /// Per row, tokens of its prompt; columns from there to `longest` hold padding.
    lengths: Vec<usize>,
    longest: usize,
    /// Columns filled so far.
    filled: usize,
    capacity: usize,
}

impl<'a> Decoder<'a> {
    fn new(config: &'a Config, weights: &'a Weights, longest: usize, capacity: usize) -> Result<Self> {
        let (cos, sin) = rotary(config, capacity, weights.embed.device())?;
        let (caches, lengths) = (Vec::new(), Vec::new());
        Ok(Self { config, weights, cos, sin, caches, lengths, longest, filled: 0, capacity })
    }

    /// Feeds the prompts, equal ones once, and gives each row's next-token logits `[b, V]`.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Tensor> {
        let device = self.weights.embed.device();
        let (mut unique, mut seen, mut of_row) = (Vec::new(), HashMap::new(), Vec::new());
        for prompt in prompts {
            let at = *seen.entry(*prompt).or_insert_with(|| {
                unique.push(*prompt);
                unique.len() as u32 - 1
            });
            of_row.push(at);
        }
        let (b, t) = (unique.len(), self.longest);
        let mut ids = Vec::with_capacity(b * t);
        for prompt in &unique {
            ids.extend_from_slice(prompt);
            ids.resize(ids.len() + t - prompt.len(), 0);
        }
        let shape = (b, self.config.kv_heads, self.capacity, self.config.head_dim);
        for _ in &self.weights.layers {
            let zeros = || Tensor::zeros(shape, candle_core::DType::F32, device);
            self.caches.push(Cache { keys: zeros()?, values: zeros()? });
        }
        let (cos, sin) = (self.cos.narrow(0, 0, t)?, self.sin.narrow(0, 0, t)?);
        let mask = causal_mask(t, device)?;
        let x = self.forward(&Tensor::from_vec(ids, b * t, device)?, (b, t), &cos, &sin, Some(&mask))?;
        let last: Vec<u32> = unique.iter().enumerate().map(|(i, p)| (i * t + p.len() - 1) as u32).collect();
        let logits = self.logits(&x.index_select(&Tensor::from_vec(last, b, device)?, 0)?)?;
        self.lengths = unique.iter().map(|p| p.len()).collect();
        self.keep(&of_row, device)?;
        Ok(logits.index_select(&Tensor::new(of_row, device)?, 0)?)
    }

    /// Feeds one token per row and gives the next-token logits `[b, V]`.
    fn step(&mut self, ids: &[u32], positions: &[usize]) -> Result<Tensor> {
        let device = self.weights.embed.device();
        let b = ids.len();
        let at = Tensor::from_vec(positions.iter().map(|p| *p as u32).collect::<Vec<_>>(), b, device)?;
        let cos = self.cos.index_select(&at, 0)?.unsqueeze(1)?;
        let sin = self.sin.index_select(&at, 0)?.unsqueeze(1)?;
        let mask = self.padding_mask(device)?;
        let x = self.forward(&Tensor::new(ids, device)?, (b, 1), &cos, &sin, mask.as_ref())?;
        self.logits(&x)
    }

    /// Keeps the named rows, in the given order; a row may be named more than once.
    fn keep(&mut self, rows: &[u32], device: &Device) -> Result<()> {
        let same = rows.len() == self.lengths.len() && (0..).zip(rows).all(|(i, at)| i == *at);
        if same {
            return Ok(());
        }
        let at = Tensor::new(rows, device)?;
        for cache in &mut self.caches {
            cache.keys = cache.keys.index_select(&at, 0)?;
            cache.values = cache.values.index_select(&at, 0)?;
        }
        self.lengths = rows.iter().map(|at| self.lengths[*at as usize]).collect();
        Ok(())
    }

    /// `[b, 1, 1, filled + 1]`, -∞ at padding; `None` when no row has any.
    fn padding_mask(&self, device: &Device) -> Result<Option<Tensor>> {
        if self.lengths.iter().all(|n| *n == self.longest) {
            return Ok(None);
        }
        let columns = self.filled + 1;
        let mut mask = vec![0.0f32; self.lengths.len() * columns];
        for (row, n) in mask.chunks_mut(columns).zip(&self.lengths) {
            row[*n..self.longest].fill(f32::NEG_INFINITY);
        }
        Ok(Some(Tensor::from_vec(mask, (self.lengths.len(), 1, 1, columns), device)?))
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.norm(x, &self.weights.norm)?;
        Ok(x.matmul(&self.weights.head.t()?)?)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        ops::rms_norm(x, weight, self.config.norm_eps as f32)
    }

    fn forward(
        &mut self,
        ids: &Tensor,
        shape: (usize, usize),
        cos: &Tensor,
        sin: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = self.weights.embed.index_select(ids, 0)?;
        for (layer, cache) in self.weights.layers.iter().zip(&self.caches) {
            let mixed = self.attention(layer, cache, &x, shape, (cos, sin), mask)?;
            x = (x + layer.o.forward(&mixed)?)?;
            let y = self.norm(&x, &layer.ffn_norm)?;
            let gated = (layer.gate.forward(&y)?.silu()? * layer.up.forward(&y)?)?;
            x = (x + layer.down.forward(&gated)?)?;
        }
        self.filled += shape.1;
        Ok(x)
    }

    fn attention(
        &self,
        layer: &Layer,
        cache: &Cache,
        x: &Tensor,
        (b, t): (usize, usize),
        (cos, sin): (&Tensor, &Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        let x = self.norm(x, &layer.input_norm)?;
        let turned = |x: Tensor, heads: usize, norm: Option<&Tensor>| -> Result<Tensor> {
            let x = x.reshape((b, t, heads, head_dim))?;
            let x = norm.map_or(Ok(x.clone()), |w| self.norm(&x, w))?;
            Ok(rotary_emb::rope(&x.transpose(1, 2)?.contiguous()?, cos, sin)?)
        };
        let q = turned(layer.q.forward(&x)?, heads, layer.q_norm.as_ref())?;
        let k = turned(layer.k.forward(&x)?, kv_heads, layer.k_norm.as_ref())?;
        let v = layer.v.forward(&x)?.reshape((b, t, kv_heads, head_dim))?.transpose(1, 2)?.contiguous()?;
        cache.keys.slice_set(&k, 2, self.filled)?;
        cache.values.slice_set(&v, 2, self.filled)?;
        let columns = self.filled + t;
        let (k, v) = (cache.keys.narrow(2, 0, columns)?, cache.values.narrow(2, 0, columns)?);
        let q = (q.reshape((b, kv_heads, heads / kv_heads * t, head_dim))? / (head_dim as f64).sqrt())?;
        let mut scores = q.matmul(&k.t()?)?;
        if let Some(mask) = mask {
            scores = scores.reshape((b, heads, t, columns))?.broadcast_add(mask)?;
        }
        let weights = ops::softmax_last_dim(&scores)?.reshape((b, kv_heads, heads / kv_heads * t, columns))?;
        let mixed = weights.matmul(&v)?.reshape((b, heads, t, head_dim))?;
        Ok(mixed.transpose(1, 2)?.contiguous()?.reshape((b * t, heads * head_dim))?)
    }
}
