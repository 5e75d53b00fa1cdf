//! From text to vectors: our own small encoder.

mod hashed;

use anyhow::{Result, bail};

/// Name of our own encoder in recipes and manifests.
pub(super) const HASHED: &str = "hashed";

/// What turns texts into vectors.
pub(super) enum Encoder {
    /// Hashed words and letter groups.
    Hashed,
}

impl Encoder {
    /// Opens an encoder by the name that recipes use.
    pub(super) fn open(name: &str) -> Result<Self> {
        match name {
            HASHED => Ok(Self::Hashed),
            other => bail!("search.encoder is {other:?}: use {HASHED:?}"),
        }
    }

    /// A vector for each text, not yet of length 1.
    pub(super) fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Hashed => Ok(texts.iter().map(|text| hashed::embed(text)).collect()),
        }
    }
}
