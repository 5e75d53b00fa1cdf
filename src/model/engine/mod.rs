//! The CPU path: the decoder's forward and backward pass written out on slices, a few groups per thread.
//!
//! The plain candle model computes the same and stays as the reference; both read one list of parameters. What makes
//! this one fast: a prompt is computed once for all its completions, the last layer and the output head only on rows
//! that predict a token, no graph is built, and threads share nothing but the weights.

mod attention;
mod buffer;
mod cache;
mod decode;
mod head;
mod layer;
mod linear;
mod math;
mod memory;
mod pack;
mod params;
mod plan;
mod product;
pub(super) mod simd;

use anyhow::Result;
use rayon::prelude::*;

use super::gradient::Slope;
use super::lora::Lora;
use super::{Config, Group};
use buffer::Buffer;
use head::Predicted;
use layer::{Layer, Rows, Saved};
use linear::Grads;
use math::Rope;
use pack::Pack;
use plan::Plan;

pub(super) use decode::decode;
pub(super) use math::log_sum_exp;
pub use memory::Memory;
use params::Way;
pub(super) use params::{Packed, Params};
pub(super) use product::{How, Values};

/// Most tokens computed together on one thread: enough rows for fast products, few enough to stay small.
const PACK_TOKENS: usize = 640;

/// A decoder's shape, ready to compute with.
pub(super) struct Engine {
    plan: Plan,
    config: Config,
    /// Place of the first trainable parameter: those before it are frozen.
    trainable: usize,
    /// The lowest layer with something to train: no gradient is carried below it.
    lowest: usize,
    /// Keep only each layer's input for the backward pass.
    recompute: bool,
}

/// Log-probabilities and gradients of a batch of groups.
pub(super) struct Pass {
    /// One a completion token, in the order group, completion, token; nats.
    pub logprobs: Vec<f32>,
    /// Of the distributions that predict them, in the same order; nats.
    pub entropies: Vec<f32>,
    /// One a trainable parameter, in the parameters' order.
    pub grads: Vec<Vec<f32>>,
}

/// What is kept of a layer until the backward pass comes back to it.
enum Kept {
    Everything(Box<Saved>),
    /// Its input; the rest is computed again.
    Input(Buffer),
}

/// A pack's place in the batch, and what was predicted in it.
type OfPack = (usize, Predicted);

impl Engine {
    /// Prepares a decoder of this shape; its adapter's parameters stand behind its own, which are then frozen.
    ///
    /// # Errors
    /// A shape whose parameters do not fit together.
    pub fn new(config: &Config, lora: Option<&Lora>) -> Result<Self> {
        config.check()?;
        let trainable = if lora.is_some() { config.parameters().len() } else { 0 };
        let plan = Plan::new(config, lora)?;
        let lowest = if lora.is_some() { plan.lowest_adapter() } else { 0 };
        Ok(Self { plan, config: config.clone(), trainable, lowest, recompute: false })
    }

    /// Computes activations again in the backward pass instead of keeping them, to the same bits.
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Packs the weights of the forward pass, for many products with the same ones; those in `done` are kept.
    pub fn packed(&self, params: &Params, done: &Packed) -> Packed {
        params::packed(&self.plan, params, Way::Forth, done)
    }

    /// Log-probabilities of every completion token, without gradients. The caller has checked the ids.
    pub fn logprobs(&self, params: &Params, groups: &[Group], temperature: f32) -> Vec<f32> {
        let rope = self.rope(groups);
        let packs = pack::cut(groups, self.budget(groups));
        let parts = spread(packs.len(), params, |i, params| {
            let pack = Pack::new(&groups[packs[i].clone()]);
            let hidden = self.hidden(params, &rope, &pack, drop);
            self.head(params, &pack, &hidden, temperature).0.logprobs
        });
        parts.concat()
    }

    /// Logits of some tokens in the last place of each completion. The caller has checked the ids, and that no completion is
    /// empty.
    pub fn last_choices(&self, params: &Params, groups: &[Group], choices: &[u32]) -> Vec<f32> {
        let rope = self.rope(groups);
        let packs = pack::cut(groups, self.budget(groups));
        let parts = spread(packs.len(), params, |i, params| {
            let groups = &groups[packs[i].clone()];
            let pack = Pack::new(groups);
            let hidden = self.hidden(params, &rope, &pack, drop);
            self.last_logits(params, &pack, groups, &hidden, choices)
        });
        parts.concat()
    }

