//! Releases: the models in use, each with weights of its own, how they came there, and the way back.
//!
//! A release is a copy of a run's newest checkpoint under `releases/<id>/` and a row of the store. The folder appears whole
//! before the row does, and the row is written together with the change of what is in use; so whenever a process is killed,
//! either the old release is in use or the new one. A folder without a row means nothing, and the next release replaces it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::newest_run;
use crate::journal::now_ms;
use crate::model::checkpoint::write_atomically;
use crate::model::{Keep, Policy, TAGGER, device, runs};
use crate::store::{FILE_NAME, Lock, Promotion, ReleaseInfo, Store};

/// What guards the folders, which no transaction does.
const LOCK: &str = "releases";

/// Puts the newest checkpoint of a run in use for a log, and says which release that is.
///
/// A run whose newest checkpoint is in use already is left alone, so that a caller that was cut short may ask again; not so
/// where the folder of the release is damaged.
///
/// # Errors
/// No such run; a relevance model; a checkpoint that does not load or has no prompt template; a full disk; another process that
/// is at it.
pub fn release(workspace: &Path, log: &str, run: &str, reason: &str, verdict: Option<Value>) -> Result<ReleaseInfo> {
    ensure!(!reason.trim().is_empty(), "a release needs a reason: say why it is put in use");
    let (from, step) = runs::latest(&runs::run_dir(workspace, run)?)?.with_context(|| {
        let at = workspace.join("runs");
        format!(
            "there is no checkpoint of a run {run:?} under {}: `core train sft --name {run}` makes one",
            at.display()
        )
    })?;
    ensure!(!from.join(TAGGER).exists(), "{run} is a relevance model and rewrites nothing: release a run that does");
    let _alone = Lock::take(workspace, LOCK)?;
    let mut store = Store::open(workspace)?;
    let fingerprint = runs::fingerprint(&from)?;
    if let Some(now) = store.release_in_use(log)?
        && (now.run.as_str(), now.step, now.fingerprint.as_str()) == (run, step, fingerprint.as_str())
        && runs::fingerprint(&now.folder).is_ok_and(|found| found == fingerprint)
    {
        return Ok(now);
    }
    // Nobody else can take the number while the lock is held.
    let id = store.next_release()?;
    let folder = runs::release_dir(workspace, id);
    write_atomically(&folder, |inside| {
        runs::copy_model(&from, inside)?;
        let copied = runs::fingerprint(inside)?;
        ensure!(copied == fingerprint, "{} changed while it was copied: release it again", from.display());
        let policy = Policy::load_kept(inside, Keep::AsStored, &device::open()?)?;
        policy.tokenizer.task_template().map(drop)
    })
    .with_context(|| format!("cannot release {}", from.display()))?;
    let inside = folder.strip_prefix(workspace).unwrap_or(&folder).to_string_lossy();
    let (made_ms, verdict) = (now_ms(), verdict.as_ref());
    let (folder, fingerprint) = (inside.as_ref(), fingerprint.as_str());
    store.promote(&Promotion { id, log, run, step, made_ms, reason, verdict, folder, fingerprint })?;
    store.release(id)?.with_context(|| format!("release {id} was just written"))
}

/// Puts an earlier release of a log in use again: `to`, or the one that was in use when the present one was promoted. The
/// way back so never leads forward to a release that was left for a better one.
///
/// The release in use itself is left alone, so that a caller that was cut short may ask again with the same `to`.
///
/// # Errors
/// Nothing in use, or nothing before it; no such release of this log; a folder that is gone or damaged, with the release in use
/// left as it is.
pub fn rollback(workspace: &Path, log: &str, to: Option<i64>, why: &str) -> Result<ReleaseInfo> {
    ensure!(!why.trim().is_empty(), "a rollback needs a reason: say why");
    // A workspace without a store is not made one by this.
    drop(Store::open_existing(workspace)?);
    let _alone = Lock::take(workspace, LOCK)?;
    let mut store = Store::open(workspace)?;
    let Some(now) = store.release_in_use(log)? else { bail!(nothing(log)) };
    let target = match to {
        Some(id) if id == now.id => return Ok(now),
        Some(id) => store.release(id)?.filter(|release| release.log == log).with_context(|| {
            let known = store.releases(Some(log)).unwrap_or_default();
            let known: Vec<String> = known.iter().map(|release| release.id.to_string()).collect();
            format!("log {log:?} has no release {id}: it has {}; `core releases` lists them", known.join(", "))
        })?,
        None => store.release_before(now.id)?.with_context(|| {
            format!("release {} is the first of log {log:?}: there is none before it to go back to", now.id)
        })?,
    };
    load(&target).with_context(|| format!("release {} of log {log:?} stays in use", now.id))?;
    store.put_in_use(target.id, now_ms(), why)?;
    Ok(ReleaseInfo { in_use: true, ..target })
}

