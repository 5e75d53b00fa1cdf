//! Matrix products on strided views. Inside a thread pool each call runs on its own thread, since the packs of groups
//! are what is spread; a call from outside (one prompt to rewrite, say) spreads the product itself.

#![allow(unsafe_code)]

use gemm::Parallelism;

use super::skinny;

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
    // Few rows, both sides contiguous along the sum: no packing pays.
    if m <= skinny::MOST_ROWS && (a.cs, a.rs) == (1, k) && (b.rs, b.cs) == (1, k) {
        skinny::product(dst.data, dst.rs, &a.data[..m * k], &b.data[..n * k], k, alpha, add);
        return;
    }
    general(dst, a, b, alpha, add);
}

/// The product by `gemm`, whatever the strides.
fn general(dst: MatMut, a: Mat, b: Mat, alpha: f32, add: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let threads = match rayon::current_thread_index() {
        Some(_) => Parallelism::None,
        None => Parallelism::Rayon(0),
    };
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
            threads,
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
    fn few_rows_take_the_other_kernel_to_the_same_numbers() {
        let a: Vec<f32> = (0..50 * 37).map(|i| (i as f32 * 0.9).sin()).collect();
        let b: Vec<f32> = (0..11 * 37).map(|i| (i as f32 * 0.3).cos()).collect();
        for m in [1, 3, 4, 6, 17, 48, 50] {
            let (left, right) = (Mat::new(&a[..m * 37], m, 37), Mat::new(&b, 11, 37).t());
            let mut out = vec![0.5; m * 13];
            matmul(MatMut::strided(&mut out, m, 11, 13), left, right, 2.0, true);
            for (i, wanted) in naive(left, right).into_iter().enumerate() {
                let got = out[i / 11 * 13 + i % 11];
                assert!((got - 0.5 - 2.0 * wanted).abs() < 1e-4, "{m} rows: {got} against {wanted}");
            }
            assert!((0..m).all(|row| out[row * 13 + 11] == 0.5), "a column beyond the product was written");
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test --release --lib few_rows_against_many -- --ignored --nocapture"]
    fn few_rows_against_many() {
        let (n, k) = (768, 256);
        let (x, w) = (vec![0.5; 64 * k], vec![0.25; n * k]);
        let mut y = vec![0.0; 64 * n];
        for m in [1, 2, 4, 8, 12, 16, 24, 32, 64] {
            let mut best = [f64::MAX; 2];
            for _ in 0..200 {
                let started = std::time::Instant::now();
                skinny::product(&mut y, n, &x[..m * k], &w, k, 1.0, false);
                best[0] = best[0].min(started.elapsed().as_secs_f64());
                let started = std::time::Instant::now();
                // Strides that do not qualify for the other kernel.
                let left = Mat { rs: k, cs: 1, data: &x, rows: m, cols: k };
                general(MatMut::new(&mut y, m, n), left, Mat::new(&w, n, k).t(), 1.0, false);
                best[1] = best[1].min(started.elapsed().as_secs_f64());
            }
            let speed = |s: f64| 2e-9 * (m * n * k) as f64 / s;
            println!("{m} rows: few {:.0} GFLOP/s, general {:.0} GFLOP/s", speed(best[0]), speed(best[1]));
        }
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_view_beyond_its_slice_is_refused() {
        let data = [0.0; 10];
        matmul(MatMut::new(&mut [0.0; 4], 2, 2), Mat::new(&data, 2, 6), Mat::new(&[0.0; 12], 6, 2), 1.0, false);
    }
}
