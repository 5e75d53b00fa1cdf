//! One decoder layer on rows, forward and backward.

use std::borrow::Cow;

use super::attention;
use super::buffer::Buffer;
use super::linear::{Grads, input_back, linear, linear_back, linear_onto, wanted, weights_back};
use super::math::{Rope, rms_norm, rms_norm_back, swiglu, swiglu_back};
use super::pack::{Asking, Pack};
use super::params::Params;
use super::plan::{LayerPlan, Plan};

/// What attention needs of a layer's input, and what the backward pass needs of how it was made.
pub(super) struct Projected {
    inv_input: Buffer,
    /// Queries and keys before their norm; empty where there is none.
    q_raw: Buffer,
    k_raw: Buffer,
    inv_q: Buffer,
    inv_k: Buffer,
    /// After norm and rotation: \[asking, heads·d\] and \[rows, kv·d\].
    pub q: Buffer,
    pub k: Buffer,
    pub v: Buffer,
}

impl Projected {
    fn joined(a: &Self, b: &Self) -> Self {
        let of = |part: fn(&Self) -> &Buffer| Buffer::joined(part(a), part(b));
        Self {
            inv_input: of(|p| &p.inv_input),
            q_raw: of(|p| &p.q_raw),
            k_raw: of(|p| &p.k_raw),
            inv_q: of(|p| &p.inv_q),
            inv_k: of(|p| &p.inv_k),
            q: of(|p| &p.q),
            k: of(|p| &p.k),
            v: of(|p| &p.v),
        }
    }
}

/// What the backward pass of the part after attention needs.
struct Fed {
    /// Residual stream after attention, \[asking, hidden\].
    mid: Buffer,
    inv_post: Buffer,
    gate: Buffer,
    up: Buffer,
}

impl Fed {
    fn joined(a: &Self, b: &Self) -> Self {
        let of = |part: fn(&Self) -> &Buffer| Buffer::joined(part(a), part(b));
        Self { mid: of(|f| &f.mid), inv_post: of(|f| &f.inv_post), gate: of(|f| &f.gate), up: of(|f| &f.up) }
    }
}

/// What the backward pass of a layer needs.
pub(super) struct Saved {
    /// Residual stream coming in, \[rows, hidden\].
    x: Buffer,
    pub projected: Projected,
    probs: Buffer,
    attended: Buffer,
    fed: Fed,
}

impl Saved {
    /// The layer's input alone, for a backward pass that computes the rest again.
    pub fn input(self) -> Buffer {
        self.x
    }
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
    fn pick<'x>(&self, x: &'x [f32], width: usize) -> Cow<'x, [f32]> {
        if !self.last {
            return Cow::Borrowed(x);
        }
        let rows = self.pack.needed.iter().map(|&row| row as usize * width);
        Cow::Owned(rows.flat_map(|at| &x[at..at + width]).copied().collect())
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

    fn positions(&self) -> Cow<'_, [u32]> {
        if !self.last {
            return Cow::Borrowed(&self.pack.positions);
        }
        Cow::Owned(self.pack.needed.iter().map(|&row| self.pack.positions[row as usize]).collect())
    }
}

