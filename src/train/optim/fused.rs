//! AdamW's three passes over the CPU's slices, in place and in parallel.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout};
use rayon::prelude::*;

/// Elements per task when a slice is spread over threads.
pub const CHUNK: usize = 1 << 14;

/// `a ← β·a + (1-β)·x`, where `x` is the clipped gradient or its square.
pub struct Average {
    pub beta: f32,
    pub factor: f32,
    pub squared: bool,
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "moving-average"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_l: &Layout,
        grad: &CpuStorage,
        grad_l: &Layout,
    ) -> candle_core::Result<()> {
        let (average, grad) = (values_mut(average, average_l)?, values(grad, grad_l)?);
        average.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).for_each(|(average, grad)| {
            for (a, g) in average.iter_mut().zip(grad) {
                let x = g * self.factor;
                *a = self.beta * *a + (1.0 - self.beta) * if self.squared { x * x } else { x };
            }
        });
        Ok(())
    }
}

/// `p ← keep·p − step·m / (√v / root + eps)`.
pub struct Update {
    pub keep: f32,
    pub step: f32,
    pub root: f32,
    pub eps: f32,
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw-update"
    }

    fn cpu_fwd(
        &self,
        param: &mut CpuStorage,
        param_l: &Layout,
        mean: &CpuStorage,
        mean_l: &Layout,
        square: &CpuStorage,
        square_l: &Layout,
    ) -> candle_core::Result<()> {
        let param = values_mut(param, param_l)?;
        let (mean, square) = (values(mean, mean_l)?, values(square, square_l)?);
        let moments = mean.par_chunks(CHUNK).zip(square.par_chunks(CHUNK));
        param.par_chunks_mut(CHUNK).zip(moments).for_each(|(param, (mean, square))| {
            for ((p, m), v) in param.iter_mut().zip(mean).zip(square) {
                *p = self.keep * *p - self.step * m / (v.sqrt() / self.root + self.eps);
            }
        });
        Ok(())
    }
}

fn span(layout: &Layout) -> candle_core::Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(from..to),
        None => candle_core::bail!("the optimizer needs contiguous tensors"),
    }
}

/// The float32 values of contiguous storage.
pub fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    Ok(&storage.as_slice::<f32>()?[span(layout)?])
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[span(layout)?]),
        _ => candle_core::bail!("the optimizer needs float32"),
    }
}
