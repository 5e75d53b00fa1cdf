//! From text to vectors: our own small encoder, or a BERT-class one read from a folder or the hub.

mod bert;
mod hashed;

use std::fmt;

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::model::hub;
use crate::recipe::{Fingerprint, SearchPath};
use bert::Bert;

/// Name of our own encoder in recipes.
const HASHED: &str = "hashed";
/// Texts that our own encoder reads between two reports of progress.
const TICK: usize = 1_000;

/// What turns texts into vectors; share it between threads by reference.
pub struct Encoder {
    kind: Kind,
    identity: Identity,
}

enum Kind {
    /// Hashed words and letter groups.
    Hashed,
    /// States of a BERT.
    Bert(Box<Bert>),
}

/// Which encoder made a vector: vectors of different ones must not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// As the recipe called it.
    pub name: String,
    /// Numbers of a vector.
    pub dimension: usize,
    /// How it reads texts; nothing for our own.
    pub options: String,
    /// Of everything that a vector depends on: shape, weights, tokenizer, options. The name is not among it, so that a
    /// folder may be moved.
    pub fingerprint: String,
}

impl Identity {
    /// Whether vectors of both can be compared.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        (self.dimension, &self.fingerprint) == (other.dimension, &other.fingerprint)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} dimensions, ", self.name, self.dimension)?;
        if !self.options.is_empty() {
            write!(f, "{}, ", self.options)?;
        }
        write!(f, "fingerprint {})", self.fingerprint)
    }
}

impl Encoder {
    /// Opens the encoder that a recipe names.
    ///
    /// # Errors
    /// A name that is none; a folder that lacks a file, holds a damaged one, or another kind of model.
    pub fn open(settings: &SearchPath) -> Result<Self> {
        let name = &settings.encoder;
        if name == HASHED {
            let mut f = Fingerprint::default();
            f.add(hashed::VERSION.as_bytes());
            let identity =
                Identity { name: name.clone(), dimension: hashed::WIDTH, options: String::new(), fingerprint: f.hex() };
            return Ok(Self { kind: Kind::Hashed, identity });
        }
        let failed =
            || format!("search.encoder is {name:?}: use {HASHED:?}, the folder of an encoder, or its id on the hub");
        let folder = hub::resolve(name, None).with_context(failed)?;
        let (bert, fingerprint) = Bert::open(&folder, &settings.encoding).with_context(failed)?;
        let (dimension, options) = (bert.dimension(), bert.options());
        let identity = Identity { name: name.clone(), dimension, options, fingerprint };
        Ok(Self { kind: Kind::Bert(Box::new(bert)), identity })
    }

    /// Which encoder this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The vector of a query, of length [`Identity::dimension`]; all zeros for a text without words. A BERT's has norm 1,
    /// our own encoder's any.
    ///
    /// # Errors
    /// Weights that give no finite numbers.
    pub fn query(&self, text: &str) -> Result<Vec<f32>> {
        match &self.kind {
            Kind::Hashed => Ok(hashed::embed(text)),
            Kind::Bert(bert) => bert.query(text),
        }
    }

    /// A vector for each document's text, as [`Encoder::query`] makes them; `tick(n)` hears of every `n` done, on any thread,
    /// and its error ends the work.
    ///
    /// # Errors
    /// Those of [`Encoder::query`] and of `tick`.
    pub fn passages(&self, texts: &[String], tick: &(impl Fn(u64) -> Result<()> + Sync)) -> Result<Vec<Vec<f32>>> {
        let Kind::Bert(bert) = &self.kind else {
            let embed = |group: &[String]| -> Result<Vec<Vec<f32>>> {
                let vectors = group.iter().map(|text| hashed::embed(text)).collect();
                tick(group.len() as u64)?;
                Ok(vectors)
            };
            let groups: Vec<Vec<Vec<f32>>> = texts.par_chunks(TICK).map(embed).collect::<Result<_>>()?;
            return Ok(groups.into_iter().flatten().collect());
        };
        bert.passages(texts, tick)
    }
}
