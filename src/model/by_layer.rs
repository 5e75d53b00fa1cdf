//! The gradient one layer at a time, for devices with little memory beside a large model.
//!
//! candle's graph keeps every intermediate tensor of every layer, and its backward pass keeps a gradient of each
//! leaf, constants such as masks and frozen norms among them. Here the forward pass keeps each layer's input alone, and
//! the way back computes a layer again before it goes through it: a third more products, and the memory of one layer. Small
//! models keep their layers' graphs instead.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};

use super::batch::{Batch, Wanted};
use super::fused::{entropies, log_of_chosen};
use super::gradient::{Pass, Slope, all_slopes, check_temperature};
use super::rows::{Rows, embedding_gradient};
use super::{Group, Policy, transformer};

/// A model of fewer parameters keeps all that its layers computed until the way back, unless `train.recompute` says otherwise.
const KEPT: usize = 100_000_000;

/// A layer on the way forward.
struct Step {
    /// What went in, as a leaf of a graph of its own.
    x: Var,
    /// What came out, where it is kept.
    y: Option<Tensor>,
}

/// What one layer's way back adds to the gradients of the parameters.
struct Sums(HashMap<TensorId, Tensor>);

impl Sums {
    /// Takes what a backward pass gave for any of the variables.
    fn take(&mut self, vars: &[(String, Var)], store: &mut GradStore) -> candle_core::Result<()> {
        for (_, var) in vars {
            if let Some(grad) = store.remove(var.as_tensor()) {
                self.add(var, grad)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, var: &Var, grad: Tensor) -> candle_core::Result<()> {
        let sum = match self.0.remove(&var.id()) {
            // A tied embedding is met twice.
            Some(earlier) => (earlier + grad)?,
            None => grad.contiguous()?,
        };
        self.0.insert(var.id(), sum);
        Ok(())
    }
}

impl Policy {
    /// [`Policy::gradient_in_graph`] in the memory of one layer.
    ///
    /// # Errors
    /// Those of [`Policy::gradient`]; a parameter that no layer reaches.
    pub fn gradient_by_layer(&self, groups: &[Group], temperature: f64, slope: &Slope) -> Result<Pass> {
        self.layer_by_layer(groups, temperature, slope, true)
    }

    /// [`Policy::gradient_by_layer`]; entropies cost as much again as the log-probabilities, so who has no use for them gets none.
    pub(super) fn layer_by_layer(
        &self,
        groups: &[Group],
        temperature: f64,
        slope: &Slope,
        wants_entropies: bool,
    ) -> Result<Pass> {
        check_temperature(temperature)?;
        self.check_groups(groups)?;
        let Wanted { batch, rows, targets } = Wanted::new(groups, &self.device)?;
        let pass = self.pass(&batch)?;
        let embedded = self.plain.embedded(&batch.ids_n)?;
        let (mut steps, x) = self.forwards(&pass, embedded, &rows)?;
        let (vars, mut sums) = (self.vars(), Sums(HashMap::new()));
        let top = Var::from_tensor(&x)?;
        let logits = self.tracked.logits(&pass.normed(&self.tracked, &top)?)?;
        let logprobs = log_of_chosen(&logits, &targets, temperature)?;
        let values = logprobs.to_vec1::<f32>()?;
        let entropies = if wants_entropies { entropies(&logits, temperature)? } else { Vec::new() };
        let slopes = Tensor::from_vec(all_slopes(groups, &values, slope)?, values.len(), &self.device)?;
        let mut dx = back(&logprobs, &slopes, &top, vars, &mut sums)?;
        drop((logits, logprobs));
        for (at, layer) in self.tracked.layers.iter().enumerate().rev() {
            let Step { x, y } = steps.pop().context("a layer has an input")?;
            let y = match y {
                Some(y) => y,
                None => pass.layer(layer, &x, self.rows_of(at, &rows))?,
            };
            dx = back(&y, &dx, &x, vars, &mut sums)?;
        }
        if self.lora.is_none() {
            self.back_to_embedding(&batch, &dx, &mut sums)?;
        }
        let mut take = |(name, var): &(String, Var)| {
            sums.0.remove(&var.id()).with_context(|| format!("parameter {name} received no gradient"))
        };
        Ok(Pass { logprobs: values, entropies, grads: vars.iter().map(&mut take).collect::<Result<_>>()? })
    }

    /// Every layer's step, and what comes out of the last.
    fn forwards(&self, pass: &transformer::Pass, mut x: Tensor, rows: &Rows) -> Result<(Vec<Step>, Tensor)> {
        let keeps = !self.recompute && self.parameters() < KEPT;
        let layers = if keeps { &self.tracked.layers } else { &self.plain.layers };
        let mut steps = Vec::with_capacity(layers.len());
        for (at, layer) in layers.iter().enumerate() {
            let input = Var::from_tensor(&x)?;
            let from = if keeps { input.as_tensor() } else { &x };
            let y = pass.layer(layer, from, self.rows_of(at, rows))?;
            x = y.detach();
            steps.push(Step { x: input, y: keeps.then_some(y) });
        }
        Ok((steps, x))
    }

    /// The last layer is computed for those rows alone that are asked for.
    fn rows_of<'a>(&self, at: usize, rows: &'a Rows) -> Option<&'a Rows> {
        (at + 1 == self.plain.layers.len()).then_some(rows)
    }

    fn back_to_embedding(&self, batch: &Batch, dx: &Tensor, sums: &mut Sums) -> Result<()> {
        let embed = &self.base[0].1;
        ensure!(embed.dims() == self.plain.embed.dims(), "the first parameter is not the embedding");
        sums.add(embed, embedding_gradient(&batch.ids_n, dx, self.config.vocab)?)?;
        Ok(())
    }
}

/// Goes back from `y` with slope `dy` to `x`: the gradients of variables on the way go into `sums`, that of `x` is given.
fn back(y: &Tensor, dy: &Tensor, x: &Var, vars: &[(String, Var)], sums: &mut Sums) -> Result<Tensor> {
    // Of more than one number candle goes back from their sum.
    let mut store = (y * dy)?.backward()?;
    sums.take(vars, &mut store)?;
    store.remove(x.as_tensor()).context("a layer gave no gradient to its input")
}
