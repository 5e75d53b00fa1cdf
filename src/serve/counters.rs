//! Counts and times of served requests, and their Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

/// Upper edges of the latency buckets, milliseconds.
const BUCKETS_MS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Counters of one server.
#[derive(Default)]
pub(super) struct Counters {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    requests: BTreeMap<(&'static str, u16), u64>,
    rewrites: BTreeMap<&'static str, u64>,
    searches: BTreeMap<&'static str, u64>,
    rewrite_ms: Histogram,
    search_ms: Histogram,
}

#[derive(Default)]
struct Histogram {
    counts: [u64; BUCKETS_MS.len()],
    sum_ms: f64,
    count: u64,
}

impl Histogram {
    fn add(&mut self, ms: f64) {
        for (count, edge) in self.counts.iter_mut().zip(BUCKETS_MS) {
            *count += u64::from(ms <= edge);
        }
        self.sum_ms += ms;
        self.count += 1;
    }

    fn write(&self, text: &mut String, name: &str) {
        let _ = writeln!(text, "# TYPE {name} histogram");
        for (count, edge) in self.counts.iter().zip(BUCKETS_MS) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", edge / 1000.0);
        }
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(text, "{name}_sum {}\n{name}_count {}", self.sum_ms / 1000.0, self.count);
    }
}

impl Counters {
    pub fn request(&self, route: &'static str, status: u16) {
        *self.lock().requests.entry((route, status)).or_default() += 1;
    }

    pub fn rewrite(&self, path: &'static str, latency_ms: f64) {
        let mut inner = self.lock();
        *inner.rewrites.entry(path).or_default() += 1;
        inner.rewrite_ms.add(latency_ms);
    }

    pub fn search(&self, path: &'static str, latency_ms: f64) {
        let mut inner = self.lock();
        *inner.searches.entry(path).or_default() += 1;
        inner.search_ms.add(latency_ms);
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        let inner = self.lock();
        let mut text = String::from("# TYPE core_requests_total counter\n");
        for ((route, status), count) in &inner.requests {
            let _ = writeln!(text, "core_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        for (name, counts) in [("core_rewrites_total", &inner.rewrites), ("core_searches_total", &inner.searches)] {
            let _ = writeln!(text, "# TYPE {name} counter");
            for (path, count) in counts {
                let _ = writeln!(text, "{name}{{path=\"{path}\"}} {count}");
            }
        }
        inner.rewrite_ms.write(&mut text, "core_rewrite_seconds");
        inner.search_ms.write(&mut text, "core_search_seconds");
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Counting cannot panic half-way; a poisoned lock still holds good counts.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_counts_and_cumulative_buckets() {
        let counters = Counters::default();
        counters.rewrite("rewritten", 1.5);
        counters.rewrite("late", 300.0);
        counters.request("/v1/search", 200);
        let text = counters.render();
        for line in [
            "core_rewrites_total{path=\"late\"} 1",
            "core_rewrite_seconds_bucket{le=\"0.002\"} 1",
            "core_rewrite_seconds_bucket{le=\"0.5\"} 2",
            "core_rewrite_seconds_bucket{le=\"+Inf\"} 2",
            "core_requests_total{route=\"/v1/search\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
