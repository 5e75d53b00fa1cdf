//! Products with few rows: `y = α·x·Wᵀ` where the general kernel spends its time packing. Decoding is made of these.
#![allow(unsafe_code)]

use super::simd::{Level, level};

/// Up to this many rows the products here are faster than the general ones (measured: docs/engine.md).
pub(super) const MOST_ROWS: usize = 48;

/// `y = α·x·Wᵀ` (or `y +=`): x \[m, k\] and W \[n, k\] with rows one after the other, y \[m, n\] with rows `stride` apart.
///
/// # Panics
/// When `y` is too short for its rows: a mistake of the caller.
pub(super) fn product(y: &mut [f32], stride: usize, x: &[f32], w: &[f32], k: usize, alpha: f32, add: bool) {
    let (m, n) = (x.len() / k, w.len() / k);
    let mut put = |row: usize, column: usize, sum: f32| {
        let y = &mut y[row * stride + column];
        *y = if add { *y + alpha * sum } else { alpha * sum };
    };
    // Four rows of W at a time: read once from memory, used by every row of x from the nearest cache.
    for column in (0..n).step_by(4) {
        let columns = (n - column).min(4);
        let w = &w[column * k..(column + columns) * k];
        for row in (0..m).step_by(4) {
            let rows = (m - row).min(4);
            let sums = block(&x[row * k..(row + rows) * k], w, k, rows, columns);
            for (i, sums) in sums.iter().take(rows).enumerate() {
                for (j, sum) in sums.iter().take(columns).enumerate() {
                    put(row + i, column + j, *sum);
                }
            }
        }
    }
}

/// Up to four rows of x against up to four rows of w.
#[inline]
fn block(x: &[f32], w: &[f32], k: usize, rows: usize, columns: usize) -> [[f32; 4]; 4] {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 && columns == 4 {
        // SAFETY: `level` has seen AVX-512F; x holds `rows` rows of k values and w four.
        unsafe {
            match rows {
                4 => return wide::<4>(x, w, k),
                3 => return wide::<3>(x, w, k),
                2 => return wide::<2>(x, w, k),
                _ => return wide::<1>(x, w, k),
            }
        }
    }
    let mut sums = [[0.0; 4]; 4];
    for (sums, x) in sums.iter_mut().zip(x.chunks_exact(k).take(rows)) {
        for (sum, w) in sums.iter_mut().zip(w.chunks_exact(k).take(columns)) {
            *sum = super::math::dot_product(x, w);
        }
    }
    sums
}

/// `M` rows of x against four rows of w, 16 values at a time, all sums in registers.
///
/// # Safety
/// The processor has AVX-512F; x holds at least `M·k` values and w `4·k`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop, reason = "indices name registers here")]
unsafe fn wide<const M: usize>(x: &[f32], w: &[f32], k: usize) -> [[f32; 4]; 4] {
    use core::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
    };
    assert!(x.len() >= M * k && w.len() >= 4 * k);
    let mut sums = [[_mm512_setzero_ps(); 4]; M];
    let whole = k / 16 * 16;
    let rest: u16 = (1_u32 << (k - whole)).wrapping_sub(1) as u16;
    // SAFETY: each load reads 16 values at `row·k + at` with `at + 16 <= k`, inside the row; the masked load reads
    // only the `k - whole` values that are left of it.
    unsafe {
        for at in (0..whole).step_by(16) {
            let x: [_; M] = std::array::from_fn(|i| _mm512_loadu_ps(x.as_ptr().add(i * k + at)));
            for j in 0..4 {
                let w = _mm512_loadu_ps(w.as_ptr().add(j * k + at));
                for i in 0..M {
                    sums[i][j] = _mm512_fmadd_ps(x[i], w, sums[i][j]);
                }
            }
        }
        if whole < k {
            for j in 0..4 {
                let w = _mm512_maskz_loadu_ps(rest, w.as_ptr().add(j * k + whole));
                for i in 0..M {
                    let x = _mm512_maskz_loadu_ps(rest, x.as_ptr().add(i * k + whole));
                    sums[i][j] = _mm512_fmadd_ps(x, w, sums[i][j]);
                }
            }
        }
    }
    let mut out = [[0.0; 4]; 4];
    for (out, sums) in out.iter_mut().zip(&sums) {
        *out = sums.map(|sum| _mm512_reduce_add_ps(sum));
    }
    out
}
