//! AdamW with moments that can be saved, clipping by the global norm, and the learning-rate schedule.

mod fused;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Storage, Tensor, Var};
use rayon::prelude::*;

use crate::model::{read_safetensors, write_safetensors};
use fused::{Average, CHUNK, Update, values};

/// Which parameters decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Every one.
    All,
    /// All but norms and biases (transformers' Trainer).
    ExceptNormsAndBiases,
}

/// Constants of AdamW (Loshchilov and Hutter 2019); the defaults are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: Decay,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, decay: Decay::ExceptNormsAndBiases }
    }
}

/// Gradients of all parameters, in the parameters' order.
pub struct Gradients(Vec<Tensor>);

impl Gradients {
    /// Takes the gradients of `vars` out of a backward pass.
    ///
    /// # Errors
    /// Names a parameter that received none: the graph is broken somewhere on the way to it.
    pub fn collect(vars: &[(String, Var)], store: &mut GradStore) -> Result<Self> {
        let take = |(name, var): &(String, Var)| {
            let grad =
                store.remove(var.as_tensor()).with_context(|| format!("parameter {name} received no gradient"))?;
            Ok(grad.contiguous()?)
        };
        Ok(Self(vars.iter().map(take).collect::<Result<_>>()?))
    }

    /// Gradients that are already in the parameters' order.
    #[must_use]
    pub fn new(grads: Vec<Tensor>) -> Self {
        Self(grads)
    }

    /// Adds another micro-batch's gradients.
    ///
    /// # Errors
    /// Gradients of other parameters.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        ensure!(self.0.len() == other.0.len(), "gradients of different models cannot be added");
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (&*mine + theirs)?;
        }
        Ok(())
    }

    /// The L2 norm over all parameters together.
    ///
    /// # Errors
    /// Only what the device reports.
    pub fn norm(&self) -> Result<f64> {
        let Some(first) = self.0.first() else { return Ok(0.0) };
        if !first.device().is_cpu() {
            return Ok(f64::from(sum_on_device(&self.0)?.to_scalar::<f32>()?).sqrt());
        }
        let mut sum = 0.0;
        for grad in &self.0 {
            sum += sum_of_squares(grad)?;
        }
        Ok(sum.sqrt())
    }

    /// The gradients, in the parameters' order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }
}

/// The sum of squares of all tensors, left where they are: to ask a device for a number is to wait for it. Row by row
/// first: on a card a sum to one number is the work of one of its many parts.
fn sum_on_device(grads: &[Tensor]) -> candle_core::Result<Tensor> {
    let sums =
        grads.iter().map(|grad| grad.sqr()?.sum(D::Minus1)?.sum_all()).collect::<candle_core::Result<Vec<_>>>()?;
    Tensor::stack(&sums, 0)?.sum_all()
}

fn sum_of_squares(grad: &Tensor) -> Result<f64> {
    let (storage, layout) = grad.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a gradient on the CPU is stored elsewhere") };
    // Chunks are summed in order, so that the sum does not depend on the number of threads.
    let parts: Vec<f64> = values(storage, layout)?
        .par_chunks(CHUNK)
        .map(|part| {
            let mut lanes = [0.0f64; 8];
            for eight in part.chunks(8) {
                lanes.iter_mut().zip(eight).for_each(|(lane, x)| *lane += f64::from(*x) * f64::from(*x));
            }
            lanes.iter().sum()
        })
        .collect();
    Ok(parts.iter().sum())
}

/// AdamW over a fixed list of parameters.
pub struct AdamW {
    settings: AdamWSettings,
    params: Vec<Param>,
    steps: u64,
}

struct Param {
    name: String,
    var: Var,
    mean: Var,
    square: Var,
    decays: bool,
}

impl AdamW {
    /// Starts with zero moments.
    ///
    /// # Errors
    /// Only what the device reports (out of memory).
    pub fn new(vars: &[(String, Var)], settings: AdamWSettings) -> Result<Self> {
        let mut params = Vec::with_capacity(vars.len());
        for (name, var) in vars {
            let exempt = name.contains("norm") || name.ends_with(".bias");
            params.push(Param {
                name: name.clone(),
                var: var.clone(),
                mean: Var::zeros(var.dims(), DType::F32, var.device())?,
                square: Var::zeros(var.dims(), DType::F32, var.device())?,
                decays: settings.decay == Decay::All || !exempt,
            });
        }
        Ok(Self { settings, params, steps: 0 })
    }

