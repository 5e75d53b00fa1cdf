//! Matrix products on strided views, in float32 or from operands rounded to bfloat16 with sums in float32.
//!
//! On AVX-512 the kernels are our own: packed tiles for many rows, unpacked ones for few. Elsewhere `gemm` multiplies.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod packing;
mod panels;
mod portable;
#[cfg(target_arch = "x86_64")]
mod tiles;

use half::bf16;

pub(in crate::model) use panels::Panels;

#[cfg(target_arch = "x86_64")]
use super::simd::{Level, level};

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct How {
    /// Round both sides to bfloat16 first; sums stay float32.
    pub half: bool,
    /// Share each product among the pool's threads: for work that is not itself spread over them.
    pub shared: bool,
}

/// Whether products of this kind are faster from [`Panels`]: only our own kernels read them.
pub(super) fn packs(how: How) -> bool {
    #[cfg(target_arch = "x86_64")]
    return level() >= if how.half { Level::Avx512Bf16 } else { Level::Avx512 };
    #[cfg(not(target_arch = "x86_64"))]
    return how.half && false;
}

/// Bytes of a right side \[sum, columns\] in [`Panels`].
pub(super) fn panel_bytes(sum: usize, columns: usize, half: bool) -> usize {
    columns.div_ceil(panels::COLUMNS) * panels::lanes(sum, half) * size_of::<u32>()
}

/// Numbers of a matrix as they are stored.
#[derive(Clone, Copy)]
pub(in crate::model) enum Values<'a> {
    /// float32.
    F32(&'a [f32]),
    /// bfloat16: weights that stay as they are.
    Bf16(&'a [bf16]),
    /// Packed as a right side.
    Packed(&'a Panels),
}

impl Values<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::Packed(panels) => panels.shape().0 * panels.shape().1,
        }
    }
}

/// A matrix to read: element (i, j) lies at `i · rs + j · cs`, and one of the two is 1.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: Values<'a>,
    rows: usize,
    cols: usize,
    rs: usize,
    cs: usize,
    /// Columns of the panels before the first one, where they are packed.
    skipped: usize,
}

impl<'a> Mat<'a> {
    /// Rows one after the other.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `stride` apart: a block of columns of a wider matrix.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data: Values::F32(data), rows, cols, rs: stride, cs: 1, skipped: 0 }
    }

    /// A weight as it is stored, rows one after the other.
    pub fn weight(data: Values<'a>, rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, rs: cols, cs: 1, skipped: 0 }
    }

    /// A right side that was packed, \[sum, columns\].
    pub fn packed(panels: &'a Panels) -> Self {
        let (rows, cols) = panels.shape();
        Self { data: Values::Packed(panels), rows, cols, rs: 0, cs: 0, skipped: 0 }
    }

    /// Transposed view.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, rs: self.cs, cs: self.rs, ..self }
    }

    /// Some of its columns.
    fn columns(self, from: usize, n: usize) -> Self {
        let data = match self.data {
            Values::F32(x) => Values::F32(&x[from * self.cs..]),
            Values::Bf16(x) => Values::Bf16(&x[from * self.cs..]),
            Values::Packed(panels) => Values::Packed(panels),
        };
        Self { data, cols: n, skipped: self.skipped + from, ..self }
    }

    fn fits(&self, how: How) -> bool {
        if let Values::Packed(panels) = self.data {
            return packs(how) && panels.fits(self.rows, self.cols, how.half);
        }
        (self.rs == 1 || self.cs == 1) && (self.rows - 1) * self.rs + (self.cols - 1) * self.cs < self.data.len()
    }
}

/// Where a product goes.
pub(super) struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    rs: usize,
}

impl<'a> MatMut<'a> {
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, rs: stride }
    }

    /// The same destination for one more product.
    pub fn again(&mut self) -> MatMut<'_> {
        MatMut { data: self.data, ..*self }
    }
}

