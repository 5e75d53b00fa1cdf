//! Low-rank adapters (Hu et al. 2021): `y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ` with W frozen; only A and B are trained.
//!
//! A policy without its adapter is its own reference: [`Policy::score_base`] costs no second model.

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::engine::Engine;
use super::{Config, Group, Policy};

/// The projections that can carry an adapter, as PEFT names them.
pub const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
/// PEFT's word for every projection but the output head.
pub const ALL_LINEAR: &str = "all-linear";

/// What an adapter is made of; dropout is not applied.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    /// Width of the bottleneck.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Scale by `alpha / √rank` instead (Kalajdzievski 2023).
    pub rslora: bool,
    /// Names of projections as in PEFT's `target_modules`: `q_proj`, `layers.0.mlp.up_proj`, or [`ALL_LINEAR`].
    pub targets: Vec<String>,
}

impl LoraSettings {
    /// The factor on `B·A`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!((1..=1 << 16).contains(&self.rank), "the adapter's rank is {}: it must be 1 or more", self.rank);
        ensure!(self.alpha > 0.0 && self.alpha.is_finite(), "the adapter's alpha is {}: must be above 0", self.alpha);
        ensure!(!self.targets.is_empty(), "the adapter has no targets: name projections, or {ALL_LINEAR}");
        Ok(())
    }
}

/// A projection that an adapter can stand on: its name without `.weight`, and its width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Module {
    pub name: String,
    pub outputs: usize,
    pub inputs: usize,
}

