//! The face that training uses: log-probabilities of groups, and the gradient of a loss given by its slopes.

use anyhow::{Result, bail, ensure};
use candle_core::{CpuStorage, Storage, Tensor};

use super::batch::{Wanted, last_places};
use super::engine::{Engine, How, Packed, Params, Values};
use super::fused::{entropies, log_of_chosen};
use super::{Group, Policy, transformer};

/// `d loss / d logprob` for each completion token of a group: gets the group's place in the batch and its own
/// log-probabilities (in the order completion, token). Called once a group, from any thread.
pub type Slope<'a> = dyn Fn(usize, &[f32]) -> Vec<f32> + Sync + 'a;

/// What a batch of groups gave.
pub struct Pass {
    /// One a completion token, in the order group, completion, token; nats.
    pub logprobs: Vec<f32>,
    /// Entropies of the distributions that predict these tokens (at the pass's temperature), in the same order; nats. None
    /// where tokens had weights and a card computed.
    pub entropies: Vec<f32>,
    /// One a parameter, in the order of [`Policy::vars`].
    pub grads: Vec<Tensor>,
}

impl Policy {
    /// Log-probabilities of the completions (logits divided by `temperature`), and the gradient of the loss whose
    /// slopes `slope` gives. On a CPU the engine computes it, elsewhere candle, a layer at a time.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`]; a slope that does not give one number a token.
    pub fn gradient(&self, groups: &[Group], temperature: f64, slope: &Slope) -> Result<Pass> {
        self.gradient_where(groups, None, temperature, slope)
    }

    /// [`Policy::gradient`] of a loss in which tokens have weights, one a completion token, group by group. What comes before a
    /// completion's first weight other than 0 need not be predicted, and takes no time where the engine computes: its
    /// log-probability is then given as 0.
    ///
    /// # Errors
    /// Those of [`Policy::gradient`]; another number of weights than of tokens.
    pub fn weighted_gradient(
        &self,
        groups: &[Group],
        weights: &[Vec<f32>],
        temperature: f64,
        slope: &Slope,
    ) -> Result<Pass> {
        let fit = groups.iter().map(Group::tokens_of_completions).eq(weights.iter().map(Vec::len));
        ensure!(fit, "the weights of {} groups are not those of {} groups' tokens", weights.len(), groups.len());
        self.gradient_where(groups, Some(weights), temperature, slope)
    }

    fn gradient_where(
        &self,
        groups: &[Group],
        weights: Option<&[Vec<f32>]>,
        temperature: f64,
        slope: &Slope,
    ) -> Result<Pass> {
        ensure!(!self.frozen, "this policy is frozen: it has nothing to train");
        if !self.device().is_cpu() {
            return self.layer_by_layer(groups, temperature, slope, weights.is_none());
        }
        check_temperature(temperature)?;
        self.check_groups(groups)?;
        let engine = self.engine()?;
        let pass = self.on_slices(|params| Ok(engine.backward(params, groups, weights, temperature as f32, slope)))?;
        let shaped = pass.grads.into_iter().zip(self.vars());
        let grads = shaped.map(|(grad, (_, var))| Ok(Tensor::from_vec(grad, var.dims(), self.device())?));
        Ok(Pass { logprobs: pass.logprobs, entropies: pass.entropies, grads: grads.collect::<Result<_>>()? })
    }

    /// [`Policy::gradient`] through candle's graph on any device: the engine's reference.
    ///
    /// # Errors
    /// Those of [`Policy::gradient`]; a parameter that the graph does not reach.
    pub fn gradient_in_graph(&self, groups: &[Group], temperature: f64, slope: &Slope) -> Result<Pass> {
        check_temperature(temperature)?;
        self.check_groups(groups)?;
        let Wanted { batch, rows, targets } = Wanted::new(groups, &self.device)?;
        let hidden = transformer::hidden_of(&self.pass(&batch)?, &self.tracked, &batch, &rows)?;
        let logits = self.tracked.logits(&hidden)?;
        let logprobs = log_of_chosen(&logits, &targets, temperature)?;
        let (values, entropies) = (logprobs.to_vec1::<f32>()?, entropies(&logits, temperature)?);
        let slopes = all_slopes(groups, &values, slope)?;
        let loss = (logprobs * Tensor::from_vec(slopes, values.len(), self.device())?)?.sum_all()?;
        let mut store = loss.backward()?;
        let grads = self.vars().iter().map(|(name, var)| match store.remove(var.as_tensor()) {
            Some(grad) => Ok(grad.contiguous()?),
            None => bail!("parameter {name} received no gradient"),
        });
        Ok(Pass { logprobs: values, entropies, grads: grads.collect::<Result<_>>()? })
    }

    /// Log-probabilities of the completions without a gradient, in the order group, completion, token.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`].
    pub fn score(&self, groups: &[Group], temperature: f64) -> Result<Vec<f32>> {
        check_temperature(temperature)?;
        self.check_groups(groups)?;
        if !self.device().is_cpu() {
            return Ok(self.logprobs_in_graph(&self.plain, groups, temperature)?.to_vec1()?);
        }
        let engine = self.engine()?;
        self.on_slices(|params| Ok(engine.logprobs(params, groups, temperature as f32)))
    }

