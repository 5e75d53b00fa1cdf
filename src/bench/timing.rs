//! Steps of training and decoding, timed one by one on random weights.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::{machine, work};
use crate::journal::{Cell, Table, stop};
use crate::model::{device, simd_level};
use crate::recipe::Precision;

/// Steps before the clock starts.
const WARM_UP: usize = 2;
/// Seconds that the timed steps take together, unless their number is given.
const ENOUGH_S: f64 = 10.0;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The work of a step.
    pub work: Work,
    /// Shape of the decoder.
    pub shape: Shape,
    /// How matrices are multiplied.
    pub precision: Precision,
    /// Compute activations again in the backward pass.
    pub recompute: bool,
}

/// The work of one step. Prompts have 200 tokens, completions 8. Numbers are those of [`Shape::Tiny`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One update on 16 prompts with a target each.
    Sft,
    /// One update on 4 prompts × 8 completions, sampled in the step, with a reference pass (β = 0.04).
    Grpo,
    /// One update on 16 pairs of chosen and rejected, with a reference pass.
    Mpo(Layout),
    /// 8 completions for each of 4 prompts.
    Sample,
    /// One greedy completion.
    Rewrite,
}

/// How 16 pairs stand in prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 16 prompts with a pair each.
    Pairs,
    /// 4 prompts, each with 2 chosen against 2 rejected.
    Shared,
}

/// Shape of the decoder, and how much work makes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Qwen3 with 4.2 million parameters, trained in full.
    Tiny,
    /// Qwen3-0.6B, its weights in bfloat16, with adapters of rank 16 on every projection: 2 sequences, 1 prompt to
    /// sample from, 1 pair.
    Small,
    /// Qwen3-4B as [`Shape::Small`], with the work of [`Shape::Tiny`]; on a card alone.
    Qwen3_4b,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Work and shape.
    pub case: String,
    /// Where the model was computed; on a card, memory and threads below are those of the program beside it.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
    /// Seconds a step.
    pub median_s: f64,
    /// Seconds that 99 % of the steps stay within.
    pub p99_s: f64,
    /// Seconds of the fastest step.
    pub min_s: f64,
    /// Timed steps.
    pub n: usize,
    /// Tokens in a median second: of prompts and completions, each prompt as often as it has completions (pairs: both
    /// sides of each), when training; new ones when decoding.
    pub tokens_per_s: f64,
    /// Parameters of the model, an adapter's included.
    pub parameters: usize,
    /// Parameters that a step changes.
    pub trained: usize,
    /// How matrices were multiplied.
    pub precision: Precision,
    /// The widest vector instructions used.
    pub simd: &'static str,
    /// Share of the machine's processors that other programs took meanwhile; only where `/proc` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpu: Option<f64>,
    /// Most memory this program has held, in MiB; only where `/proc` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_mb: Option<u64>,
    /// Version of the program.
    pub version: &'static str,
}

impl Report {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = [
            "case",
            "median_s",
            "p99_s",
            "min_s",
            "n",
            "tokens_per_s",
            "peak_rss_mb",
            "precision",
            "threads",
            "simd",
            "other_cpu",
        ];
        let mut table = Table::new("bench", "", &columns);
        table.row([
            self.case.as_str().into(),
            self.median_s.into(),
            self.p99_s.into(),
            self.min_s.into(),
            self.n.into(),
            self.tokens_per_s.into(),
            self.peak_rss_mb.into(),
            self.precision.name().into(),
            self.threads.into(),
            self.simd.into(),
            self.other_cpu.map_or_else(|| Cell::from(None::<f64>), |x| Cell::shown(x, format!("{:.0}%", 100.0 * x))),
        ]);
        table
    }
}

/// Times a case: two steps of warm-up, then `steps`, or as many as about ten seconds hold (at least five).
///
/// # Errors
/// Too little memory for the shape. `Stopped` after Ctrl-C.
pub fn run(case: Case, steps: Option<usize>) -> Result<Report> {
    let mut fixed = work::Fixed::new(case)?;
    let mut timed = || -> Result<f64> {
        stop::check("nothing of a benchmark is kept")?;
        let started = Instant::now();
        (fixed.step)()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let mut last = 0.0;
    for _ in 0..WARM_UP {
        last = timed()?;
    }
    let n = steps.unwrap_or_else(|| (ENOUGH_S / last.max(1e-4)).ceil().max(5.0) as usize).max(1);
    let before = machine::Times::now();
    let mut seconds = (0..n).map(|_| timed()).collect::<Result<Vec<f64>>>()?;
    let other_cpu = before.zip(machine::Times::now()).and_then(|(before, now)| before.others_until(&now));
    seconds.sort_by(f64::total_cmp);
    let median_s = machine::percentile(&seconds, 0.5);
    Ok(Report {
        case: fixed.case,
        device: device::name(&device::open()?),
        threads: rayon::current_num_threads(),
        median_s,
        p99_s: machine::percentile(&seconds, 0.99),
        min_s: seconds[0],
        n,
        tokens_per_s: fixed.tokens as f64 / median_s,
        parameters: fixed.parameters,
        trained: fixed.trained,
        precision: fixed.precision,
        simd: simd_level().name(),
        other_cpu,
        peak_rss_mb: machine::peak_rss_mb(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_needs_a_card_says_so() {
        let case = Case { work: Work::Rewrite, shape: Shape::Qwen3_4b, precision: Precision::Auto, recompute: false };
        assert!(run(case, Some(1)).unwrap_err().to_string().contains("scripts/build-cuda.sh"));
    }

    #[test]
    fn every_work_runs_and_is_counted() {
        let all = [
            (Work::Sft, "sft-tiny", 16 * 208),
            (Work::Grpo, "grpo-tiny", 32 * 208),
            (Work::Mpo(Layout::Pairs), "mpo-tiny-pairs", 32 * 208),
            (Work::Mpo(Layout::Shared), "mpo-tiny-shared", 32 * 208),
            (Work::Sample, "sample-tiny", 32 * 8),
            (Work::Rewrite, "rewrite-tiny", 8),
        ];
        for (work, name, tokens) in all {
            let case = Case { work, shape: Shape::Tiny, precision: Precision::F32, recompute: false };
            let report = run(case, Some(2)).unwrap();
            assert_eq!((report.case.as_str(), report.n), (name, 2));
            assert!(0.0 < report.min_s && report.min_s <= report.median_s && report.median_s <= report.p99_s);
            assert!((report.tokens_per_s * report.median_s - f64::from(tokens)).abs() < 1e-6, "{name}");
            assert_eq!(report.parameters, 4_197_120, "{name}");
            assert_eq!(report.table().rows.len(), 1);
        }
    }
}
