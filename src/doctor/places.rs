//! Places on the disk: the store, the checkpoints, the cache of the model hub.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, State};
use crate::journal::words::bytes;
use crate::store::{self, Health};

/// Most files looked at under one folder.
const FILES: usize = 100_000;

/// Everything that lies on the disk.
pub(super) fn look(workspace: &Path) -> Vec<Finding> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = std::env::home_dir();
    let hub = hub_folder(var("HF_HOME").as_deref(), home.as_deref());
    let hub_bytes = hub.as_deref().filter(|path| path.is_dir()).map(|path| walk(path).bytes);
    vec![
        folder(workspace),
        the_store(workspace, store::health(workspace)),
        checkpoints(workspace),
        hub_cache(hub.as_deref(), hub_bytes, var("HF_HUB_OFFLINE").as_deref()),
        Finding::ok(
            "hub",
            var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co (HF_ENDPOINT is not set)".into()),
        ),
    ]
}

fn folder(workspace: &Path) -> Finding {
    let shown = workspace.display().to_string();
    if !workspace.exists() {
        return Finding::not_ok("workspace", State::Missing, shown, "it is made by the first run: `core demo`");
    }
    // Asks the system rather than the permission bits; a probe leaves nothing behind.
    #[cfg(unix)]
    if rustix::fs::access(workspace, rustix::fs::Access::WRITE_OK).is_err() {
        let remedy = "it cannot be written: change its permissions, or name another --workspace";
        return Finding::not_ok("workspace", State::Warn, shown, remedy);
    }
    Finding::ok("workspace", shown)
}

fn the_store(workspace: &Path, health: Result<Option<Health>>) -> Finding {
    let path = workspace.join(store::FILE_NAME).display().to_string();
    match health {
        Ok(None) => Finding::not_ok("store", State::Missing, path, "no store yet: run `core demo`"),
        Err(error) => Finding::not_ok("store", State::Broken, path, format!("{error:#}")),
        Ok(Some(health)) if !health.damage.is_empty() => {
            let found = format!("{path}: damaged, {}", health.damage[0]);
            let remedy = "restore it from a copy, or start over in another --workspace";
            Finding::not_ok("store", State::Broken, found, remedy)
        }
        Ok(Some(h)) => {
            let (version, newest) = h.version;
            let next = if version < newest { format!(" (the next run makes it {newest})") } else { String::new() };
            let size = bytes(h.bytes);
            Finding::ok(
                "store",
                format!("{path}: version {version}{next}, {size}, {} logs, {} runs, sound", h.logs, h.runs),
            )
        }
    }
}

fn checkpoints(workspace: &Path) -> Finding {
    let root = workspace.join("runs");
    let found = walk(&root);
    if found.models == 0 {
        let remedy = "no checkpoint yet: `core demo` or `core train` makes one";
        return Finding::not_ok("checkpoints", State::Missing, root.display().to_string(), remedy);
    }
    Finding::ok("checkpoints", format!("{}: {} checkpoints, {}", root.display(), found.models, bytes(found.bytes)))
}

/// Where models from the hub are kept: `$HF_HOME/hub`, or `~/.cache/huggingface/hub`.
fn hub_folder(hf_home: Option<&str>, home: Option<&Path>) -> Option<PathBuf> {
    match hf_home {
        Some(set) => Some(Path::new(set).join("hub")),
        None => Some(home?.join(".cache/huggingface/hub")),
    }
}

fn hub_cache(folder: Option<&Path>, size_bytes: Option<u64>, offline: Option<&str>) -> Finding {
    let offline_note = offline.map_or_else(String::new, |value| format!(", HF_HUB_OFFLINE={value}"));
    let Some(folder) = folder else {
        let remedy = "no home folder: set HF_HOME to where models may be kept";
        return Finding::not_ok("hub cache", State::Warn, format!("nowhere{offline_note}"), remedy);
    };
    let shown = folder.display();
    match size_bytes {
        Some(size) => Finding::ok("hub cache", format!("{shown}: {}{offline_note}", bytes(size))),
        None if offline.is_some_and(|value| value != "0") => {
            let remedy =
                "a model of the hub can be neither found nor fetched: unset HF_HUB_OFFLINE, or copy a cache there";
            Finding::not_ok("hub cache", State::Warn, format!("{shown}{offline_note}"), remedy)
        }
        None => {
            let remedy = "made when a model is first fetched; the demo needs none";
            Finding::not_ok("hub cache", State::Missing, format!("{shown}{offline_note}"), remedy)
        }
    }
}

/// What lies under a folder.
#[derive(Default)]
struct Under {
    bytes: u64,
    /// Folders that hold safetensors.
    models: usize,
}

/// Adds up the files under a folder; links are not followed, so a link back up ends nowhere.
fn walk(root: &Path) -> Under {
    let (mut under, mut files) = (Under::default(), 0);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut is_model = false;
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            files += 1;
            if files > FILES {
                return under;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                under.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                is_model |= path.extension().is_some_and(|ending| ending == "safetensors");
            }
        }
        under.models += usize::from(is_model);
    }
    under
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_folders_with_safetensors() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(checkpoints(dir.path()).state, State::Missing);
        for step in ["step-1", "step-2"] {
            let folder = dir.path().join("runs/tiny").join(step);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("model.safetensors"), [0; 600]).unwrap();
            std::fs::write(folder.join("optimizer.safetensors"), [0; 400]).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("runs/up")).unwrap();
        assert!(checkpoints(dir.path()).found.ends_with("runs: 2 checkpoints, 2.0 kB"));
    }

    #[test]
    fn the_hub_folder_follows_hf_home() {
        let home = Path::new("/home/a");
        assert_eq!(hub_folder(Some("/data/hf"), Some(home)), Some("/data/hf/hub".into()));
        assert_eq!(hub_folder(None, Some(home)), Some("/home/a/.cache/huggingface/hub".into()));
        assert_eq!(hub_folder(None, None), None);
        assert_eq!(hub_cache(Some(home), None, Some("1")).state, State::Warn);
        assert_eq!(hub_cache(Some(home), None, Some("0")).state, State::Missing);
        assert_eq!(hub_cache(Some(home), Some(5), Some("1")).found, "/home/a: 5 B, HF_HUB_OFFLINE=1");
    }

    #[test]
    fn a_file_that_is_no_store_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(store::FILE_NAME), "text, and no database at all. ".repeat(40)).unwrap();
        let finding = the_store(dir.path(), store::health(dir.path()));
        assert_eq!(finding.state, State::Broken);
        assert!(finding.remedy.unwrap().contains("is not a store"));
    }
}
