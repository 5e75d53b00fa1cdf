//! `core bench fake`: lookups in a fake index of a size that is asked for, one timed at a time.

use std::time::Instant;

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::machine::{Times, percentile};
use super::scratch::Scratch;
use crate::journal::{Cell, Progress, Table, stop, words};
use crate::search::fake::{Card, FakeIndex, List, write};

/// Documents in a list.
const DOCS: usize = 10;
/// Lookups before the clock counts.
const WARM_UP: usize = 1_000;
const SEED: u64 = 0;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Queries in the index.
    pub keys: usize,
    /// Documents named in it.
    pub docs: usize,
    /// Size of the file.
    pub bytes: u64,
    /// Building and writing it, seconds.
    pub build_s: f64,
    /// Opening and checking it, milliseconds.
    pub open_ms: f64,
    /// Timed lookups; every second one is of a query that is no key.
    pub lookups: usize,
    /// Share of them that found a list.
    pub found: f64,
    /// Microseconds that half of them stay within.
    pub p50_us: f64,
    /// Microseconds that 99 % of them stay within.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Share of the machine's processors that other programs took meanwhile; only where `/proc` tells.
    pub other_cpu: Option<f64>,
}

impl Report {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = [
            "keys",
            "docs",
            "bytes",
            "build_s",
            "open_ms",
            "lookups",
            "found",
            "p50_us",
            "p99_us",
            "max_us",
            "other_cpu",
        ];
        let mut table = Table::new("bench", "", &columns);
        table.row([
            self.keys.into(),
            self.docs.into(),
            Cell::shown(self.bytes, words::bytes(self.bytes)),
            self.build_s.into(),
            self.open_ms.into(),
            self.lookups.into(),
            self.found.into(),
            self.p50_us.into(),
            self.p99_us.into(),
            self.max_us.into(),
            self.other_cpu.into(),
        ]);
        table
    }
}

/// Builds an index of `keys` queries in a scratch folder, opens it, and looks `lookups` queries up, cards included.
///
/// # Errors
/// A full disk. `Stopped` after Ctrl-C.
pub fn run(keys: usize, lookups: usize) -> Result<Report> {
    let scratch = Scratch::new("fake")?;
    let path = scratch.path().join("bench.fake");
    let docs = (keys / 5).max(DOCS);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let cards: Vec<_> = (0..docs).map(card).collect();
    let progress = Progress::on_screen("build", keys as u64);
    let started = Instant::now();
    let lists = (0..keys).map(|n| List { key: key(n), head: n % 3 == 0, docs: list(docs, &mut rng) });
    write(&path, &[], &cards, lists, |n| progress.inc(n))?;
    let build_s = started.elapsed().as_secs_f64();
    progress.finish(&format!("{keys} queries"));
    let started = Instant::now();
    let index = FakeIndex::open(&path)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    let (mut times_us, mut found) = (Vec::with_capacity(lookups), 0);
    let before = Times::now();
    for at in 0..WARM_UP + lookups {
        if at % 1_000 == 0 {
            stop::check("nothing of a benchmark is kept")?;
        }
        let number = rng.random_range(0..keys);
        let query = if at % 2 == 0 { key(number) } else { format!("{} x", key(number)) };
        let started = Instant::now();
        let list = index.get(&query);
        let took_us = started.elapsed().as_secs_f64() * 1e6;
        if at >= WARM_UP {
            times_us.push(took_us);
            found += usize::from(list.is_some_and(|list| list.len() == DOCS));
        }
    }
    let other_cpu = before.zip(Times::now()).and_then(|(before, now)| before.others_until(&now));
    times_us.sort_by(f64::total_cmp);
    Ok(Report {
        keys,
        docs,
        bytes: index.bytes(),
        build_s,
        open_ms,
        lookups,
        found: found as f64 / lookups as f64,
        p50_us: percentile(&times_us, 0.5),
        p99_us: percentile(&times_us, 0.99),
        max_us: *times_us.last().context("at least one lookup is timed")?,
        other_cpu,
    })
}

/// Three words, in the order of the numbers they stand for.
fn key(number: usize) -> String {
    format!("word{:03} of {:03} topic{:03}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000)
}

fn card(number: usize) -> Card {
    let title = format!("Video {number} of a middling length, as titles are");
    Card { doc: format!("v{number:07}"), title, tags: vec!["tag".into(), format!("tag{}", number % 97)] }
}

fn list(docs: usize, rng: &mut ChaCha8Rng) -> Vec<(u32, f32)> {
    (0..DOCS).map(|place| (rng.random_range(0..docs) as u32, 1.0 / (place + 1) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_lookup_finds_its_list() {
        let report = run(3_000, 500).unwrap();
        assert_eq!((report.keys, report.docs, report.lookups, report.found), (3_000, 600, 500, 0.5));
        assert!(0.0 < report.p50_us && report.p50_us <= report.p99_us && report.p99_us <= report.max_us);
        assert!(report.bytes > 3_000 * 80 && report.table().rows.len() == 1);
    }
}