    /// Log-probabilities, and the gradient of a loss given by its slope at each of them.
    ///
    /// Packs go to threads by turns, and their gradients are added in order, so that the same number of threads
    /// gives the same sums. With `weights` (one a completion token, group by group) a completion's tokens before its first
    /// weight are read and not predicted: their log-probability is given as 0. The caller has checked the ids.
    ///
    /// # Panics
    /// When a slope does not give one number a token: a mistake of the objective.
    pub fn backward(
        &self,
        params: &Params,
        groups: &[Group],
        weights: Option<&[Vec<f32>]>,
        temperature: f32,
        slope: &Slope,
    ) -> Pass {
        let rope = self.rope(groups);
        let packs = pack::cut(groups, self.budget(groups));
        let workers = rayon::current_num_threads().clamp(1, packs.len().max(1));
        let pays = self.packs_once(packs.len());
        let once = |way| if pays { params::packed(&self.plan, params, way, &[]) } else { Packed::new() };
        let (forth, back) = (once(Way::Forth), once(Way::Back));
        let params = &Params { packed: if pays { &forth } else { params.packed }, packed_back: &back, ..*params };
        let shares = spread(workers, params, |worker, params| {
            let mut grads = self.no_grads(params);
            let mine = packs.iter().enumerate().skip(worker).step_by(workers);
            let predicted: Vec<OfPack> = mine
                .map(|(i, range)| {
                    let of_pack = &groups[range.clone()];
                    let pack = match weights {
                        Some(weights) => Pack::weighted(of_pack, &weights[range.clone()]),
                        None => Pack::new(of_pack),
                    };
                    let of_group = |group: usize, logprobs: &[f32]| slope(range.start + group, logprobs);
                    (i, self.one_pack(params, &rope, (of_pack, pack), temperature, &of_group, &mut grads))
                })
                .collect();
            (predicted, grads)
        });
        let mut predicted: Vec<OfPack> = Vec::new();
        let mut sum: Option<Grads> = None;
        for (of_packs, grads) in shares {
            predicted.extend(of_packs);
            match &mut sum {
                None => sum = Some(grads),
                Some(sum) => add(sum, &grads),
            }
        }
        predicted.sort_by_key(|(i, _)| *i);
        let grads = sum.unwrap_or_else(|| self.no_grads(params)).split_off(self.trainable);
        let (logprobs, entropies): (Vec<_>, Vec<_>) =
            predicted.into_iter().map(|(_, of)| (of.logprobs, of.entropies)).unzip();
        Pass { logprobs: logprobs.concat(), entropies: entropies.concat(), grads }
    }

    /// Zeros for what is trainable; nothing, at no cost in memory, for what is frozen.
    fn no_grads(&self, params: &Params) -> Grads {
        let wanted = |(at, p): (usize, &Values)| if at < self.trainable { Vec::new() } else { vec![0.0; p.len()] };
        params.values.iter().enumerate().map(wanted).collect()
    }

    fn one_pack(
        &self,
        params: &Params,
        rope: &Rope,
        (groups, pack): (&[Group], Pack),
        temperature: f32,
        slope: &Slope,
        grads: &mut Grads,
    ) -> Predicted {
        let mut saved = Vec::with_capacity(self.plan.layers.len());
        let hidden = self.hidden(params, rope, &pack, |of_layer| {
            saved.push(match self.recompute {
                true => Kept::Input(of_layer.input()),
                false => Kept::Everything(Box::new(of_layer)),
            });
        });
        let (predicted, probs, normed, inv) = self.head(params, &pack, &hidden, temperature);
        let logprobs = &predicted.logprobs;
        let mut slopes = Vec::with_capacity(logprobs.len());
        for (i, group) in groups.iter().enumerate() {
            let tokens: usize = group.completions.iter().map(Vec::len).sum();
            slopes.extend(slope(i, &logprobs[slopes.len()..slopes.len() + tokens]));
        }
        assert_eq!(slopes.len(), logprobs.len(), "a slope gives one number a token");
        let dhidden = self.head_back(params, &pack, probs, (&hidden, &normed, &inv), &slopes, temperature, grads);
        self.hidden_back(params, rope, &pack, saved, dhidden, grads);
        predicted
    }

