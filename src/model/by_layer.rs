//! The gradient one layer at a time, for devices with little memory beside a large model.
//!
//! candle's graph keeps every intermediate tensor of every layer, and its backward pass keeps a gradient of each
//! leaf, constants such as masks and frozen norms among them. Here the forward pass keeps each layer's input alone, and
//! the way back computes a layer again before it goes through it: a third more products, and the memory of one layer.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};

use super::batch::{Batch, Wanted};
use super::fused::log_of_chosen;
use super::gradient::{Pass, Slope, all_slopes, check_temperature};
use super::rows::embedding_gradient;
use super::{Group, Policy};

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
        check_temperature(temperature)?;
        self.check_groups(groups)?;
        let Wanted { batch, rows, targets } = Wanted::new(groups, &self.device)?;
        let pass = self.pass(&batch)?;
        let last = self.plain.layers.len() - 1;
        let rows_of = |at: usize| (at == last).then_some(&rows);
        let mut inputs = vec![self.plain.embedded(&batch.ids_n)?];
        for (at, layer) in self.plain.layers.iter().enumerate() {
            inputs.push(pass.layer(layer, &inputs[at], rows_of(at))?);
        }
        let (vars, mut sums) = (self.vars(), Sums(HashMap::new()));
        let top = variable(&mut inputs)?;
        let logits = self.tracked.logits(&pass.normed(&self.tracked, &top)?)?;
        let logprobs = log_of_chosen(&logits, &targets, temperature)?;
        let values = logprobs.to_vec1::<f32>()?;
        let slopes = Tensor::from_vec(all_slopes(groups, &values, slope)?, values.len(), &self.device)?;
        let mut dx = back(&logprobs, &slopes, &top, vars, &mut sums)?;
        drop((logits, logprobs));
        for (at, layer) in self.tracked.layers.iter().enumerate().rev() {
            let x = variable(&mut inputs)?;
            dx = back(&pass.layer(layer, &x, rows_of(at))?, &dx, &x, vars, &mut sums)?;
        }
        if self.lora.is_none() {
            self.back_to_embedding(&batch, &dx, &mut sums)?;
        }
        let mut take = |(name, var): &(String, Var)| {
            sums.0.remove(&var.id()).with_context(|| format!("parameter {name} received no gradient"))
        };
        Ok(Pass { logprobs: values, grads: vars.iter().map(&mut take).collect::<Result<_>>()? })
    }

    fn back_to_embedding(&self, batch: &Batch, dx: &Tensor, sums: &mut Sums) -> Result<()> {
        let embed = &self.base[0].1;
        ensure!(embed.dims() == self.plain.embed.dims(), "the first parameter is not the embedding");
        sums.add(embed, embedding_gradient(&batch.ids_n, dx, self.config.vocab)?)?;
        Ok(())
    }
}

/// The newest input as a leaf of a graph of its own.
fn variable(inputs: &mut Vec<Tensor>) -> Result<Var> {
    let input = inputs.pop().context("a layer has an input")?;
    Ok(Var::from_tensor(&input)?)
}

/// Goes back from `y` with slope `dy` to `x`: the gradients of variables on the way go into `sums`, that of `x` is given.
fn back(y: &Tensor, dy: &Tensor, x: &Var, vars: &[(String, Var)], sums: &mut Sums) -> Result<Tensor> {
    // Of more than one number candle goes back from their sum.
    let mut store = (y * dy)?.backward()?;
    sums.take(vars, &mut store)?;
    store.remove(x.as_tensor()).context("a layer gave no gradient to its input")
}
