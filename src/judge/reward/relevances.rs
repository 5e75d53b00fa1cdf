//! What relevance is asked of: the search path, which serving multiplies by, or a relevance model (LORE, JD).

use std::path::Path;

use anyhow::Result;

use crate::recipe::{PLAIN_SCORER, Ratio, Recipe};
use crate::search::{Engine, Learned};

/// Whatever changes when a scorer gives other numbers for the same model or index.
const VERSION: &str = "1";

/// A scorer of texts and documents, the latter by number in the index.
pub(super) enum Relevances {
    /// What the search path itself multiplies by: the plain scorer, with visual codes where they are read, or the model that
    /// `search.scorer` names.
    Path { visual: bool },
    /// P(L3 or L4) of a trained model, its temperature fitted on held-out labels.
    Learned(Box<Learned>),
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
        let Source { key, name, visual } = *source;
        let index = format!("{VERSION} {} {}", engine.fingerprint(), engine.stats().encoder);
        if name == PLAIN_SCORER {
            let by =
                engine.learned().filter(|_| visual).map_or(String::new(), |model| format!(" by {}", model.identity()));
            return Ok((Self::Path { visual }, format!("{PLAIN_SCORER} {index} {visual}{by}")));
        }
        let learned = Learned::open(workspace, recipe, &recipe.name, engine, key, name)?;
        let key = format!("{} {index}", learned.identity());
        Ok((Self::Learned(Box::new(learned)), key))
    }

    /// Relevance of documents to a text, in [0, 1], in their order.
    ///
    /// # Errors
    /// An index whose files went away; a text that does not fit a model's prompt.
    pub fn of(&self, engine: &Engine, text: &str, numbers: &[u32]) -> Result<Vec<f64>> {
        match self {
            Self::Path { visual } => engine.relevance(text, numbers, *visual),
            Self::Learned(learned) => learned.relevance(text, numbers),
        }
    }
}
