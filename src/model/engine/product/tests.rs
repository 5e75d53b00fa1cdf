//! Products against their definition: views, transposes, sums, both precisions, every way to store a weight.

use half::bf16;

use super::*;

const F32: How = How { half: false, shared: false };
const BF16: How = How { half: true, shared: false };

fn numbers(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin()).collect()
}

/// The product in double precision, of operands rounded to bfloat16 when `half`.
fn naive(a: Mat, b: Mat, half: bool) -> Vec<f64> {
    let at = |m: Mat, i: usize, j: usize| {
        let x = match m.data {
            Values::F32(x) => x[i * m.rs + j * m.cs],
            Values::Bf16(x) => x[i * m.rs + j * m.cs].to_f32(),
            Values::Packed(_) => unreachable!("the definition is computed from what was packed"),
        };
        f64::from(if half { bf16::from_f32(x).to_f32() } else { x })
    };
    let cell = |i: usize, j: usize| (0..a.cols).map(|k| at(a, i, k) * at(b, k, j)).sum();
    (0..a.rows * b.cols).map(|ij| cell(ij / b.cols, ij % b.cols)).collect()
}

/// Computes `1 + 2·a·b`, `a·b` into a wider destination, and compares; nothing beside the product may change.
fn check(a: Mat, b: Mat, how: How) {
    let wanted = naive(a, b, how.half);
    let (m, n) = (a.rows, b.cols);
    let mut out = vec![1.0; m * (n + 3)];
    let mut compare = |alpha: f32, add: bool, offset: f64| {
        matmul(MatMut::strided(&mut out, m, n, n + 3), a, b, alpha, add, how);
        for (ij, wanted) in wanted.iter().enumerate() {
            let (got, wanted) = (f64::from(out[ij / n * (n + 3) + ij % n]), offset + f64::from(alpha) * wanted);
            assert!((got - wanted).abs() < 2e-4, "{m}×{}×{n} {how:?}: {got} against {wanted}", a.cols);
        }
        assert!((0..m).all(|row| out[row * (n + 3) + n..(row + 1) * (n + 3)] == [1.0; 3]), "{m}×{n}: wrote beside it");
    };
    compare(2.0, true, 1.0);
    compare(1.0, false, 0.0);
}

/// Every combination of a transposed or plain left and right side.
fn check_views(m: usize, k: usize, n: usize) {
    let (a, b) = (numbers(m * k + 5 * k.max(m), 0.9), numbers(k * n + 5 * k.max(n), 0.3));
    let half: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
    for how in [F32, BF16] {
        let lefts = [Mat::strided(&a, m, k, k + 1), Mat::strided(&a, k, m, m + 2).t()];
        for left in lefts {
            let stored = Values::Bf16(&half);
            let rights = [Mat::strided(&b, k, n, n + 1), Mat::strided(&b, n, k, k + 3).t()];
            let weights = [Mat::weight(stored, k, n), Mat::weight(stored, n, k).t()];
            rights.into_iter().chain(weights).for_each(|right| check(left, right, how));
        }
    }
}

#[test]
fn views_transposes_and_sums_agree_with_the_definition() {
    for (m, k, n) in [(1, 1, 1), (5, 7, 3), (3, 33, 5), (12, 16, 32), (13, 31, 33), (29, 70, 64), (64, 64, 100)] {
        check_views(m, k, n);
    }
}

#[test]
fn more_than_one_block_in_each_direction() {
    // Beyond 256 lanes along the sum (512 values in bfloat16) and 512 columns; a shorter sum has wider blocks.
    check_views(14, 300, 530);
    check_views(14, 520, 530);
    check_views(25, 1_030, 40);
    check_views(2, 40, 6_700);
}

#[test]
fn few_rows_and_many_give_the_same_numbers() {
    for m in [1, 2, 3, 4, 6, 15, 16, 17, 48, 50] {
        check_views(m, 37, 11);
        check_views(m, 64, 8);
    }
}

#[test]
fn sharing_a_product_among_threads_changes_no_bit() {
    let (m, k, n) = (70, 90, 230);
    let (a, b) = (numbers(m * k, 0.7), numbers(k * n, 0.2));
    for half in [false, true] {
        let of = |shared| {
            let mut out = vec![0.0; m * n];
            let how = How { half, shared };
            matmul(MatMut::new(&mut out, m, n), Mat::new(&a, m, k), Mat::new(&b, n, k).t(), 1.0, false, how);
            out
        };
        assert_eq!(of(false), of(true));
    }
}

