//! Element-wise pieces of the decoder on slices, forward and backward.

use super::simd::dispatch;

/// `e^x` to about 2 ulp over the whole range: a polynomial that the compiler can vectorise, unlike libm's.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 2^n · 2^f with f in [−½, ½]; the coefficients are Taylor's of 2^f, enough at this width for f32.
    let scaled = (x * std::f32::consts::LOG2_E).clamp(-126.0, 127.0);
    let n = (scaled + 12_582_912.0) - 12_582_912.0;
    let f = scaled - n;
    let p = 1.535_336_3e-4_f32;
    let p = p.mul_add(f, 1.339_887_4e-3);
    let p = p.mul_add(f, 9.618_437e-3);
    let p = p.mul_add(f, 5.550_332_6e-2);
    let p = p.mul_add(f, 2.402_264_8e-1);
    let p = p.mul_add(f, 6.931_472e-1);
    let p = p.mul_add(f, 1.0);
    f32::from_bits(((n as i32 + 127) << 23) as u32) * p
}

/// Lanes of a sum that the compiler may keep in one register.
const LANES: usize = 16;

/// `Σ a·b` in lanes, so that it vectorises and does not depend on the instruction set's width.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = x[i].mul_add(y[i], lanes[i]);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// `Σ a·b·c`, as [`dot`].
#[inline(always)]
fn triple(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(c.chunks_exact(LANES));
    let whole = a.len() - a.len() % LANES;
    let tail: f32 = a[whole..].iter().zip(&b[whole..]).zip(&c[whole..]).map(|((a, b), c)| a * b * c).sum();
    for ((a, b), c) in chunks {
        for i in 0..LANES {
            lanes[i] = (a[i] * b[i]).mul_add(c[i], lanes[i]);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

dispatch! {
    /// RMS norm of each row of `width`: `y = x · inv · w`, `inv = 1/√(mean x² + eps)`, kept for the backward pass.
    pub(super) fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
        let width = w.len();
        for ((x, y), inv) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inv) {
            *inv = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * *inv * w;
            }
        }
    }
}

dispatch! {
    /// Backward of [`rms_norm`]: adds to `dx` and, where wanted, to `dw`.
    pub(super) fn rms_norm_back(x: &[f32], w: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], dw: Option<&mut [f32]>) {
        let width = w.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(inv);
        for (((x, dy), &inv), dx) in rows.clone().zip(dx.chunks_exact_mut(width)) {
            let mean = triple(x, dy, w) * inv * inv * inv / width as f32;
            for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(w) {
                *dx += dy * w * inv - x * mean;
            }
        }
        if let Some(dw) = dw {
            for ((x, dy), &inv) in rows {
                for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
                    *dw += x * inv * dy;
                }
            }
        }
    }
}

dispatch! {
    /// `act = silu(gate) · up`.
    pub(super) fn swiglu(gate: &[f32], up: &[f32], act: &mut [f32]) {
        for ((act, g), u) in act.iter_mut().zip(gate).zip(up) {
            *act = g / (1.0 + exp(-g)) * u;
        }
    }
}

dispatch! {
    /// Backward of [`swiglu`], in place: `gate` and `up` become their own gradients, `dact` becomes `act` again.
    pub(super) fn swiglu_back(gate: &mut [f32], up: &mut [f32], dact: &mut [f32]) {
        for ((g, u), d) in gate.iter_mut().zip(up).zip(dact) {
            let sigmoid = 1.0 / (1.0 + exp(-*g));
            let silu = *g * sigmoid;
            let (dup, dgate) = (*d * silu, *d * *u * (sigmoid + silu * (1.0 - sigmoid)));
            *d = silu * *u;
            (*g, *u) = (dgate, dup);
        }
    }
}

/// Softmax of `row · scale` over its first `keep` places; the rest becomes 0.
#[inline(always)]
fn softmax_row(row: &mut [f32], keep: usize, scale: f32) {
    let (kept, rest) = row.split_at_mut(keep);
    rest.fill(0.0);
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in kept.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let largest = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut sums = [0.0f32; LANES];
    for chunk in kept.chunks_mut(LANES) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *x = exp((*x - largest) * scale);
            *sum += *x;
        }
    }
    let inv = 1.0 / sums.iter().sum::<f32>();
    for x in kept {
        *x *= inv;
    }
}

dispatch! {
    /// Softmax of each row of `width`: the first row over its first `sees` places, each next over one more.
    pub(super) fn softmax(rows: &mut [f32], width: usize, sees: usize, scale: f32) {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            softmax_row(row, sees + i, scale);
        }
    }
}