fn norm(x: &[f32], w: &[f32], eps: f32) -> (Buffer, Buffer) {
    let (mut y, mut inv) = (Buffer::stale(x.len()), Buffer::stale(x.len() / w.len()));
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
        if let (false, Some(half)) = (rows.last, self.half_of(rows.count())) {
            let params = self.params.for_half();
            let layer = Layer { params: &params, ..*self };
            let (x, positions) = (x.split_at(half * self.plan.hidden), rows.pack.positions.split_at(half));
            let (a, b) = rayon::join(
                || layer.project_rows(x.0, None, positions.0, positions.0),
                || layer.project_rows(x.1, None, positions.1, positions.1),
            );
            return Projected::joined(&a, &b);
        }
        let asking = rows.last.then_some(rows);
        self.project_rows(x, asking, &rows.positions(), &rows.pack.positions)
    }

    /// Where to cut rows in two for two threads (or twice as many); nothing where threads have packs of their own or
    /// rows are few.
    fn half_of(&self, rows: usize) -> Option<usize> {
        const WORTH_CUTTING: usize = 48;
        let worth = self.params.how.shared && rows >= WORTH_CUTTING;
        worth.then(|| (rows / 2).next_multiple_of(12))
    }

    /// [`Layer::project`] of all of `x`, or with queries for the rows that ask alone; positions of both.
    fn project_rows(&self, x: &[f32], asking: Option<Rows>, asked: &[u32], positions: &[u32]) -> Projected {
        let Self { plan, at: l, params, rope } = *self;
        let (normed, inv_input) = norm(x, params.floats(l.input_norm), plan.eps);
        let mut q = match asking {
            Some(rows) => linear(params, &l.q, &rows.pick(&normed, plan.hidden)),
            None => linear(params, &l.q, &normed),
        };
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
        rope.rotate(&mut q, l.q.outputs, asked, 1.0);
        rope.rotate(&mut k, l.k.outputs, positions, 1.0);
        Projected { inv_input, q_raw, k_raw, inv_q, inv_k, q, k, v }
    }

    /// Output projection, residual, feed-forward, residual; `residual` is the stream of the asking rows.
    pub fn finish(&self, attended: &[f32], residual: &[f32]) -> Buffer {
        self.feed(attended, residual).0
    }

    fn feed(&self, attended: &[f32], residual: &[f32]) -> (Buffer, Fed) {
        let Self { plan, at: l, params, .. } = *self;
        if let Some(half) = self.half_of(residual.len() / plan.hidden) {
            let params = params.for_half();
            let layer = Layer { params: &params, ..*self };
            let (attended, residual) = (attended.split_at(half * l.o.inputs), residual.split_at(half * plan.hidden));
            let (a, b) = rayon::join(|| layer.feed(attended.0, residual.0), || layer.feed(attended.1, residual.1));
            return (Buffer::joined(&a.0, &b.0), Fed::joined(&a.1, &b.1));
        }
        let mid = linear_onto(params, &l.o, attended, residual);
        let (normed, inv_post) = norm(&mid, params.floats(l.post_norm), plan.eps);
        let (gate, up) = (linear(params, &l.gate, &normed), linear(params, &l.up, &normed));
        drop(normed);
        let mut act = Buffer::stale(gate.len());
        swiglu(&gate, &up, &mut act);
        let out = linear_onto(params, &l.down, &act, &mid);
        (out, Fed { mid, inv_post, gate, up })
    }

    /// `x` \[rows, hidden\] → \[asking, hidden\].
    pub fn forward(&self, rows: Rows, x: Buffer) -> (Buffer, Saved) {
        let projected = self.project(rows, &x);
        let Projected { q, k, v, .. } = &projected;
        let (attended, probs) =
            attention::forward(self.plan, &rows.pack.spans, rows.asking(), (q, k, v), self.params.how);
        let (out, fed) = self.feed(&attended, &rows.pick(&x, self.plan.hidden));
        (out, Saved { x, projected, probs, attended, fed })
    }

    /// Backward of [`Layer::forward`]: `dout` \[asking, hidden\] → the gradient of `x`, \[rows, hidden\]; without
    /// `onward` nothing below is trained, and there is none.
    pub fn backward(&self, rows: Rows, s: Saved, dout: Buffer, onward: bool, grads: &mut Grads) -> Option<Buffer> {
        let Self { plan, at: l, params, .. } = *self;
        let dmid = self.feed_back(s.fed, dout, grads);
        let mut dattended = Buffer::stale(s.attended.len());
        linear_back(params, &l.o, &s.attended, &dmid, Some((&mut dattended, false)), grads);
        let p = s.projected;
        let saved: (&[f32], &[f32], &[f32]) = (&p.q, &p.k, &p.v);
        let d = attention::backward(plan, &rows.pack.spans, rows.asking(), saved, &s.probs, &dattended, params.how);
        drop(dattended);
        let dnormed = self.project_back(rows, &s.x, &p, d, onward, grads)?;
        let mut dx = match rows.last {
            false => dmid,
            true => {
                let mut dx = Buffer::zeros(s.x.len());
                rows.put(&dmid, &mut dx, plan.hidden);
                dx
            }
        };
        let dw = wanted(grads, l.input_norm);
        rms_norm_back(&s.x, params.floats(l.input_norm), &p.inv_input, &dnormed, &mut dx, dw);
        Some(dx)
    }

    fn feed_back(&self, fed: Fed, dout: Buffer, grads: &mut Grads) -> Buffer {
        let Self { plan, at: l, params, .. } = *self;
        let Fed { mid, inv_post, mut gate, mut up } = fed;
        let mut dact = Buffer::stale(gate.len());
        let dlow = input_back(params, &l.down, &dout, Some((&mut dact, false)));
        swiglu_back(&mut gate, &mut up, &mut dact);
        let act = dact;
        weights_back(params, &l.down, &act, &dout, dlow.as_deref(), grads);
        drop(act);
        let (normed, _) = norm(&mid, params.floats(l.post_norm), plan.eps);
        let mut dnormed = Buffer::stale(mid.len());
        linear_back(params, &l.gate, &normed, &gate, Some((&mut dnormed, false)), grads);
        linear_back(params, &l.up, &normed, &up, Some((&mut dnormed, true)), grads);
        let mut dmid = dout;
        rms_norm_back(&mid, params.floats(l.post_norm), &inv_post, &dnormed, &mut dmid, wanted(grads, l.post_norm));
        dmid
    }

    /// The gradient of the normed input, where something below it is trained or its own norm is.
    fn project_back(
        &self,
        rows: Rows,
        x: &[f32],
        p: &Projected,
        mut d: attention::Gradients,
        onward: bool,
        grads: &mut Grads,
    ) -> Option<Buffer> {
        let Self { plan, at: l, params, rope } = *self;
        rope.rotate(&mut d.q, l.q.outputs, &rows.positions(), -1.0);
        rope.rotate(&mut d.k, l.k.outputs, &rows.pack.positions, -1.0);
        if let Some((q_norm, k_norm)) = l.qk_norm {
            let (mut dq, mut dk) = (Buffer::zeros(d.q.len()), Buffer::zeros(d.k.len()));
            rms_norm_back(&p.q_raw, params.floats(q_norm), &p.inv_q, &d.q, &mut dq, wanted(grads, q_norm));
            rms_norm_back(&p.k_raw, params.floats(k_norm), &p.inv_k, &d.k, &mut dk, wanted(grads, k_norm));
            (d.q, d.k) = (dq, dk);
        }
        let (normed, _) = norm(x, params.floats(l.input_norm), plan.eps);
        let asking = rows.pick(&normed, plan.hidden);
        if !onward && wanted(grads, l.input_norm).is_none() {
            linear_back(params, &l.k, &normed, &d.k, None, grads);
            linear_back(params, &l.v, &normed, &d.v, None, grads);
            linear_back(params, &l.q, &asking, &d.q, None, grads);
            return None;
        }
        let mut dnormed = Buffer::stale(normed.len());
        linear_back(params, &l.k, &normed, &d.k, Some((&mut dnormed, false)), grads);
        linear_back(params, &l.v, &normed, &d.v, Some((&mut dnormed, true)), grads);
        if rows.last {
            let mut of_asking = Buffer::stale(rows.count() * plan.hidden);
            linear_back(params, &l.q, &asking, &d.q, Some((&mut of_asking, false)), grads);
            rows.put(&of_asking, &mut dnormed, plan.hidden);
        } else {
            linear_back(params, &l.q, &asking, &d.q, Some((&mut dnormed, true)), grads);
        }
        Some(dnormed)
    }
}
