//! Scoring relevance: one query and many documents, a label for each from one forward pass.
//!
//! A query and its documents are a [`Group`]: the prompts' common beginning once, and behind it what differs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::checkpoint::write_file;
use super::{Group, Keep, Policy, Tokenizer, device};
use crate::logs::Doc;
use crate::recipe::{Precision, Reason};
use crate::store::Notes;
use crate::task::{Label, Prompt};

/// Beside the weights: what makes of a model a relevance model.
pub const TAGGER: &str = "relevance.json";
/// Documents of a query computed together.
const CHUNK: usize = 64;

/// How a relevance model is asked, and how sure it may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaggerSettings {
    /// Whether prompts say what is seen in the picture.
    pub visual: bool,
    /// Longest prompt in tokens.
    pub max_prompt_tokens: usize,
    /// What logits are divided by; none before it was fitted.
    pub temperature: Option<f64>,
}

impl TaggerSettings {
    /// Writes them into a checkpoint's folder.
    ///
    /// # Errors
    /// A full disk; a folder that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_file(&folder.join(TAGGER), &serde_json::to_vec_pretty(self)?)
    }
}

/// A relevance model opened for scoring.
pub struct Tagger {
    policy: Policy,
    settings: TaggerSettings,
}

impl Tagger {
    /// Opens a checkpoint folder that `core train sft --task relevance` made.
    ///
    /// # Errors
    /// A folder without a model, or with one that was not trained for this.
    pub fn open(folder: &Path, precision: Precision) -> Result<Self> {
        let path = folder.join(TAGGER);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is no relevance model, it has no {TAGGER}: `core train sft --task relevance` makes one",
                folder.display()
            )
        })?;
        let settings = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: train the model again", path.display()))?;
        let policy = Policy::load_kept(folder, Keep::AsStored, &device::open()?)?;
        Ok(Self { policy: policy.frozen().with_precision(precision), settings })
    }

    /// How it is asked.
    #[must_use]
    pub fn settings(&self) -> &TaggerSettings {
        &self.settings
    }

    /// Logits of the four labels for each document of a query, up to a constant, in nats.
    ///
    /// # Errors
    /// A tokenizer that cannot carry the task; a query that does not fit.
    pub fn logits(&self, query: &str, docs: &[&Doc]) -> Result<Vec<[f64; 4]>> {
        self.policy.tag_logits(query, docs, &self.settings)
    }
}

impl Policy {
    /// Logits of the four labels for each document of a query, see [`Tagger::logits`].
    ///
    /// # Errors
    /// Those of [`Tagger::logits`].
    pub fn tag_logits(&self, query: &str, docs: &[&Doc], settings: &TaggerSettings) -> Result<Vec<[f64; 4]>> {
        let tokenizer = &self.tokenizer;
        let labels = tokenizer.label_ids()?;
        let mut logits = Vec::with_capacity(docs.len());
        for docs in docs.chunks(CHUNK) {
            let prompts = docs.iter().map(|doc| tokenizer.tagging_prompt(query, doc, settings));
            let prompts = prompts.collect::<Result<Vec<_>>>()?;
            let groups: Vec<Group> = prompts
                .into_iter()
                .map(|prompt| Group { prompt, completions: labels.map(|label| vec![label]).to_vec() })
                .collect();
            let scores = self.score(&groups, 1.0)?;
            logits.extend(scores.chunks_exact(4).map(|four| std::array::from_fn(|l| f64::from(four[l]))));
        }
        Ok(logits)
    }
}

impl Tokenizer {
    /// The ids of the labels' digits, one token each.
    ///
    /// # Errors
    /// A tokenizer that does not keep digits as tokens of their own.
    pub fn label_ids(&self) -> Result<[u32; 4]> {
        let mut found = [0; 4];
        for (id, label) in found.iter_mut().zip(Label::ALL) {
            let ids = self.encode_plain(label.digit())?;
            let [one] = ids.as_slice() else {
                anyhow::bail!("the checkpoint's tokenizer makes {} tokens of the digit {}: use another", ids.len(), label.digit())
            };
            *id = *one;
        }
        ensure!((1..4).all(|i| !found[..i].contains(&found[i])), "the checkpoint's tokenizer knows no digits apart");
        Ok(found)
    }

    /// The prompt for one document of a query in at most the tokens of the settings: the title loses its end first, then
    /// tags and what is seen go from behind, then the query loses its end.
    ///
    /// # Errors
    /// A chat template that does not render; a budget too small for the prompt's frame.
    pub fn tagging_prompt(&self, query: &str, doc: &Doc, settings: &TaggerSettings) -> Result<Vec<u32>> {
        let (template, most) = (self.task_template()?, settings.max_prompt_tokens);
        let (mut query, mut doc) = (query.to_owned(), doc.clone());
        loop {
            let ids = match template.tagging(&query, &doc, settings.visual) {
                Prompt::Pieces(pieces) => self.encode_pieces(&pieces)?,
                Prompt::Messages(messages) => self.encode_chat(&messages, true, Some(false))?,
            };
            if ids.len() <= most {
                return Ok(ids);
            }
            if !(shorten(&mut doc.title) || doc.tags.pop().is_some() || doc.visual.pop().is_some() || shorten(&mut query)) {
                anyhow::bail!(
                    "the prompt's frame alone takes {} tokens: raise relevance.max_prompt_tokens above {most}",
                    ids.len()
                );
            }
        }
    }

    /// The answer that a model is taught.
    ///
    /// # Errors
    /// A tokenizer without the marker of an end.
    pub fn tagging_answer(&self, label: Label, notes: &Notes, reasoning: &[Reason]) -> Result<Vec<u32>> {
        self.encode_pieces(&self.task_template()?.tag(label, notes, reasoning))
    }
}

/// Takes a tenth off the end; false when nothing is left.
fn shorten(text: &mut String) -> bool {
    let chars = text.chars().count();
    *text = text.chars().take(chars - chars.div_ceil(10)).collect();
    chars > 0
}
