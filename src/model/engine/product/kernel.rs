//! The innermost loop of a product: a tile of up to 12 × 32 sums kept in registers while the packed operands stream by.
//!
//! An operand is packed as 32-bit lanes: a float, or a pair of bfloat16 that stand one after the other along the sum.
//! So both precisions share every loop, and a bfloat16 product takes half the lanes.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
};
use core::mem::transmute;

/// Most rows of a tile; its columns are those of a panel, two registers.
pub(super) const ROWS: usize = 12;

/// Where a packed left operand keeps the lane of row `i` and step `p`: at `i · row + p · step`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Each row in one piece.
    Rows,
    /// Each step in one piece.
    Steps,
}

/// Lanes between rows of a left operand packed by rows; not a power of two, so that rows do not share cache sets.
pub(super) const ROW_STRIDE: usize = super::tiles::STEPS + 16;
/// Lanes between steps of a left operand packed by steps.
pub(super) const STEP_STRIDE: usize = 16;

/// A tile's place in the destination.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub at: *mut f32,
    /// Floats between rows.
    pub stride: usize,
    /// Columns that exist, 1 to 32.
    pub columns: usize,
    pub alpha: f32,
    /// Add to what is there.
    pub add: bool,
}

macro_rules! tile {
    ($name:ident, $features:literal, $a:ident, $b:ident, $sum:ident => $step:expr) => {
        /// `M` rows times 32 columns over `steps` lanes.
        ///
        /// # Safety
        /// The processor has the features; `a` holds the lanes that `RS`, `CS`, `M` and `steps` reach, `b` holds
        /// `32 · steps` lanes and is aligned to 64 bytes; `M` rows of `place.columns` floats at `place` are ours.
        #[target_feature(enable = $features)]
        #[allow(clippy::needless_range_loop, reason = "indices name registers here")]
        unsafe fn $name<const M: usize, const RS: usize, const CS: usize>(
            steps: usize,
            a: *const u32,
            b: *const u32,
            place: Place,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut sums = [[_mm512_setzero_ps(); 2]; M];
                for p in 0..steps {
                    let of_b = [_mm512_load_si512(b.add(32 * p).cast()), _mm512_load_si512(b.add(32 * p + 16).cast())];
                    for i in 0..M {
                        let $a = _mm512_set1_epi32(*a.add(i * RS + p * CS) as i32);
                        for j in 0..2 {
                            let ($b, $sum) = (of_b[j], sums[i][j]);
                            sums[i][j] = $step;
                        }
                    }
                }
                store(&sums, place);
            }
        }
    };
}

tile!(tile_f32, "avx512f", a, b, sum => _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum));
tile!(tile_bf16, "avx512f,avx512bf16", a, b, sum => {
    _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b))
});

/// Writes a tile's sums, as many columns as there are.
///
/// # Safety
/// As for the tiles.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const M: usize>(sums: &[[__m512; 2]; M], place: Place) {
    let alpha = _mm512_set1_ps(place.alpha);
    let masks = [lowest(place.columns), lowest(place.columns.saturating_sub(16))];
    for (i, sums) in sums.iter().enumerate() {
        for (j, (&sum, mask)) in sums.iter().zip(masks).enumerate() {
            if mask == 0 {
                continue;
            }
            // SAFETY: masked lanes lie within the row's `columns`.
            unsafe {
                let at = place.at.add(i * place.stride + 16 * j);
                let scaled = match place.add {
                    true => _mm512_fmadd_ps(sum, alpha, _mm512_maskz_loadu_ps(mask, at)),
                    false => _mm512_mul_ps(sum, alpha),
                };
                _mm512_mask_storeu_ps(at, mask, scaled);
            }
        }
    }
}

/// A mask of the first `n` of 16 lanes (all of them from 16 on).
pub(super) fn lowest(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// Computes one tile of `rows` rows.
///
/// # Safety
/// As for the tiles, with the strides of `left`; `half` asks for bfloat16 lanes and a processor that multiplies them.
pub(super) unsafe fn tile(rows: usize, half: bool, left: Left, steps: usize, a: *const u32, b: *const u32, to: Place) {
    macro_rules! of_rows {
        ($($m:literal)*) => {
            match (rows, half, left) {
                // SAFETY: handed on.
                $(($m, false, Left::Rows) => unsafe { tile_f32::<$m, ROW_STRIDE, 1>(steps, a, b, to) },
                ($m, false, Left::Steps) => unsafe { tile_f32::<$m, 1, STEP_STRIDE>(steps, a, b, to) },
                ($m, true, Left::Rows) => unsafe { tile_bf16::<$m, ROW_STRIDE, 1>(steps, a, b, to) },
                ($m, true, Left::Steps) => unsafe { tile_bf16::<$m, 1, STEP_STRIDE>(steps, a, b, to) },)*
                _ => unreachable!("a tile has 1 to {ROWS} rows"),
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}