dispatch! {
    /// Backward of [`softmax`]: `ds = p · (dp − Σ p·dp) · scale` row by row, written over `dp`.
    pub(super) fn softmax_back(p: &[f32], dp: &mut [f32], width: usize, scale: f32) {
        for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
            let inner = dot(p, dp);
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = p * (*dp - inner) * scale;
            }
        }
    }
}

dispatch! {
    /// `log Σ e^(x · scale)`, and the softmax's entropy in nats; the row becomes the softmax.
    pub(in crate::model) fn log_sum_exp(row: &mut [f32], scale: f32) -> (f32, f32) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let (mut sums, mut weighed) = ([0.0f32; LANES], [0.0f32; LANES]);
        for chunk in row.chunks_mut(LANES) {
            for ((sum, weighed), x) in sums.iter_mut().zip(&mut weighed).zip(chunk) {
                let below = (*x - largest) * scale;
                *x = exp(below);
                *sum += *x;
                // What is ruled out lies at -∞ and weighs nothing.
                *weighed += *x * below.max(-100.0);
            }
        }
        let total = sums.iter().sum::<f32>();
        let inv = 1.0 / total;
        for x in row {
            *x *= inv;
        }
        (total.ln() + largest * scale, total.ln() - inv * weighed.iter().sum::<f32>())
    }
}

/// Rotary embedding tables for positions `0..n`: `[n, head_dim/2]` each.
pub(super) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    pub fn new(n: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let angles =
            (0..n).flat_map(|pos| (0..half).map(move |i| pos as f64 / theta.powf(2.0 * i as f64 / head_dim as f64)));
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// Rotates every head of every row to its position; `sign` −1 rotates back (the backward pass).
    pub fn rotate(&self, x: &mut [f32], row: usize, positions: &[u32], sign: f32) {
        rotate(x, row, positions, &self.cos, &self.sin, self.half, sign);
    }
}

dispatch! {
    fn rotate(x: &mut [f32], row: usize, positions: &[u32], cos: &[f32], sin: &[f32], half: usize, sign: f32) {
        for (x, &pos) in x.chunks_exact_mut(row).zip(positions) {
            let at = pos as usize * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in x.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    let (x0, x1, s) = (*a, *b, sign * s);
                    *a = x0 * c - x1 * s;
                    *b = x1 * c + x0 * s;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere_and_does_not_overflow_to_nonsense() {
        for i in -8600..8600 {
            let x = i as f32 / 100.0;
            let (ours, wanted) = (exp(x), x.exp());
            assert!((ours - wanted).abs() <= 1e-5 * wanted, "exp({x}) = {ours}, wanted {wanted}");
        }
        assert!(exp(-1e9) < 2e-38 && exp(1e9) > 1e38);
    }

    #[test]
    fn rms_norm_back_is_the_derivative() {
        let x: Vec<f32> = (0..6).map(|i| (i as f32 * 0.7).sin() + 0.1).collect();
        let w = [0.5, 1.5, -1.0];
        let dy = [0.3, -0.2, 0.9, 1.0, 0.1, -0.4];
        let loss = |x: &[f32], w: &[f32]| {
            let (mut y, mut inv) = ([0.0; 6], [0.0; 2]);
            rms_norm(x, w, 1e-6, &mut y, &mut inv);
            y.iter().zip(dy).map(|(y, d)| f64::from(y * d)).sum::<f64>()
        };
        let (mut y, mut inv, mut dx, mut dw) = ([0.0; 6], [0.0; 2], [0.0; 6], [0.0; 3]);
        rms_norm(&x, &w, 1e-6, &mut y, &mut inv);
        rms_norm_back(&x, &w, &inv, &dy, &mut dx, Some(&mut dw));
        for i in 0..6 {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += 1e-2;
            down[i] -= 1e-2;
            let slope = (loss(&up, &w) - loss(&down, &w)) / 2e-2;
            assert!((slope - f64::from(dx[i])).abs() < 2e-3, "dx[{i}]: {slope} against {}", dx[i]);
        }
        for i in 0..3 {
            let (mut up, mut down) = (w, w);
            up[i] += 1e-2;
            down[i] -= 1e-2;
            let slope = (loss(&x, &up) - loss(&x, &down)) / 2e-2;
            assert!((slope - f64::from(dw[i])).abs() < 2e-3, "dw[{i}]: {slope} against {}", dw[i]);
        }
    }
}
