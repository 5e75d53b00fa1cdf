//! What relevance is asked of: the search path's own scorer, which serving multiplies by, or a relevance model (LORE, JD).

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::judge::tagging::calibrated;
use crate::logs::Doc;
use crate::model::{Tagger, runs};
use crate::recipe::Recipe;
use crate::search::Engine;
use crate::store::Store;

/// The name of the search path's scorer in a recipe.
const PATH: &str = "path";
/// Whatever changes when a scorer gives other numbers for the same model or index.
const VERSION: &str = "1";

/// A scorer of texts and documents, the latter by number in the index.
pub(super) enum Relevances {
    /// Words and vectors.
    Path,
    /// P(L3 or L4) of a trained model, its temperature fitted on held-out labels.
    Learned { tagger: Box<Tagger>, docs: HashMap<u32, Doc> },
}

impl Relevances {
    /// By the recipe's `ratio.scorer`; and a key that tells its numbers from those of any other.
    ///
    /// # Errors
    /// No run of that name, or none that tags relevance; no log.
    pub fn open(workspace: &Path, engine: &Engine, recipe: &Recipe) -> Result<(Self, String)> {
        let ratio = &recipe.ratio;
        let index = format!("{VERSION} {} {}", engine.fingerprint(), engine.stats().encoder);
        if ratio.scorer == PATH {
            return Ok((Self::Path, format!("{PATH} {index} {}", ratio.visual)));
        }
        let name = &ratio.scorer;
        let (folder, step) = runs::latest(&runs::run_dir(workspace, name)?)?.with_context(|| {
            format!("ratio.scorer names {name:?}, and there is no such run: `core train sft --task relevance --name {name}` makes one")
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
    pub fn of(&self, engine: &Engine, recipe: &Recipe, text: &str, numbers: &[u32]) -> Result<Vec<f64>> {
        let Self::Learned { tagger, docs } = self else {
            return engine.relevance(text, numbers, recipe.ratio.visual);
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
