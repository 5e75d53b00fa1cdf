//! Ctrl-C: long work asks [`requested`] between steps, saves, and says how to go on.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Catches Ctrl-C and termination: the first asks for a stop, the second ends the program at once.
///
/// # Errors
/// When the handler cannot be set.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\n  stopping once what must be saved is saved; press Ctrl-C again to leave at once");
    })
    .context("cannot catch Ctrl-C")
}

/// Whether a stop was asked for.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// What long work returns when it stopped because it was asked to: exit code 130, nothing lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// What was kept and how to go on.
    pub advice: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "stopped as asked: {}", self.advice)
    }
}

impl std::error::Error for Stopped {}

/// Err([`Stopped`]) when a stop was asked for.
///
/// # Errors
/// That one.
pub fn check(advice: &str) -> Result<()> {
    if requested() {
        return Err(Stopped { advice: advice.to_owned() }.into());
    }
    Ok(())
}
