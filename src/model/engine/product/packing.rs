//! Packing: operands as the tiles read them, 32-bit lanes in the order of use.
//!
//! In bfloat16 a lane is a pair of neighbours along the sum, rounded to nearest even; a missing last one is zero.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512bh, __m512i, _mm256_maskz_loadu_epi16, _mm512_castps_si512, _mm512_castsi256_si512, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_inserti64x4, _mm512_mask_storeu_epi32, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps,
    _mm512_permutexvar_epi16, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_store_si512,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use core::mem::transmute;

use super::Values;
use super::kernel::{ROW_STRIDE, STEP_STRIDE, lowest};
use super::panels::COLUMNS;

/// Numbers to read, seen along the sum (`p`) and across it (`x`).
#[derive(Clone, Copy)]
pub(super) enum From {
    /// Floats.
    F32(*const f32),
    /// bfloat16 values.
    Bf16(*const u16),
}

impl From {
    pub fn of(values: Values) -> Self {
        match values {
            Values::F32(x) => Self::F32(x.as_ptr()),
            Values::Bf16(x) => Self::Bf16(x.as_ptr().cast()),
            Values::Packed(_) => unreachable!("what is packed is not packed again"),
        }
    }
}

/// Places of the interleaved values of two registers' halves: low 0, high 0, low 1, high 1, …
const INTERLEAVE: [u16; 32] = {
    let mut places = [0; 32];
    let mut i = 0;
    while i < 16 {
        places[2 * i] = i as u16;
        places[2 * i + 1] = 16 + i as u16;
        i += 1;
    }
    places
};

/// 16 lanes of one step for 16 neighbours across the sum, which lie one after the other; `left` of them exist.
/// In bfloat16 the step's second value comes from `stride` further on, where `pair` says that it exists.
///
/// # Safety
/// The processor has the features; `left` values from `at` on (and `stride` behind it) can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn across_half(from: From, at: usize, stride: usize, pair: bool, left: usize) -> __m512i {
    let mask = lowest(left);
    let second = if pair { mask } else { 0 };
    // SAFETY: masked lanes are not read.
    unsafe {
        let both = match from {
            From::F32(x) => {
                let (low, high) = (
                    _mm512_maskz_loadu_ps(mask, x.add(at)),
                    _mm512_maskz_loadu_ps(second, x.add(at).wrapping_add(stride)),
                );
                transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
            }
            From::Bf16(x) => {
                let low = _mm256_maskz_loadu_epi16(mask, x.add(at).cast());
                let high = _mm256_maskz_loadu_epi16(second, x.add(at).wrapping_add(stride).cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
            }
        };
        _mm512_permutexvar_epi16(transmute::<[u16; 32], __m512i>(INTERLEAVE), both)
    }
}

/// 16 lanes along the sum, whose values lie one after the other; `left` values exist.
///
/// # Safety
/// The processor has the features; `left` values from `at` on can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn along_half(from: From, at: usize, left: usize) -> __m512i {
    // SAFETY: masked lanes are not read.
    unsafe {
        match from {
            From::F32(x) => {
                let low = _mm512_maskz_loadu_ps(lowest(left), x.add(at));
                let high = _mm512_maskz_loadu_ps(lowest(left.saturating_sub(16)), x.add(at).wrapping_add(16));
                transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
            }
            From::Bf16(x) => {
                let mask = if left >= 32 { u32::MAX } else { (1 << left) - 1 };
                _mm512_maskz_loadu_epi16(mask, x.add(at).cast())
            }
        }
    }
}

/// 16 floats from `at` on, of which `left` exist.
///
/// # Safety
/// The processor has AVX-512F; `left` values from `at` on can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn floats(from: From, at: usize, left: usize) -> __m512i {
    // SAFETY: masked lanes are not read.
    unsafe {
        match from {
            From::F32(x) => _mm512_castps_si512(_mm512_maskz_loadu_ps(lowest(left), x.add(at))),
            From::Bf16(x) => {
                // The upper half of a float.
                let low = _mm256_maskz_loadu_epi16(lowest(left), x.add(at).cast());
                _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(low))
            }
        }
    }
}

/// Rows and columns of 16 × 16 lanes change places.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(x: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..4 {
        let at = 4 * i;
        u[at] = _mm512_unpacklo_epi64(t[at], t[at + 2]);
        u[at + 1] = _mm512_unpackhi_epi64(t[at], t[at + 2]);
        u[at + 2] = _mm512_unpacklo_epi64(t[at + 1], t[at + 3]);
        u[at + 3] = _mm512_unpackhi_epi64(t[at + 1], t[at + 3]);
    }
    // Each 128-bit part now holds four rows of one column; gather a column's four parts.
    for i in 0..4 {
        let (a, b) = (_mm512_shuffle_i32x4::<0x88>(u[i], u[4 + i]), _mm512_shuffle_i32x4::<0xdd>(u[i], u[4 + i]));
        let (c, d) =
            (_mm512_shuffle_i32x4::<0x88>(u[8 + i], u[12 + i]), _mm512_shuffle_i32x4::<0xdd>(u[8 + i], u[12 + i]));
        t[i] = _mm512_shuffle_i32x4::<0x88>(a, c);
        t[8 + i] = _mm512_shuffle_i32x4::<0xdd>(a, c);
        t[4 + i] = _mm512_shuffle_i32x4::<0x88>(b, d);
        t[12 + i] = _mm512_shuffle_i32x4::<0xdd>(b, d);
    }
    t
}

