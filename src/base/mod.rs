//! `core base`: the base model that comes with the program, and how a run of `core pretrain` becomes one.

mod card;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::journal::{Table, words};
use crate::model::{Policy, checkpoint, device, runs, shipped};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Write the base that came with the program into the workspace again.
    Restore,
    /// Write the newest checkpoint of a run as a base: bfloat16, with a card made from the journal.
    Export {
        /// The run.
        run: String,
        /// The folder, which is replaced.
        folder: PathBuf,
    },
}

/// A base model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its folder.
    pub folder: PathBuf,
    /// Parameters.
    pub parameters: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Entries of the tokenizer.
    pub vocab: usize,
    /// Bytes of the weights.
    pub bytes: u64,
}

impl Summary {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new("base", "", &["folder", "parameters", "layers", "hidden", "vocab", "weights"]);
        let [parameters, layers, hidden, vocab] =
            [self.parameters, self.layers, self.hidden, self.vocab].map(Into::into);
        let folder = self.folder.display().to_string().into();
        table.row([folder, parameters, layers, hidden, vocab, words::bytes(self.bytes).into()]);
        table
    }
}

/// Does it.
///
/// # Errors
/// No such run; a full disk; those of loading a checkpoint.
pub fn run(workspace: &Path, what: &What) -> Result<Summary> {
    let folder = match what {
        What::Restore => shipped::restore(workspace)?,
        What::Export { run, folder } => export(workspace, run, folder)?,
    };
    let policy = Policy::load(&folder, &device::open()?)?;
    let weights = folder.join("model.safetensors");
    let bytes = weights.metadata().with_context(|| format!("cannot look at {}", weights.display()))?.len();
    let parameters = policy.parameters();
    let (layers, hidden) = (policy.config.layers, policy.config.hidden);
    Ok(Summary { folder, parameters, layers, hidden, vocab: policy.tokenizer.size(), bytes })
}

fn export(workspace: &Path, run: &str, folder: &Path) -> Result<PathBuf> {
    let newest = runs::latest(&runs::run_dir(workspace, run)?)?;
    let (step, _) =
        newest.with_context(|| format!("there is no run {run:?}: `core pretrain --name {run}` makes one"))?;
    let policy = Policy::load(&step, &device::open()?)?;
    let card = card::write(workspace, run, &step, &policy)?;
    checkpoint::write_atomically(folder, |inside| {
        policy.save_as(inside, DType::BF16, None)?;
        Ok(std::fs::write(inside.join("README.md"), &card)?)
    })?;
    Ok(folder.to_owned())
}
