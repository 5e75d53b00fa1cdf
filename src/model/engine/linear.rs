//! Projections with their gradient: full, frozen, or frozen with a low-rank adapter.

use super::buffer::Buffer;
use super::params::Params;
use super::plan::{Adapter, Linear};
use super::product::{Mat, MatMut, matmul};

/// Gradients of all parameters, in their order; one that is empty is not wanted (a frozen parameter).
pub(super) type Grads = Vec<Vec<f32>>;

/// The gradient of a parameter, where it is wanted.
pub(super) fn wanted(grads: &mut Grads, at: usize) -> Option<&mut [f32]> {
    Some(grads[at].as_mut_slice()).filter(|g| !g.is_empty())
}

/// `x·Wᵀ + b`, and `+ s·(x·Aᵀ)·Bᵀ` with an adapter.
pub(super) fn linear(params: &Params, l: &Linear, x: &[f32]) -> Buffer {
    let mut y = Buffer::stale(x.len() / l.inputs * l.outputs);
    if let Some(b) = l.b {
        y.chunks_exact_mut(l.outputs).for_each(|row| row.copy_from_slice(params.floats(b)));
    }
    project(params, l, x, &mut y, l.b.is_some());
    y
}

/// [`linear`] added to the residual stream that it writes into; such projections have no bias.
pub(super) fn linear_onto(params: &Params, l: &Linear, x: &[f32], residual: &[f32]) -> Buffer {
    let mut y = Buffer::of(residual);
    if let Some(b) = l.b {
        y.chunks_exact_mut(l.outputs).for_each(|row| row.iter_mut().zip(params.floats(b)).for_each(|(y, b)| *y += b));
    }
    project(params, l, x, &mut y, true);
    y
}

fn project(params: &Params, l: &Linear, x: &[f32], y: &mut [f32], add: bool) {
    let rows = x.len() / l.inputs;
    let (x_mat, w) = (Mat::new(x, rows, l.inputs), params.transposed(l.w, l.outputs, l.inputs));
    matmul(MatMut::new(y, rows, l.outputs), x_mat, w, 1.0, add, params.how);
    if let Some(lora) = &l.lora {
        let (low, b) = (narrow(params, l, lora, x), params.transposed(lora.b, l.outputs, lora.rank));
        matmul(MatMut::new(y, rows, l.outputs), Mat::new(&low, rows, lora.rank), b, lora.scale, true, params.how);
    }
}

/// `x·Aᵀ`, \[rows, rank\]; cheap enough to compute again in the backward pass.
fn narrow(params: &Params, l: &Linear, lora: &Adapter, x: &[f32]) -> Buffer {
    let rows = x.len() / l.inputs;
    let mut low = Buffer::stale(rows * lora.rank);
    let a = params.transposed(lora.a, lora.rank, l.inputs);
    matmul(MatMut::new(&mut low, rows, lora.rank), Mat::new(x, rows, l.inputs), a, 1.0, false, params.how);
    low
}

/// Backward of [`linear`]: adds to the wanted gradients, and writes or, with `add`, adds to `dx`, where there is one.
/// A frozen weight costs one product, not two.
pub(super) fn linear_back(
    params: &Params,
    l: &Linear,
    x: &[f32],
    dy: &[f32],
    dx: Option<(&mut [f32], bool)>,
    grads: &mut Grads,
) {
    let dlow = input_back(params, l, dy, dx);
    weights_back(params, l, x, dy, dlow.as_deref(), grads);
}

/// The part of [`linear_back`] that goes to the input; the gradient of an adapter's `x·Aᵀ`, \[rows, rank\].
pub(super) fn input_back(params: &Params, l: &Linear, dy: &[f32], dx: Option<(&mut [f32], bool)>) -> Option<Buffer> {
    let (rows, how) = (dy.len() / l.outputs, params.how);
    let d = Mat::new(dy, rows, l.outputs);
    let dlow = l.lora.as_ref().map(|lora| {
        let mut dlow = Buffer::stale(rows * lora.rank);
        let b = params.weight(lora.b, l.outputs, lora.rank);
        matmul(MatMut::new(&mut dlow, rows, lora.rank), d, b, lora.scale, false, how);
        dlow
    });
    let Some((dx, add)) = dx else { return dlow };
    let weight = params.weight(l.w, l.outputs, l.inputs);
    matmul(MatMut::new(dx, rows, l.inputs), d, weight, 1.0, add, how);
    if let Some((lora, dlow)) = l.lora.as_ref().zip(dlow.as_ref()) {
        let (dlow, a) = (Mat::new(dlow, rows, lora.rank), params.weight(lora.a, lora.rank, l.inputs));
        matmul(MatMut::new(dx, rows, l.inputs), dlow, a, 1.0, true, how);
    }
    dlow
}

/// The part of [`linear_back`] that goes to weight, bias and adapter; `dlow` is what [`input_back`] gave.
pub(super) fn weights_back(
    params: &Params,
    l: &Linear,
    x: &[f32],
    dy: &[f32],
    dlow: Option<&[f32]>,
    grads: &mut Grads,
) {
    let (rows, how) = (x.len() / l.inputs, params.how);
    let (x_mat, d) = (Mat::new(x, rows, l.inputs), Mat::new(dy, rows, l.outputs));
    if let Some(dw) = wanted(grads, l.w) {
        matmul(MatMut::new(dw, l.outputs, l.inputs), d.t(), x_mat, 1.0, true, how);
    }
    if let Some(db) = l.b.and_then(|b| wanted(grads, b)) {
        for row in dy.chunks_exact(l.outputs) {
            db.iter_mut().zip(row).for_each(|(g, d)| *g += d);
        }
    }
    let Some((lora, dlow)) = l.lora.as_ref().zip(dlow) else { return };
    if let Some(db) = wanted(grads, lora.b) {
        let low = narrow(params, l, lora, x);
        matmul(MatMut::new(db, l.outputs, lora.rank), d.t(), Mat::new(&low, rows, lora.rank), lora.scale, true, how);
    }
    if let Some(da) = wanted(grads, lora.a) {
        matmul(MatMut::new(da, lora.rank, l.inputs), Mat::new(dlow, rows, lora.rank).t(), x_mat, 1.0, true, how);
    }
}
