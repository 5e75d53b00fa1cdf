//! What a server told of itself, in bounded memory.

use std::collections::BTreeMap;

use super::curve::Curve;
use crate::journal::PathTimes;

/// What became of rewriting, in the order it is shown.
pub(super) const FATES: [&str; 6] = ["hit", "reject", "miss", "late", "error", "off"];
/// Most paths kept; a server has three.
const PATHS: usize = 16;

/// One path.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PathView {
    /// In the last stretch.
    pub last: PathTimes,
    /// In all.
    pub count: u64,
}

/// All that was served, and the last stretch of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Served {
    pub paths: BTreeMap<String, PathView>,
    /// By fate: in the last stretch, and in all.
    pub rewriting: BTreeMap<String, (u64, u64)>,
    pub refused: u64,
    /// Length of the last stretch, seconds.
    pub span_s: f64,
    /// Searches a second over the seconds since the server began to tell.
    pub rate: Curve,
    /// 99 % of the searches of the slowest path were answered within this many milliseconds.
    pub p99_ms: Curve,
    began_ms: Option<i64>,
}

impl Served {
    /// Takes in the next stretch.
    pub(super) fn take(
        &mut self,
        time_ms: i64,
        span_ms: u64,
        paths: &BTreeMap<String, PathTimes>,
        rewriting: &BTreeMap<String, u64>,
        refused: u64,
    ) {
        self.span_s = (span_ms as f64 / 1000.0).max(1e-3);
        self.refused += refused;
        self.paths.values_mut().for_each(|view| view.last = PathTimes::default());
        for (path, times) in paths {
            if self.paths.len() < PATHS || self.paths.contains_key(path) {
                let view = self.paths.entry(path.clone()).or_default();
                view.last = *times;
                view.count += times.count;
            }
        }
        for fate in FATES {
            let now = rewriting.get(fate).copied().unwrap_or(0);
            let (last, all) = self.rewriting.entry(fate.into()).or_default();
            (*last, *all) = (now, *all + now);
        }
        let began_ms = *self.began_ms.get_or_insert(time_ms - span_ms as i64);
        let second = (time_ms - began_ms).max(0) as u64 / 1000;
        self.rate.push(second, self.last() as f64 / self.span_s);
        if let Some(slowest) = paths.values().map(|times| times.p99_ms).reduce(f64::max) {
            self.p99_ms.push(second, slowest);
        }
    }

    /// Whether anything was told.
    pub(super) fn any(&self) -> bool {
        self.began_ms.is_some()
    }

    /// Searches of the last stretch.
    pub(super) fn last(&self) -> u64 {
        self.paths.values().map(|view| view.last.count).sum()
    }

    /// Searches in all.
    pub(super) fn all(&self) -> u64 {
        self.paths.values().map(|view| view.count).sum()
    }
}
