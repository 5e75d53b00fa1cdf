//! One decoder layer on rows, forward and backward.

use super::attention;
use super::linear::{Grads, linear, linear_back, wanted};
use super::math::{Rope, rms_norm, rms_norm_back, swiglu, swiglu_back};
use super::pack::{Asking, Pack};
use super::params::Params;
use super::plan::{LayerPlan, Plan};

/// What attention needs of a layer's input, and what the backward pass needs of how it was made.
pub(super) struct Projected {
    inv_input: Vec<f32>,
    /// Queries and keys before their norm; empty where there is none.
    q_raw: Vec<f32>,
    k_raw: Vec<f32>,
    inv_q: Vec<f32>,
    inv_k: Vec<f32>,
    /// After norm and rotation: \[asking, heads·d\] and \[rows, kv·d\].
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// What the backward pass of the part after attention needs.
struct Fed {
    /// Residual stream after attention, \[asking, hidden\].
    mid: Vec<f32>,
    inv_post: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// What the backward pass of a layer needs.
pub(super) struct Saved {
    /// Residual stream coming in, \[rows, hidden\].
    x: Vec<f32>,
    pub projected: Projected,
    probs: Vec<f32>,
    attended: Vec<f32>,
    fed: Fed,
}

/// The rows that ask in a layer.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub pack: &'a Pack,
    /// Only the rows that predict something.
    pub last: bool,
}

impl Rows<'_> {
    fn asking(&self) -> &[Asking] {
        if self.last { &self.pack.last } else { &self.pack.all }
    }

    fn count(&self) -> usize {
        if self.last { self.pack.needed.len() } else { self.pack.len() }
    }

    /// The asking rows of `x` (width columns).
    fn pick(&self, x: &[f32], width: usize) -> Vec<f32> {
        if !self.last {
            return x.to_vec();
        }
        self.pack.needed.iter().flat_map(|&row| &x[row as usize * width..(row as usize + 1) * width]).copied().collect()
    }

    /// Adds asking rows back to all rows.
    fn put(&self, from: &[f32], to: &mut [f32], width: usize) {
        if !self.last {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            return;
        }
        for (from, &row) in from.chunks_exact(width).zip(&self.pack.needed) {
            let to = &mut to[row as usize * width..(row as usize + 1) * width];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }

    fn positions(&self) -> Vec<u32> {
        if !self.last {
            return self.pack.positions.clone();
        }
        self.pack.needed.iter().map(|&row| self.pack.positions[row as usize]).collect()
    }
}

fn norm(x: &[f32], w: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut inv) = (vec![0.0; x.len()], vec![0.0; x.len() / w.len()]);
    rms_norm(x, w, eps, &mut y, &mut inv);
    (y, inv)
}

/// Everything one layer is computed with.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub plan: &'a Plan,
    pub at: &'a LayerPlan,
    pub params: &'a Params<'a>,
    pub rope: &'a Rope,
}

