//! Softmax, RMS norm and log-probabilities by candle's fused kernels, each with the way back that those lack.
//!
//! candle's own operations add up rows and spread numbers over them by kernels that divide for every element to find its place:
//! on a card most of a step went there. Here everything is a fused kernel, an operation on whole tensors of one shape, or a
//! product with ones, which adds rows up and spreads the sum in one go.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Storage, Tensor, bail};
use candle_nn::ops;
use candle_nn::rotary_emb::rope;

/// Parts into which a long sum is cut, at most.
const PARTS: usize = 512;

/// A result that was computed already, as the forward pass of an operation.
fn known_on_cpu(y: &Tensor) -> Result<(CpuStorage, Shape)> {
    let (storage, _) = y.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a result is on another device than its input") };
    Ok((storage.clone(), y.shape().clone()))
}

fn known_on_card(y: &Tensor) -> Result<(CudaStorage, Shape)> {
    let (storage, layout) = y.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a result is on another device than its input") };
    Ok((storage.try_clone(layout)?, y.shape().clone()))
}

/// `[n, m]` whose rows hold the sums of the rows of `x` `[n, m]` times `scale`.
fn row_sums(x: &Tensor, scale: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    x.matmul(&(Tensor::ones((width, width), x.dtype(), x.device())? * scale)?)
}

/// The sum of the rows of `x` `[n, m]`: of equal parts of them at once, then of these.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let parts = (1..=PARTS.min(n)).rev().find(|parts| n.is_multiple_of(*parts)).unwrap_or(1);
    let ones = |shape| Tensor::ones(shape, x.dtype(), x.device());
    let of_parts = ones((parts, 1, n / parts))?.matmul(&x.reshape((parts, n / parts, width))?)?;
    ones((1, 1, parts))?.matmul(&of_parts.reshape((1, parts, width))?)?.reshape(width)
}

/// Rows of any shape as `[n, m]`.
fn as_rows(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    x.reshape(((), width))?.contiguous()
}

/// Softmax over the last dimension of `scores + mask`, of one shape; `mask` gets no gradient.
pub(super) fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let y = ops::softmax_last_dim(&(scores.detach() + mask)?)?;
    if !scores.track_op() {
        return Ok(y);
    }
    // `y · (dy − Σ y·dy)`.
    let of = as_rows(&y)?;
    let back = move |x: &Tensor, dy: &Tensor| {
        let weighed = (&of * as_rows(dy)?)?;
        let sums = row_sums(&weighed, 1.0)?;
        (weighed - (&of * sums)?)?.reshape(x.shape())
    };
    scores.contiguous()?.apply_op1(Known { name: "softmax", y, back })
}

/// A result that was computed already, and the way back from it.
struct Known<B> {
    name: &'static str,
    y: Tensor,
    /// From the input and the slopes of the result to the slopes of the input.
    back: B,
}

impl<B: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync> CustomOp1 for Known<B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        known_on_cpu(&self.y)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        known_on_card(&self.y)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        (self.back)(x, dy).map(Some)
    }
}

/// RMS norm over the last dimension, times a weight.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = ops::rms_norm(&x.detach(), &weight.detach(), eps as f32)?;
    if x.track_op() || weight.track_op() { x.apply_op2(weight, RmsNorm { y, eps }) } else { Ok(y) }
}

struct RmsNorm {
    y: Tensor,
    eps: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        known_on_cpu(&self.y)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        known_on_card(&self.y)
    }

    /// With `r = 1/√(mean x² + ε)` and `g = dy·w`: `dx = r·(g − x·r²·mean(g·x))`, `dw = Σ dy·x·r`.
    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = x.shape();
        let (x, dy) = (as_rows(x)?, as_rows(dy)?);
        let (n, width) = x.dims2()?;
        let share = 1.0 / width as f64;
        let r = (row_sums(&x.sqr()?, share)? + self.eps)?.sqrt()?.recip()?;
        let spread = Tensor::ones((n, 1), x.dtype(), x.device())?.matmul(&weight.unsqueeze(0)?.contiguous()?)?;
        let g = (&dy * spread)?;
        let along = row_sums(&(&g * &x)?, share)?;
        let normed = (&x * &r)?;
        let dw = column_sums(&(&dy * &normed)?)?;
        let dx = (&r * (g - ((normed * &r)? * along)?)?)?;
        Ok((Some(dx.reshape(shape)?), Some(dw)))
    }
}

/// `x` `[b, heads, t, d]` turned by position: `cos` and `sin` are `[t, d/2]`, or `[b, t, d/2]`.
pub(super) fn turned(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let y = rope(&x.detach(), cos, sin)?;
    if !x.track_op() {
        return Ok(y);
    }
    // Turned back.
    let (cos, sin) = (cos.clone(), sin.neg()?);
    let back = move |_: &Tensor, dy: &Tensor| rope(&dy.contiguous()?, &cos, &sin);
    x.apply_op1(Known { name: "turned", y, back })
}

/// Log-probabilities of the targets, `[tokens]`, from logits `[tokens, V]`.
pub(super) fn log_of_chosen(logits: &Tensor, targets: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = if temperature == 1.0 { logits.clone() } else { (logits / temperature)? };
    let known = logits.detach();
    let (_, vocab) = known.dims2()?;
    let largest = known.max_keepdim(D::Minus1)?;
    let spread = largest.matmul(&Tensor::ones((1, vocab), known.dtype(), known.device())?)?;
    let shifted = (&known - spread)?;
    let sums = shifted.exp()?.matmul(&Tensor::ones((vocab, 1), known.dtype(), known.device())?)?;
    let targets = targets.unsqueeze(1)?;
    let y = (shifted.gather(&targets, 1)? - sums.log()?)?.squeeze(1)?;
    if !logits.track_op() {
        return Ok(y);
    }
    // `dy · (chosen − softmax)`.
    let back = move |x: &Tensor, dy: &Tensor| {
        let dy = dy.unsqueeze(1)?.contiguous()?;
        let spread = dy.matmul(&Tensor::ones((1, x.dim(1)?), x.dtype(), x.device())?)?;
        let dx = (ops::softmax_last_dim(&x.detach())? * spread)?.neg()?;
        dx.scatter_add(&targets, &dy, 1)
    };
    logits.contiguous()?.apply_op1(Known { name: "log-of-chosen", y, back })
}

