//! The training path on the CPU: forward and gradient of the whole decoder on slices, one pack of groups per thread.
//!
//! candle's graph spends most of a small model's step on copies and small allocations; here a prompt is computed once
//! for all its completions, nothing is padded, and each thread runs its own packs. `transformer.rs` computes the same
//! from candle's operations; it is the reference in tests, and the path on other devices.
//!
//! In candle's graph the result hangs on every parameter through [`Attach`], so `backward()` works as ever.

mod decode;
mod kernels;
mod layer;
mod pack;

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Storage, Tensor, Var};
use gemm::Parallelism;
use rayon::prelude::*;

use super::Group;
use super::config::Config;
use super::transformer::rotary;
use kernels::{Into, Mat, add, exp, norm, norm_back, product};
use layer::{Frame, Kept, Places, Projection, gather};
use pack::{Pack, packs};

pub(super) use decode::decode;

/// Gradients of all threads together hold at most this many values (4 GB).
const GRADIENT_VALUES: usize = 1 << 30;

/// Log-probabilities of all completion tokens, `[tokens]`, hanging on `vars` in candle's graph.
///
/// The caller has checked the ids, and that there is at least one completion token.
pub(super) fn logprobs(config: &Config, vars: &[(String, Var)], groups: &[Group], temperature: f64) -> Result<Tensor> {
    let size: usize = vars.iter().map(|(_, var)| var.elem_count()).sum();
    let parts = rayon::current_num_threads().min(GRADIENT_VALUES / size.max(1)).max(1);
    let work = Work::new(config, vars, packs(groups, parts), temperature)?;
    let (values, kept): (Vec<Vec<f32>>, Vec<PackKept>) = work.run(Work::forward)?.into_iter().unzip();
    let values = values.concat();
    let n = values.len();
    let mut out = Tensor::from_vec(values, n, &Device::Cpu)?;
    let shared = Arc::new(Shared { work, kept, grads: Mutex::new(Vec::new()) });
    for index in 0..vars.len() {
        let attach = Attach { shared: shared.clone(), index, outermost: index + 1 == vars.len() };
        out = out.apply_op2(vars[index].1.as_tensor(), attach)?;
    }
    Ok(out)
}

fn detached(vars: &[(String, Var)]) -> Vec<Tensor> {
    vars.iter().map(|(_, var)| var.as_detached_tensor()).collect()
}

/// Calls `task` with the parameters as slices, which nobody can change meanwhile.
fn with_params<T>(vars: &[Tensor], task: impl FnOnce(&[&[f32]]) -> Result<T>) -> Result<T> {
    let guards: Vec<_> = vars.iter().map(Tensor::storage_and_layout).collect();
    let mut params: Vec<&[f32]> = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(storage), Some((from, to))) => params.push(&storage.as_slice::<f32>()?[from..to]),
            _ => bail!("a parameter is not contiguous on the CPU"),
        }
    }
    task(&params)
}

/// All that a forward pass leaves for its gradient.
struct Shared {
    work: Work,
    kept: Vec<PackKept>,
    /// Gradients by parameter, filled by the outermost [`Attach`].
    grads: Mutex<Vec<Tensor>>,
}

/// Passes its first argument through, and gives its second, a parameter, the gradient that the engine computed.
///
/// They are nested, one per parameter. Backward reaches the outermost first; the gradient it sees is that of the
/// result, from which it computes all parameters' gradients at once.
struct Attach {
    shared: Arc<Shared>,
    index: usize,
    outermost: bool,
}

