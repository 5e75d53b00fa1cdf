//! Products where our own kernels do not run: the `gemm` crate on float32, which picks AVX2, NEON or plain loops itself.
#![allow(unsafe_code)]

use gemm::Parallelism;
use half::bf16;

use super::{Mat, Values};

/// A matrix in float32, its values rounded to bfloat16 when `half`; copied to `room` where they change.
pub(super) fn floats<'a>(m: Mat<'a>, half: bool, room: &'a mut Vec<f32>) -> Mat<'a> {
    let reach = (m.rows - 1) * m.rs + (m.cols - 1) * m.cs + 1;
    match m.data {
        Values::F32(_) if !half => return m,
        Values::F32(x) => room.extend(x[..reach].iter().map(|&x| bf16::from_f32(x).to_f32())),
        Values::Bf16(x) => room.extend(x[..reach].iter().map(|x| x.to_f32())),
        Values::Packed(_) => unreachable!("panels are made only where our own kernels run"),
    }
    Mat { data: Values::F32(room), ..m }
}

/// `dst = alpha · a·b`, or `+=`.
///
/// # Safety
/// The views lie within their slices; `dst` has `a.rows` rows of `b.cols` floats, `rs` apart, that are ours alone.
///
/// # Panics
/// When a matrix is not float32.
pub(super) unsafe fn product(dst: *mut f32, rs: usize, a: Mat, b: Mat, alpha: f32, add: bool) {
    let (Values::F32(of_a), Values::F32(of_b)) = (a.data, b.data) else { unreachable!("made float32 before") };
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst,
            1,
            rs as isize,
            add,
            of_a.as_ptr(),
            a.cs as isize,
            a.rs as isize,
            of_b.as_ptr(),
            b.cs as isize,
            b.rs as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