impl Module {
    /// PEFT's rule for a list: the whole name, or its end behind a dot.
    fn is(&self, target: &str) -> bool {
        self.name.strip_suffix(target).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

/// Every projection of a decoder, in the order of its parameters.
pub(super) fn modules(config: &Config) -> Vec<Module> {
    let linear = |(name, shape): (String, Vec<usize>)| {
        let name = name.strip_suffix("_proj.weight").map(|front| format!("{front}_proj"))?;
        Some(Module { name, outputs: shape[0], inputs: shape[1] })
    };
    config.parameters().into_iter().filter_map(linear).collect()
}

/// The projections that targets name.
///
/// # Errors
/// A target that names none: an adapter on it would silently be left out.
pub(super) fn select(config: &Config, targets: &[String]) -> Result<Vec<Module>> {
    let all = modules(config);
    if targets.iter().any(|target| target == ALL_LINEAR) {
        return Ok(all);
    }
    for target in targets {
        ensure!(
            all.iter().any(|module| module.is(target)),
            "the adapter's target {target:?} is no projection of this decoder: it has {} (or {ALL_LINEAR})",
            PROJECTIONS.join(", ")
        );
    }
    Ok(all.into_iter().filter(|module| targets.iter().any(|target| module.is(target))).collect())
}

/// An adapter in place.
pub(super) struct Lora {
    pub settings: LoraSettings,
    pub modules: Vec<Module>,
    /// A \[rank, inputs\] and B \[outputs, rank\] of each module by turns, under the names of PEFT's files.
    pub vars: Vec<(String, Var)>,
}

impl Lora {
    /// Where A of a projection stands in `vars`; B stands behind it.
    pub fn place(&self, module: &str) -> Option<usize> {
        self.modules.iter().position(|m| m.name == module).map(|at| 2 * at)
    }
}

/// Names of a module's A and B in PEFT's files.
pub(super) fn names(module: &str) -> [String; 2] {
    ["A", "B"].map(|part| format!("base_model.model.{module}.lora_{part}.weight"))
}

impl Policy {
    /// Freezes the weights and puts a fresh adapter on them: A uniform within `±1/√inputs` (PEFT's default), B zero,
    /// so that the policy starts equal to its base.
    ///
    /// # Errors
    /// Settings out of range, a target that is no projection, a policy that has an adapter.
    pub fn with_lora(self, settings: LoraSettings, seed: u64) -> Result<Self> {
        settings.check()?;
        let chosen = select(&self.config, &settings.targets)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut vars = Vec::with_capacity(2 * chosen.len());
        for Module { name, outputs, inputs } in &chosen {
            let bound = 1.0 / (*inputs as f32).sqrt();
            let a: Vec<f32> = (0..settings.rank * inputs).map(|_| rng.random_range(-bound..bound)).collect();
            let [name_a, name_b] = names(name);
            vars.push((name_a, Var::from_vec(a, (settings.rank, *inputs), &self.device)?));
            vars.push((name_b, Var::zeros((*outputs, settings.rank), DType::F32, &self.device)?));
        }
        self.adapted(Lora { settings, modules: chosen, vars })
    }

    pub(super) fn adapted(self, lora: Lora) -> Result<Self> {
        if self.lora.is_some() {
            bail!("this policy has an adapter already: merge it first");
        }
        let Self { config, tokenizer, base, device, source, half, recompute, dtype, .. } = self;
        let policy = Self::assemble(config, tokenizer, base, Some(lora), source, &device)?;
        Ok(Self { half, recompute, dtype, ..policy })
    }

    /// Adds the adapter to the weights (`W += s·B·A`), in float32; afterwards all of them are trainable and there is
    /// no adapter. A policy without one stays as it is.
    ///
    /// # Errors
    /// Only what the device reports (out of memory).
    pub fn merge(self) -> Result<Self> {
        let Self { config, tokenizer, mut base, lora, device, half, recompute, dtype, .. } = self;
        for (name, var) in &mut base {
            if var.dtype() != DType::F32 {
                *var = Var::from_tensor(&var.as_detached_tensor().to_dtype(DType::F32)?)?;
            }
            let module = lora.iter().flat_map(|lora| lora.modules.iter().enumerate().map(move |(i, m)| (lora, i, m)));
            for (lora, i, _) in module.filter(|(_, _, module)| name.strip_suffix(".weight") == Some(&module.name)) {
                let (a, b) = (lora.vars[2 * i].1.as_detached_tensor(), lora.vars[2 * i + 1].1.as_detached_tensor());
                let update = (b.matmul(&a)? * lora.settings.scale())?;
                var.set(&(var.as_detached_tensor() + update)?)?;
            }
        }
        let policy = Self::assemble(config, tokenizer, base, None, None, &device)?;
        Ok(Self { half, recompute, dtype, ..policy })
    }

    /// What the adapter is made of; `None` when the policy has none.
    #[must_use]
    pub fn lora(&self) -> Option<&LoraSettings> {
        self.lora.as_ref().map(|lora| &lora.settings)
    }

    /// Whether the adapter is one that these settings would make (targets are compared by what they name).
    ///
    /// # Errors
    /// A target that is no projection.
    pub fn has_lora(&self, settings: &LoraSettings) -> Result<bool> {
        let Some(lora) = &self.lora else { return Ok(false) };
        let now = &lora.settings;
        let numbers = (now.rank, now.alpha, now.rslora) == (settings.rank, settings.alpha, settings.rslora);
        Ok(numbers && lora.modules == select(&self.config, &settings.targets)?)
    }

    /// Log-probabilities as [`Policy::score`] gives them, without the adapter: the reference that a fine-tuned policy
    /// is held against. The same as `score` when there is no adapter.
    ///
    /// # Errors
    /// Those of [`Policy::logprobs`].
    pub fn score_base(&self, groups: &[Group], temperature: f64) -> Result<Vec<f32>> {
        super::gradient::check_temperature(temperature)?;
        self.check_groups(groups)?;
        if !self.device.is_cpu() {
            let detached = self.base.iter().map(|(_, var)| var.as_detached_tensor());
            let weights = super::Weights::new(&self.config, detached);
            return Ok(self.logprobs_in_graph(&weights, groups, temperature)?.to_vec1()?);
        }
        let engine = Engine::new(&self.config, None)?;
        self.on_slices(|params| Ok(engine.logprobs(params, groups, temperature as f32)))
    }
}

/// A and B of a module as variables, checked.
pub(super) fn pair(module: &Module, rank: usize, tensors: [Tensor; 2], device: &Device) -> Result<[(String, Var); 2]> {
    let shapes = [[rank, module.inputs], [module.outputs, rank]];
    let names = names(&module.name);
    let mut made = Vec::with_capacity(2);
    for ((tensor, shape), name) in tensors.into_iter().zip(shapes).zip(names) {
        ensure!(
            tensor.dims() == shape,
            "tensor {name} has shape {:?}, but this base and rank {rank} ask for {shape:?}: the adapter belongs to another model",
            tensor.dims()
        );
        made.push((name, Var::from_tensor(&tensor.to_dtype(DType::F32)?.to_device(device)?)?));
    }
    made.try_into().map_err(|_| anyhow::anyhow!("a module has two tensors"))
}
