//! Decoding on slices: each prompt is computed once and shared by its rows; each thread takes some rows to their ends.
//!
//! Every row keeps the keys and values of its own tokens, so there is no padding, and rows leave at no cost.

use std::collections::HashMap;

use anyhow::Result;
use rayon::prelude::*;

use super::super::Group;
use super::super::decode::{Row, Steps, run};
use super::super::sampling::Decoding;
use super::layer::{Layer, Rows};
use super::math::{Rope, attend};
use super::pack::{Pack, cut};
use super::{Engine, spread};

/// Decodes rows to their ends.
pub(in crate::model) fn decode(
    engine: &Engine,
    params: &[&[f32]],
    rows: &mut [Row],
    settings: &Decoding,
) -> Result<()> {
    let mut rows: Vec<&mut Row> = rows.iter_mut().filter(|row| row.limit > 0).collect();
    let reach = rows.iter().map(|row| row.prompt.len() + row.limit).max().unwrap_or(0);
    let rope = Rope::new(reach, engine.config.head_dim, engine.config.rope_theta);
    let (mut unique, mut seen, mut of_row) = (Vec::new(), HashMap::new(), Vec::new());
    for row in &rows {
        of_row.push(*seen.entry(row.prompt).or_insert_with(|| {
            unique.push(Group { prompt: row.prompt.to_vec(), completions: vec![vec![0]] });
            unique.len() - 1
        }));
    }
    let packs = cut(&unique, engine.budget(&unique));
    let prompts: Vec<Prompt> = spread(packs.len(), |i| prefill(engine, params, &rope, &unique[packs[i].clone()]))
        .into_iter()
        .flatten()
        .collect();
    let share = rows.len().div_ceil(rayon::current_num_threads()).max(1);
    rows.par_chunks_mut(share).zip(of_row.par_chunks(share)).try_for_each(|(rows, of_row)| {
        let prompts: Vec<&Prompt> = of_row.iter().map(|at| &prompts[*at]).collect();
        let logits = prompts.iter().map(|p| p.logits.clone()).collect();
        let own = || vec![Cache::default(); engine.plan.layers.len()];
        let tails = prompts.into_iter().map(|prompt| Tail { prompt, layers: own() }).collect();
        run(rows, logits, &mut SliceSteps { engine, params, rope: &rope, tails }, settings)
    })
}

/// Keys and values of consecutive tokens, \[tokens, kv·d\] each.
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

/// Computes some prompts together, in order.
fn prefill(engine: &Engine, params: &[&[f32]], rope: &Rope, groups: &[Group]) -> Vec<Prompt> {
    let pack = Pack::new(groups);
    let width = engine.plan.kv_heads * engine.plan.head_dim;
    let (hidden, saved) = engine.hidden(params, rope, &pack, true);
    let logits = engine.logits(params, &hidden);
    let of_span = pack.spans.iter().zip(logits.chunks_exact(engine.plan.vocab));
    of_span
        .map(|(span, logits)| {
            let part = span.prompt.start * width..span.prompt.end * width;
            let cache = |layer: &super::Saved| Cache {
                keys: layer.projected.k[part.clone()].to_vec(),
                values: layer.projected.v[part.clone()].to_vec(),
            };
            Prompt { layers: saved.iter().map(cache).collect(), logits: logits.to_vec() }
        })
        .collect()
}

struct SliceSteps<'a> {
    engine: &'a Engine,
    params: &'a [&'a [f32]],
    rope: &'a Rope,
    tails: Vec<Tail<'a>>,
}

impl Steps for SliceSteps<'_> {
    fn step(&mut self, ids: &[u32], positions: &[usize]) -> Result<Vec<Vec<f32>>> {
        let Self { engine, params, rope, tails } = self;
        let plan = &engine.plan;
        let (d, wide, narrow) = (plan.head_dim, plan.heads * plan.head_dim, plan.kv_heads * plan.head_dim);
        let pack = Pack::of_tokens(ids, positions);
        let rows = Rows { pack: &pack, last: false };
        let mut x = engine.embed(params, ids);
        let mut scores = Vec::new();
        for (i, at) in plan.layers.iter().enumerate() {
            let layer = Layer { plan, at, params, rope };
            let new = layer.project(rows, &x);
            let mut attended = vec![0.0; ids.len() * wide];
            for (row, tail) in tails.iter_mut().enumerate() {
                let own = &mut tail.layers[i];
                own.keys.extend_from_slice(&new.k[row * narrow..(row + 1) * narrow]);
                own.values.extend_from_slice(&new.v[row * narrow..(row + 1) * narrow]);
                let prompt = &tail.prompt.layers[i];
                for head in 0..plan.heads {
                    let at = row * wide + head * d;
                    let column = head / (plan.heads / plan.kv_heads) * d;
                    let parts = [(prompt.keys.as_slice(), prompt.values.as_slice()), (&own.keys, &own.values)];
                    attend(&mut attended[at..at + d], &new.q[at..at + d], parts, narrow, column, &mut scores);
                }
            }
            x = layer.finish(&attended, &x);
        }
        Ok(engine.logits(params, &x).chunks_exact(plan.vocab).map(<[f32]>::to_vec).collect())
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
