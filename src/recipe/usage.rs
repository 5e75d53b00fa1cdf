//! A command that was asked for in a way it cannot be done.

use std::fmt;

/// A mistake in how a command was called, told in one sentence with its remedy; the program exits with 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}
