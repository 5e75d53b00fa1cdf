//! A run's folder: `runs/<name>/step-00000200/`, each a Hugging Face folder (with `lora.rank`, a
//! PEFT folder that names its base) plus what training needs to go on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::optim::AdamW;
use super::{Existing, Options, Task};
use crate::journal::Journal;
use crate::model::checkpoint::write_atomically;
use crate::model::runs::{MOMENTS, STATE};
use crate::model::shipped::{self, BASE};
use crate::model::{Policy, precision_here, runs};
use crate::recipe::{Grpo, Mpo, Pretrain, Ratio, Recall, Recipe, Relevance, Reward, Train};

/// Everything a run's numbers depend on: two runs of one fingerprint may be continued into each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    seed: u64,
    log: String,
    log_origin: String,
    examples: usize,
    init: Option<String>,
    model: crate::recipe::ModelShape,
    train: crate::recipe::Train,
    /// Checkpoints from before adapters have none of this.
    #[serde(default)]
    lora: crate::recipe::Lora,
    /// The stream; none of a run on examples.
    #[serde(default)]
    pretrain: Option<Pretrain>,
    /// What is learnt from rewards; none of a run without them.
    #[serde(default)]
    grpo: Option<Grpo>,
    /// What it earns them by.
    #[serde(default)]
    reward: Option<Reward>,
    /// What it reads the pages of rewrites from, where people are served them from a fake index.
    #[serde(default)]
    fake: Option<crate::recipe::Fake>,
    /// What a run on pairs learns from.
    #[serde(default)]
    mpo: Option<Mpo>,
    /// What a run on ratios is paid by.
    #[serde(default)]
    ratio: Option<Ratio>,
    /// The tagging; none of a run on another task.
    #[serde(default)]
    relevance: Option<Relevance>,
}

impl Fingerprint {
    /// Of a run on a log's examples.
    pub fn of_log(recipe: &Recipe, options: &Options, log_origin: &str, examples: usize) -> Self {
        let (Task::Sft { log } | Task::Grpo { log, .. } | Task::Mpo { log } | Task::Tagging { log }) = options.task
        else {
            return Self::of_stream(recipe, options);
        };
        let (log, log_origin) = (log.to_owned(), log_origin.to_owned());
        let rewarded = matches!(options.task, Task::Grpo { .. });
        let (grpo, reward) = (rewarded.then(|| recipe.grpo.clone()), rewarded.then(|| recipe.reward.clone()));
        let fake = (rewarded && recipe.serve.recall == Recall::Fake).then(|| recipe.fake.clone());
        let paired = matches!(options.task, Task::Mpo { .. });
        let mpo = paired.then(|| recipe.mpo.clone());
        let ratio = (paired || rewarded && recipe.reward.ratio > 0.0).then(|| recipe.ratio.clone());
        // The form of a rewrite is a part of what it is paid for.
        let reward = if paired { Some(recipe.reward.clone()) } else { reward };
        let tags = matches!(options.task, Task::Tagging { .. } | Task::Grpo { tags: true, .. });
        let relevance = tags.then(|| recipe.relevance.clone());
        let of_stream = Self::of_stream(recipe, options);
        Self { log, log_origin, examples, pretrain: None, grpo, reward, fake, mpo, ratio, relevance, ..of_stream }
    }