    /// Residual stream of the rows that predict a token, before the final norm; `keep` gets what each layer leaves.
    fn hidden(&self, params: &Params, rope: &Rope, pack: &Pack, mut keep: impl FnMut(Saved)) -> Buffer {
        let mut x = self.embed(params, &pack.tokens);
        for (i, l) in self.plan.layers.iter().enumerate() {
            let rows = Rows { pack, last: i + 1 == self.plan.layers.len() };
            let (out, saved) = Layer { plan: &self.plan, at: l, params, rope }.forward(rows, x);
            keep(saved);
            x = out;
        }
        x
    }

    fn hidden_back(
        &self,
        params: &Params,
        rope: &Rope,
        pack: &Pack,
        mut saved: Vec<Kept>,
        dx: Buffer,
        grads: &mut Grads,
    ) {
        let (mut dx, embed) = (dx, self.plan.embed);
        while let Some(kept) = saved.pop() {
            let i = saved.len();
            let rows = Rows { pack, last: i + 1 == self.plan.layers.len() };
            let layer = Layer { plan: &self.plan, at: &self.plan.layers[i], params, rope };
            let of_layer = match kept {
                Kept::Everything(of_layer) => *of_layer,
                Kept::Input(x) => layer.forward(rows, x).1,
            };
            let onward = i > self.lowest || !grads[embed].is_empty();
            let Some(below) = layer.backward(rows, of_layer, dx, onward, grads) else { return };
            if !onward {
                return;
            }
            dx = below;
        }
        let d = self.plan.hidden;
        let embed = &mut grads[embed];
        if !embed.is_empty() {
            for (dx, &token) in dx.chunks_exact(d).zip(&pack.tokens) {
                let row = &mut embed[token as usize * d..(token as usize + 1) * d];
                row.iter_mut().zip(dx).for_each(|(g, d)| *g += d);
            }
        }
    }

    /// The rotation table for the longest sequence.
    fn rope(&self, groups: &[Group]) -> Rope {
        let reach = |g: &Group| g.prompt.len() + g.completions.iter().map(Vec::len).max().unwrap_or(0);
        let longest = groups.iter().map(reach).max().unwrap_or(0);
        Rope::new(longest, self.config.head_dim, self.config.rope_theta)
    }

    /// Whether a step packs its weights once for so many packs. Frozen ones may be too many to hold twice, and who
    /// asks for recomputation wants the memory.
    fn packs_once(&self, packs: usize) -> bool {
        self.trainable == 0 && !self.recompute && packs > rayon::current_num_threads()
    }

    /// Tokens per pack: an even share, so that each thread gets as many packs.
    fn budget(&self, groups: &[Group]) -> usize {
        let tokens: usize = groups.iter().map(Group::tokens).sum();
        let of_thread = tokens.div_ceil(rayon::current_num_threads()).max(1);
        of_thread.div_ceil(of_thread.div_ceil(PACK_TOKENS))
    }
}

/// Runs tasks on the pool; a single one has its products shared out instead.
fn spread<T: Send>(tasks: usize, params: &Params, task: impl Fn(usize, &Params) -> T + Sync) -> Vec<T> {
    match tasks {
        1 => vec![together(params, |params| task(0, params))],
        _ => (0..tasks).into_par_iter().map(|i| task(i, params)).collect(),
    }
}

/// Runs one task on the pool with its products shared out. Called from inside the pool it keeps to its thread: the
/// caller has spread its own work there, and waiting for half a product would mean starting on another piece of that.
fn together<T: Send>(params: &Params, task: impl FnOnce(&Params) -> T + Send) -> T {
    if rayon::current_thread_index().is_some() {
        return task(params);
    }
    let params = Params { how: How { shared: true, ..params.how }, ..*params };
    rayon::scope(|_| task(&params))
}

fn add(sum: &mut Grads, more: &Grads) {
    for (sum, more) in sum.iter_mut().zip(more) {
        sum.par_chunks_mut(1 << 14).zip(more.par_chunks(1 << 14)).for_each(|(sum, more)| {
            sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
        });
    }
}