impl Layer<'_> {
    /// Norm, projections, head norms, rotation.
    pub fn project(&self, rows: Rows, x: &[f32]) -> Projected {
        let Self { plan, at: l, params, rope } = *self;
        let (normed, inv_input) = norm(x, params.floats(l.input_norm), plan.eps);
        let mut q = linear(params, &l.q, &rows.pick(&normed, plan.hidden));
        let mut k = linear(params, &l.k, &normed);
        let v = linear(params, &l.v, &normed);
        let (mut q_raw, mut k_raw, mut inv_q, mut inv_k) = Default::default();
        if let Some((q_norm, k_norm)) = l.qk_norm {
            let (q_normed, k_normed);
            (q_normed, inv_q) = norm(&q, params.floats(q_norm), plan.eps);
            (k_normed, inv_k) = norm(&k, params.floats(k_norm), plan.eps);
            q_raw = std::mem::replace(&mut q, q_normed);
            k_raw = std::mem::replace(&mut k, k_normed);
        }
        rope.rotate(&mut q, l.q.outputs, &rows.positions(), 1.0);
        rope.rotate(&mut k, l.k.outputs, &rows.pack.positions, 1.0);
        Projected { inv_input, q_raw, k_raw, inv_q, inv_k, q, k, v }
    }

    /// Output projection, residual, feed-forward, residual; `residual` is the stream of the asking rows.
    pub fn finish(&self, attended: &[f32], residual: &[f32]) -> Vec<f32> {
        self.feed(attended, residual).0
    }

    fn feed(&self, attended: &[f32], residual: &[f32]) -> (Vec<f32>, Fed) {
        let Self { plan, at: l, params, .. } = *self;
        let mut mid = linear(params, &l.o, attended);
        mid.iter_mut().zip(residual).for_each(|(m, x)| *m += x);
        let (normed, inv_post) = norm(&mid, params.floats(l.post_norm), plan.eps);
        let (gate, up) = (linear(params, &l.gate, &normed), linear(params, &l.up, &normed));
        let mut act = vec![0.0; gate.len()];
        swiglu(&gate, &up, &mut act);
        let mut out = linear(params, &l.down, &act);
        out.iter_mut().zip(&mid).for_each(|(o, m)| *o += m);
        (out, Fed { mid, inv_post, gate, up })
    }

    /// `x` \[rows, hidden\] → \[asking, hidden\].
    pub fn forward(&self, rows: Rows, x: Vec<f32>) -> (Vec<f32>, Saved) {
        let projected = self.project(rows, &x);
        let Projected { q, k, v, .. } = &projected;
        let (attended, probs) =
            attention::forward(self.plan, &rows.pack.spans, rows.asking(), (q, k, v), self.params.how);
        let (out, fed) = self.feed(&attended, &rows.pick(&x, self.plan.hidden));
        (out, Saved { x, projected, probs, attended, fed })
    }

    /// Backward of [`Layer::forward`]: `dout` \[asking, hidden\] → the gradient of `x`, \[rows, hidden\].
    pub fn backward(&self, rows: Rows, s: Saved, dout: Vec<f32>, grads: &mut Grads) -> Vec<f32> {
        let Self { plan, at: l, params, .. } = *self;
        let dmid = self.feed_back(s.fed, dout, grads);
        let mut dattended = vec![0.0; s.attended.len()];
        linear_back(params, &l.o, &s.attended, &dmid, &mut dattended, grads);
        let p = s.projected;
        let saved = (p.q.as_slice(), p.k.as_slice(), p.v.as_slice());
        let d = attention::backward(plan, &rows.pack.spans, rows.asking(), saved, &s.probs, &dattended, params.how);
        let mut dx = vec![0.0; s.x.len()];
        rows.put(&dmid, &mut dx, plan.hidden);
        self.project_back(rows, &s.x, &p, d, &mut dx, grads);
        dx
    }

    fn feed_back(&self, fed: Fed, dout: Vec<f32>, grads: &mut Grads) -> Vec<f32> {
        let Self { plan, at: l, params, .. } = *self;
        let Fed { mid, inv_post, mut gate, mut up } = fed;
        let mut act = vec![0.0; gate.len()];
        swiglu(&gate, &up, &mut act);
        let mut dact = vec![0.0; act.len()];
        linear_back(params, &l.down, &act, &dout, &mut dact, grads);
        swiglu_back(&mut gate, &mut up, &dact);
        let (normed, _) = norm(&mid, params.floats(l.post_norm), plan.eps);
        let mut dnormed = vec![0.0; mid.len()];
        linear_back(params, &l.gate, &normed, &gate, &mut dnormed, grads);
        linear_back(params, &l.up, &normed, &up, &mut dnormed, grads);
        let mut dmid = dout;
        rms_norm_back(&mid, params.floats(l.post_norm), &inv_post, &dnormed, &mut dmid, wanted(grads, l.post_norm));
        dmid
    }

    fn project_back(
        &self,
        rows: Rows,
        x: &[f32],
        p: &Projected,
        mut d: attention::Gradients,
        dx: &mut [f32],
        grads: &mut Grads,
    ) {
        let Self { plan, at: l, params, rope } = *self;
        rope.rotate(&mut d.q, l.q.outputs, &rows.positions(), -1.0);
        rope.rotate(&mut d.k, l.k.outputs, &rows.pack.positions, -1.0);
        if let Some((q_norm, k_norm)) = l.qk_norm {
            let (mut dq, mut dk) = (vec![0.0; d.q.len()], vec![0.0; d.k.len()]);
            rms_norm_back(&p.q_raw, params.floats(q_norm), &p.inv_q, &d.q, &mut dq, wanted(grads, q_norm));
            rms_norm_back(&p.k_raw, params.floats(k_norm), &p.inv_k, &d.k, &mut dk, wanted(grads, k_norm));
            (d.q, d.k) = (dq, dk);
        }
        let (normed, _) = norm(x, params.floats(l.input_norm), plan.eps);
        let mut dnormed = vec![0.0; normed.len()];
        linear_back(params, &l.k, &normed, &d.k, &mut dnormed, grads);
        linear_back(params, &l.v, &normed, &d.v, &mut dnormed, grads);
        let mut of_asking = vec![0.0; rows.count() * plan.hidden];
        linear_back(params, &l.q, &rows.pick(&normed, plan.hidden), &d.q, &mut of_asking, grads);
        rows.put(&of_asking, &mut dnormed, plan.hidden);
        rms_norm_back(x, params.floats(l.input_norm), &p.inv_input, &dnormed, dx, wanted(grads, l.input_norm));
    }
}
