//! Decoding on slices: each prompt is computed once and shared by its rows; each thread takes some rows to their ends.
//!
//! Every row keeps the keys and values of its own tokens, so there is no padding, and rows leave at no cost. Products
//! and their sums are those of training, in the same order: where our own kernels run, a sampled token's log-probability
//! is the one that the training forward pass gives it.

use std::collections::HashMap;

use anyhow::Result;
use rayon::prelude::*;

use super::super::Group;
use super::super::decode::{News, Row, Steps, run};
use super::super::sampling::Decoding;
use super::buffer::Buffer;
use super::cache::Cache;
use super::layer::{Layer, Rows};
use super::math::{Rope, softmax};
use super::pack::{Pack, cut};
use super::params::Params;
use super::plan::Plan;
use super::product::{How, Mat, MatMut, matmul};
use super::{Engine, spread, together};

/// Rows that a thread takes at least; fewer stay together and have their products shared out.
const ROWS_A_THREAD: usize = 4;

/// Decodes rows to their ends.
pub(in crate::model) fn decode(engine: &Engine, params: &Params, rows: &mut [Row], settings: &Decoding) -> Result<()> {
    let mut rows: Vec<&mut Row> = rows.iter_mut().filter(|row| row.asks()).collect();
    if rows.is_empty() {
        return Ok(());
    }
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
    let prompts = spread(packs.len(), params, |i, params| prefill(engine, params, &rope, &unique[packs[i].clone()]));
    let prompts: Vec<Prompt> = prompts.into_iter().flatten().collect();
    let finish = |rows: &mut [&mut Row], of_row: &[usize], params: &Params| {
        let prompts: Vec<&Prompt> = of_row.iter().map(|at| &prompts[*at]).collect();
        let logits = prompts.iter().map(|p| p.logits.clone()).collect();
        let own = || engine.plan.layers.iter().map(|_| Cache::empty(&engine.plan, params.how)).collect();
        let tails = prompts.into_iter().map(|prompt| Tail { prompt, layers: own() }).collect();
        run(rows, logits, &mut SliceSteps { engine, params, rope: &rope, tails }, settings)
    };
    let share = rows.len().div_ceil(rayon::current_num_threads()).max(ROWS_A_THREAD);
    if rows.len() <= share {
        return together(params, |params| finish(&mut rows, &of_row, params));
    }
    rows.par_chunks_mut(share).zip(of_row.par_chunks(share)).try_for_each(|(rows, of_row)| finish(rows, of_row, params))
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
fn prefill(engine: &Engine, params: &Params, rope: &Rope, groups: &[Group]) -> Vec<Prompt> {
    let (pack, plan) = (Pack::new(groups), &engine.plan);
    let width = plan.kv_heads * plan.head_dim;
    let mut caches: Vec<Vec<Cache>> = groups.iter().map(|_| Vec::with_capacity(plan.layers.len())).collect();
    let hidden = engine.hidden(params, rope, &pack, |saved| {
        for (caches, span) in caches.iter_mut().zip(&pack.spans) {
            let part = span.prompt.start * width..span.prompt.end * width;
            let (keys, values) = (&saved.projected.k[part.clone()], &saved.projected.v[part]);
            caches.push(Cache::of(plan, keys, values, params.how));
        }
    });
    let logits = engine.logits(params, &hidden);
    let prompts = caches.into_iter().zip(logits.chunks_exact(plan.vocab));
    prompts.map(|(layers, logits)| Prompt { layers, logits: logits.to_vec() }).collect()
}

struct SliceSteps<'a> {
    engine: &'a Engine,
    params: &'a Params<'a>,
    rope: &'a Rope,
    tails: Vec<Tail<'a>>,
}

