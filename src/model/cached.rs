//! Decoding from candle's operations, on any device: a key-value cache on weights that record no graph.
//!
//! Prompts are padded on the right and prefilled once each, however often they occur. Every row then appends its
//! own tokens from one common column on; where one appends fewer than another it is padded again. A mask hides all
//! padding. Rotary positions are per row, so a row computes what it would compute alone. Only here are candle's fused operations without backward used.

use std::collections::HashMap;

use anyhow::Result;
use candle_core::{DType, Tensor};
use candle_nn::{ops, rotary_emb};

use super::config::Config;
use super::decode::{News, Row, Steps, run};
use super::sampling::Decoding;
use super::transformer::{Layer, Weights, causal_mask, rotary};

/// Decodes rows to their ends.
pub(super) fn decode(
    config: &Config,
    weights: &Weights,
    dtype: DType,
    rows: &mut [Row],
    settings: &Decoding,
) -> Result<()> {
    let mut rows: Vec<&mut Row> = rows.iter_mut().filter(|row| row.asks()).collect();
    let longest = rows.iter().map(|row| row.prompt.len()).max().unwrap_or(0);
    let room = rows.iter().map(|row| row.limit).max().unwrap_or(0);
    if rows.is_empty() {
        return Ok(());
    }
    let mut decoder = Decoder::new(config, weights, dtype, longest, longest + room)?;
    let logits = decoder.prefill(&rows.iter().map(|row| row.prompt).collect::<Vec<_>>())?;
    run(&mut rows, logits, &mut decoder, settings)
}

/// Keys and values of one layer, `[b, k, capacity, d]`.
struct Cache {
    keys: Tensor,
    values: Tensor,
}

struct Decoder<'a> {
    config: &'a Config,
    /// Cast once, not at every token.
    weights: Weights,
    /// Number format of products and of the cache.
    dtype: DType,
    cos: Tensor,
    sin: Tensor,
    caches: Vec<Cache>,
    /// Per row, which of the columns filled so far hold its tokens and not padding.
    held: Vec<Vec<bool>>,
    longest: usize,
    /// Columns filled so far.
    filled: usize,
    capacity: usize,
}

impl<'a> Decoder<'a> {
    fn new(config: &'a Config, weights: &Weights, dtype: DType, longest: usize, capacity: usize) -> Result<Self> {
        let (cos, sin) = rotary(config, capacity, weights.embed.device())?;
        let (caches, held, weights) = (Vec::new(), Vec::new(), weights.cast(dtype)?);
        Ok(Self { config, weights, dtype, cos, sin, caches, held, longest, filled: 0, capacity })
    }

