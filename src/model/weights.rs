//! Weights in and out of a folder: safetensors only, in one file or in shards with an index.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;
use serde_json::json;

use super::checkpoint::write_file;
use super::config::Config;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that hold a folder's weights: one, or the shards that an index names.
///
/// # Errors
/// Neither kind is there; the index is malformed or names a file outside the folder.
pub(super) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.join(SINGLE).exists() {
        return Ok(vec![dir.join(SINGLE)]);
    }
    let path = dir.join(INDEX);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => bail!(
            "no weights in {}: it needs {SINGLE}, or {INDEX} and the shards it names (other formats are not read)",
            dir.display()
        ),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    shard_names(&text)
        .with_context(|| format!("cannot use {}", path.display()))
        .map(|names| names.into_iter().map(|name| dir.join(name)).collect())
}

/// Names of the shards in the text of an index, each once.
///
/// # Errors
/// Malformed JSON; a name that is not a plain safetensors file name.
pub(super) fn shard_names(index: &str) -> Result<Vec<String>> {
    let index: Index = serde_json::from_str(index).context("it is not an index of safetensors shards")?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        let plain = !name.contains(['/', '\\']) && name.ends_with(".safetensors");
        ensure!(plain, "it names `{name}`, which is not a safetensors file of the same folder");
    }
    Ok(names)
}

/// In what form a decoder's own weights are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything in float32: for weights that are trained.
    Float32,
    /// Matrices in bfloat16 where the file has them so, in half the memory: for weights that stay as they are.
    AsStored,
}

/// Reads every parameter of `config`, in the order of [`Config::parameters`].
///
/// # Errors
/// A missing, truncated or malformed file; a missing tensor; a tensor of another shape.
pub(super) fn load_weights(dir: &Path, config: &Config, keep: Keep, device: &Device) -> Result<Vec<(String, Var)>> {
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for path in weight_files(dir)? {
        tensors.extend(read_safetensors(&path)?);
    }
    let mut vars = Vec::new();
    for (name, shape) in config.parameters() {
        let tensor = tensors.remove(&name).with_context(|| {
            format!("{}: tensor {name} is missing: the weights do not belong to this config.json", dir.display())
        })?;
        ensure!(
            tensor.dims() == shape,
            "{}: tensor {name} has shape {:?}, but config.json asks for {shape:?}",
            dir.display(),
            tensor.dims()
        );
        let stays = keep == Keep::AsStored && tensor.dtype() == DType::BF16 && shape.len() == 2;
        let tensor = if stays { tensor } else { tensor.to_dtype(DType::F32)? }.to_device(device)?;
        vars.push((name, Var::from_tensor(&tensor)?));
    }
    Ok(vars)
}

/// Reads one safetensors file onto the CPU.
///
/// # Errors
/// The file is missing, truncated or not safetensors; each with its remedy.
pub fn read_safetensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bytes = fs::read(path).with_context(|| {
        format!("cannot read {}: the folder is incomplete, fetch or write it again", path.display())
    })?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).with_context(|| {
        format!("{} is damaged (truncated, or not safetensors): fetch or write it again", path.display())
    })
}

/// Writes tensors to one safetensors file, with the metadata that transformers asks for.
///
/// # Errors
/// A full disk; a folder that cannot be written.
pub fn write_safetensors(path: &Path, tensors: &[(String, Tensor)], metadata: &[(&str, String)]) -> Result<()> {
    let mut info: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    info.insert("format".into(), "pt".into());
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let bytes =
        safetensors::serialize(views, Some(info)).with_context(|| format!("cannot lay out {}", path.display()))?;
    write_file(path, &bytes)
}

/// Writes `model.safetensors`, or shards of at most `max_shard_bytes` and their index.
///
/// # Errors
/// A full disk; a folder that cannot be written.
pub(super) fn save_weights(
    dir: &Path,
    vars: &[(String, Var)],
    dtype: DType,
    max_shard_bytes: Option<u64>,
) -> Result<()> {
    let shards = split(vars, dtype, max_shard_bytes.unwrap_or(u64::MAX));
    let written = |shard: &[(String, Var)]| -> Result<Vec<(String, Tensor)>> {
        shard.iter().map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().to_dtype(dtype)?))).collect()
    };
    if let [only] = shards.as_slice() {
        return write_safetensors(&dir.join(SINGLE), &written(only)?, &[]);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_safetensors(&dir.join(&file), &written(shard)?, &[])?;
        weight_map.extend(shard.iter().map(|(name, _)| (name.clone(), file.clone())));
    }
    let total: usize = vars.iter().map(|(_, var)| dtype.size_in_bytes() * var.elem_count()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    write_file(&dir.join(INDEX), format!("{index:#}\n").as_bytes())
}

/// Runs of parameters that stay within `limit` bytes; one that is larger alone gets its own.
fn split(vars: &[(String, Var)], dtype: DType, limit: u64) -> Vec<&[(String, Var)]> {
    let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, var)) in vars.iter().enumerate() {
        let size = (dtype.size_in_bytes() * var.elem_count()) as u64;
        if i > start && bytes + size > limit {
            shards.push(&vars[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&vars[start..]);
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_outside_the_folder_are_refused() {
        for name in ["../x.safetensors", "/etc/x.safetensors", "x.bin"] {
            assert!(shard_names(&format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#)).is_err(), "{name}");
        }
    }
}