impl Steps for SliceSteps<'_> {
    fn step(&mut self, news: &[News]) -> Result<Vec<Vec<f32>>> {
        let Self { engine, params, rope, tails } = self;
        let plan = &engine.plan;
        let narrow = plan.kv_heads * plan.head_dim;
        let ids: Vec<u32> = news.iter().flat_map(|new| new.ids).copied().collect();
        let positions: Vec<usize> = news.iter().flat_map(|new| (new.from..).take(new.ids.len())).collect();
        let pack = Pack::of_tokens(&ids, &positions);
        let rows = Rows { pack: &pack, last: false };
        let mut x = engine.embed(params, &ids);
        for (i, at) in plan.layers.iter().enumerate() {
            let layer = Layer { plan, at, params, rope };
            let new = layer.project(rows, &x);
            let mut of_tokens = new.k.chunks_exact(narrow).zip(new.v.chunks_exact(narrow));
            for (tail, news) in tails.iter_mut().zip(news) {
                of_tokens.by_ref().take(news.ids.len()).for_each(|(k, v)| tail.layers[i].push(k, v));
            }
            let asking: Vec<Asking> = tails.iter().zip(news).map(|(tail, new)| (tail, new.ids.len())).collect();
            x = layer.finish(&attend(plan, &new.q, &asking, i, params.how), &x);
        }
        let mut end = 0;
        let last = news.iter().flat_map(|new| {
            end += new.ids.len() * plan.hidden;
            &x[end - plan.hidden..end]
        });
        let logits = engine.logits(params, &last.copied().collect::<Vec<f32>>());
        Ok(logits.chunks_exact(plan.vocab).map(<[f32]>::to_vec).collect())
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

/// A row, and how many of its newest tokens ask.
type Asking<'a> = (&'a Tail<'a>, usize);

/// Attention of new tokens, `q` \[tokens, heads · d\] → \[tokens, heads · d\]: rows of one prompt ask it together, then each
/// its own tokens.
fn attend(plan: &Plan, q: &[f32], asking: &[Asking], layer: usize, how: How) -> Buffer {
    let (d, wide, shared) = (plan.head_dim, plan.heads * plan.head_dim, plan.heads / plan.kv_heads);
    let mut out = Buffer::stale(q.len());
    let mut from = 0;
    for run in asking.chunk_by(|(a, _), (b, _)| std::ptr::eq(a.prompt, b.prompt)) {
        let tokens: usize = run.iter().map(|(_, new)| new).sum();
        let part = from * wide..(from + tokens) * wide;
        let (q, out) = (&q[part.clone()], &mut out[part]);
        from += tokens;
        for head in 0..plan.kv_heads {
            let columns = head * shared * d..(head + 1) * shared * d;
            // The query heads that share this key-value head, token by token: \[tokens · shared, d\].
            let asking: Vec<f32> = q.chunks_exact(wide).flat_map(|row| &row[columns.clone()]).copied().collect();
            let sums = attend_together(&asking, d, shared, run, (layer, head), how);
            let rows = out.chunks_exact_mut(wide).zip(sums.chunks_exact(shared * d));
            rows.for_each(|(out, sums)| out[columns.clone()].copy_from_slice(sums));
        }
    }
    out
}

/// Rows of one prompt, `shared` queries a new token, against one key-value head.
fn attend_together(
    q: &[f32],
    d: usize,
    shared: usize,
    run: &[Asking],
    (layer, head): (usize, usize),
    how: How,
) -> Buffer {
    let (prompt, asking) = (&run[0].0.prompt.layers[layer], q.len() / d);
    let (n, scale) = (prompt.len(), 1.0 / (d as f32).sqrt());
    let width = n + run.iter().map(|(tail, _)| tail.layers[layer].len()).max().unwrap_or(0);
    let (mut scores, mut out) = (Buffer::stale(asking * width), Buffer::stale(q.len()));
    matmul(MatMut::strided(&mut scores, asking, n, width), Mat::new(q, asking, d), prompt.keys(head), 1.0, false, how);
    let mut from = 0;
    for &(tail, new) in run {
        let (own, asks) = (&tail.layers[layer], new * shared);
        let (q, scores) = (&q[from * d..][..asks * d], &mut scores[from * width..][..asks * width]);
        let to = MatMut::strided(&mut scores[n..], asks, own.len(), width);
        matmul(to, Mat::new(q, asks, d), own.keys(head), 1.0, false, how);
        for (ahead, token) in scores.chunks_exact_mut(shared * width).enumerate() {
            // A token sees itself and what stands before it, not those fed along behind it.
            let sees = n + own.len() - new + ahead + 1;
            token.chunks_exact_mut(width).for_each(|row| softmax(row, width, sees, scale));
        }
        from += asks;
    }
    let weights = Mat::strided(&scores, asking, n, width);
    matmul(MatMut::new(&mut out, asking, d), weights, prompt.values(head), 1.0, false, how);
    let mut from = 0;
    for &(tail, new) in run {
        let (own, asks) = (&tail.layers[layer], new * shared);
        let weights = Mat::strided(&scores[from * width + n..], asks, own.len(), width);
        let out = MatMut::new(&mut out[from * d..][..asks * d], asks, d);
        matmul(out, weights, own.values(head), 1.0, true, how);
        from += asks;
    }
    out
}
