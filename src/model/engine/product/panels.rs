//! A right operand packed once for many products: weights of a decoder, keys and values of a prompt.
#![allow(unsafe_code)]

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::Mat;
#[cfg(target_arch = "x86_64")]
use super::packing::{self, From, Part};

/// Columns of a panel.
pub(super) const COLUMNS: usize = 32;

/// 16 lanes on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([u32; 16]);

/// Lanes of a panel.
pub(super) fn lanes(sum: usize, half: bool) -> usize {
    sum.div_ceil(if half { 2 } else { 1 }) * COLUMNS
}

/// Makes room for `lanes`; what is new is zero.
pub(super) fn grow(room: &mut Vec<Line>, lanes: usize) {
    if room.len() * 16 < lanes {
        room.resize(lanes.div_ceil(16), Line([0; 16]));
    }
}

/// A packed block of a right operand.
#[derive(Clone, Copy)]
#[cfg(target_arch = "x86_64")]
pub(super) struct Right {
    pub at: *const u32,
    /// Lanes from one panel of 32 columns to the next.
    pub panel: usize,
}

/// Panels of 32 columns, each with all its steps in one piece.
#[derive(Clone)]
pub(in crate::model) struct Panels {
    lanes: Vec<Line>,
    /// Lanes of a panel.
    panel: usize,
    sum: usize,
    columns: usize,
    half: bool,
}

impl Panels {
    /// Packs `b` for products in bfloat16 (`half`) or float32.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VL, with `half` also BF16; every element of `b` lies within its slice.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn of(b: Mat, half: bool) -> Self {
        let mut made = Self::room(b.rows, b.cols, half);
        // SAFETY: the caller's promise; there is room for whole panels.
        unsafe { pack_right(b, 0, b.cols, 0..b.rows, half, made.lanes.as_mut_ptr().cast()) };
        made
    }

    /// Zeros.
    fn room(sum: usize, columns: usize, half: bool) -> Self {
        let panel = lanes(sum, half);
        let mut all = Vec::new();
        grow(&mut all, columns.div_ceil(COLUMNS) * panel);
        Self { lanes: all, panel, sum, columns, half }
    }

    /// No columns yet, of `sum` values each: grows by [`Panels::push_column`].
    pub fn without_columns(sum: usize, half: bool) -> Self {
        Self::room(sum, 0, half)
    }

    /// No rows yet, of `columns` values each: grows by [`Panels::push_row`].
    pub fn without_rows(columns: usize, half: bool) -> Self {
        Self { sum: 0, ..Self::room(8, columns, half) }
    }

    /// One more column.
    pub fn push_column(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.sum, "a column is as long as the others");
        let (panel, column) = (self.columns / COLUMNS * self.panel, self.columns % COLUMNS);
        grow(&mut self.lanes, panel + self.panel);
        let at = |p: usize| panel + p * COLUMNS + column;
        match self.half {
            true => values.chunks(2).enumerate().for_each(|(p, pair)| *self.lane(at(p)) = lane_of(pair)),
            false => values.iter().enumerate().for_each(|(p, x)| *self.lane(at(p)) = x.to_bits()),
        }
        self.columns += 1;
    }

    /// One more row: the sum becomes longer by one.
    pub fn push_row(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.columns, "a row is as long as the others");
        let (step, second) = if self.half { (self.sum / 2, self.sum % 2 == 1) } else { (self.sum, false) };
        if step * COLUMNS == self.panel {
            self.lengthen();
        }
        let (panel, half) = (self.panel, self.half);
        for (j, &x) in values.iter().enumerate() {
            let lane = self.lane(j / COLUMNS * panel + step * COLUMNS + j % COLUMNS);
            match (half, second) {
                (false, _) => *lane = x.to_bits(),
                (true, false) => *lane = lane_of(&[x]),
                (true, true) => *lane |= u32::from(bf16::from_f32(x).to_bits()) << 16,
            }
        }
        self.sum += 1;
    }

    /// Twice the room along the sum.
    fn lengthen(&mut self) {
        let (old, panel) = (std::mem::take(&mut self.lanes), self.panel);
        self.panel *= 2;
        grow(&mut self.lanes, self.columns.div_ceil(COLUMNS) * self.panel);
        let lines = panel / 16;
        for (new, old) in self.lanes.chunks_exact_mut(2 * lines).zip(old.chunks_exact(lines)) {
            new[..lines].copy_from_slice(old);
        }
    }

    fn lane(&mut self, at: usize) -> &mut u32 {
        &mut self.lanes[at / 16].0[at % 16]
    }

    /// Whether a product of this shape can read them.
    pub(super) fn fits(&self, sum: usize, columns: usize, half: bool) -> bool {
        self.sum == sum && columns <= self.columns && self.half == half
    }

    /// Length of the sum, and columns.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.sum, self.columns)
    }

    /// The panels from a column on, a multiple of 32, and from a step on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn part(&self, column: usize, step: usize) -> Right {
        let at = column / COLUMNS * self.panel + step * COLUMNS;
        Right { at: self.lanes.as_ptr().cast::<u32>().wrapping_add(at), panel: self.panel }
    }
}

/// A pair of neighbours along the sum; the second of a single one is zero.
fn lane_of(pair: &[f32]) -> u32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    bits(pair[0]) | pair.get(1).map_or(0, |&x| bits(x) << 16)
}

/// Packs `size` columns of `b` from `x0` on and the part `p` of the sum.
///
/// # Safety
/// As for [`Panels::of`]; `to` has room for whole panels and is aligned to 64 bytes.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn pack_right(b: Mat, x0: usize, size: usize, p: std::ops::Range<usize>, half: bool, to: *mut u32) {
    let part = |stride| Part { from: From::of(b.data), stride, x0, size, p0: p.start, p1: p.end };
    // SAFETY: the caller's promise.
    unsafe {
        match (b.cs == 1, half) {
            (true, false) => packing::right_across_f32(part(b.rs), to),
            (true, true) => packing::right_across_bf16(part(b.rs), to),
            (false, false) => packing::right_along_f32(part(b.cs), to),
            (false, true) => packing::right_along_bf16(part(b.cs), to),
        }
    }
}
