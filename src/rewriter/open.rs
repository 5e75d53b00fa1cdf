//! From a name to a rewriter: a rule, a release or a run of this workspace, a checkpoint folder, or a hub id.

use std::path::Path;

use anyhow::{Error, Result, anyhow, bail};

use super::{
    Answerable, Association, Cooccurrence, CopyRule, Decoder, Feedback, FrequentGain, MAX_NEW_TOKENS, Nearest,
    PolicyRewriter, Rewriter, Transitions, Typed, ValidQueries, Vocabulary, Whose, release,
};
use crate::model::{Keep, Policy, TAGGER, device, hub, runs};
use crate::recipe::{Decoding, Mine, Recipe};
use crate::search::{Engine, index_dir};
use crate::store::{Session, Split, Store};
use crate::task::Template;

/// Names of the rules.
pub const RULES: [&str; 7] = ["never", "frequent-gain", "copy-rule", "association", "cooccurrence", "nearest", "prf"];

impl Rewriter {
    /// Opens a rewriter by name: one of [`RULES`], `release` for the one in use for the recipe's log, `release:3` for any
    /// release by its number, a run of the workspace, a folder, or `owner/name` on a hub. A model's name may end in `:free`, `:constrained`, `:mixed` or `:words`, which goes before the recipe's `rewriting.decoding`,
    /// and then in `@0.5`, a share that goes before its `rewriting.reject_at`.
    ///
    /// Rules are fitted on the training split and the titles of the recipe's log.
    ///
    /// # Errors
    /// No such thing; a log or an index that a rule needs is missing; a checkpoint that does not load; a release whose folder was
    /// changed.
    pub fn open(workspace: &Path, recipe: &Recipe, name: &str) -> Result<Self> {
        match name {
            "never" => Ok(Self::Never),
            "frequent-gain" => {
                let store = Store::open_existing(workspace)?;
                let rows = store.examples(&store.log(&recipe.name)?, Split::Train)?;
                let pairs = rows.iter().filter_map(|row| Some((row.query.as_str(), row.target.as_deref()?)));
                Ok(Self::FrequentGain(FrequentGain::fit(pairs)))
            }
            "copy-rule" => {
                let store = Store::open_existing(workspace)?;
                Ok(Self::CopyRule(CopyRule::fit(&store.training_docs(recipe, &store.log(&recipe.name)?)?)))
            }
            "association" => {
                let store = Store::open_existing(workspace)?;
                let log = store.log(&recipe.name)?;
                Ok(Self::Association(Association::fit(
                    &store.training_docs(recipe, &log)?,
                    Typed::read(&store, recipe, &log)?,
                )))
            }
            "cooccurrence" => {
                let seen = learn(workspace, recipe, Transitions::add)?;
                Ok(Self::Cooccurrence(Cooccurrence::fit(&seen, &recipe.baselines)))
            }
            "nearest" => {
                let seen = learn(workspace, recipe, ValidQueries::add)?;
                let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?;
                Ok(Self::Nearest(Box::new(Nearest::fit(engine, seen, &recipe.baselines)?)))
            }
            "prf" => {
                let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?;
                let rule = Feedback::new(engine, recipe.search.clone(), recipe.baselines.clone());
                Ok(Self::Feedback(Box::new(rule)))
            }
            _ => Ok(Self::Policy(Box::new(open_policy(workspace, recipe, name)?))),
        }
    }
}

/// A model, what tables call it, and what tells its weights from others of that name.
struct Opened {
    policy: Policy,
    name: String,
    identity: String,
}

impl Opened {
    fn release(workspace: &Path, recipe: &Recipe, model: &str, mode: &str) -> Result<Option<Self>> {
        let Some(found) = release::named(workspace, &recipe.name, model)? else { return Ok(None) };
        // `release` is a name of many weights in its time; tables get the one that was meant.
        let name = format!("{}{mode}", release::name_of(&found));
        let identity = format!("release {} of {}", found.id, found.fingerprint);
        Ok(Some(Self { policy: release::load(&found)?, name, identity }))
    }

    fn folder(workspace: &Path, model: &str, name: &str) -> Result<Self> {
        let of_run = runs::run_dir(workspace, model).ok().map(|dir| runs::latest(&dir)).transpose()?.flatten();
        let folder = match of_run {
            Some((folder, _)) => folder,
            // Something with a slash can only have been meant as a folder or a hub id, and the hub's sentence is enough.
            None if model.contains('/') => hub::resolve(model, None)?,
            None => hub::resolve(model, None).map_err(|_| unknown(workspace, name))?,
        };
        // A run that is trained again, or a folder made anew, holds other weights under the same name.
        let made = std::fs::metadata(&folder).and_then(|m| m.modified()).ok();
        let made_ms = made.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |d| d.as_millis());
        let policy = Policy::load_kept(&folder, Keep::AsStored, &device::open()?)?;
        Ok(Self { policy, name: name.to_owned(), identity: format!("{} of {made_ms}", folder.display()) })
    }
}