    /// Steps taken so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One update. Gradients whose global norm exceeds `max_norm` are scaled by `max_norm / (norm + 1e-6)`, as
    /// PyTorch's `clip_grad_norm_` does; 0 turns that off. Returns the norm before clipping.
    ///
    /// # Errors
    /// A norm that is not finite (nothing is changed then); gradients of other parameters.
    pub fn step(&mut self, grads: &Gradients, lr: f64, max_norm: f64) -> Result<f64> {
        ensure!(grads.0.len() == self.params.len(), "gradients and parameters do not belong together");
        let norm = grads.norm()?;
        ensure!(norm.is_finite(), "the gradient is not finite: lower the learning rate or look at the data");
        let factor = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        self.steps += 1;
        let s = self.settings;
        let power = self.steps as f64;
        for (param, grad) in self.params.iter().zip(&grads.0) {
            let update = Update {
                keep: if param.decays { (1.0 - lr * s.weight_decay) as f32 } else { 1.0 },
                step: (lr / (1.0 - s.beta1.powf(power))) as f32,
                root: (1.0 - s.beta2.powf(power)).sqrt() as f32,
                eps: s.eps as f32,
            };
            param.update(grad, factor, &s, &update)?;
        }
        Ok(norm)
    }

    /// Writes moments and step count to a safetensors file.
    ///
    /// # Errors
    /// A full disk; a folder that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::with_capacity(2 * self.params.len());
        for p in &self.params {
            tensors.push((format!("{}.mean", p.name), p.mean.as_detached_tensor()));
            tensors.push((format!("{}.square", p.name), p.square.as_detached_tensor()));
        }
        // As a tensor, not as metadata: the reader of tensors is all that is needed to read it back.
        tensors.push(("steps".into(), Tensor::new(self.steps as i64, &candle_core::Device::Cpu)?));
        write_safetensors(path, &tensors, &[])
    }

    /// Reads moments and step count back, after which the next step is the one that would have followed.
    ///
    /// # Errors
    /// A missing or damaged file; moments of other parameters.
    pub fn restore(&mut self, path: &Path) -> Result<()> {
        let mut tensors: BTreeMap<String, Tensor> = read_safetensors(path)?.into_iter().collect();
        let mut take = |name: &str| {
            tensors
                .remove(name)
                .with_context(|| format!("{} has no {name}: it belongs to another model", path.display()))
        };
        let steps = take("steps")?.to_scalar::<i64>()?;
        for param in &self.params {
            for (suffix, slot) in [("mean", &param.mean), ("square", &param.square)] {
                let moment = take(&format!("{}.{suffix}", param.name))?.to_dtype(DType::F32)?;
                ensure!(
                    moment.dims() == slot.dims(),
                    "{}: {}.{suffix} has shape {:?}, not {:?}: it belongs to another model",
                    path.display(),
                    param.name,
                    moment.dims(),
                    slot.dims()
                );
                slot.set(&moment.to_device(slot.device())?)?;
            }
        }
        self.steps = u64::try_from(steps).context("a negative step count")?;
        Ok(())
    }
}

impl Param {
    fn update(&self, grad: &Tensor, factor: f64, s: &AdamWSettings, update: &Update) -> candle_core::Result<()> {
        if self.var.device().is_cpu() {
            return self.update_fused(grad, factor, s, update);
        }
        self.update_plain(grad, factor, s, update)
    }

    fn update_fused(&self, grad: &Tensor, factor: f64, s: &AdamWSettings, update: &Update) -> candle_core::Result<()> {
        let mean = Average { beta: s.beta1 as f32, factor: factor as f32, squared: false };
        let square = Average { beta: s.beta2 as f32, factor: factor as f32, squared: true };
        self.mean.inplace_op2(grad, &mean)?;
        self.square.inplace_op2(grad, &square)?;
        self.var.inplace_op3(&self.mean, &self.square, update)
    }

    /// The same from candle's operations, for devices without the fused ones.
    fn update_plain(&self, grad: &Tensor, factor: f64, s: &AdamWSettings, update: &Update) -> candle_core::Result<()> {
        let grad = (grad * factor)?;
        self.mean.set(&((self.mean.as_tensor() * s.beta1)? + (&grad * (1.0 - s.beta1))?)?)?;
        self.square.set(&((self.square.as_tensor() * s.beta2)? + (grad.sqr()? * (1.0 - s.beta2))?)?)?;
        let root = ((self.square.sqrt()? / f64::from(update.root))? + f64::from(update.eps))?;
        let change = (self.mean.div(&root)? * f64::from(update.step))?;
        self.var.set(&((self.var.as_tensor() * f64::from(update.keep))? - change)?)
    }
}

