//! Matrix products on strided views. Each call runs on one thread: parallelism is one pack of groups per thread.

#![allow(unsafe_code)]

use gemm::Parallelism;

/// A matrix to read: element (i, j) lies at `i · rs + j · cs`.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    rs: usize,
    cs: usize,
}

impl<'a> Mat<'a> {
    /// Rows one after the other.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `stride` apart: a block of columns of a wider matrix.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, rs: stride, cs: 1 }
    }

    /// Transposed view.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, rs: self.cs, cs: self.rs, ..self }
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
}

/// `dst = alpha · a·b`, or `dst += alpha · a·b` when `add`.
///
/// # Panics
/// When shapes do not fit or a view reaches beyond its slice: a mistake in the caller.
pub(super) fn matmul(dst: MatMut, a: Mat, b: Mat, alpha: f32, add: bool) {
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
    let last = |rows: usize, cols: usize, rs: usize, cs: usize| (rows - 1) * rs + (cols - 1) * cs;
    assert!(last(m, k, a.rs, a.cs) < a.data.len(), "left view is beyond its slice");
    assert!(last(k, n, b.rs, b.cs) < b.data.len(), "right view is beyond its slice");
    assert!(last(m, n, dst.rs, 1) < dst.data.len() && dst.rs >= n, "destination is beyond its slice");
    // SAFETY: every element that gemm touches lies within the three slices (checked above), `dst` is borrowed
    // mutably and so aliases neither input, and its rows do not overlap (stride ≥ width).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr(),
            1,
            dst.rs as isize,
            add,
            a.data.as_ptr(),
            a.cs as isize,
            a.rs as isize,
            b.data.as_ptr(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: Mat, b: Mat) -> Vec<f32> {
        let at = |m: Mat, i: usize, j: usize| m.data[i * m.rs + j * m.cs];
        let cell = |i: usize, j: usize| (0..a.cols).map(|k| at(a, i, k) * at(b, k, j)).sum();
        (0..a.rows * b.cols).map(|ij| cell(ij / b.cols, ij % b.cols)).collect()
    }

    #[test]
    fn views_transposes_and_sums_agree_with_the_definition() {
        let a: Vec<f32> = (0..60).map(|i| (i as f32).sin()).collect();
        let b: Vec<f32> = (0..60).map(|i| (i as f32 * 0.3).cos()).collect();
        for (left, right) in [
            (Mat::new(&a, 5, 7), Mat::new(&b, 7, 3)),
            (Mat::strided(&a[2..], 5, 4, 9), Mat::new(&b, 6, 4).t()),
            (Mat::new(&a, 4, 6).t(), Mat::strided(&b, 4, 5, 8)),
        ] {
            let wanted = naive(left, right);
            let (m, n) = (left.rows, right.cols);
            let mut out = vec![1.0; m * n];
            matmul(MatMut::new(&mut out, m, n), left, right, 2.0, true);
            for (got, wanted) in out.iter().zip(&wanted) {
                assert!((got - 1.0 - 2.0 * wanted).abs() < 1e-4, "{got} against {wanted}");
            }
            matmul(MatMut::new(&mut out, m, n), left, right, 1.0, false);
            for (got, wanted) in out.iter().zip(&wanted) {
                assert!((got - wanted).abs() < 1e-4, "{got} against {wanted}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_view_beyond_its_slice_is_refused() {
        let data = [0.0; 10];
        matmul(MatMut::new(&mut [0.0; 4], 2, 2), Mat::new(&data, 2, 6), Mat::new(&[0.0; 12], 6, 2), 1.0, false);
    }
}