    /// Feeds the prompts, equal ones once, and gives each row's next-token logits `[b, V]`.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let device = &self.weights.embed.device().clone();
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
            let zeros = || Tensor::zeros(shape, self.dtype, device);
            self.caches.push(Cache { keys: zeros()?, values: zeros()? });
        }
        let (cos, sin) = (self.cos.narrow(0, 0, t)?, self.sin.narrow(0, 0, t)?);
        let mask = causal_mask(t, device)?;
        let x = self.forward(&Tensor::from_vec(ids, b * t, device)?, (b, t), &cos, &sin, Some(&mask))?;
        let last: Vec<u32> = unique.iter().enumerate().map(|(i, p)| (i * t + p.len() - 1) as u32).collect();
        let logits = self.logits(&x.index_select(&Tensor::from_vec(last, b, device)?, 0)?)?;
        self.held = unique.iter().map(|p| (0..t).map(|column| column < p.len()).collect()).collect();
        self.select(&of_row)?;
        Ok(logits.index_select(&Tensor::new(of_row, device)?, 0)?.to_vec2()?)
    }

    /// Keeps the named rows, in the given order; a row may be named more than once.
    fn select(&mut self, rows: &[u32]) -> Result<()> {
        let same = rows.len() == self.held.len() && (0..).zip(rows).all(|(i, at)| i == *at);
        if same {
            return Ok(());
        }
        let at = Tensor::new(rows, self.weights.embed.device())?;
        for cache in &mut self.caches {
            cache.keys = cache.keys.index_select(&at, 0)?;
            cache.values = cache.values.index_select(&at, 0)?;
        }
        self.held = rows.iter().map(|at| self.held[*at as usize].clone()).collect();
        Ok(())
    }

    /// Makes room for so many columns more, when rows of different pace have used up what each alone would need.
    fn grow(&mut self, columns: usize) -> Result<()> {
        let missing = (self.filled + columns).saturating_sub(self.capacity);
        if missing == 0 {
            return Ok(());
        }
        for side in self.caches.iter_mut().flat_map(|cache| [&mut cache.keys, &mut cache.values]) {
            *side = side.pad_with_zeros(2, 0, missing)?;
        }
        self.capacity += missing;
        Ok(())
    }

    /// For `t` new columns behind those filled: `[b, 1, t, filled + t]`, -∞ at padding and at what stands behind a token;
    /// `None` when there is nothing to hide.
    fn mask(&self, t: usize) -> Result<Option<Tensor>> {
        if t == 1 && self.held.iter().flatten().all(|held| *held) {
            return Ok(None);
        }
        let columns = self.filled + t;
        let mut mask = vec![0.0f32; self.held.len() * t * columns];
        for (row, mask) in self.held.iter().zip(mask.chunks_exact_mut(t * columns)) {
            for (token, mask) in mask.chunks_exact_mut(columns).enumerate() {
                mask.iter_mut().zip(row).filter(|(_, held)| !**held).for_each(|(x, _)| *x = f32::NEG_INFINITY);
                mask[self.filled + token + 1..].fill(f32::NEG_INFINITY);
            }
        }
        Ok(Some(Tensor::from_vec(mask, (self.held.len(), 1, t, columns), self.weights.embed.device())?))
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.weights.logits(&self.norm(x, &self.weights.norm)?)?)
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
        let mut x = self.weights.embedded(ids)?;
        for (layer, cache) in self.weights.layers.iter().zip(&self.caches) {
            let mixed = self.attention(layer, cache, &x, shape, (cos, sin), mask)?;
            x = (x + layer.o.forward(&mixed)?.to_dtype(DType::F32)?)?;
            let y = self.norm(&x, &layer.ffn_norm)?.to_dtype(self.dtype)?;
            let gated = (layer.gate.forward(&y)?.silu()? * layer.up.forward(&y)?)?;
            x = (x + layer.down.forward(&gated)?.to_dtype(DType::F32)?)?;
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
        let x = self.norm(x, &layer.input_norm)?.to_dtype(self.dtype)?;
        let turned = |x: Tensor, heads: usize, norm: Option<&Tensor>| -> Result<Tensor> {
            let x = x.to_dtype(DType::F32)?.reshape((b, t, heads, head_dim))?;
            let x = norm.map_or(Ok(x.clone()), |w| self.norm(&x, w))?;
            Ok(rotary_emb::rope(&x.transpose(1, 2)?.contiguous()?, cos, sin)?)
        };
        let q = turned(layer.q.forward(&x)?, heads, layer.q_norm.as_ref())?;
        let k = turned(layer.k.forward(&x)?, kv_heads, layer.k_norm.as_ref())?;
        let v = layer.v.forward(&x)?.reshape((b, t, kv_heads, head_dim))?.transpose(1, 2)?.contiguous()?;
        cache.keys.slice_set(&k.to_dtype(self.dtype)?, 2, self.filled)?;
        cache.values.slice_set(&v, 2, self.filled)?;
        let columns = self.filled + t;
        let (k, v) = (cache.keys.narrow(2, 0, columns)?, cache.values.narrow(2, 0, columns)?);
        let q = (q.reshape((b, kv_heads, heads / kv_heads * t, head_dim))? / (head_dim as f64).sqrt())?;
        let mut scores = q.to_dtype(self.dtype)?.matmul(&k.t()?)?.to_dtype(DType::F32)?;
        if let Some(mask) = mask {
            scores = scores.reshape((b, heads, t, columns))?.broadcast_add(mask)?;
        }
        let weights = ops::softmax_last_dim(&scores)?.reshape((b, kv_heads, heads / kv_heads * t, columns))?;
        let mixed = weights.to_dtype(self.dtype)?.matmul(&v)?.reshape((b, heads, t, head_dim))?;
        Ok(mixed.transpose(1, 2)?.contiguous()?.reshape((b * t, heads * head_dim))?)
    }
}

impl Steps for Decoder<'_> {
    fn step(&mut self, news: &[News]) -> Result<Vec<Vec<f32>>> {
        let device = &self.weights.embed.device().clone();
        let (b, t) = (news.len(), news.iter().map(|new| new.ids.len()).max().unwrap_or(0));
        // A row with fewer new tokens repeats its last one, and never looks at the copies again.
        let of = |new: &News, i: usize| i.min(new.ids.len() - 1);
        let each = || news.iter().flat_map(|new| (0..t).map(move |i| (new, of(new, i))));
        let ids: Vec<u32> = each().map(|(new, i)| new.ids[i]).collect();
        let at: Vec<u32> = each().map(|(new, i)| (new.from + i) as u32).collect();
        let at = Tensor::from_vec(at, b * t, device)?;
        let turn = |table: &Tensor| -> Result<Tensor> { Ok(table.index_select(&at, 0)?.reshape((b, t, ()))?) };
        let (cos, sin) = (turn(&self.cos)?, turn(&self.sin)?);
        self.grow(t)?;
        let mask = self.mask(t)?;
        let x = self.forward(&Tensor::from_vec(ids, b * t, device)?, (b, t), &cos, &sin, mask.as_ref())?;
        for (row, new) in self.held.iter_mut().zip(news) {
            row.extend((0..t).map(|i| i < new.ids.len()));
        }
        let last: Vec<u32> = news.iter().enumerate().map(|(i, new)| (i * t + new.ids.len() - 1) as u32).collect();
        Ok(self.logits(&x.index_select(&Tensor::from_vec(last, b, device)?, 0)?)?.to_vec2()?)
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.select(&rows.iter().map(|row| *row as u32).collect::<Vec<_>>())
    }
}