/// The release in use for a log, if there is one; none in a workspace without a store.
///
/// # Errors
/// A store that cannot be read.
pub fn in_use(workspace: &Path, log: &str) -> Result<Option<ReleaseInfo>> {
    if !workspace.join(FILE_NAME).exists() {
        return Ok(None);
    }
    Store::open_existing(workspace)?.release_in_use(log)
}

/// Releases of a log, or of all logs, oldest first.
///
/// # Errors
/// No store there, or one that cannot be read.
pub fn list(workspace: &Path, log: Option<&str>) -> Result<Vec<ReleaseInfo>> {
    Store::open_existing(workspace)?.releases(log)
}

/// The model that a command uses when none is named: the release in use for a log as `release:3`, else the newest run.
///
/// # Errors
/// Neither; a store that cannot be read.
pub fn in_use_or_newest(workspace: &Path, log: &str) -> Result<String> {
    match in_use(workspace, log)? {
        Some(release) => Ok(name_of(&release)),
        None => newest_run(workspace),
    }
}

/// What [`super::Rewriter::open`] knows a release by.
#[must_use]
pub fn name_of(release: &ReleaseInfo) -> String {
    name(release.id)
}

/// [`name_of`] of a release by its number.
#[must_use]
pub fn name(id: i64) -> String {
    format!("{}:{id}", runs::RELEASE)
}

/// The release that a rewriter's name means, the decoding mode behind it cut off: `release`, or `release:3`. None for names of
/// other things.
///
/// # Errors
/// No such release; nothing in use; a number that is none.
pub(super) fn named(workspace: &Path, log: &str, name: &str) -> Result<Option<ReleaseInfo>> {
    let Some(rest) = name.strip_prefix(runs::RELEASE) else { return Ok(None) };
    if rest.is_empty() {
        return in_use(workspace, log)?.map(Some).with_context(|| nothing(log));
    }
    let Some(number) = rest.strip_prefix(':') else { return Ok(None) };
    let id: i64 = number.parse().ok().with_context(|| {
        format!("{name:?} names no release: give release, release:3, or a decoding behind it (release:3:constrained)")
    })?;
    let found = Store::open_existing(workspace)?.release(id)?;
    let found = found.with_context(|| format!("there is no release {id}: `core releases` lists those there are"))?;
    Ok(Some(found))
}

/// Opens the weights of a release, where they are those that were released.
///
/// # Errors
/// A folder or a base that is gone, or changed since, with the release, the folder and the remedy.
pub(super) fn load(release: &ReleaseInfo) -> Result<Policy> {
    let ReleaseInfo { id, folder, run, .. } = release;
    let failed = || {
        format!(
            "release {id} cannot be opened from {}: put the folder back from a copy, go back to another release with \
             `core rollback --to ID`, or release a run with `core release {run}`",
            folder.display()
        )
    };
    let found = runs::fingerprint(folder).with_context(failed)?;
    let same = found == release.fingerprint;
    let changed = "a file in it, or of the base that its adapter stands on, is not the one that was released";
    same.then_some(()).context(changed).with_context(failed)?;
    Policy::load_kept(folder, Keep::AsStored, &device::open()?).with_context(failed)
}

fn nothing(log: &str) -> String {
    format!("no release of log {log:?} is in use: `core release RUN` puts a run's newest checkpoint in use")
}

#[cfg(test)]
mod tests;
