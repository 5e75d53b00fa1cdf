//! Counts and times of served requests: as Prometheus text, and as events of the last seconds for `core watch`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Instant;

use super::fate::Fate;
use crate::journal::{Event, PathTimes};

/// Upper edges of the latency buckets, milliseconds.
const BUCKETS_MS: [f64; 12] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];
/// Most times of one path kept for the percentiles of a stretch.
const TIMES: usize = 100_000;

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
    rewriting: BTreeMap<&'static str, u64>,
    feedback: BTreeMap<&'static str, u64>,
    log: BTreeMap<&'static str, u64>,
    rewrite_ms: Histogram,
    search_ms: BTreeMap<&'static str, Histogram>,
    stretch: Stretch,
}

/// What happened since the last event.
struct Stretch {
    since: Instant,
    /// Whether nothing new is told when nothing happens: it was said, or there was nothing before.
    told_idle: bool,
    paths: BTreeMap<&'static str, (u64, Vec<f64>)>,
    rewriting: BTreeMap<&'static str, u64>,
    refused: u64,
}

impl Default for Stretch {
    fn default() -> Self {
        let (paths, rewriting) = (BTreeMap::new(), BTreeMap::new());
        Self { since: Instant::now(), told_idle: true, paths, rewriting, refused: 0 }
    }
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

    /// `labels` is empty, or ends in a comma.
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        for (count, edge) in self.counts.iter().zip(BUCKETS_MS) {
            let _ = writeln!(text, "{name}_bucket{{{labels}le=\"{}\"}} {count}", edge / 1000.0);
        }
        let _ = writeln!(text, "{name}_bucket{{{labels}le=\"+Inf\"}} {}", self.count);
        let labels = labels.strip_suffix(',').map_or_else(String::new, |labels| format!("{{{labels}}}"));
        let _ = writeln!(text, "{name}_sum{labels} {}\n{name}_count{labels} {}", self.sum_ms / 1000.0, self.count);
    }
}

impl Counters {
    pub(super) fn request(&self, route: &'static str, status: u16) {
        let mut inner = self.lock();
        *inner.requests.entry((route, status)).or_default() += 1;
        inner.stretch.refused += u64::from(status >= 400);
    }

    pub(super) fn rewrite(&self, fate: Fate, latency_ms: f64) {
        let mut inner = self.lock();
        *inner.rewrites.entry(fate.as_str()).or_default() += 1;
        inner.rewrite_ms.add(latency_ms);
    }

    pub(super) fn search(&self, path: &'static str, fate: Fate, latency_ms: f64) {
        let mut inner = self.lock();
        *inner.searches.entry(path).or_default() += 1;
        *inner.rewriting.entry(fate.as_str()).or_default() += 1;
        inner.search_ms.entry(path).or_default().add(latency_ms);
        let stretch = &mut inner.stretch;
        *stretch.rewriting.entry(fate.share()).or_default() += 1;
        let (count, times) = stretch.paths.entry(path).or_default();
        *count += 1;
        if times.len() < TIMES {
            times.push(latency_ms);
        }
    }

    pub(super) fn feedback(&self, taken: usize, known: usize, refused: usize) {
        let mut inner = self.lock();
        for (result, n) in [("taken", taken), ("known", known), ("refused", refused)] {
            *inner.feedback.entry(result).or_default() += n as u64;
        }
    }

    /// Searches on their way to the log: `written`, `failed`, or `dropped` for want of room.
    pub(super) fn logged(&self, result: &'static str, searches: u64) {
        *self.lock().log.entry(result).or_default() += searches;
    }