impl CustomOp2 for Attach {
    fn name(&self) -> &'static str {
        "attach-parameter"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((from, to)) = l1.contiguous_offsets() else { candle_core::bail!("not contiguous") };
        Ok((CpuStorage::F32(s1.as_slice::<f32>()?[from..to].to_vec()), l1.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Ok(mut grads) = self.shared.grads.lock() else {
            candle_core::bail!("a gradient computation failed before")
        };
        if self.outermost {
            let grad = grad.to_vec1::<f32>()?;
            *grads = self.shared.back(&grad).map_err(|e| candle_core::Error::msg(format!("{e:#}")))?;
        }
        Ok((Some(grad.clone()), Some(grads[self.index].clone())))
    }
}

/// What a pack's forward pass keeps.
struct PackKept {
    layers: Vec<Kept>,
    last: Vec<f32>,
    r: Vec<f32>,
    normed: Vec<f32>,
    /// Logits over the temperature, `[needed, V]`, and each row's log of the sum of exponentials.
    logits: Vec<f32>,
    log_sums: Vec<f32>,
}

/// Where the parameters stand in their list; the embedding is the first.
struct Map {
    layers: Vec<Places>,
    norm: usize,
    head: usize,
}

impl Map {
    fn new(config: &Config, vars: &[(String, Var)]) -> Result<Self> {
        let at = |name: &str| vars.iter().position(|(n, _)| n == name);
        let find = |name: &str| at(name).with_context(|| format!("parameter {name} is missing"));
        let layers = (0..config.layers).map(|i| places(i, &at)).collect::<Option<_>>();
        Ok(Self {
            layers: layers.context("a layer's parameters are incomplete")?,
            norm: find("model.norm.weight")?,
            head: find(if config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" })?,
        })
    }
}

/// A batch of packs and where to find the parameters.
struct Work {
    config: Config,
    vars: Vec<Tensor>,
    map: Map,
    packs: Vec<Pack>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    temperature: f32,
}

impl Work {
    fn new(config: &Config, vars: &[(String, Var)], packs: Vec<Pack>, temperature: f64) -> Result<Self> {
        let longest = packs.iter().flat_map(|p| &p.positions).max().map_or(0, |p| p + 1);
        let (cos, sin) = rotary(config, longest, &Device::Cpu)?;
        Ok(Self {
            config: config.clone(),
            vars: detached(vars),
            map: Map::new(config, vars)?,
            packs,
            cos: cos.flatten_all()?.to_vec1()?,
            sin: sin.flatten_all()?.to_vec1()?,
            temperature: temperature as f32,
        })
    }

    /// Runs `task` on every pack, in parallel, with the parameters as slices.
    fn run<T: Send>(&self, task: impl Fn(&Self, &Frame, usize) -> T + Sync) -> Result<Vec<T>> {
        let threads = if self.packs.len() > 1 { Parallelism::None } else { Parallelism::Rayon(0) };
        with_params(&self.vars, |params| {
            let (config, cos, sin) = (&self.config, self.cos.as_slice(), self.sin.as_slice());
            let one = |(i, pack)| task(self, &Frame { config, pack, params, cos, sin, threads }, i);
            Ok(self.packs.par_iter().enumerate().map(one).collect())
        })
    }

    fn forward(&self, frame: &Frame, _: usize) -> (Vec<f32>, PackKept) {
        let Config { hidden, vocab, .. } = self.config;
        let ids: Vec<usize> = frame.pack.ids.iter().map(|id| *id as usize).collect();
        let mut x = gather(frame.params[0], &ids, hidden);
        let mut layers = Vec::with_capacity(self.map.layers.len());
        for (i, places) in self.map.layers.iter().enumerate() {
            let rows = (i + 1 == self.map.layers.len()).then(|| frame.pack.needed.clone());
            let (out, kept) = frame.forward(places, x, rows);
            layers.push(kept);
            x = out;
        }
        let mut normed = vec![0.0; x.len()];
        let r = norm(&mut normed, &x, frame.params[self.map.norm], self.config.norm_eps as f32);
        let mut logits = vec![0.0; frame.pack.needed.len() * vocab];
        let head = Mat::new(frame.params[self.map.head], hidden);
        let scale = 1.0 / self.temperature;
        product(&mut logits, vocab, Mat::new(&normed, hidden), head.t(), Into::Set, scale, frame.threads);
        let log_sums: Vec<f32> = logits.chunks_exact(vocab).map(log_sum_exp).collect();
        let pick = |(row, id): &(usize, u32)| logits[row * vocab + *id as usize] - log_sums[*row];
        let values = frame.pack.picks.iter().map(pick).collect();
        (values, PackKept { layers, last: x, r, normed, logits, log_sums })
    }

