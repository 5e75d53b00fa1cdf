//! What a build's folder holds: its manifest, and the values that were learnt from clicks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::vectors::{self, ShardFile};
use crate::search::encoder::Identity;
use crate::search::fit::Ranking;

/// Changes when the index's fields, analysis or files change, so that an older index is built anew.
pub(super) const FORMAT: &str = "stages-3";
pub(super) const FILE: &str = "manifest.json";
/// Satisfaction of each document, in the order of their numbers, as 32-bit floats, lowest byte first; then a checksum.
pub(super) const SATISFACTION: &str = "satisfaction.f32";

/// What belongs together in a build's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub format: String,
    /// The encoder that the vectors were made by.
    pub encoder: Identity,
    /// Upload time of the newest document: what ages are counted from, so that an index answers the same tomorrow.
    pub newest_ms: i64,
    pub shards: Vec<ShardFile>,
    pub ranking: Ranking,
}

#[derive(Deserialize)]
struct Version {
    format: String,
}

impl Manifest {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let damaged = || format!("{} is damaged", path.display());
        // First of all the version: the rest of another one's need not be readable.
        let Version { format } = serde_json::from_str(&text).with_context(damaged)?;
        ensure!(format == FORMAT, "{} is of version {format:?}, this program reads {FORMAT:?}", path.display());
        serde_json::from_str(&text).with_context(damaged)
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).context("a manifest is plain data")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}: check the disk's space", path.display()))
    }
}

pub(super) fn write_satisfaction(folder: &Path, values: &[f32]) -> Result<()> {
    let path = folder.join(SATISFACTION);
    let mut bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    bytes.extend(vectors::check(&bytes).to_le_bytes());
    fs::write(&path, bytes).with_context(|| format!("cannot write {}: check the disk's space", path.display()))
}

/// One value for each of `docs` documents.
pub(super) fn read_satisfaction(folder: &Path, docs: usize) -> Result<Vec<f32>> {
    let path = folder.join(SATISFACTION);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (body, sum) = bytes.split_at(bytes.len().saturating_sub(8));
    let values: Vec<f32> = body.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let sound = body.len() == 4 * docs && sum == vectors::check(body).to_le_bytes();
    ensure!(sound, "{} is damaged", path.display());
    Ok(values)
}

/// Sizes of an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Documents.
    pub docs: usize,
    /// Parts of the text index.
    pub segments: usize,
    /// Distinct terms, summed over segments and text fields.
    pub terms: u64,
    /// Graphs of vectors.
    pub shards: usize,
    /// Bytes of the text index.
    pub text_bytes: u64,
    /// Bytes of the vectors and their graphs.
    pub vector_bytes: u64,
    /// The encoder that the vectors were made by.
    pub encoder: Identity,
    /// Where the ranking's weights come from: a log, or nothing.
    pub fitted_on: Option<String>,
}