/// What part of an operand is packed: `size` values across the sum from `x0`, those along it from `p0` to `p1`.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub from: From,
    /// Values between neighbours in the direction that does not lie in one piece.
    pub stride: usize,
    pub x0: usize,
    pub size: usize,
    pub p0: usize,
    pub p1: usize,
}

macro_rules! packing {
    ($right_across:ident, $right_along:ident, $left_across:ident, $left_along:ident, $features:literal, $width:literal,
     |$part:ident, $at:ident, $p:ident, $left:ident| $across:expr, |$part2:ident, $at2:ident, $left2:ident| $along:expr) => {
        /// Packs a right operand whose values lie in one piece across the sum: panels of 32 columns, step by step.
        ///
        /// # Safety
        /// The processor has the features; the part can be read; `to` has room for whole panels and is aligned to 64.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $right_across($part: Part, to: *mut u32) {
            let steps = ($part.p1 - $part.p0).div_ceil($width);
            for (panel, x) in (0..$part.size).step_by(COLUMNS).enumerate() {
                for step in 0..steps {
                    let $p = $part.p0 + $width * step;
                    for half in 0..2 {
                        let $left = $part.size.saturating_sub(x + 16 * half);
                        let $at = if $left == 0 { 0 } else { $p * $part.stride + $part.x0 + x + 16 * half };
                        // SAFETY: the caller's promise; what does not exist is masked.
                        unsafe {
                            let lanes = $across;
                            _mm512_store_si512(to.add((panel * steps + step) * COLUMNS + 16 * half).cast(), lanes);
                        }
                    }
                }
            }
        }

        /// Packs a right operand whose values lie in one piece along the sum: the same panels, by transposing.
        ///
        /// # Safety
        /// As above.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $right_along($part2: Part, to: *mut u32) {
            let steps = ($part2.p1 - $part2.p0).div_ceil($width);
            for x in (0..$part2.size.next_multiple_of(COLUMNS)).step_by(16) {
                for step in (0..steps).step_by(16) {
                    let p = $part2.p0 + $width * step;
                    let $left2 = $part2.p1 - p;
                    let mut rows = [_mm512_setzero_si512(); 16];
                    for (i, row) in rows.iter_mut().enumerate().take($part2.size.saturating_sub(x)) {
                        let $at2 = ($part2.x0 + x + i) * $part2.stride + p;
                        // SAFETY: the caller's promise; what does not exist is masked.
                        *row = unsafe { $along };
                    }
                    let to_panel = x / COLUMNS * steps * COLUMNS + x % COLUMNS;
                    for (i, lanes) in transpose(rows).into_iter().enumerate().take(steps - step) {
                        // SAFETY: within the panel; multiples of 16 lanes.
                        unsafe { _mm512_store_si512(to.add(to_panel + (step + i) * COLUMNS).cast(), lanes) };
                    }
                }
            }
        }

        /// Packs a left operand of at most 16 rows, whose values lie in one piece across the sum, step by step.
        ///
        /// # Safety
        /// As above; `to` has room for `STEP_STRIDE` lanes a step.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $left_across($part: Part, to: *mut u32) {
            let steps = ($part.p1 - $part.p0).div_ceil($width);
            for step in 0..steps {
                let $p = $part.p0 + $width * step;
                let ($at, $left) = ($p * $part.stride + $part.x0, $part.size);
                // SAFETY: the caller's promise.
                unsafe {
                    let lanes = $across;
                    _mm512_store_si512(to.add(step * STEP_STRIDE).cast(), lanes);
                }
            }
        }

        /// Packs a left operand whose values lie in one piece along the sum, row by row.
        ///
        /// # Safety
        /// As above; `to` has room for `ROW_STRIDE` lanes a row.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $left_along($part2: Part, to: *mut u32) {
            let steps = ($part2.p1 - $part2.p0).div_ceil($width);
            for row in 0..$part2.size {
                for step in (0..steps).step_by(16) {
                    let p = $part2.p0 + $width * step;
                    let ($at2, $left2) = (($part2.x0 + row) * $part2.stride + p, $part2.p1 - p);
                    // SAFETY: the caller's promise; only lanes within the row are written.
                    unsafe {
                        let lanes = $along;
                        _mm512_mask_storeu_epi32(to.add(row * ROW_STRIDE + step).cast(), lowest(steps - step), lanes);
                    }
                }
            }
        }
    };
}

packing!(
    right_across_f32,
    right_along_f32,
    left_across_f32,
    left_along_f32,
    "avx512f,avx512bw,avx512vl",
    1,
    |part, at, _p, left| floats(part.from, at, left),
    |part, at, left| floats(part.from, at, left)
);
packing!(
    right_across_bf16,
    right_along_bf16,
    left_across_bf16,
    left_along_bf16,
    "avx512f,avx512bw,avx512vl,avx512bf16",
    2,
    |part, at, p, left| across_half(part.from, at, part.stride, p + 1 < part.p1, left),
    |part, at, left| along_half(part.from, at, left)
);
