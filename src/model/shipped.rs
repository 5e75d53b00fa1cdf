//! The base model that comes with the program: inside the binary, and as a folder in every workspace that uses it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::checkpoint::{write_atomically, write_file};
use crate::recipe::Fingerprint;

/// What `--init` and a recipe call it.
pub const BASE: &str = "base";

const CARD: &str = "README.md";
const FILES: [(&str, &[u8]); 7] = [
    (CARD, include_bytes!("../../base/README.md")),
    ("chat_template.jinja", include_bytes!("../../base/chat_template.jinja")),
    ("config.json", include_bytes!("../../base/config.json")),
    ("generation_config.json", include_bytes!("../../base/generation_config.json")),
    ("model.safetensors", include_bytes!("../../base/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../base/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../base/tokenizer_config.json")),
];

/// The base's folder in a workspace, written when it is not there.
///
/// # Errors
/// A file in it that is not the one that came with this program; a full disk.
pub fn folder(workspace: &Path) -> Result<PathBuf> {
    let dir = workspace.join(BASE);
    if !dir.exists() {
        return restore(workspace);
    }
    for (name, bytes) in FILES {
        let path = dir.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(bytes) {
            bail!(
                "{} is not that of the base model which came with this program: it is missing, damaged or another's; \
                 `core base restore` writes the folder again",
                path.display()
            );
        }
    }
    Ok(dir)
}

/// Writes the base's folder in a workspace, over one that is there.
///
/// # Errors
/// A full disk; a folder that cannot be written.
pub fn restore(workspace: &Path) -> Result<PathBuf> {
    let dir = workspace.join(BASE);
    write_atomically(&dir, |inside| FILES.iter().try_for_each(|(name, bytes)| write_file(&inside.join(name), bytes)))
        .with_context(|| format!("cannot write the base model to {}", dir.display()))?;
    Ok(dir)
}

/// Which base it is: changes with anything of it but the card.
#[must_use]
pub fn identity() -> String {
    let mut hash = Fingerprint::default();
    FILES.iter().filter(|(name, _)| *name != CARD).for_each(|(_, bytes)| hash.add(bytes));
    hash.hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Policy, device};

    #[test]
    fn the_folder_appears_whole_loads_and_stays_within_ten_megabytes() {
        let workspace = tempfile::tempdir().unwrap();
        let dir = folder(workspace.path()).unwrap();
        assert_eq!(folder(workspace.path()).unwrap(), dir);
        let policy = Policy::load(&dir, &device::open().unwrap()).unwrap();
        assert!(policy.tokenizer.task_template().is_ok());
        let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 10_000_000, "{bytes}");
    }

    #[test]
    fn a_damaged_a_foreign_and_a_missing_file_are_refused_by_name_until_it_is_restored() {
        let workspace = tempfile::tempdir().unwrap();
        let dir = restore(workspace.path()).unwrap();
        let mut weights = std::fs::read(dir.join("model.safetensors")).unwrap();
        *weights.last_mut().unwrap() ^= 1;
        for (name, bytes) in [("model.safetensors", weights), ("config.json", b"{}".to_vec())] {
            std::fs::write(dir.join(name), bytes).unwrap();
            let error = folder(workspace.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("core base restore"), "{error}");
            restore(workspace.path()).unwrap();
        }
        std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
        assert!(folder(workspace.path()).unwrap_err().to_string().contains("tokenizer.json"));
        restore(workspace.path()).unwrap();
        assert!(folder(workspace.path()).is_ok());
    }
}