/// `dst = alpha · a·b`, or `dst += alpha · a·b` when `add`.
///
/// # Panics
/// When shapes do not fit or a view reaches beyond its slice: a mistake in the caller.
pub(super) fn matmul(dst: MatMut, a: Mat, b: Mat, alpha: f32, add: bool, how: How) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert!(b.rows == k && dst.rows == m && dst.cols == n, "{m}×{k} · {}×{n} → {}×{}", b.rows, dst.rows, dst.cols);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            (0..m).for_each(|i| dst.data[i * dst.rs..i * dst.rs + n].fill(0.0));
        }
        return;
    }
    assert!(!matches!(a.data, Values::Packed(_)) && a.fits(how), "left view is beyond its slice");
    assert!(b.fits(how), "right view is beyond its slice");
    assert!((m - 1) * dst.rs + n <= dst.data.len() && dst.rs >= n, "destination is beyond its slice");
    let whole = Whole { dst: dst.data.as_mut_ptr(), rs: dst.rs, a, b, alpha, add, half: how.half };
    // SAFETY: all three views lie within their slices, `dst` is borrowed mutably and its rows do not overlap.
    unsafe { whole.compute(how.shared) };
}

/// A checked product.
#[derive(Clone, Copy)]
struct Whole<'a> {
    dst: *mut f32,
    rs: usize,
    a: Mat<'a>,
    b: Mat<'a>,
    alpha: f32,
    add: bool,
    half: bool,
}

// SAFETY: the pointer is only written through, at columns that no other thread writes.
unsafe impl Send for Whole<'_> {}
// SAFETY: as above.
unsafe impl Sync for Whole<'_> {}

/// Packs a right side for products of this kind, where that pays (see [`packs`]).
pub(super) fn pack(b: Mat, how: How) -> Option<Panels> {
    #[cfg(target_arch = "x86_64")]
    if packs(how) {
        assert!(b.fits(how) && b.rows * b.cols > 0, "the view is beyond its slice");
        // SAFETY: `packs` has seen the features, and the view is checked.
        return Some(unsafe { Panels::of(b, how.half) });
    }
    let _ = (b, how);
    None
}

/// Multiplications below which a product is not worth a second thread.
const WORTH_SHARING: usize = 1 << 17;
/// Columns are shared out in multiples of this, so that no two threads write one cache line.
const SHARE: usize = 32;

impl Whole<'_> {
    /// # Safety
    /// The views lie within their slices; nobody else reads or writes the destination.
    unsafe fn compute(self, shared: bool) {
        let columns = self.b.cols;
        if shared && columns >= 2 * SHARE && self.a.rows * self.a.cols * columns >= WORTH_SHARING {
            let threads = rayon::current_num_threads();
            let first = (columns.div_ceil(threads) * (threads / 2).max(1)).next_multiple_of(SHARE);
            if threads > 1 && first < columns {
                let (left, right) = self.split(first);
                let again = threads > 2;
                // SAFETY: the two halves write different columns.
                rayon::join(|| unsafe { left.compute(again) }, || unsafe { right.compute(again) });
                return;
            }
        }
        // SAFETY: handed on.
        unsafe { self.alone() };
    }

    fn split(self, at: usize) -> (Self, Self) {
        let left = Self { b: self.b.columns(0, at), ..self };
        let right = Self { b: self.b.columns(at, self.b.cols - at), dst: self.dst.wrapping_add(at), ..self };
        (left, right)
    }

    /// # Safety
    /// As for [`Whole::compute`].
    #[cfg(target_arch = "x86_64")]
    unsafe fn alone(self) {
        let Self { dst, rs, a, b, alpha, add, half } = self;
        if !packs(How { half, shared: false }) {
            // SAFETY: handed on.
            return unsafe { self.portable() };
        }
        // SAFETY: `packs` has seen the features; the views are checked.
        unsafe { tiles::product(tiles::To { dst, stride: rs, alpha, add }, a, b, half) };
    }

    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn alone(self) {
        // SAFETY: handed on.
        unsafe { self.portable() }
    }

    /// # Safety
    /// As for [`Whole::compute`].
    unsafe fn portable(self) {
        let Self { dst, rs, a, b, alpha, add, half } = self;
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        let (a, b) = (portable::floats(a, half, &mut of_a), portable::floats(b, half, &mut of_b));
        // SAFETY: handed on.
        unsafe { portable::product(dst, rs, a, b, alpha, add) };
    }
}

#[cfg(test)]
mod tests;
