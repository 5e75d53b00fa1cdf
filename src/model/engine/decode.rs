//! Decoding on slices: each prompt is computed once and shared by its rows; each thread takes some rows to their ends.
//!
//! Every row keeps the keys and values of its own tokens, so there is no padding, and rows leave at no cost.

use std::collections::HashMap;

use anyhow::Result;
use candle_core::{Device, Var};
use gemm::Parallelism;
use rayon::prelude::*;

use super::super::Group;
use super::super::config::Config;
use super::super::decode::{Row, Steps, run};
use super::super::sampling::Decoding;
use super::super::transformer::rotary;
use super::kernels::{Into, Mat, dot, exp, norm, product};
use super::layer::{Frame, gather};
use super::pack::{Pack, packs};
use super::{Map, detached, with_params};

/// Decodes rows to their ends.
pub fn decode(config: &Config, vars: &[(String, Var)], rows: &mut [Row], settings: &Decoding) -> Result<()> {
    let mut rows: Vec<&mut Row> = rows.iter_mut().filter(|row| row.limit > 0).collect();
    let reach = rows.iter().map(|row| row.prompt.len() + row.limit).max().unwrap_or(0);
    let (cos, sin) = rotary(config, reach, &Device::Cpu)?;
    let (cos, sin) = (cos.flatten_all()?.to_vec1()?, sin.flatten_all()?.to_vec1()?);
    let map = Map::new(config, vars)?;
    with_params(&detached(vars), |params| {
        let model = Model { config, map: &map, params, cos: &cos, sin: &sin };
        let (mut unique, mut seen, mut of_row) = (Vec::new(), HashMap::new(), Vec::new());
        for row in &rows {
            of_row.push(*seen.entry(row.prompt).or_insert_with(|| {
                unique.push(Group { prompt: row.prompt.to_vec(), completions: vec![vec![0]] });
                unique.len() - 1
            }));
        }
        let packs = packs(&unique, rayon::current_num_threads());
        let prompts: Vec<Prompt> = packs.par_iter().flat_map_iter(|pack| model.prefill(pack, packs.len())).collect();
        let share = rows.len().div_ceil(rayon::current_num_threads()).max(1);
        rows.par_chunks_mut(share).zip(of_row.par_chunks(share)).try_for_each(|(rows, of_row)| {
            let prompts: Vec<&Prompt> = of_row.iter().map(|at| &prompts[*at]).collect();
            let logits = prompts.iter().map(|p| p.logits.clone()).collect();
            let caches = || vec![Cache::default(); config.layers];
            let tails = prompts.into_iter().map(|prompt| Tail { prompt, layers: caches() }).collect();
            run(rows, logits, &mut SliceSteps { model, tails }, settings)
        })
    })
}

/// The parameters and constants of a decoder.
#[derive(Clone, Copy)]
struct Model<'a> {
    config: &'a Config,
    map: &'a Map,
    params: &'a [&'a [f32]],
    cos: &'a [f32],
    sin: &'a [f32],
}

/// Keys and values of consecutive tokens, `[tokens, k·d]` each.
#[derive(Clone, Default)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// A computed prompt: its caches by layer and the logits that follow it.
struct Prompt {
    layers: Vec<Cache>,
    logits: Vec<f32>,
}

/// A row's own tokens behind its prompt.
struct Tail<'a> {
    prompt: &'a Prompt,
    layers: Vec<Cache>,
}

