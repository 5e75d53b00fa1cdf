//! Who samples: this machine's own policy, or outside servers that are given its adapter first.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::journal::Event;
use crate::model::checkpoint::write_atomically;
use crate::model::endpoints::{Dropped, EndpointSettings, Endpoints, Question};
use crate::model::{self, Cancel, Completion, Group, Policy, runs};
use crate::recipe::{Decoding, Recipe};
use crate::rewriter::Decoder;

/// Folders of adapters that servers read, in a run's own folder.
const FOLDER: &str = "rollout-adapter-";

/// Samples completions of prompts.
pub(in crate::train) enum Sampler {
    /// On this machine.
    Own(Decoder),
    /// Elsewhere (`[rollouts]`).
    Outside(Box<Outside>),
}

/// Servers, and what they hold of a run.
pub(in crate::train) struct Outside {
    endpoints: Endpoints,
    /// The run's folder and name.
    dir: PathBuf,
    run: String,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Adapters written so far.
    written: usize,
    /// Fingerprint and name of the one that the servers have.
    newest: Option<(String, String)>,
    /// Dropped servers that were told of.
    told: usize,
}

impl Sampler {
    /// As the recipe says; `decoder` is what this machine would sample with. Leftovers of a killed run are removed.
    ///
    /// # Errors
    /// Endpoints without an adapter to give them, or for decoding that is not free; none that answers.
    pub fn open(workspace: &Path, run: &str, decoder: Decoder, recipe: &Recipe) -> Result<Self> {
        let r = &recipe.rollouts;
        if r.endpoints.is_empty() {
            return Ok(Self::Own(decoder));
        }
        ensure!(
            recipe.lora.rank > 0,
            "rollouts.endpoints sample with an adapter, and lora.rank is 0: set it to 16, say, or empty rollouts.endpoints"
        );
        ensure!(
            decoder.decoding() == Decoding::Free,
            "rollouts.endpoints decode freely alone: set grpo.decoding to \"free\", or empty rollouts.endpoints"
        );
        let settings = EndpointSettings {
            batch: r.batch,
            timeout: Duration::from_secs(r.timeout_s as u64),
            retries: r.retries as u32,
            seen_as: (!r.workspace.is_empty()).then(|| (workspace.to_owned(), r.workspace.clone())),
        };
        let dir = runs::run_dir(workspace, run)?;
        remove_folders(&dir, None)?;
        let endpoints = Endpoints::open(&r.endpoints, &r.model, settings)?;
        Ok(Self::Outside(Box::new(Outside { endpoints, dir, run: run.to_owned(), held: Mutex::default() })))
    }

    /// One completion per prompt. Servers are given the policy's adapter first, where it has changed; equal prompts in a row
    /// are one question to them.
    ///
    /// # Errors
    /// Those of [`Decoder::generate`]; a policy without an adapter; no server left.
    pub fn generate(
        &self,
        policy: &Policy,
        prompts: &[Vec<u32>],
        decoding: &model::Decoding,
        seed: u64,
    ) -> Result<Vec<Completion>> {
        match self {
            Self::Own(decoder) => decoder.generate(policy, prompts, decoding, seed, &Cancel::default()),
            Self::Outside(outside) => {
                let adapter = outside.sync(policy)?;
                let runs = prompts.chunk_by(|a, b| a == b);
                let questions: Vec<_> = runs.map(|run| Question { prompt: run[0].clone(), n: run.len() }).collect();
                let said = outside.endpoints.sample(policy, &adapter, &questions, decoding, seed)?;
                Ok(said.into_iter().flatten().collect())
            }
        }
    }

    /// How far a server's log-probabilities of its completions are from the policy's own: mean absolute difference per token,
    /// in nats, at temperature 1. None where this machine samples, or the server tells none.
    ///
    /// # Errors
    /// Those of [`Policy::score`].
    pub fn difference(&self, policy: &Policy, prompt: &[u32], said: &[Completion]) -> Result<Option<f64>> {
        let told: Vec<_> = said.iter().filter(|completion| !completion.logprobs.is_empty()).collect();
        if matches!(self, Self::Own(_)) || told.is_empty() {
            return Ok(None);
        }
        let completions = told.iter().map(|completion| completion.ids.clone()).collect();
        let own = policy.score(&[Group { prompt: prompt.to_vec(), completions }], 1.0)?;
        let theirs = told.iter().flat_map(|completion| &completion.logprobs);
        let sum: f64 = own.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs())).sum();
        Ok(Some(sum / own.len() as f64))
    }

    /// Sentences about servers that were dropped since this was last asked.
    pub fn news(&self) -> Vec<Event> {
        let Self::Outside(outside) = self else { return Vec::new() };
        let dropped = outside.endpoints.dropped();
        let told = std::mem::replace(&mut outside.held().told, dropped.len());
        let sentence = |gone: &Dropped| format!("{} samples no more: {}", gone.url, gone.reason);
        dropped[told..].iter().map(|gone| Event::Note { text: sentence(gone) }).collect()
    }
}

impl Outside {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the servers hold the policy's adapter; its name there.
    fn sync(&self, policy: &Policy) -> Result<String> {
        let print = policy.adapter_fingerprint()?;
        let mut held = self.held();
        if let Some((_, name)) = held.newest.as_ref().filter(|(newest, _)| *newest == print) {
            return Ok(name.clone());
        }
        held.written += 1;
        let n = held.written;
        let folder = self.dir.join(format!("{FOLDER}{n:04}"));
        write_atomically(&folder, |inside| policy.save_adapter(inside))?;
        // The fingerprint keeps names apart over runs that one server sees: it caches prompts by an adapter's name.
        let name = format!("{}-{n:04}-{print}", self.run);
        self.endpoints.load_adapter(&name, &folder)?;
        held.newest = Some((print, name.clone()));
        remove_folders(&self.dir, Some(&folder))?;
        Ok(name)
    }
}

impl Drop for Outside {
    /// Leaves nothing behind, here or there, however a run ends; what fails now hurts nobody.
    fn drop(&mut self) {
        self.endpoints.unload_adapter();
        remove_folders(&self.dir, None).ok();
    }
}

/// Removes the adapters' folders but one.
fn remove_folders(dir: &Path, but: Option<&Path>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER));
    for path in ours.map(|entry| entry.path()).filter(|path| Some(path.as_path()) != but) {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    Ok(())
}
