//! Matrix products and row operations on float32 slices, each with its gradient.
//!
//! The one `unsafe` block of the engine is here: the call into `gemm`, behind bounds checks.

use gemm::Parallelism;

/// A read-only matrix over a slice, with any strides.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Rows of `cols` values, one after the other.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        Self { data, rows: data.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    /// `rows` rows of `cols` values at the start of `data`, `stride` values apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

/// What a product does with what is in its destination.
#[derive(Clone, Copy, PartialEq)]
pub enum Into {
    /// Overwrites it.
    Set,
    /// Adds to it.
    Add,
}

/// `c = scale·a·b`, or `c += scale·a·b`; rows of `c` are `stride` values apart.
///
/// # Panics
/// When the shapes do not fit the slices: a fault of this program, never of its input.
#[allow(unsafe_code, reason = "gemm works on pointers")]
pub fn product(c: &mut [f32], stride: usize, a: Mat, b: Mat, into: Into, scale: f32, threads: Parallelism) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert_eq!(k, b.rows, "inner dimensions differ");
    assert!(a.fits() && b.fits() && n <= stride && (m - 1) * stride + n <= c.len(), "a matrix leaves its slice");
    // SAFETY: the assertion above bounds every element that gemm reads (a: m×k, b: k×n at their strides) and writes
    // (c: m×n at `stride`, whose rows do not overlap as n <= stride); `c` is borrowed mutably, so it aliases neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

/// `eˣ` within 2 ulp for x in [-87, 88], clamped outside; without branches or calls, so that loops vectorise.
pub fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the product with a whole number is exact.
    let r = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_5e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// Sum of products, in eight lanes so that it vectorises.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `y += x`.
pub fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// RMS norm of every row: `y = x·r·w` with `r = 1/√(mean x² + eps)`; returns each row's `r`.
pub fn norm(y: &mut [f32], x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let width = w.len();
    let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width));
    rows.map(|(y, x)| {
        let r = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = x * r * w;
        }
        r
    })
    .collect()
}

/// Gradient of [`norm`]: adds to `dx` and `dw`.
pub fn norm_back(dx: &mut [f32], dw: &mut [f32], dy: &[f32], x: &[f32], w: &[f32], r: &[f32]) {
    let width = w.len();
    let rows = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width)).zip(r);
    let mut scaled = vec![0.0; width];
    for (((dx, dy), x), r) in rows {
        for i in 0..width {
            dw[i] += dy[i] * x[i] * r;
            scaled[i] = dy[i] * w[i];
        }
        let pull = dot(&scaled, x) * r * r * r / width as f32;
        for i in 0..width {
            dx[i] += scaled[i] * r - x[i] * pull;
        }
    }
}

/// Turns a head's halves by the angles of its position, in place; `back` turns the other way, which is the gradient.
pub fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], back: bool) {
    let (a, b) = head.split_at_mut(cos.len());
    let sign = if back { -1.0 } else { 1.0 };
    for i in 0..cos.len() {
        let (x, y, s) = (a[i], b[i], sign * sin[i]);
        a[i] = x * cos[i] - y * s;
        b[i] = y * cos[i] + x * s;
    }
}

/// `out = silu(gate)·up`.
pub fn swiglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
    for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
        *o = g / (1.0 + exp(-g)) * u;
    }
}

/// Gradient of [`swiglu`]: `d` holds the gradient of the output and receives that of `gate`; `du` that of `up`.
pub fn swiglu_back(d: &mut [f32], du: &mut [f32], gate: &[f32], up: &[f32]) {
    for (((d, du), g), u) in d.iter_mut().zip(du).zip(gate).zip(up) {
        let s = 1.0 / (1.0 + exp(-g));
        let incoming = *d;
        *du = incoming * g * s;
        *d = incoming * u * s * (1.0 + g * (1.0 - s));
    }
}

/// Softmax over the part of a row that may be looked at: `[0, prefix)` and `[own.0, own.1)`; the rest becomes 0.
pub fn softmax_ranges(row: &mut [f32], prefix: usize, own: (usize, usize)) {
    let largest = row[..prefix].iter().chain(&row[own.0..own.1]).copied().fold(f32::NEG_INFINITY, f32::max);
    row[prefix..own.0].fill(0.0);
    row[own.1..].fill(0.0);
    let mut sum = 0.0;
    for part in [0..prefix, own.0..own.1] {
        let part = &mut row[part];
        part.iter_mut().for_each(|x| *x = exp(*x - largest));
        sum += part.iter().sum::<f32>();
    }
    let scale = 1.0 / sum;
    row[..prefix].iter_mut().for_each(|x| *x *= scale);
    row[own.0..own.1].iter_mut().for_each(|x| *x *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / exact - 1.0).abs() < 3e-7, "{x}: {ours} against {exact}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn products_follow_strides_transposes_and_sums() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..8).map(|i| (i * i) as f32).collect();
        // The middle two of four columns of a, 3×2; b as 2×4.
        let left = Mat::strided(&a[1..], 3, 2, 4);
        let mut c = vec![1.0f32; 3 * 5];
        product(&mut c, 5, left, Mat::new(&b, 4), Into::Add, 2.0, Parallelism::None);
        let mut transposed = vec![0.0f32; 4 * 3];
        product(&mut transposed, 3, Mat::new(&b, 4).t(), left.t(), Into::Set, 1.0, Parallelism::None);
        for i in 0..3 {
            for j in 0..4 {
                let sum = a[4 * i + 1] * b[j] + a[4 * i + 2] * b[4 + j];
                assert_eq!(c[5 * i + j], 1.0 + 2.0 * sum);
                assert_eq!(transposed[3 * j + i], sum);
            }
            assert_eq!(c[5 * i + 4], 1.0);
        }
    }

    #[test]
    #[should_panic(expected = "leaves its slice")]
    fn a_product_beyond_its_slice_stops_the_program() {
        let a = [0.0f32; 4];
        product(&mut [0.0; 3], 2, Mat::new(&a, 2), Mat::new(&a, 2), Into::Set, 1.0, Parallelism::None);
    }
}