impl<'a> Model<'a> {
    fn frame(&'a self, pack: &'a Pack, threads: Parallelism) -> Frame<'a> {
        let Self { config, params, cos, sin, .. } = *self;
        Frame { config, pack, params, cos, sin, threads }
    }

    fn logits(&self, x: &[f32], threads: Parallelism) -> Vec<Vec<f32>> {
        let Config { hidden, vocab, norm_eps, .. } = *self.config;
        let mut normed = vec![0.0; x.len()];
        norm(&mut normed, x, self.params[self.map.norm], norm_eps as f32);
        let mut logits = vec![0.0; x.len() / hidden * vocab];
        let head = Mat::new(self.params[self.map.head], hidden);
        product(&mut logits, vocab, Mat::new(&normed, hidden), head.t(), Into::Set, 1.0, threads);
        logits.chunks_exact(vocab).map(<[f32]>::to_vec).collect()
    }

    fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let ids: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
        gather(self.params[0], &ids, self.config.hidden)
    }

    /// Computes the prompts of a pack, in order.
    fn prefill(&self, pack: &Pack, packs: usize) -> Vec<Prompt> {
        let threads = if packs > 1 { Parallelism::None } else { Parallelism::Rayon(0) };
        let frame = self.frame(pack, threads);
        let narrow = self.config.kv_heads * self.config.head_dim;
        let mut prompts: Vec<Prompt> =
            pack.blocks.iter().map(|_| Prompt { layers: Vec::new(), logits: Vec::new() }).collect();
        let mut x = self.embed(&pack.ids);
        for (i, places) in self.map.layers.iter().enumerate() {
            let rows = (i + 1 == self.map.layers.len()).then(|| pack.needed.clone());
            let (out, kept) = frame.forward(places, x, rows);
            x = out;
            for (prompt, block) in prompts.iter_mut().zip(&pack.blocks) {
                let span = block.start * narrow..(block.start + block.rows) * narrow;
                let keys = kept.projected.k.turned[span.clone()].to_vec();
                prompt.layers.push(Cache { keys, values: kept.projected.v[span].to_vec() });
            }
        }
        for (prompt, logits) in prompts.iter_mut().zip(self.logits(&x, threads)) {
            prompt.logits = logits;
        }
        prompts
    }

    /// Mixes the values that one head of one token sees into `out`; `caches` are its prompt's and its own.
    fn attend(&self, out: &mut [f32], q: &[f32], caches: [&Cache; 2], kv_head: usize, scores: &mut Vec<f32>) {
        let (d, narrow) = (self.config.head_dim, self.config.kv_heads * self.config.head_dim);
        let part = kv_head * d..(kv_head + 1) * d;
        let scale = 1.0 / (d as f32).sqrt();
        scores.clear();
        for cache in caches {
            scores.extend(cache.keys.chunks_exact(narrow).map(|k| dot(q, &k[part.clone()]) * scale));
        }
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|s| *s = exp(*s - largest));
        let total: f32 = scores.iter().sum();
        let values = caches.into_iter().flat_map(|c| c.values.chunks_exact(narrow));
        for (v, score) in values.zip(scores.iter()) {
            let weight = score / total;
            out.iter_mut().zip(&v[part.clone()]).for_each(|(o, v)| *o += weight * v);
        }
    }
}

struct SliceSteps<'a> {
    model: Model<'a>,
    tails: Vec<Tail<'a>>,
}

impl Steps for SliceSteps<'_> {
    fn step(&mut self, ids: &[u32], positions: &[usize]) -> Result<Vec<Vec<f32>>> {
        let Config { heads, kv_heads, head_dim: d, .. } = *self.model.config;
        let (wide, narrow) = (heads * d, kv_heads * d);
        let pack = Pack::of_tokens(ids, positions);
        let frame = self.model.frame(&pack, Parallelism::None);
        let mut x = self.model.embed(ids);
        let mut scores = Vec::new();
        for (i, places) in self.model.map.layers.iter().enumerate() {
            let new = frame.projected(places, &x);
            let mut mixed = vec![0.0; ids.len() * wide];
            for (row, tail) in self.tails.iter_mut().enumerate() {
                let own = &mut tail.layers[i];
                own.keys.extend_from_slice(&new.k.turned[row * narrow..(row + 1) * narrow]);
                own.values.extend_from_slice(&new.v[row * narrow..(row + 1) * narrow]);
                for head in 0..heads {
                    let at = row * wide + head * d..row * wide + (head + 1) * d;
                    let caches = [&tail.prompt.layers[i], &tail.layers[i]];
                    let kv_head = head / (heads / kv_heads);
                    self.model.attend(&mut mixed[at.clone()], &new.q.turned[at], caches, kv_head, &mut scores);
                }
            }
            x = frame.after_attention(places, x, &mixed);
        }
        Ok(self.model.logits(&x, Parallelism::None))
    }

    fn keep(&mut self, rows: &[usize]) -> Result<()> {
        let mut at = 0;
        self.tails.retain(|_| {
            at += 1;
            rows.binary_search(&(at - 1)).is_ok()
        });
        Ok(())
    }
}