    /// Logits of some tokens where the last token of each completion is predicted, in the order group, completion, choice;
    /// which token stands there does not matter.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`]; an empty completion; a choice outside the vocabulary.
    pub fn choice_logits(&self, groups: &[Group], choices: &[u32]) -> Result<Vec<f32>> {
        self.check_groups(groups)?;
        ensure!(groups.iter().all(|g| g.completions.iter().all(|c| !c.is_empty())), "a completion has no last token");
        ensure!(choices.iter().all(|id| (*id as usize) < self.config.vocab), "a choice lies outside the vocabulary");
        if self.device().is_cpu() {
            let engine = self.engine()?;
            return self.on_slices(|params| Ok(engine.last_choices(params, groups, choices)));
        }
        self.choice_logits_in_graph(groups, choices)
    }

    /// [`Policy::choice_logits`] from candle's own operations: for devices other than the CPU, and the engine's reference.
    ///
    /// # Errors
    /// Those of [`Policy::choice_logits`].
    pub fn choice_logits_in_graph(&self, groups: &[Group], choices: &[u32]) -> Result<Vec<f32>> {
        let Wanted { batch, rows, .. } = Wanted::new(groups, &self.device)?;
        let hidden = transformer::hidden_of(&self.pass(&batch)?, &self.plain, &batch, &rows)?;
        let last: Vec<u32> = last_places(groups).map(|place| place as u32).collect();
        let logits = self.plain.logits(&hidden.index_select(&Tensor::new(last, &self.device)?, 0)?)?;
        let chosen = logits.index_select(&Tensor::new(choices, &self.device)?, 1)?;
        Ok(chosen.flatten_all()?.to_vec1()?)
    }

    pub(super) fn engine(&self) -> Result<Engine> {
        Ok(Engine::new(&self.config, self.lora.as_ref())?.recomputing(self.recompute))
    }

    /// Hands all parameters to `work` as slices: the decoder's own, then the adapter's.
    pub(super) fn on_slices<T>(&self, work: impl FnOnce(&Params) -> Result<T>) -> Result<T> {
        let all = self.base.iter().chain(self.lora.iter().flat_map(|lora| &lora.vars));
        let guards: Vec<_> = all.map(|(_, var)| var.storage_and_layout()).collect();
        let mut values = Vec::with_capacity(guards.len());
        for (storage, layout) in &guards {
            let (Storage::Cpu(storage), Some((from, to))) = (&**storage, layout.contiguous_offsets()) else {
                bail!("a parameter is not a contiguous tensor on the CPU");
            };
            values.push(match storage {
                CpuStorage::BF16(x) => Values::Bf16(&x[from..to]),
                other => Values::F32(&other.as_slice::<f32>()?[from..to]),
            });
        }
        let how = How { half: self.half, shared: false };
        let packed = self.packed.get().map_or(&[][..], Vec::as_slice);
        // Parameters of an adapter are not among what is kept packed.
        work(&Params { values: &values, packed, packed_back: &[], how })
    }

    /// [`Policy::on_slices`] with every weight packed: for decoding, which multiplies with each of them often.
    pub(super) fn with_packed<T>(&self, work: impl FnOnce(&Engine, &Params) -> Result<T>) -> Result<T> {
        let engine = self.engine()?;
        self.on_slices(|params| {
            let of_base = || {
                let values = &params.values[..self.base.len()];
                Engine::new(&self.config, None).map(|base| base.packed(&Params { values, ..*params }, &Vec::new()))
            };
            let none = Packed::new();
            let done = match (self.frozen || self.lora.is_some(), self.packed.get()) {
                (false, _) => &none,
                (true, Some(packed)) => packed,
                (true, None) => {
                    let made = of_base()?;
                    self.packed.get_or_init(|| made)
                }
            };
            let packed = engine.packed(params, done);
            work(&engine, &Params { packed: &packed, ..*params })
        })
    }
}

/// The slopes of all groups, one a token.
pub(super) fn all_slopes(groups: &[Group], logprobs: &[f32], slope: &Slope) -> Result<Vec<f32>> {
    let mut slopes = Vec::with_capacity(logprobs.len());
    for (i, group) in groups.iter().enumerate() {
        let tokens: usize = group.completions.iter().map(Vec::len).sum();
        slopes.extend(slope(i, &logprobs[slopes.len()..slopes.len() + tokens]));
    }
    ensure!(slopes.len() == logprobs.len(), "{} slopes for {} tokens", slopes.len(), logprobs.len());
    Ok(slopes)
}

pub(super) fn check_temperature(temperature: f64) -> Result<()> {
    ensure!(temperature > 0.0 && temperature.is_finite(), "temperature = {temperature} must be above 0");
    Ok(())
}