fn open_policy(workspace: &Path, recipe: &Recipe, name: &str) -> Result<PolicyRewriter> {
    let Named { model, decoding, reject_at } = Named::read(name);
    let opened = match Opened::release(workspace, recipe, model, &name[model.len()..])? {
        Some(opened) => opened,
        None => Opened::folder(workspace, model, name)?,
    };
    let decoding = match (decoding, recipe.rewriting.decoding) {
        (Some(named), _) => named,
        // A chat template spells words by where they stand; only who asks for it by name is told.
        (None, Decoding::Words) if opened.policy.tokenizer.task_template()? != Template::Plain => Decoding::Free,
        (None, of_recipe) => of_recipe,
    };
    let policy = opened.policy.frozen().with_precision(recipe.train.precision);
    let decoder = match decoding {
        Decoding::Free => Decoder::free(&policy.tokenizer)?,
        Decoding::Words => Decoder::words(&policy.tokenizer, vocabulary(workspace, recipe)?)?,
        _ => {
            let store = Store::open_existing(workspace)?;
            let valid = Answerable::read(&store, recipe, &store.log(&recipe.name)?, Whose::Training)?;
            Decoder::new(decoding, &policy.tokenizer, valid.spellings(), MAX_NEW_TOKENS)?
        }
    };
    let mut identity = opened.identity;
    if let Some(valid) = decoder.valid() {
        identity += &format!(", {} within {}", decoding.name(), valid.fingerprint());
    }
    if let Some(words) = decoder.wordwise() {
        identity += &format!(", within words of {}", words.fingerprint());
    }
    let reject_at = reject_at.unwrap_or(recipe.rewriting.reject_at);
    if reject_at > 0.0 {
        identity += &format!(", left alone at {reject_at}");
    }
    let rewriter = PolicyRewriter::new(&opened.name, &identity, policy, decoder, recipe.train.max_prompt_tokens)?;
    Ok(rewriter.rejecting_at(reject_at))
}

/// The words of the recipe's log.
///
/// # Errors
/// The store's; no such log.
pub fn vocabulary(workspace: &Path, recipe: &Recipe) -> Result<Vocabulary> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    Ok(Vocabulary::of(&store.docs(&log)?, &Typed::read(&store, recipe, &log)?))
}

/// A model's name taken apart: `demo-sft:words@0.5`.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    model: &'a str,
    decoding: Option<Decoding>,
    reject_at: Option<f64>,
}

impl<'a> Named<'a> {
    /// What is neither a mode nor a share belongs to the name.
    fn read(name: &'a str) -> Self {
        let share = |text: &str| text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        let at = name.rsplit_once('@').and_then(|(rest, text)| Some((rest, share(text)?)));
        let (rest, reject_at) = at.map_or((name, None), |(rest, share)| (rest, Some(share)));
        let mode = |text: &str| Decoding::ALL.into_iter().find(|decoding| decoding.name() == text);
        let with_mode = rest.rsplit_once(':').and_then(|(model, text)| Some((model, mode(text)?)));
        let (model, decoding) = with_mode.map_or((rest, None), |(model, mode)| (model, Some(mode)));
        Self { model, decoding, reject_at }
    }
}

/// Goes through the sessions that may be learnt from.
fn learn<T: Default>(workspace: &Path, recipe: &Recipe, add: impl Fn(&mut T, &Session, &Mine)) -> Result<T> {
    let (store, mut seen) = (Store::open_existing(workspace)?, T::default());
    store.for_each_training_session(recipe, &store.log(&recipe.name)?, |session| {
        add(&mut seen, &session, &recipe.mine);
        Ok(())
    })?;
    Ok(seen)
}

/// The newest run with a checkpoint, those of relevance models left out: what commands use where nothing is named and no release
/// is in use ([`super::in_use_or_newest`]).
///
/// # Errors
/// A workspace without checkpoints.
pub fn newest_run(workspace: &Path) -> Result<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(workspace.join("runs")).into_iter().flatten().flatten() {
        if let Some((folder, _)) = runs::latest(&entry.path())?
            && !folder.join(TAGGER).exists()
        {
            let made = std::fs::metadata(&folder).and_then(|m| m.modified()).ok();
            found.push((made, entry.file_name().to_string_lossy().into_owned()));
        }
    }
    match found.into_iter().max() {
        Some((_, name)) => Ok(name),
        None => bail!(
            "no trained model in {}: run `core demo` or `core train sft`, or name a folder with --model",
            workspace.display()
        ),
    }
}

fn unknown(workspace: &Path, name: &str) -> Error {
    anyhow!(
        "no rewriter {name:?}: give a rule ({}), release or release:3, a run under {}, a checkpoint folder, or owner/name on the hub",
        RULES.join(", "),
        workspace.join("runs").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_end_in_a_mode_and_a_share_and_what_is_neither_belongs_to_it() {
        let read = |name| {
            let Named { model, decoding, reject_at } = Named::read(name);
            (model, decoding, reject_at)
        };
        assert_eq!(read("demo-sft"), ("demo-sft", None, None));
        assert_eq!(read("release:3:words@0.5"), ("release:3", Some(Decoding::Words), Some(0.5)));
        assert_eq!(read("demo-sft@1"), ("demo-sft", None, Some(1.0)));
        assert_eq!(read("some/model:mixed"), ("some/model", Some(Decoding::Mixed), None));
        for whole in ["demo@2", "demo@-0.5", "demo@NaN", "demo@", "demo:loud", "demo@0.5:words@x"] {
            assert_eq!(read(whole), (whole, None, None));
        }
    }
}