/// The learning rate of step `step` (from 0) out of `steps`: linear from `peak/warmup` to `peak` over `warmup` steps,
/// then half a cosine down to `floor` at the last step.
#[must_use]
pub fn cosine(step: u64, steps: u64, warmup: u64, peak: f64, floor: f64) -> f64 {
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    let rest = steps.saturating_sub(warmup + 1).max(1) as f64;
    let done = ((step - warmup) as f64 / rest).min(1.0);
    floor + (peak - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn two() -> Vec<(String, Var)> {
        let var = |values: &[f32]| Var::new(values, &Device::Cpu).unwrap();
        vec![("w".into(), var(&[1.0, -2.0, 3.0])), ("norm".into(), var(&[1.0]))]
    }

    fn gradients(vars: &[(String, Var)]) -> Gradients {
        let loss = (vars[0].1.sqr().unwrap().sum_all().unwrap() + vars[1].1.sum_all().unwrap()).unwrap();
        Gradients::collect(vars, &mut loss.backward().unwrap()).unwrap()
    }

    fn weights(vars: &[(String, Var)]) -> Vec<Vec<f32>> {
        vars.iter().map(|(_, var)| var.to_vec1().unwrap()).collect()
    }

    #[test]
    fn restored_moments_continue_to_the_same_bits() {
        let (vars, file) = (two(), tempfile::NamedTempFile::new().unwrap());
        let mut adam = AdamW::new(&vars, AdamWSettings::default()).unwrap();
        adam.step(&gradients(&vars), 0.1, 1.0).unwrap();
        adam.save(file.path()).unwrap();
        let copy: Vec<_> =
            vars.iter().map(|(n, v)| (n.clone(), Var::from_tensor(&v.copy().unwrap()).unwrap())).collect();
        let mut other = AdamW::new(&copy, AdamWSettings::default()).unwrap();
        other.restore(file.path()).unwrap();
        assert_eq!(other.steps(), 1);
        adam.step(&gradients(&vars), 0.1, 1.0).unwrap();
        other.step(&gradients(&copy), 0.1, 1.0).unwrap();
        assert_eq!(weights(&vars), weights(&copy));
    }

    #[test]
    fn a_first_step_moves_by_the_learning_rate_and_decays_what_it_should() {
        let vars = two();
        let settings = AdamWSettings { weight_decay: 0.5, ..AdamWSettings::default() };
        let mut adam = AdamW::new(&vars, settings).unwrap();
        let norm = adam.step(&gradients(&vars), 0.1, 0.0).unwrap();
        // d/dw Σw² + Σn at (1,-2,3), 1.
        assert!((norm - (4.0f64 + 16.0 + 36.0 + 1.0).sqrt()).abs() < 1e-6);
        let expected = [vec![0.95 - 0.1, -1.9 + 0.1, 2.85 - 0.1], vec![0.9]];
        for (got, want) in weights(&vars).iter().flatten().zip(expected.iter().flatten()) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn the_fused_update_and_the_plain_one_agree() {
        let param = || {
            let var = |values: &[f32]| Var::new(values, &Device::Cpu).unwrap();
            let (mean, square) = (var(&[0.1, -0.2, 0.0]), var(&[0.01, 0.5, 1e-6]));
            Param { name: "w".into(), var: var(&[1.0, -2.0, 3.0]), mean, square, decays: true }
        };
        let grad = Tensor::new(&[0.5f32, -1.5, 1e-3], &Device::Cpu).unwrap();
        let update = Update { keep: 0.99, step: 0.3, root: 0.7, eps: 1e-8 };
        let (fused, plain) = (param(), param());
        fused.update_fused(&grad, 0.5, &AdamWSettings::default(), &update).unwrap();
        plain.update_plain(&grad, 0.5, &AdamWSettings::default(), &update).unwrap();
        for (a, b) in [(&fused.var, &plain.var), (&fused.mean, &plain.mean), (&fused.square, &plain.square)] {
            for (a, b) in a.to_vec1::<f32>().unwrap().iter().zip(b.to_vec1::<f32>().unwrap()) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-6), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_norm_is_the_same_wherever_it_is_summed() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let grads = Gradients::new(vec![tensor(&[3.0, -4.0]), tensor(&[12.0])]);
        assert_eq!(grads.norm().unwrap(), 13.0);
        assert_eq!(sum_on_device(grads.tensors()).unwrap().to_scalar::<f32>().unwrap(), 169.0);
    }

    #[test]
    fn a_parameter_without_a_gradient_is_named() {
        let vars = two();
        let error = Gradients::collect(&vars, &mut vars[0].1.sum_all().unwrap().backward().unwrap()).err().unwrap();
        assert!(error.to_string().contains("parameter norm"), "{error}");
    }

    #[test]
    fn the_schedule_rises_peaks_and_ends_at_its_floor() {
        let lr = |step| cosine(step, 100, 10, 1.0, 0.1);
        assert!((lr(0) - 0.1).abs() < 1e-12 && (lr(9) - 1.0).abs() < 1e-12 && (lr(10) - 1.0).abs() < 1e-12);
        assert!((lr(99) - 0.1).abs() < 1e-12 && lr(500) >= 0.1 - 1e-12);
        assert!((10..99).all(|s| lr(s + 1) < lr(s)));
        assert!(cosine(0, 0, 0, 1.0, 0.0).is_finite());
    }
}
