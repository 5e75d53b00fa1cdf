//! One decoder layer on slices: forward with what the gradient needs kept, and the gradient.
//!
//! `n` tokens in, `m` tokens out: the last layer computes everything after attention for needed tokens only.

use gemm::Parallelism;

use super::super::config::Config;
use super::kernels::{Into, Mat, add, dot, norm, norm_back, product, rotate, softmax_ranges, swiglu, swiglu_back};
use super::pack::Pack;

/// Where a projection's parameters stand in the list of all parameters.
#[derive(Clone, Copy)]
pub struct Projection {
    pub weight: usize,
    pub bias: Option<usize>,
}

/// Where a layer's parameters stand in the list of all parameters.
pub struct Places {
    pub input_norm: usize,
    pub q: Projection,
    pub k: Projection,
    pub v: Projection,
    pub head_norms: Option<(usize, usize)>,
    pub o: usize,
    pub ffn_norm: usize,
    pub gate: usize,
    pub up: usize,
    pub down: usize,
}

/// What every layer of a pack has in common.
pub struct Frame<'a> {
    pub config: &'a Config,
    pub pack: &'a Pack,
    /// All parameters, in the order of `Config::parameters`.
    pub params: &'a [&'a [f32]],
    /// Cosines and sines by position, `[positions, d/2]`.
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    pub threads: Parallelism,
}

/// What the forward pass of a layer keeps for its gradient.
pub struct Kept {
    x: Vec<f32>,
    pub projected: Projected,
    /// Attention weights, block by block, head by head.
    weights: Vec<f32>,
    mixed: Vec<f32>,
    rows: Option<Vec<usize>>,
    ffn: FeedForward,
}

/// The input, normed, and what attention needs of it.
pub struct Projected {
    normed: Vec<f32>,
    r: Vec<f32>,
    pub q: Heads,
    pub k: Heads,
    pub v: Vec<f32>,
}

/// What the part after attention computes on its way.
struct FeedForward {
    middle: Vec<f32>,
    normed: Vec<f32>,
    r: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    gated: Vec<f32>,
}

/// Queries or keys: as projected (kept only where a norm follows), with the norm's factors, and as used.
pub struct Heads {
    raw: Vec<f32>,
    r: Vec<f32>,
    pub turned: Vec<f32>,
}