#[test]
fn a_packed_side_changes_no_bit_whether_packed_at_once_or_grown() {
    let (a, b) = (numbers(40 * 600, 0.7), numbers(600 * 90, 0.2));
    for how in [F32, BF16].into_iter().filter(|how| packs(*how)) {
        for (m, k, n) in [(1, 5, 3), (7, 33, 70), (14, 600, 33), (3, 64, 9)] {
            let (left, right) = (Mat::new(&a, m, k), Mat::new(&b, k, n));
            let product = |right: Mat| {
                let mut out = vec![0.0; m * n];
                matmul(MatMut::new(&mut out, m, n), left, right, 1.0, false, how);
                out
            };
            let wanted = product(right);
            let (mut by_row, mut by_column) = (Panels::without_rows(n, how.half), Panels::without_columns(k, how.half));
            b.chunks_exact(n).take(k).for_each(|row| by_row.push_row(row));
            (0..n).for_each(|j| by_column.push_column(&(0..k).map(|p| b[p * n + j]).collect::<Vec<_>>()));
            for panels in [pack(right, how).unwrap(), by_row, by_column] {
                assert_eq!(product(Mat::packed(&panels)), wanted, "{m}×{k}×{n} {how:?}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let (k, n) = (700, 130);
    let (a, b) = (numbers(30 * k, 0.7), numbers(k * n, 0.2));
    for how in [F32, BF16].into_iter().filter(|how| packs(*how)) {
        let rows = |m: usize, n: usize| {
            let mut out = vec![0.0; m * n];
            matmul(MatMut::new(&mut out, m, n), Mat::new(&a, m, k), Mat::strided(&b, k, n, 130), 1.0, false, how);
            out
        };
        let all = rows(30, n);
        for m in [1, 2, 13] {
            assert_eq!(rows(m, n), all[..m * n]);
        }
        assert_eq!(rows(1, 17), all[..17]);
    }
}

#[test]
fn an_empty_sum_is_zero() {
    let mut out = [3.0; 4];
    matmul(MatMut::new(&mut out, 2, 2), Mat::new(&[], 2, 0), Mat::new(&[], 0, 2), 1.0, true, F32);
    assert_eq!(out, [3.0; 4]);
    matmul(MatMut::new(&mut out, 2, 2), Mat::new(&[], 2, 0), Mat::new(&[], 0, 2), 1.0, false, F32);
    assert_eq!(out, [0.0; 4]);
}

#[test]
#[should_panic(expected = "beyond its slice")]
fn a_view_beyond_its_slice_is_refused() {
    let data = [0.0; 10];
    matmul(MatMut::new(&mut [0.0; 4], 2, 2), Mat::new(&data, 2, 6), Mat::new(&[0.0; 12], 6, 2), 1.0, false, F32);
}

#[test]
#[ignore = "a measurement: cargo test --release --lib speed_of_products -- --ignored --nocapture"]
fn speed_of_products() {
    type View<'a> = (&'a str, usize, usize, usize, Mat<'a>, Mat<'a>);
    let (a, b) = (numbers(1024 * 1024, 0.7), numbers(1024 * 1024, 0.2));
    let mut cases: Vec<View> = Vec::new();
    for m in [1, 2, 4, 8, 12, 16, 24, 32, 64] {
        cases.push(("few rows, x·Wᵀ", m, 256, 768, Mat::new(&a, m, 256), Mat::new(&b, 768, 256).t()));
    }
    cases.push(("forward, x·Wᵀ", 1000, 256, 768, Mat::new(&a, 1000, 256), Mat::new(&b, 768, 256).t()));
    cases.push(("input's gradient, dy·W", 1000, 768, 256, Mat::new(&a, 1000, 768), Mat::new(&b, 768, 256)));
    cases.push(("weight's gradient, dyᵀ·x", 768, 1000, 256, Mat::new(&a, 1000, 768).t(), Mat::new(&b, 1000, 256)));
    cases.push(("attention scores", 64, 64, 200, Mat::strided(&a, 64, 64, 256), Mat::strided(&b, 200, 64, 128).t()));
    cases.push(("attention sums", 64, 200, 64, Mat::new(&a, 64, 200), Mat::strided(&b, 200, 64, 128)));
    for (name, m, k, n, left, right) in cases {
        let mut out = vec![0.0; m * n];
        let mut best = [f64::MAX; 3];
        for _ in 0..300 {
            for (best, half) in best.iter_mut().zip([false, true]) {
                let started = std::time::Instant::now();
                matmul(MatMut::new(&mut out, m, n), left, right, 1.0, false, How { half, shared: false });
                *best = best.min(started.elapsed().as_secs_f64());
            }
            let started = std::time::Instant::now();
            // SAFETY: the views above lie within their slices.
            unsafe { portable::product(out.as_mut_ptr(), n, left, right, 1.0, false) };
            best[2] = best[2].min(started.elapsed().as_secs_f64());
        }
        let [f32, bf16, gemm] = best.map(|s| 2e-9 * (m * n * k) as f64 / s);
        println!("{name} {m}×{k}×{n}: float32 {f32:.0}, bfloat16 {bf16:.0}, gemm {gemm:.0} GFLOP/s");
    }
}
