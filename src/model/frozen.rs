//! A product with a weight that gets no gradient: candle's `matmul` would compute and keep that of both sides.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// `x ↦ x·Wᵀ` for a constant W \[outputs, inputs\]; backward is one product, `dy·W`.
pub(super) struct FrozenWeight(pub Tensor);

impl FrozenWeight {
    fn product<S: BackendStorage>(&self, x: &S, x_layout: &Layout, w: &S, w_layout: &Layout) -> Result<(S, Shape)> {
        let ((rows, inputs), (outputs, _)) = (x_layout.shape().dims2()?, w_layout.shape().dims2()?);
        let y = x.matmul(w, (1, rows, outputs, inputs), x_layout, &w_layout.transpose(0, 1)?)?;
        Ok((y, (rows, outputs).into()))
    }
}

impl CustomOp1 for FrozenWeight {
    fn name(&self) -> &'static str {
        "frozen-weight"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (w, w_layout) = self.0.storage_and_layout();
        let Storage::Cpu(w) = &*w else { bail!("a frozen weight is on another device than its input") };
        self.product(x, layout, w, w_layout)
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (w, w_layout) = self.0.storage_and_layout();
        let Storage::Cuda(w) = &*w else { bail!("a frozen weight is on another device than its input") };
        self.product(x, layout, w, w_layout)
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.matmul(&self.0)?))
    }
}