impl Frame<'_> {
    /// `x·Wᵀ`, with `outputs` columns.
    pub fn linear(&self, x: &[f32], weight: usize, inputs: usize, outputs: usize) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / inputs * outputs];
        let w = Mat::new(self.params[weight], inputs);
        product(&mut y, outputs, Mat::new(x, inputs), w.t(), Into::Set, 1.0, self.threads);
        y
    }

    /// Adds `dy·W` to `dx` and `dyᵀ·x` to the weight's gradient.
    pub fn linear_back(
        &self,
        dx: &mut [f32],
        grads: &mut [Vec<f32>],
        dy: &[f32],
        x: &[f32],
        weight: usize,
        inputs: usize,
    ) {
        let outputs = self.params[weight].len() / inputs;
        let dy = Mat::new(dy, outputs);
        product(dx, inputs, dy, Mat::new(self.params[weight], inputs), Into::Add, 1.0, self.threads);
        product(&mut grads[weight], inputs, dy.t(), Mat::new(x, inputs), Into::Add, 1.0, self.threads);
    }

    fn project(&self, x: &[f32], place: Projection, outputs: usize) -> Vec<f32> {
        let mut y = self.linear(x, place.weight, self.config.hidden, outputs);
        if let Some(bias) = place.bias {
            y.chunks_exact_mut(outputs).for_each(|row| add(row, self.params[bias]));
        }
        y
    }

    fn project_back(&self, dx: &mut [f32], grads: &mut [Vec<f32>], dy: &[f32], x: &[f32], place: Projection) {
        self.linear_back(dx, grads, dy, x, place.weight, self.config.hidden);
        if let Some(bias) = place.bias {
            let width = grads[bias].len();
            dy.chunks_exact(width).for_each(|row| add(&mut grads[bias], row));
        }
    }

    fn rotate_all(&self, x: &mut [f32], heads: usize, back: bool) {
        let (d, half) = (self.config.head_dim, self.config.head_dim / 2);
        for (token, position) in x.chunks_exact_mut(heads * d).zip(&self.pack.positions) {
            let angles = position * half..(position + 1) * half;
            for head in token.chunks_exact_mut(d) {
                rotate(head, &self.cos[angles.clone()], &self.sin[angles.clone()], back);
            }
        }
    }

    fn heads(&self, raw: Vec<f32>, heads: usize, norm_at: Option<usize>) -> Heads {
        let (mut turned, r, raw) = match norm_at {
            Some(at) => {
                let mut y = vec![0.0; raw.len()];
                let r = norm(&mut y, &raw, self.params[at], self.config.norm_eps as f32);
                (y, r, raw)
            }
            None => (raw, Vec::new(), Vec::new()),
        };
        self.rotate_all(&mut turned, heads, false);
        Heads { raw, r, turned }
    }

    /// Turns the gradient of used heads into that of projected ones.
    fn heads_back(
        &self,
        mut d: Vec<f32>,
        kept: &Heads,
        grads: &mut [Vec<f32>],
        heads: usize,
        norm_at: Option<usize>,
    ) -> Vec<f32> {
        self.rotate_all(&mut d, heads, true);
        let Some(at) = norm_at else { return d };
        let mut raw = vec![0.0; d.len()];
        norm_back(&mut raw, &mut grads[at], &d, &kept.raw, self.params[at], &kept.r);
        raw
    }

    /// One layer: `[n, h]` in, `[m, h]` out; `rows` names the m tokens that go on, all when `None`.
    pub fn forward(&self, layer: &Places, x: Vec<f32>, rows: Option<Vec<usize>>) -> (Vec<f32>, Kept) {
        let Config { hidden, heads, head_dim, .. } = *self.config;
        let projected = self.projected(layer, &x);
        let (weights, mut mixed) = self.attend(&projected.q.turned, &projected.k.turned, &projected.v);
        let through = match &rows {
            Some(rows) => {
                mixed = gather(&mixed, rows, heads * head_dim);
                gather(&x, rows, hidden)
            }
            None => x.clone(),
        };
        let (out, ffn) = self.rest(layer, through, &mixed);
        (out, Kept { x, projected, weights, mixed, rows, ffn })
    }

    /// What attention needs of a layer's input.
    pub fn projected(&self, layer: &Places, x: &[f32]) -> Projected {
        let Config { heads, kv_heads, head_dim, .. } = *self.config;
        let mut normed = vec![0.0; x.len()];
        let r = norm(&mut normed, x, self.params[layer.input_norm], self.config.norm_eps as f32);
        let norms = layer.head_norms;
        let q = self.heads(self.project(&normed, layer.q, heads * head_dim), heads, norms.map(|n| n.0));
        let k = self.heads(self.project(&normed, layer.k, kv_heads * head_dim), kv_heads, norms.map(|n| n.1));
        let v = self.project(&normed, layer.v, kv_heads * head_dim);
        Projected { normed, r, q, k, v }
    }

    /// The part of a layer after attention: the residual stream and the mixed values in, the stream out.
    pub fn after_attention(&self, layer: &Places, stream: Vec<f32>, mixed: &[f32]) -> Vec<f32> {
        self.rest(layer, stream, mixed).0
    }

    fn rest(&self, layer: &Places, mut middle: Vec<f32>, mixed: &[f32]) -> (Vec<f32>, FeedForward) {
        let Config { hidden, heads, head_dim, ffn, .. } = *self.config;
        add(&mut middle, &self.linear(mixed, layer.o, heads * head_dim, hidden));
        let mut normed = vec![0.0; middle.len()];
        let r = norm(&mut normed, &middle, self.params[layer.ffn_norm], self.config.norm_eps as f32);
        let gate = self.linear(&normed, layer.gate, hidden, ffn);
        let up = self.linear(&normed, layer.up, hidden, ffn);
        let mut gated = vec![0.0; gate.len()];
        swiglu(&mut gated, &gate, &up);
        let mut out = middle.clone();
        add(&mut out, &self.linear(&gated, layer.down, ffn, hidden));
        (out, FeedForward { middle, normed, r, gate, up, gated })
    }

    /// The gradient of [`Frame::forward`]: that of the output in, that of the input out.
    pub fn back(&self, layer: &Places, kept: &Kept, dout: Vec<f32>, grads: &mut [Vec<f32>]) -> Vec<f32> {
        let Config { hidden, heads, kv_heads, head_dim, ffn, .. } = *self.config;
        let mut dgate = vec![0.0; kept.ffn.gated.len()];
        self.linear_back(&mut dgate, grads, &dout, &kept.ffn.gated, layer.down, ffn);
        let mut dup = vec![0.0; dgate.len()];
        swiglu_back(&mut dgate, &mut dup, &kept.ffn.gate, &kept.ffn.up);
        let mut dnormed = vec![0.0; kept.ffn.middle.len()];
        self.linear_back(&mut dnormed, grads, &dgate, &kept.ffn.normed, layer.gate, hidden);
        self.linear_back(&mut dnormed, grads, &dup, &kept.ffn.normed, layer.up, hidden);
        let mut dmiddle = dout;
        let w = self.params[layer.ffn_norm];
        norm_back(&mut dmiddle, &mut grads[layer.ffn_norm], &dnormed, &kept.ffn.middle, w, &kept.ffn.r);
        let mut dmixed = vec![0.0; kept.mixed.len()];
        self.linear_back(&mut dmixed, grads, &dmiddle, &kept.mixed, layer.o, heads * head_dim);
        let mut dx = dmiddle;
        if let Some(rows) = &kept.rows {
            let n = self.pack.ids.len();
            dmixed = scatter(&dmixed, rows, heads * head_dim, n);
            dx = scatter(&dx, rows, hidden, n);
        }
        let (dq, dk, dv) = self.attend_back(kept, &dmixed);
        let norms = layer.head_norms;
        let dq = self.heads_back(dq, &kept.projected.q, grads, heads, norms.map(|n| n.0));
        let dk = self.heads_back(dk, &kept.projected.k, grads, kv_heads, norms.map(|n| n.1));
        let mut dnormed = vec![0.0; kept.x.len()];
        self.project_back(&mut dnormed, grads, &dq, &kept.projected.normed, layer.q);
        self.project_back(&mut dnormed, grads, &dk, &kept.projected.normed, layer.k);
        self.project_back(&mut dnormed, grads, &dv, &kept.projected.normed, layer.v);
        let w = self.params[layer.input_norm];
        norm_back(&mut dx, &mut grads[layer.input_norm], &dnormed, &kept.x, w, &kept.projected.r);
        dx
    }

    /// Attention weights and mixed values `[n, q·d]`.
    ///
    /// A block's scores are computed whole, and what a row may not see is then set to 0: cheaper than many small
    /// products, and it keeps the gradient free of cases, as a weight of 0 passes none.
    fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let Config { heads, kv_heads, head_dim: d, .. } = *self.config;
        let (wide, narrow) = (heads * d, kv_heads * d);
        let scale = 1.0 / (d as f32).sqrt();
        let mut weights = vec![0.0; self.pack.blocks.iter().map(|b| heads * b.rows * b.rows).sum()];
        let mut mixed = vec![0.0; q.len()];
        let mut rest = weights.as_mut_slice();
        for block in &self.pack.blocks {
            let n = block.rows;
            for head in 0..heads {
                let (of_q, of_k) =
                    (block.start * wide + head * d, block.start * narrow + head / (heads / kv_heads) * d);
                let (a, later) = rest.split_at_mut(n * n);
                rest = later;
                let q = Mat::strided(&q[of_q..], n, d, wide);
                let k = Mat::strided(&k[of_k..], n, d, narrow);
                product(a, n, q, k.t(), Into::Set, scale, self.threads);
                for (row, a) in a.chunks_exact_mut(n).enumerate() {
                    let (prefix, own) = block.sees(row);
                    softmax_ranges(a, prefix, own);
                }
                let v = Mat::strided(&v[of_k..], n, d, narrow);
                product(&mut mixed[of_q..], wide, Mat::new(a, n), v, Into::Set, 1.0, self.threads);
            }
        }
        (weights, mixed)
    }

    /// The gradient of [`Frame::attend`]: of queries, keys and values.
    fn attend_back(&self, kept: &Kept, dmixed: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let Config { heads, kv_heads, head_dim: d, .. } = *self.config;
        let (wide, narrow) = (heads * d, kv_heads * d);
        let scale = 1.0 / (d as f32).sqrt();
        let (q, k) = (&kept.projected.q.turned, &kept.projected.k.turned);
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]);
        let mut rest = kept.weights.as_slice();
        let mut buffer = vec![0.0; self.pack.blocks.iter().map(|b| b.rows * b.rows).max().unwrap_or(0)];
        for block in &self.pack.blocks {
            let n = block.rows;
            for head in 0..heads {
                let (of_q, of_k) =
                    (block.start * wide + head * d, block.start * narrow + head / (heads / kv_heads) * d);
                let (a, later) = rest.split_at(n * n);
                rest = later;
                let dmixed = Mat::strided(&dmixed[of_q..], n, d, wide);
                product(&mut dv[of_k..], narrow, Mat::new(a, n).t(), dmixed, Into::Add, 1.0, self.threads);
                let da = &mut buffer[..n * n];
                let v = Mat::strided(&kept.projected.v[of_k..], n, d, narrow);
                product(da, n, dmixed, v.t(), Into::Set, 1.0, self.threads);
                for (da, a) in da.chunks_exact_mut(n).zip(a.chunks_exact(n)) {
                    let mean = dot(da, a);
                    for (da, a) in da.iter_mut().zip(a) {
                        *da = a * (*da - mean);
                    }
                }
                let ds = Mat::new(da, n);
                let keys = Mat::strided(&k[of_k..], n, d, narrow);
                product(&mut dq[of_q..], wide, ds, keys, Into::Set, scale, self.threads);
                let queries = Mat::strided(&q[of_q..], n, d, wide);
                product(&mut dk[of_k..], narrow, ds.t(), queries, Into::Add, scale, self.threads);
            }
        }
        (dq, dk, dv)
    }
}

/// The named rows of `width` values.
pub fn gather(x: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| &x[row * width..(row + 1) * width]).copied().collect()
}

/// Rows put back to where [`gather`] took them from, zeros elsewhere; no row may be named twice.
fn scatter(x: &[f32], rows: &[usize], width: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * width];
    for (row, x) in rows.iter().zip(x.chunks_exact(width)) {
        out[row * width..(row + 1) * width].copy_from_slice(x);
    }
    out
}
