//! What relevance is asked of: the search path's own scorer, which serving multiplies by, or a relevance model (LORE, JD).

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::judge::tagging::calibrated;
use crate::logs::Doc;
use crate::model::{Tagger, runs};
use crate::recipe::{Ratio, Recipe};
use crate::search::Engine;
use crate::store::Store;

/// The name of the search path's scorer in a recipe.
pub(super) const PATH: &str = "path";
/// Whatever changes when a scorer gives other numbers for the same model or index.
const VERSION: &str = "1";

/// A scorer of texts and documents, the latter by number in the index.
pub(super) enum Relevances {
    /// Words and vectors; visual codes, where they are read.
    Path { visual: bool },
    /// P(L3 or L4) of a trained model, its temperature fitted on held-out labels.
    Learned { tagger: Box<Tagger>, docs: HashMap<u32, Doc> },
}

/// Which scorer is meant.
pub(super) struct Source<'a> {
    /// The recipe's key that names it.
    pub key: &'a str,
    /// `path`, or a run.
    pub name: &'a str,
    /// Whether the path's scorer reads visual codes; a model knows by itself.
    pub visual: bool,
}

impl<'a> Source<'a> {
    /// The ratio's.
    pub fn of_ratio(ratio: &'a Ratio) -> Self {
        Self { key: "ratio.scorer", name: &ratio.scorer, visual: ratio.visual }
    }
}

impl Relevances {
    /// The scorer of that name; and a key that tells its numbers from those of any other.
    ///
    /// # Errors
    /// No run of that name, or none that tags relevance; no log.
    pub fn open(workspace: &Path, engine: &Engine, recipe: &Recipe, source: &Source) -> Result<(Self, String)> {
        let Source { key: of, name, visual } = *source;
        let index = format!("{VERSION} {} {}", engine.fingerprint(), engine.stats().encoder);
        if name == PATH {
            return Ok((Self::Path { visual }, format!("{PATH} {index} {visual}")));
        }
        let (folder, step) = runs::latest(&runs::run_dir(workspace, name)?)?.with_context(|| {
            format!("{of} names {name:?}, and there is no such run: `core train sft --task relevance --name {name}` makes one")
        })?;
        let tagger = Box::new(Tagger::open(&folder, recipe.train.precision)?);
        let store = Store::open_existing(workspace)?;
        let numbers = engine.numbers()?;
        let docs = store.docs(&store.log(&recipe.name)?)?.into_iter();
        let docs = docs.filter_map(|doc| Some((*numbers.get(&doc.id)?, doc))).collect();
        let key = format!("{name} {step} {} {index}", runs::fingerprint(&folder)?);
        Ok((Self::Learned { tagger, docs }, key))
    }

    /// Relevance of documents to a text, in [0, 1], in their order.
    ///
    /// # Errors
    /// An index whose files went away; a text that does not fit a model's prompt.
    pub fn of(&self, engine: &Engine, text: &str, numbers: &[u32]) -> Result<Vec<f64>> {
        let (tagger, docs) = match self {
            Self::Path { visual } => return engine.relevance(text, numbers, *visual),
            Self::Learned { tagger, docs } => (tagger, docs),
        };
        let of = |number: &u32| docs.get(number).context("the index has a document that the log has not");
        let asked: Vec<&Doc> = numbers.iter().map(of).collect::<Result<_>>()?;
        let temperature = tagger.settings().temperature.unwrap_or(1.0);
        let relevant = |logits| {
            let [_, _, third, fourth] = calibrated(logits, temperature);
            third + fourth
        };
        Ok(tagger.logits(text, &asked)?.into_iter().map(relevant).collect())
    }
}