/// Rows of logits whose entropies are computed at once: a large vocabulary's would need much memory together.
const ROWS: usize = 256;

/// Entropies of the next-token distributions, `[tokens]` in nats, from logits `[tokens, V]`; without a way back.
pub(super) fn entropies(logits: &Tensor, temperature: f64) -> Result<Vec<f32>> {
    let (n, vocab) = logits.dims2()?;
    let logits = logits.detach();
    let ones = Tensor::ones((vocab, 1), logits.dtype(), logits.device())?;
    let mut all = Vec::with_capacity(n);
    for from in (0..n).step_by(ROWS) {
        let rows = (logits.narrow(0, from, ROWS.min(n - from))? / temperature)?.contiguous()?;
        // `log Σ e^x − Σ p·x`, of rows whose largest is 0; what lies further below than this has no part in it.
        let shifted = rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?)?.clamp(-100.0, 0.0)?;
        let log_sums = shifted.exp()?.matmul(&ones)?.log()?;
        let means = (ops::softmax_last_dim(&rows)? * shifted)?.matmul(&ones)?;
        all.extend((log_sums - means)?.squeeze(1)?.to_vec1::<f32>()?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const SHAPE: (usize, usize) = (5, 7);

    fn random() -> Var {
        Var::randn(0f32, 2.0, SHAPE, &Device::Cpu).unwrap()
    }

    /// The largest difference of two results and of their gradients by each variable.
    fn furthest(own: &Tensor, plain: &Tensor, vars: &[&Var]) -> f32 {
        let slopes = Tensor::randn(0f32, 1.0, own.shape(), &Device::Cpu).unwrap();
        let grads = |y: &Tensor| {
            let store = (y * &slopes).unwrap().sum_all().unwrap().backward().unwrap();
            vars.iter().map(|var| store.get(var.as_tensor()).unwrap().clone()).collect::<Vec<_>>()
        };
        let (a, b) = (grads(own), grads(plain));
        let pairs = a.iter().zip(&b).chain([(own, plain)]);
        let differences = pairs.map(|(a, b)| {
            let d = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
            d.max(0).unwrap().to_scalar::<f32>().unwrap()
        });
        differences.fold(0.0, f32::max)
    }

    #[test]
    fn a_masked_softmax_is_candles_and_so_is_its_gradient() {
        let x = random();
        let allowed: Vec<f32> = (0..35).map(|i| if i % 7 > i / 7 + 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(allowed, SHAPE, &Device::Cpu).unwrap();
        let plain = ops::softmax(&(x.as_tensor() + &mask).unwrap(), D::Minus1).unwrap();
        assert!(furthest(&masked_softmax(&x, &mask).unwrap(), &plain, &[&x]) < 1e-6);
    }

    #[test]
    fn the_norm_is_the_formulas_and_so_are_its_gradients() {
        let (x, weight) = (random(), Var::randn(1f32, 0.5, 7, &Device::Cpu).unwrap());
        let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
        let root = (mean + 1e-6).unwrap().sqrt().unwrap();
        let plain = x.broadcast_div(&root).unwrap().broadcast_mul(&weight).unwrap();
        assert!(furthest(&rms_norm(&x, &weight, 1e-6).unwrap(), &plain, &[&x, &weight]) < 1e-5);
    }

    #[test]
    fn turning_is_the_formulas_and_its_gradient_is_turned_back() {
        let x = Var::randn(0f32, 1.0, (2, 3, 4, 6), &Device::Cpu).unwrap();
        let angles = Tensor::randn(0f32, 1.0, (4, 3), &Device::Cpu).unwrap();
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        let (a, b) = (x.narrow(D::Minus1, 0, 3).unwrap(), x.narrow(D::Minus1, 3, 3).unwrap());
        let times = |x: &Tensor, y: &Tensor| x.broadcast_mul(y).unwrap();
        let (first, second) = (times(&a, &cos) - times(&b, &sin), times(&b, &cos) + times(&a, &sin));
        let plain = Tensor::cat(&[first.unwrap(), second.unwrap()], D::Minus1).unwrap();
        assert!(furthest(&turned(&x, &cos, &sin).unwrap(), &plain, &[&x]) < 1e-6);
        // Positions of their own: the second row's are the first's.
        let both = |x: &Tensor| Tensor::stack(&[x, x], 0).unwrap();
        assert!(furthest(&turned(&x, &both(&cos), &both(&sin)).unwrap(), &plain, &[&x]) < 1e-6);
    }

    #[test]
    fn log_probabilities_of_the_chosen_are_candles_and_so_is_their_gradient() {
        let x = random();
        let targets = Tensor::new(&[0u32, 6, 3, 3, 1], &Device::Cpu).unwrap();
        for temperature in [1.0, 0.7] {
            let all = ops::log_softmax(&(x.as_tensor() / temperature).unwrap(), D::Minus1).unwrap();
            let plain = all.gather(&targets.unsqueeze(1).unwrap(), 1).unwrap().squeeze(1).unwrap();
            assert!(furthest(&log_of_chosen(&x, &targets, temperature).unwrap(), &plain, &[&x]) < 1e-5);
        }
    }
}
