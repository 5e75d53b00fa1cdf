//! Rows picked from a tensor, and ways back that a card computes in parallel: candle's own adds rows up one after the other there.

use std::collections::HashMap;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

/// Elements of the largest table that is made to add up an embedding's gradient: half a gigabyte.
const TABLE: usize = 1 << 27;

/// `x ↦ x[at]` for \[n, h\]; a row may be picked several times.
#[derive(Clone)]
pub(super) struct Rows {
    at: Tensor,
    /// Of each of the `n` rows, where it is picked first; behind the last place for one that never is.
    first: Tensor,
    /// Where rows are picked again, and which they are.
    again: Option<(Tensor, Tensor)>,
}

impl Rows {
    /// Of `n` rows those `at`.
    pub fn new(at: Vec<u32>, n: usize, device: &Device) -> Result<Self> {
        let mut first: HashMap<u32, u32> = HashMap::with_capacity(at.len());
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for (place, &row) in (0..).zip(&at) {
            if *first.entry(row).or_insert(place) != place {
                places.push(place);
                rows.push(row);
            }
        }
        let none = at.len() as u32;
        let first: Vec<u32> = (0..n as u32).map(|row| first.get(&row).copied().unwrap_or(none)).collect();
        let again = match places.is_empty() {
            true => None,
            false => Some((Tensor::new(places, device)?, Tensor::new(rows, device)?)),
        };
        Ok(Self { at: Tensor::new(at, device)?, first: Tensor::new(first, device)?, again })
    }

    /// The rows of `x`.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(self.clone())
    }

    fn pick<S: BackendStorage>(&self, x: &S, layout: &Layout, at: &S, at_layout: &Layout) -> Result<(S, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        Ok((x.index_select(at, layout, at_layout, 0)?, (self.at.elem_count(), width).into()))
    }
}

impl CustomOp1 for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (at, at_layout) = self.at.storage_and_layout();
        let Storage::Cpu(at) = &*at else { bail!("rows are picked on another device than they are on") };
        self.pick(x, layout, at, at_layout)
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (at, at_layout) = self.at.storage_and_layout();
        let Storage::Cuda(at) = &*at else { bail!("rows are picked on another device than they are on") };
        self.pick(x, layout, at, at_layout)
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let nothing = Tensor::zeros((1, dy.dim(1)?), dy.dtype(), dy.device())?;
        let dx = Tensor::cat(&[dy, &nothing], 0)?.index_select(&self.first, 0)?;
        Ok(Some(match &self.again {
            Some((places, rows)) => dx.index_add(rows, &dy.contiguous()?.index_select(places, 0)?, 0)?,
            None => dx,
        }))
    }
}

/// The gradient of an embedding of `vocab` rows, from the slopes `dx` \[n, h\] of the rows `ids` that were looked up: a product
/// with the table of who looked up what.
pub(super) fn embedding_gradient(ids: &Tensor, dx: &Tensor, vocab: usize) -> Result<Tensor> {
    let (n, width) = dx.dims2()?;
    let mut sum = Tensor::zeros((vocab, width), DType::F32, ids.device())?;
    let rows = (TABLE / vocab).max(1);
    for from in (0..n).step_by(rows) {
        let some = rows.min(n - from);
        let looked_up = ids.narrow(0, from, some)?.unsqueeze(1)?.contiguous()?;
        let ones = Tensor::ones((some, 1), DType::F32, ids.device())?;
        let table = Tensor::zeros((some, vocab), DType::F32, ids.device())?.scatter_add(&looked_up, &ones, 1)?;
        sum = (sum + table.t()?.matmul(&dx.narrow(0, from, some)?.contiguous()?)?)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    #[test]
    fn picked_rows_and_their_way_back_are_candles_own() {
        let device = Device::Cpu;
        let x = Var::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], &device).unwrap();
        let weights = Tensor::new(&[[1f32, -1.0], [2.0, 0.5], [3.0, 9.0], [-4.0, 1.0]], &device).unwrap();
        for at in [vec![2, 0, 2, 2], vec![3, 2, 1, 0], vec![1, 1, 1, 3]] {
            let slope = |y: Tensor| {
                let loss = (&y * &weights).unwrap().sum_all().unwrap();
                (y.to_vec2::<f32>().unwrap(), loss.backward().unwrap().get(&x).unwrap().to_vec2::<f32>().unwrap())
            };
            let own = Rows::new(at.clone(), 4, &device).unwrap().of(&x).unwrap();
            let candles = x.index_select(&Tensor::new(at, &device).unwrap(), 0).unwrap();
            assert_eq!(slope(own), slope(candles));
        }
    }

    #[test]
    fn an_embeddings_gradient_adds_up_what_its_rows_got() {
        let ids = Tensor::new(&[1u32, 3, 1], &Device::Cpu).unwrap();
        let dx = Tensor::new(&[[1f32, 2.0], [10.0, 20.0], [100.0, 200.0]], &Device::Cpu).unwrap();
        let grad = embedding_gradient(&ids, &dx, 4).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(grad, [[0.0, 0.0], [101.0, 202.0], [0.0, 0.0], [10.0, 20.0]]);
    }
}