    /// What happened since this was last asked; none while nothing happens, after it was said once.
    pub(super) fn stretch(&self) -> Option<Event> {
        let mut inner = self.lock();
        let Stretch { since, told_idle, paths, rewriting, refused } = std::mem::take(&mut inner.stretch);
        let idle = paths.is_empty() && refused == 0;
        inner.stretch.told_idle = idle;
        // Sorting takes its time, and nobody's answer should wait for it.
        drop(inner);
        if idle && told_idle {
            return None;
        }
        let span_ms = (since.elapsed().as_millis() as u64).max(1);
        let paths = paths.into_iter().map(|(path, (count, mut times))| {
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
            (path.to_owned(), PathTimes { count, p50_ms: at(0.5), p99_ms: at(0.99) })
        });
        let rewriting = rewriting.into_iter().map(|(share, n)| (share.to_owned(), n));
        Some(Event::Serving { span_ms, paths: paths.collect(), rewriting: rewriting.collect(), refused })
    }

    /// The Prometheus text format.
    pub(super) fn render(&self, nearline_waiting: usize) -> String {
        let inner = self.lock();
        let mut text = String::from("# TYPE core_requests_total counter\n");
        for ((route, status), count) in &inner.requests {
            let _ = writeln!(text, "core_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        for (name, label, counts) in [
            ("core_rewrites_total", "path", &inner.rewrites),
            ("core_searches_total", "path", &inner.searches),
            ("core_search_rewriting_total", "fate", &inner.rewriting),
            ("core_feedback_total", "result", &inner.feedback),
            ("core_logged_searches_total", "result", &inner.log),
        ] {
            let _ = writeln!(text, "# TYPE {name} counter");
            for (value, count) in counts {
                let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {count}");
            }
        }
        let _ = writeln!(text, "# TYPE core_nearline_waiting gauge\ncore_nearline_waiting {nearline_waiting}");
        let _ = writeln!(text, "# TYPE core_rewrite_seconds histogram");
        inner.rewrite_ms.write(&mut text, "core_rewrite_seconds", "");
        let _ = writeln!(text, "# TYPE core_search_seconds histogram");
        for (path, histogram) in &inner.search_ms {
            histogram.write(&mut text, "core_search_seconds", &format!("path=\"{path}\","));
        }
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
        counters.rewrite(Fate::Rewritten, 1.5);
        counters.rewrite(Fate::Late, 300.0);
        counters.search("fused", Fate::Rewritten, 3.0);
        counters.request("/v1/search", 200);
        let text = counters.render(7);
        for line in [
            "core_rewrites_total{path=\"late\"} 1",
            "core_search_rewriting_total{fate=\"rewritten\"} 1",
            "core_rewrite_seconds_bucket{le=\"0.002\"} 1",
            "core_rewrite_seconds_bucket{le=\"0.5\"} 2",
            "core_rewrite_seconds_bucket{le=\"+Inf\"} 2",
            "core_rewrite_seconds_count 2",
            "core_search_seconds_bucket{path=\"fused\",le=\"0.005\"} 1",
            "core_search_seconds_count{path=\"fused\"} 1",
            "core_requests_total{route=\"/v1/search\",status=\"200\"} 1",
            "core_nearline_waiting 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn a_stretch_tells_what_happened_and_silence_is_told_once() {
        let counters = Counters::default();
        assert_eq!(counters.stretch(), None);
        (1..=100).for_each(|ms| counters.search("plain", Fate::Missed, f64::from(ms)));
        counters.search("fake", Fate::Rewritten, 7.0);
        counters.request("/v1/search", 400);
        let Some(Event::Serving { paths, rewriting, refused, .. }) = counters.stretch() else { panic!() };
        assert_eq!(paths["plain"], PathTimes { count: 100, p50_ms: 50.0, p99_ms: 99.0 });
        assert_eq!(paths["fake"], PathTimes { count: 1, p50_ms: 7.0, p99_ms: 7.0 });
        assert_eq!((rewriting, refused), ([("hit".to_owned(), 1), ("miss".to_owned(), 100)].into(), 1));
        let silence = counters.stretch();
        assert!(matches!(&silence, Some(Event::Serving { paths, .. }) if paths.is_empty()), "{silence:?}");
        assert_eq!(counters.stretch(), None);
    }
}
