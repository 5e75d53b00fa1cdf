//! Products of many rows on AVX-512: operands packed block by block, then a tile at a time.
//!
//! A block of the right operand (512 KiB) stays in the second-level cache while every row of the left
//! one passes by; twelve rows of the left one stay in the first.
#![allow(unsafe_code)]

use std::cell::RefCell;

use super::kernel::{self, Left, Place, ROW_STRIDE, ROWS, STEP_STRIDE};
use super::packing::{self, From, Part};
use super::panels::{COLUMNS, Line, Right, grow, pack_right};
use super::{Mat, Values};

/// Lanes along the sum that are packed at once.
pub(super) const STEPS: usize = 256;
/// Lanes of the right operand that are packed at once, and stay in the second-level cache.
const BLOCK: usize = 512 * STEPS;

/// A thread's room for packed operands, kept between calls.
struct Room {
    left: Vec<Line>,
    right: Vec<Line>,
}

thread_local! {
    static ROOM: RefCell<Room> = const { RefCell::new(Room { left: Vec::new(), right: Vec::new() }) };
}

/// Where a product goes.
#[derive(Clone, Copy)]
pub(super) struct To {
    pub dst: *mut f32,
    /// Floats between rows.
    pub stride: usize,
    pub alpha: f32,
    /// Add to what is there.
    pub add: bool,
}

/// `dst = alpha · a·b`, or `+=`; in bfloat16 with sums in float32 when `half`. No dimension is zero.
///
/// The order of every sum depends on the length of the sum alone: not on other rows or columns, not on how the right
/// side is stored. A token's numbers are therefore the same bits in whatever company it is computed.
///
/// # Safety
/// The processor has AVX-512 F, BW and VL, with `half` also BF16. Every element of the three views lies within its
/// slice; the destination is ours alone, and its rows do not overlap. Panels were packed with the same `half`.
pub(super) unsafe fn product(to: To, a: Mat, b: Mat, half: bool) {
    let width = if half { 2 } else { 1 };
    let (sum, columns) = (a.cols, b.cols);
    // The shorter the sum, the more columns: the left operand is packed again for every block.
    let steps = STEPS.min(sum.div_ceil(width));
    let block = (BLOCK / steps).next_multiple_of(COLUMNS);
    ROOM.with_borrow_mut(|Room { left, right }| {
        grow(left, (ROWS * ROW_STRIDE).max(STEPS * STEP_STRIDE));
        if !matches!(b.data, Values::Packed(_)) {
            grow(right, steps * block.min(columns.next_multiple_of(COLUMNS)));
        }
        let left = left.as_mut_ptr().cast::<u32>();
        for column in (0..columns).step_by(block) {
            let columns = block.min(columns - column);
            for p0 in (0..sum).step_by(width * STEPS) {
                let p = p0..sum.min(p0 + width * STEPS);
                let steps = p.len().div_ceil(width);
                // SAFETY: the caller's promise; `grow` made the room.
                unsafe {
                    let right = match b.data {
                        Values::Packed(panels) => panels.part(b.skipped + column, p0 / width),
                        _ => {
                            let room = right.as_mut_ptr().cast::<u32>();
                            pack_right(b, column, columns, p, half, room);
                            Right { at: room, panel: steps * COLUMNS }
                        }
                    };
                    let to = Place {
                        at: to.dst.add(column),
                        stride: to.stride,
                        columns,
                        alpha: to.alpha,
                        add: to.add || p0 > 0,
                    };
                    pass(a, p0, steps, half, left, right, to);
                }
            }
        }
    });
}

/// Every row of the left operand passes by a packed block of the right one.
///
/// # Safety
/// As for [`product`].
unsafe fn pass(a: Mat, p0: usize, steps: usize, half: bool, left: *mut u32, right: Right, to: Place) {
    let p1 = a.cols.min(p0 + steps * if half { 2 } else { 1 });
    for row in (0..a.rows).step_by(ROWS) {
        let rows = ROWS.min(a.rows - row);
        // SAFETY: the caller's promise.
        unsafe {
            let order = pack_left(a, row, rows, p0..p1, half, left);
            for column in (0..to.columns).step_by(COLUMNS) {
                let (at, columns) = (to.at.add(row * to.stride + column), COLUMNS.min(to.columns - column));
                let of_right = right.at.add(column / COLUMNS * right.panel);
                kernel::tile(rows, half, order, steps, left, of_right, Place { at, columns, ..to });
            }
        }
    }
}

/// # Safety
/// As for [`product`].
unsafe fn pack_left(a: Mat, x0: usize, size: usize, p: std::ops::Range<usize>, half: bool, to: *mut u32) -> Left {
    let part = |stride| Part { from: From::of(a.data), stride, x0, size, p0: p.start, p1: p.end };
    // SAFETY: the caller's promise.
    unsafe {
        match (a.cs == 1, half) {
            (true, false) => packing::left_along_f32(part(a.rs), to),
            (true, true) => packing::left_along_bf16(part(a.rs), to),
            (false, false) => packing::left_across_f32(part(a.cs), to),
            (false, true) => packing::left_across_bf16(part(a.cs), to),
        }
    }
    if a.cs == 1 { Left::Rows } else { Left::Steps }
}
