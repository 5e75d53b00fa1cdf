//! Trouble that comes with every request is told now and then, not every time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::journal::words;

/// Pause between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Says on standard error what goes wrong, at most once in a while.
#[derive(Default)]
pub(super) struct Complaints {
    last: Mutex<Option<(Instant, u64)>>,
}

impl Complaints {
    /// Says it, or counts it for the next line.
    pub(super) fn say(&self, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *last {
            Some((at, unsaid)) if now - *at < EVERY => *unsaid += 1,
            other => {
                let unsaid = other.map_or(0, |(_, unsaid)| unsaid);
                let more = if unsaid > 0 { format!(" ({unsaid} more since the last line)") } else { String::new() };
                eprintln!("  {}{more}", words::one_line(text));
                *other = Some((now, 0));
            }
        }
    }
}
