//! Projections with their gradient: full, frozen, or frozen with a low-rank adapter.

use super::params::Params;
use super::plan::Linear;
use super::product::{Mat, MatMut, matmul};

/// Gradients of all parameters, in their order; one that is empty is not wanted (a frozen parameter).
pub(super) type Grads = Vec<Vec<f32>>;

/// The gradient of a parameter, where it is wanted.
pub(super) fn wanted(grads: &mut Grads, at: usize) -> Option<&mut [f32]> {
    Some(grads[at].as_mut_slice()).filter(|g| !g.is_empty())
}

/// `x·Wᵀ + b`, and `+ s·(x·Aᵀ)·Bᵀ` with an adapter.
pub(super) fn linear(params: &Params, l: &Linear, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / l.inputs;
    let mut y = vec![0.0; rows * l.outputs];
    if let Some(b) = l.b {
        y.chunks_exact_mut(l.outputs).for_each(|row| row.copy_from_slice(params.floats(b)));
    }
    let (x_mat, w) = (Mat::new(x, rows, l.inputs), params.transposed(l.w, l.outputs, l.inputs));
    matmul(MatMut::new(&mut y, rows, l.outputs), x_mat, w, 1.0, l.b.is_some(), params.how);
    if let Some(lora) = &l.lora {
        let low = narrow(params, l, x);
        let b = params.transposed(lora.b, l.outputs, lora.rank);
        matmul(MatMut::new(&mut y, rows, l.outputs), Mat::new(&low, rows, lora.rank), b, lora.scale, true, params.how);
    }
    y
}

/// `x·Aᵀ`, \[rows, rank\]; cheap enough to compute again in the backward pass.
fn narrow(params: &Params, l: &Linear, x: &[f32]) -> Vec<f32> {
    let (rows, Some(lora)) = (x.len() / l.inputs, &l.lora) else { return Vec::new() };
    let mut low = vec![0.0; rows * lora.rank];
    let a = params.transposed(lora.a, lora.rank, l.inputs);
    matmul(MatMut::new(&mut low, rows, lora.rank), Mat::new(x, rows, l.inputs), a, 1.0, false, params.how);
    low
}

/// Backward of [`linear`]: adds to the wanted gradients and to `dx`. A frozen weight costs one product, not two.
pub(super) fn linear_back(params: &Params, l: &Linear, x: &[f32], dy: &[f32], dx: &mut [f32], grads: &mut Grads) {
    let rows = x.len() / l.inputs;
    let (x_mat, d) = (Mat::new(x, rows, l.inputs), Mat::new(dy, rows, l.outputs));
    if let Some(dw) = wanted(grads, l.w) {
        matmul(MatMut::new(dw, l.outputs, l.inputs), d.t(), x_mat, 1.0, true, params.how);
    }
    if let Some(db) = l.b.and_then(|b| wanted(grads, b)) {
        for row in dy.chunks_exact(l.outputs) {
            db.iter_mut().zip(row).for_each(|(g, d)| *g += d);
        }
    }
    matmul(MatMut::new(dx, rows, l.inputs), d, params.weight(l.w, l.outputs, l.inputs), 1.0, true, params.how);
    let Some(lora) = &l.lora else { return };
    let mut dlow = vec![0.0; rows * lora.rank];
    let b = Mat::new(params.floats(lora.b), l.outputs, lora.rank);
    matmul(MatMut::new(&mut dlow, rows, lora.rank), d, b, lora.scale, false, params.how);
    if let Some(db) = wanted(grads, lora.b) {
        let low = narrow(params, l, x);
        matmul(
            MatMut::new(db, l.outputs, lora.rank),
            d.t(),
            Mat::new(&low, rows, lora.rank),
            lora.scale,
            true,
            params.how,
        );
    }
    let dlow = Mat::new(&dlow, rows, lora.rank);
    if let Some(da) = wanted(grads, lora.a) {
        matmul(MatMut::new(da, lora.rank, l.inputs), dlow.t(), x_mat, 1.0, true, params.how);
    }
    matmul(
        MatMut::new(dx, rows, l.inputs),
        dlow,
        Mat::new(params.floats(lora.a), lora.rank, l.inputs),
        1.0,
        true,
        params.how,
    );
}
