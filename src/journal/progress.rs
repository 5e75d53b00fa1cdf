//! Progress of a long step: a bar on a terminal, a line now and then elsewhere, events in the journal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::duration;
use super::{Event, Journal};

/// How often a terminal-less run says how far it is.
const LINE_EVERY_MS: u64 = 5_000;
/// How often the journal hears of it.
const EVENT_EVERY_MS: u64 = 500;

/// A step under way; safe to share between threads. Dropping it leaves the line where it is.
pub struct Progress {
    /// None where the journal must be left alone.
    journal: Option<Journal>,
    stage: String,
    total: u64,
    bar: Option<ProgressBar>,
    done: AtomicU64,
    started: Instant,
    last_event_ms: AtomicU64,
    last_line_ms: AtomicU64,
}

impl Progress {
    /// A step that only the terminal hears of: for work inside a transaction, which holds the journal's file.
    #[must_use]
    pub fn on_screen(stage: &str, total: u64) -> Self {
        Self::new(None, stage, total)
    }

    pub(super) fn new(journal: Option<Journal>, stage: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template = "  {prefix:<10} {bar:28} {human_pos}/{human_len} {elapsed} left {eta} {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
            bar.set_prefix(stage.to_owned());
            bar
        });
        let zero = || AtomicU64::new(0);
        let stage = stage.to_owned();
        Self {
            journal,
            stage,
            total,
            bar,
            done: zero(),
            started: Instant::now(),
            last_event_ms: zero(),
            last_line_ms: zero(),
        }
    }

    /// Counts `n` more items.
    pub fn inc(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        if self.due(&self.last_event_ms, EVENT_EVERY_MS) {
            self.emit(done);
        }
        if self.bar.is_none() && self.due(&self.last_line_ms, LINE_EVERY_MS) {
            let spent = self.started.elapsed();
            let left = self.left(done, spent).map_or(String::new(), |left| format!(", about {} left", duration(left)));
            eprintln!("  {:<10} {done}/{} after {}{left}", self.stage, self.total, seconds(spent));
        }
    }

    /// Milliseconds that the rest will take if it goes on like this.
    fn left(&self, done: u64, spent: Duration) -> Option<i64> {
        let rest = self.total.checked_sub(done).filter(|rest| done > 0 && *rest > 0)?;
        Some((spent.as_millis() as f64 * rest as f64 / done as f64) as i64)
    }

    /// Says something behind the bar.
    pub fn message(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    /// Ends the line with a summary.
    pub fn finish(self, summary: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.emit(self.done.load(Ordering::Relaxed));
        eprintln!("  {:<10} {summary} in {}", self.stage, seconds(self.started.elapsed()));
    }

    fn emit(&self, done: u64) {
        if let Some(journal) = &self.journal {
            // A progress line that cannot be written must not stop the work it tells of.
            let _ = journal.emit(&Event::Progress { stage: self.stage.clone(), done, total: self.total });
        }
    }

    /// Whether `every_ms` have passed since this was last true; at most one thread hears yes.
    fn due(&self, last: &AtomicU64, every_ms: u64) -> bool {
        let now = self.started.elapsed().as_millis() as u64;
        let before = last.load(Ordering::Relaxed);
        now >= before + every_ms && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}
