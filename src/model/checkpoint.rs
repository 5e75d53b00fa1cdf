//! Weights in and out of a folder (safetensors only), and folders that appear whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;
use serde_json::json;

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

/// Reads every parameter of `config` as float32, in the order of [`Config::parameters`].
///
/// # Errors
/// A missing, truncated or malformed file; a missing tensor; a tensor of another shape.
pub(super) fn load_weights(dir: &Path, config: &Config, device: &Device) -> Result<Vec<(String, Var)>> {
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
        let tensor = tensor.to_dtype(DType::F32)?.to_device(device)?;
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

/// Writes a file, with a full disk told apart.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| explain(e, path))
}

/// Writes `model.safetensors`, or shards of at most `max_shard_bytes` and their index.
///
/// # Errors
/// A full disk; a folder that cannot be written.
pub(super) fn save_weights(dir: &Path, vars: &[(String, Var)], max_shard_bytes: Option<u64>) -> Result<()> {
    let shards = split(vars, max_shard_bytes.unwrap_or(u64::MAX));
    let detached = |shard: &[(String, Var)]| -> Vec<(String, Tensor)> {
        shard.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    };
    if let [only] = shards.as_slice() {
        return write_safetensors(&dir.join(SINGLE), &detached(only), &[]);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_safetensors(&dir.join(&file), &detached(shard), &[])?;
        weight_map.extend(shard.iter().map(|(name, _)| (name.clone(), file.clone())));
    }
    let total: usize = vars.iter().map(|(_, var)| 4 * var.elem_count()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    write_file(&dir.join(INDEX), format!("{index:#}\n").as_bytes())
}

/// Runs of parameters that stay within `limit` bytes; one that is larger alone gets its own.
fn split(vars: &[(String, Var)], limit: u64) -> Vec<&[(String, Var)]> {
    let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, (_, var)) in vars.iter().enumerate() {
        let size = 4 * var.elem_count() as u64;
        if i > start && bytes + size > limit {
            shards.push(&vars[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&vars[start..]);
    shards
}

/// Makes a folder appear with all its contents or not at all, replacing one that is there.
///
/// `fill` writes into a folder beside `dir`; its files and the folder are flushed to disk before it gets its name.
/// An old folder is parked as `.NAME.old` for the moment between two renames; if the program is killed right then,
/// [`settle`] puts it back. What killed writers left behind is removed.
///
/// # Errors
/// Those of `fill`, after which `dir` is as it was; a full disk.
pub fn write_atomically(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = dir.file_name().with_context(|| format!("{} is not a folder name", dir.display()))?.to_string_lossy();
    fs::create_dir_all(parent).map_err(|e| explain(e, parent))?;
    settle(dir)?;
    sweep(parent, &format!(".{name}.new-"))?;
    let new = parent.join(format!(".{name}.new-{}", std::process::id()));
    let old = parked(dir);
    fs::create_dir(&new).map_err(|e| explain(e, &new))?;
    let written = fill(&new).and_then(|()| flush(&new));
    if let Err(error) = written {
        fs::remove_dir_all(&new).ok();
        return Err(error);
    }
    if dir.exists() {
        fs::rename(dir, &old).map_err(|e| explain(e, dir))?;
    }
    fs::rename(&new, dir).map_err(|e| explain(e, dir))?;
    flush_folder(parent)?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|e| explain(e, &old))?;
    }
    Ok(())
}

/// Finishes or undoes a replacement that was cut short: afterwards `dir` is the newest whole folder, if any is.
///
/// # Errors
/// A folder that cannot be renamed or removed.
pub fn settle(dir: &Path) -> Result<()> {
    let old = parked(dir);
    if !old.exists() {
        return Ok(());
    }
    let done = if dir.exists() { fs::remove_dir_all(&old) } else { fs::rename(&old, dir) };
    match done {
        // Another process settled it first.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| explain(e, &old)),
    }
}

fn parked(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.old"))
}

/// Removes what writers that no longer run left behind.
fn sweep(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(|e| explain(e, parent))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(prefix) else { continue };
        let alive = pid != std::process::id().to_string() && Path::new("/proc").join(pid).exists();
        if !alive {
            fs::remove_dir_all(entry.path()).map_err(|e| explain(e, &entry.path()))?;
        }
    }
    Ok(())
}

fn flush(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| explain(e, dir))? {
        let path = entry.map_err(|e| explain(e, dir))?.path();
        if path.is_dir() {
            flush(&path)?;
        } else {
            File::open(&path).and_then(|f| f.sync_all()).map_err(|e| explain(e, &path))?;
        }
    }
    flush_folder(dir)
}

fn flush_folder(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(|e| explain(e, dir))
}

fn explain(error: std::io::Error, path: &Path) -> anyhow::Error {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let sentence = if full {
        format!("the disk is full: cannot write {}; free some space and start again", path.display())
    } else {
        format!("cannot write {}", path.display())
    };
    anyhow::Error::new(error).context(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path) -> String {
        fs::read_to_string(dir.join("a")).unwrap()
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all_and_leftovers_go() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        // A pid that cannot be running: above Linux' limit of 2^22.
        fs::create_dir(tmp.path().join(".ckpt.new-99999999")).unwrap();
        write_atomically(&dir, |d| write_file(&d.join("a"), b"one")).unwrap();
        assert_eq!(read(&dir), "one");
        let failed = write_atomically(&dir, |d| {
            write_file(&d.join("a"), b"half")?;
            bail!("killed")
        });
        assert!(failed.is_err());
        assert_eq!(read(&dir), "one");
        write_atomically(&dir, |d| write_file(&d.join("a"), b"two")).unwrap();
        assert_eq!(read(&dir), "two");
        let names: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["ckpt"]);
    }

    #[test]
    fn a_replacement_cut_between_its_renames_is_put_back() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        write_atomically(&dir, |d| write_file(&d.join("a"), b"one")).unwrap();
        fs::rename(&dir, tmp.path().join(".ckpt.old")).unwrap();
        settle(&dir).unwrap();
        assert_eq!(read(&dir), "one");
    }

    #[test]
    fn a_full_disk_is_said_in_a_sentence() {
        let error = explain(ErrorKind::StorageFull.into(), Path::new("x"));
        assert!(error.to_string().contains("the disk is full"));
    }

    #[test]
    fn shards_outside_the_folder_are_refused() {
        for name in ["../x.safetensors", "/etc/x.safetensors", "x.bin"] {
            assert!(shard_names(&format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#)).is_err(), "{name}");
        }
    }
}
