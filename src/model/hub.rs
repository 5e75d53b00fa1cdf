//! Models by id: from the local Hugging Face cache, or fetched from the hub into it.
//!
//! Environment: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`, as in the Python libraries. Of weights,
//! safetensors alone are ever fetched; pickled ones would run code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::weights::shard_names;

const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 5] = [
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    // How sentence-transformers makes a vector of an encoder's states.
    "modules.json",
    "1_Pooling/config.json",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The folder of a model: `name_or_path` itself when it is a folder, else `owner/name` or `owner/name@revision`
/// from the cache, else from the hub. `cache` replaces the cache's folder (`$HF_HOME/hub`).
///
/// # Errors
/// A name that is neither; not found, not allowed, offline and not cached, no network, no safetensors.
pub fn resolve(name_or_path: &str, cache: Option<&Path>) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let Some(repo) = parse(name_or_path) else {
        bail!(
            "there is no model folder at {name_or_path}, and it is not the id of a model on the hub (owner/name or owner/name@revision)"
        );
    };
    let cache = cache.map_or_else(Cache::from_env, |dir| Cache::new(dir.to_owned()));
    if let Some(folder) = cached(&cache.repo(repo.clone())) {
        return Ok(folder);
    }
    if offline() {
        bail!(
            "{name_or_path} is not in the local cache {}, and HF_HUB_OFFLINE is set: unset it, or give a folder",
            cache.path().display()
        );
    }
    fetch(name_or_path, repo, cache)
}

/// `owner/name[@revision]`; `None` for anything else.
fn parse(id: &str) -> Option<Repo> {
    let (name, revision) = id.split_once('@').unwrap_or((id, "main"));
    let (owner, model) = name.split_once('/')?;
    let word = |s: &str| {
        let plain = s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        plain && !s.is_empty() && !s.starts_with('.') && !s.contains("..")
    };
    let revision_fits = revision.split('/').all(word);
    (word(owner) && word(model) && revision_fits)
        .then(|| Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned()))
}

fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE")
        .is_ok_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

/// The snapshot's folder when everything that is needed lies in it.
fn cached(repo: &CacheRepo) -> Option<PathBuf> {
    let config = repo.get(NEEDED[0])?;
    repo.get(NEEDED[1])?;
    if repo.get(WEIGHTS).is_none() {
        let index = std::fs::read_to_string(repo.get(INDEX)?).ok()?;
        for shard in shard_names(&index).ok()? {
            repo.get(&shard)?;
        }
    }
    config.parent().map(Path::to_owned)
}

fn fetch(id: &str, repo: Repo, cache: Cache) -> Result<PathBuf> {
    let token = std::env::var("HF_TOKEN").ok().filter(|t| !t.is_empty()).or_else(|| cache.token());
    let api = ApiBuilder::from_env()
        .with_cache_dir(cache.path().clone())
        .with_token(token)
        .with_progress(std::io::stderr().is_terminal())
        .build()
        .context("cannot set up the hub's client")?;
    let api = api.repo(repo);
    let info = api.info().map_err(|e| explain(id, None, &e))?;
    let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        bail!(
            "{id} has no {}: core needs a model saved by transformers, with a fast tokenizer",
            missing.join(" and no ")
        );
    }
    let get = |name: &str| get(id, &api, name);
    for name in OPTIONAL.into_iter().filter(|name| has(name)) {
        get(name)?;
    }
    if has(WEIGHTS) {
        get(WEIGHTS)?;
    } else if has(INDEX) {
        let index = get(INDEX)?;
        let text = std::fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
        for shard in shard_names(&text).with_context(|| format!("cannot use {INDEX} of {id}"))? {
            get(&shard)?;
        }
    } else {
        bail!("{id} has no safetensors weights; core reads no other format, so choose a model that has them");
    }
    get(NEEDED[1])?;
    let config = get(NEEDED[0])?;
    config.parent().map(Path::to_owned).context("the cache has no folder")
}

fn get(id: &str, api: &ApiRepo, file: &str) -> Result<PathBuf> {
    api.get(file).map_err(|e| explain(id, Some(file), &e))
}

/// One sentence for what went wrong, with the remedy.
fn explain(id: &str, file: Option<&str>, error: &ApiError) -> anyhow::Error {
    let what = file.map_or_else(|| id.to_owned(), |file| format!("{file} of {id}"));
    let text = error.to_string();
    let status = text.rsplit("http status: ").next().filter(|_| text.contains("http status: ")).unwrap_or_default();
    match (status.get(..3).unwrap_or_default(), error) {
        // The hub answers 401 for names that do not exist, too, so that private ones cannot be guessed.
        ("401", _) => anyhow!("{what} was not found, or needs a token: check the name, or set HF_TOKEN"),
        ("403", _) => anyhow!("{what} is gated: accept its terms on its page on the hub, and set HF_TOKEN"),
        ("404", _) => anyhow!("{what} was not found on the hub: check the name and the revision"),
        ("", ApiError::RequestError(_)) => {
            anyhow!("no network on the way to {what} ({text}): connect, or give a folder with the model")
        }
        _ => anyhow!("the hub did not deliver {what}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for id in ["Qwen/Qwen3-0.6B", "a/b@v1.0", "a/b@refs/pr/1"] {
            assert!(parse(id).is_some(), "{id}");
        }
        for path in ["qwen", "a/b/c", "../x", "a/..", "/a/b", "./a", "a/b@../x", "a/", "", "a b/c"] {
            assert!(parse(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_folder_is_itself_and_a_wrong_name_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(resolve(dir.path().to_str().unwrap(), None).unwrap(), dir.path());
        let error = resolve("./no-such-folder", None).unwrap_err().to_string();
        assert!(error.contains("no model folder at ./no-such-folder"), "{error}");
    }
}