    /// Gradients of all parameters from that of one pack's log-probabilities.
    fn back(&self, frame: &Frame, kept: &PackKept, grad: &[f32]) -> Vec<Vec<f32>> {
        let Config { hidden, vocab, .. } = self.config;
        let mut grads: Vec<Vec<f32>> = frame.params.iter().map(|p| vec![0.0; p.len()]).collect();
        // d logp(id) / d logits = 1[id] - softmax, summed over the tokens that one row predicts.
        let mut sums = vec![0.0; kept.log_sums.len()];
        frame.pack.picks.iter().zip(grad).for_each(|((row, _), g)| sums[*row] += g);
        let mut dlogits = vec![0.0; kept.logits.len()];
        let rows = dlogits.chunks_exact_mut(vocab).zip(kept.logits.chunks_exact(vocab));
        for ((d, logits), (sum, log_sum)) in rows.zip(sums.iter().zip(&kept.log_sums)) {
            d.iter_mut().zip(logits).for_each(|(d, x)| *d = -sum * exp(x - log_sum));
        }
        for ((row, id), g) in frame.pack.picks.iter().zip(grad) {
            dlogits[row * vocab + *id as usize] += g;
        }
        dlogits.iter_mut().for_each(|d| *d /= self.temperature);
        let mut dnormed = vec![0.0; kept.normed.len()];
        frame.linear_back(&mut dnormed, &mut grads, &dlogits, &kept.normed, self.map.head, hidden);
        let mut dx = vec![0.0; kept.last.len()];
        norm_back(&mut dx, &mut grads[self.map.norm], &dnormed, &kept.last, frame.params[self.map.norm], &kept.r);
        for (places, layer) in self.map.layers.iter().zip(&kept.layers).rev() {
            dx = frame.back(places, layer, dx, &mut grads);
        }
        for (id, dx) in frame.pack.ids.iter().zip(dx.chunks_exact(hidden)) {
            add(&mut grads[0][*id as usize * hidden..][..hidden], dx);
        }
        grads
    }
}

impl Shared {
    /// Gradients of all parameters, in order; `grad` is that of all packs' log-probabilities.
    fn back(&self, grad: &[f32]) -> Result<Vec<Tensor>> {
        let mut starts = vec![0];
        starts.extend(self.work.packs.iter().scan(0, |at, p| {
            *at += p.picks.len();
            Some(*at)
        }));
        let parts = self.work.run(|work, frame, i| work.back(frame, &self.kept[i], &grad[starts[i]..starts[i + 1]]))?;
        let mut by_param: Vec<Vec<Vec<f32>>> = self.work.vars.iter().map(|_| Vec::new()).collect();
        for part in parts {
            by_param.iter_mut().zip(part).for_each(|(list, g)| list.push(g));
        }
        // Packs are summed in their order, so that the result does not depend on which thread was first.
        let sum = |(list, var): (Vec<Vec<f32>>, &Tensor)| -> Result<Tensor> {
            let mut list = list.into_iter();
            let mut sum = list.next().context("there is at least one pack")?;
            list.for_each(|g| add(&mut sum, &g));
            Ok(Tensor::from_vec(sum, var.shape(), &Device::Cpu)?)
        };
        by_param.into_par_iter().zip(&self.work.vars).map(sum).collect()
    }
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0.0f64; 4];
    row.iter().enumerate().for_each(|(i, x)| lanes[i % 4] += f64::from(exp(x - largest)));
    (f64::from(largest) + lanes.iter().sum::<f64>().ln()) as f32
}

fn places(layer: usize, at: &impl Fn(&str) -> Option<usize>) -> Option<Places> {
    let find = |name: &str| at(&format!("model.layers.{layer}.{name}"));
    let projection = |name: &str| {
        let weight = find(&format!("self_attn.{name}.weight"))?;
        Some(Projection { weight, bias: find(&format!("self_attn.{name}.bias")) })
    };
    Some(Places {
        input_norm: find("input_layernorm.weight")?,
        q: projection("q_proj")?,
        k: projection("k_proj")?,
        v: projection("v_proj")?,
        head_norms: find("self_attn.q_norm.weight").zip(find("self_attn.k_norm.weight")),
        o: find("self_attn.o_proj.weight")?,
        ffn_norm: find("post_attention_layernorm.weight")?,
        gate: find("mlp.gate_proj.weight")?,
        up: find("mlp.up_proj.weight")?,
        down: find("mlp.down_proj.weight")?,
    })
}
