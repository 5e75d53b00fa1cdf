//! Reading files of a folder that nobody vouches for: plain files only, and never more bytes than can be meant.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};

/// Opens a plain file; its length in bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    let missing = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => anyhow!(
            "{} is missing: an encoder's folder needs config.json, tokenizer.json and model.safetensors, as transformers saves them",
            path.display()
        ),
        _ => anyhow!("cannot read {}: {e}; check its permissions", path.display()),
    };
    // Looked at before it is opened: opening a pipe would wait for ever.
    let about = std::fs::metadata(path).map_err(missing)?;
    ensure!(about.is_file(), "{} is no file", path.display());
    Ok((File::open(path).map_err(missing)?, about.len()))
}

/// A whole file of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, bytes) = open(path)?;
    ensure!(bytes <= most, "{} has {bytes} bytes, and {most} are the most that are read", path.display());
    let mut body = Vec::with_capacity(bytes as usize);
    file.take(most).read_to_end(&mut body).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(body)
}
