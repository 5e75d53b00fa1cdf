//! What a training step keeps in memory, counted from the shapes before anything is allocated.

use super::super::Group;
use super::pack::{Pack, cut};
use super::params::packed_bytes;
use super::{Engine, How, attention};

/// Bytes of a training step by what they are for; the process's own (program, tokenizer, store) is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The decoder's weights and the adapter's.
    pub weights: usize,
    /// The weights once more, packed for the products of many packs.
    pub packed: usize,
    /// Gradients: a set for each thread that computes some.
    pub gradients: usize,
    /// AdamW's two moments.
    pub optimizer: usize,
    /// Activations of the packs that are computed at the same time.
    pub activations: usize,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.weights + self.packed + self.gradients + self.optimizer + self.activations
    }
}

const FLOAT: usize = size_of::<f32>();

impl Engine {
    /// Of a step on `groups` that trains `trained` of the parameters, with `weights` bytes of them all.
    pub fn memory(&self, groups: &[Group], weights: usize, trained: usize, how: How) -> Memory {
        let packs = cut(groups, self.budget(groups));
        let threads = rayon::current_num_threads().min(packs.len());
        let largest = packs.iter().map(|range| self.floats_of(&Pack::new(&groups[range.clone()]))).max().unwrap_or(0);
        Memory {
            weights,
            packed: if self.packs_once(packs.len()) { packed_bytes(&self.plan, how) } else { 0 },
            gradients: FLOAT * trained * threads,
            optimizer: FLOAT * 2 * trained,
            activations: FLOAT * largest * threads,
        }
    }

    /// Floats alive when the backward pass of a pack begins, and what a layer needs beside them.
    fn floats_of(&self, pack: &Pack) -> usize {
        let plan = &self.plan;
        let (q, kv) = (plan.heads * plan.head_dim, plan.kv_heads * plan.head_dim);
        let (rows, needed) = (pack.len(), pack.needed.len());
        let normed = plan.layers.first().is_some_and(|l| l.qk_norm.is_some());
        let ffn = plan.layers.first().map_or(0, |l| l.gate.outputs);
        let of_layer = |asking: usize, last: bool| {
            let asks = if last { &pack.last } else { &pack.all };
            let probs = plan.heads * attention::size(&pack.spans, asks);
            let raw = if normed { asking * q + rows * kv } else { 0 };
            rows * (plan.hidden + 2 * kv) + asking * (2 * q + plan.hidden + 2 * ffn) + probs + raw
        };
        let (whole, last) = (of_layer(rows, false), of_layer(needed, true));
        let kept = match self.recompute {
            true => plan.layers.len() * rows * plan.hidden + whole,
            false => (plan.layers.len() - 1) * whole + last,
        };
        // Beside what is kept: gradients of a feed-forward and of the stream, or the output head's rows.
        let beside = (rows * (2 * ffn + 4 * plan.hidden)).max(needed * plan.vocab);
        kept + beside
    }
}
