//! The face that training uses: log-probabilities of groups, and the gradient of a loss given by its slopes.

use anyhow::{Result, bail};
use candle_core::Tensor;

use super::{Group, Policy};

/// `d loss / d logprob` for each completion token of a group: gets the group's place in the batch and its own
/// log-probabilities (in the order completion, token). Called once a group, from any thread.
pub type Slope<'a> = dyn Fn(usize, &[f32]) -> Vec<f32> + Sync + 'a;

/// What a batch of groups gave.
pub struct Pass {
    /// One a completion token, in the order group, completion, token; nats.
    pub logprobs: Vec<f32>,
    /// One a parameter, in the order of [`Policy::vars`].
    pub grads: Vec<Tensor>,
}

impl Policy {
    /// Log-probabilities of the completions (logits divided by `temperature`), and the gradient of the loss whose
    /// slopes `slope` gives.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`].
    pub fn gradient(&self, groups: &[Group], temperature: f64, slope: &Slope) -> Result<Pass> {
        let logprobs = self.logprobs(groups, temperature)?;
        let values = logprobs.to_vec1::<f32>()?;
        let mut slopes = Vec::with_capacity(values.len());
        for (i, group) in groups.iter().enumerate() {
            let tokens: usize = group.completions.iter().map(Vec::len).sum();
            slopes.extend(slope(i, &values[slopes.len()..slopes.len() + tokens]));
        }
        let loss = (logprobs * Tensor::from_vec(slopes, values.len(), self.device())?)?.sum_all()?;
        let mut store = loss.backward()?;
        let grads = self.vars().iter().map(|(name, var)| match store.remove(var.as_tensor()) {
            Some(grad) => Ok(grad.contiguous()?),
            None => bail!("parameter {name} received no gradient"),
        });
        Ok(Pass { logprobs: values, grads: grads.collect::<Result<_>>()? })
    }

    /// Log-probabilities of the completions without a gradient, in the order group, completion, token.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`].
    pub fn score(&self, groups: &[Group], temperature: f64) -> Result<Vec<f32>> {
        Ok(self.logprobs(groups, temperature)?.detach().to_vec1()?)
    }
}