    /// Of a run on documents made on the fly.
    pub fn of_stream(recipe: &Recipe, options: &Options) -> Self {
        Self {
            seed: recipe.seed,
            log: String::new(),
            log_origin: String::new(),
            examples: 0,
            init: options.init.map(|init| match init {
                BASE => format!("{BASE} {}", shipped::identity()),
                other => other.to_owned(),
            }),
            model: recipe.model.clone(),
            // What this machine makes of `auto`; whether activations are kept changes no number.
            train: Train {
                precision: precision_here(recipe.train.precision),
                recompute: false,
                ..recipe.train.clone()
            },
            lora: recipe.lora.clone(),
            pretrain: Some(recipe.pretrain.clone()),
            grpo: None,
            reward: None,
            fake: None,
            mpo: None,
            ratio: None,
            relevance: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
    /// Tokens read so far; checkpoints from before they were counted have none.
    #[serde(default)]
    num_tokens: u64,
    fingerprint: Fingerprint,
}

/// Decides what to do about a run's earlier checkpoints: the one to go on from, or none after clearing.
pub(super) fn existing(
    dir: &Path,
    wish: Existing,
    now: &Fingerprint,
    journal: &Journal,
) -> Result<Option<(PathBuf, u64)>> {
    let Some((newest, step)) = runs::latest(dir)? else { return Ok(None) };
    let clear = || std::fs::remove_dir_all(dir).with_context(|| format!("cannot delete {}", dir.display()));
    match wish {
        Existing::Refuse => {
            bail!("{} holds a run up to step {step}: --resume goes on with it, --fresh starts over", dir.display())
        }
        Existing::Replace => clear().map(|()| None),
        Existing::Renew if read_state(&newest).is_ok_and(|state| state.fingerprint == *now) => Ok(Some((newest, step))),
        Existing::Renew => {
            let text = format!("{} was made by another recipe or from other data: it is replaced", dir.display());
            eprintln!("  {text}");
            journal.note(text)?;
            clear().map(|()| None)
        }
        Existing::Resume => {
            let then = read_state(&newest)?.fingerprint;
            ensure!(
                then == *now,
                "{} was made by another recipe or from other data ({}): --fresh starts over, --name keeps both",
                newest.display(),
                difference(&then, now)?
            );
            Ok(Some((newest, step)))
        }
    }
}

/// The first key two fingerprints differ in.
fn difference(then: &Fingerprint, now: &Fingerprint) -> Result<String> {
    let (then, now) = (serde_json::to_value(then)?, serde_json::to_value(now)?);
    let mut pending = vec![(String::new(), &then, &now)];
    while let Some((path, a, b)) = pending.pop() {
        match (a.as_object(), b.as_object()) {
            (Some(a), Some(b)) => {
                pending.extend(a.iter().filter_map(|(k, v)| Some((format!("{path}.{k}"), v, b.get(k)?))));
            }
            _ if a != b => return Ok(format!("{} was {a}, is {b}", path.trim_start_matches('.'))),
            _ => {}
        }
    }
    Ok("in a key of another version".into())
}

fn read_state(folder: &Path) -> Result<State> {
    let path = folder.join(STATE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} is missing: this checkpoint cannot be resumed; use --fresh", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged: delete this checkpoint folder", path.display()))
}

/// Tokens read up to a checkpoint.
pub(super) fn tokens_read(folder: &Path) -> Result<u64> {
    Ok(read_state(folder)?.num_tokens)
}

/// Saves a step whole or not at all, and forgets all but the newest `keep`.
pub(super) fn save(
    dir: &Path,
    (step, num_tokens): (u64, u64),
    policy: &Policy,
    optimizer: &AdamW,
    fingerprint: &Fingerprint,
    beside: impl Fn(&Path) -> Result<()>,
    keep: usize,
) -> Result<PathBuf> {
    let target = runs::step_dir(dir, step);
    write_atomically(&target, |inside| {
        match policy.lora() {
            Some(_) => policy.save_adapter(inside)?,
            None => policy.save(inside, None)?,
        }
        optimizer.save(&inside.join(MOMENTS))?;
        beside(inside)?;
        let state = State { step, num_tokens, fingerprint: fingerprint.clone() };
        Ok(std::fs::write(inside.join(STATE), serde_json::to_vec_pretty(&state)?)?)
    })?;
    let all = runs::steps(dir)?;
    for old in &all[..all.len().saturating_sub(keep)] {
        std::fs::remove_dir_all(runs::step_dir(dir, *old))
            .with_context(|| format!("cannot delete the checkpoint of step {old}"))?;
    }
    Ok(target)
}
