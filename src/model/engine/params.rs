//! A decoder's parameters as the engine sees them: slices in one order, and the weights that were packed for many products.

use std::sync::Arc;

use rayon::prelude::*;

use super::plan::{Linear, Plan};
use super::product::{How, Mat, Panels, Values, pack, packs, panel_bytes};

/// Weights packed as right sides, by their place in the list of parameters.
pub(in crate::model) type Packed = Vec<Option<Arc<Panels>>>;

/// The product that a weight is packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Way {
    /// `x·Wᵀ`.
    Forth,
    /// `dy·W`.
    Back,
}

/// All parameters in their order, and how to multiply with them.
#[derive(Clone, Copy)]
pub(in crate::model) struct Params<'a> {
    pub values: &'a [Values<'a>],
    /// For the forward pass: as long as `values`, or empty.
    pub packed: &'a [Option<Arc<Panels>>],
    /// The same for the backward pass.
    pub packed_back: &'a [Option<Arc<Panels>>],
    pub how: How,
}

impl<'a> Params<'a> {
    /// A parameter that is never kept in bfloat16: norms, biases, adapters and all that is trained.
    ///
    /// # Panics
    /// When it is: a mistake of who laid the parameters out.
    pub fn floats(&self, at: usize) -> &'a [f32] {
        match self.values[at] {
            Values::F32(x) => x,
            _ => panic!("parameter {at} is not float32"),
        }
    }

    /// The same for half of the work, which is shared out again only where there are threads left.
    pub(super) fn for_half(&self) -> Self {
        Self { how: How { shared: rayon::current_num_threads() > 2, ..self.how }, ..*self }
    }

    /// A weight as it is stored, \[outputs, inputs\], packed where it was.
    pub(super) fn weight(&self, at: usize, outputs: usize, inputs: usize) -> Mat<'a> {
        match self.packed_back.get(at).and_then(Option::as_ref) {
            Some(panels) => Mat::packed(panels),
            None => Mat::weight(self.values[at], outputs, inputs),
        }
    }

    /// A weight's transpose, \[inputs, outputs\], packed where it was.
    pub(super) fn transposed(&self, at: usize, outputs: usize, inputs: usize) -> Mat<'a> {
        match self.packed.get(at).and_then(Option::as_ref) {
            Some(panels) => Mat::packed(panels),
            None => Mat::weight(self.values[at], outputs, inputs).t(),
        }
    }
}

/// The weights that a pass multiplies with: place, outputs, inputs.
fn weights(plan: &Plan) -> Vec<(usize, usize, usize)> {
    let mut weights = vec![(plan.head, plan.vocab, plan.hidden)];
    for l in &plan.layers {
        for Linear { w, outputs, inputs, lora, .. } in l.projections() {
            weights.push((w, outputs, inputs));
            if let Some(lora) = lora {
                weights.extend([(lora.a, lora.rank, inputs), (lora.b, outputs, lora.rank)]);
            }
        }
    }
    weights
}

/// Bytes of the weights packed both ways; none where products do not read panels.
pub(super) fn packed_bytes(plan: &Plan, how: How) -> usize {
    let both = |(_, m, n): (usize, usize, usize)| panel_bytes(m, n, how.half) + panel_bytes(n, m, how.half);
    if packs(how) { weights(plan).into_iter().map(both).sum() } else { 0 }
}

/// Packs the weights that a pass multiplies with, except those that `done` holds already.
pub(in crate::model) fn packed(plan: &Plan, params: &Params, way: Way, done: &[Option<Arc<Panels>>]) -> Packed {
    let mut weights = weights(plan);
    let mut all = done.to_vec();
    all.resize(params.values.len(), None);
    weights.retain(|(at, _, _)| all[*at].is_none());
    let made = weights.into_par_iter().map(|(at, outputs, inputs)| {
        let stored = Mat::weight(params.values[at], outputs, inputs);
        let right = if way == Way::Forth { stored.t() } else { stored };
        (at, pack(right, params.how).map(Arc::new))
    });
    made.collect::<Vec<_>>().into_iter().for_each(|(at, panels)| all[at] = panels);
    all
}
