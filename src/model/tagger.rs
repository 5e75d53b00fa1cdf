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

    /// P(L3 or L4) of each document of a query, under the temperature that held-out labels are likeliest at.
    ///
    /// # Errors
    /// Those of [`Tagger::logits`].
    pub fn relevance(&self, query: &str, docs: &[&Doc]) -> Result<Vec<f64>> {
        let temperature = self.settings.temperature.unwrap_or(1.0);
        let relevant = |logits| calibrated(logits, temperature)[2..].iter().sum();
        Ok(self.logits(query, docs)?.into_iter().map(relevant).collect())
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
            let shared = common(&prompts);
            let prompt = prompts[0][..shared].to_vec();
            // A label's place behind each: any of the four will do to ask for all of them.
            let completions = prompts.iter().map(|p| [&p[shared..], &labels[..1]].concat()).collect();
            let four = self.choice_logits(&[Group { prompt, completions }], &labels)?;
            logits.extend(four.chunks_exact(4).map(|four| std::array::from_fn(|l| f64::from(four[l]))));
        }
        Ok(logits)
    }
}

/// Probabilities of the labels from their logits, divided by a temperature first.
#[must_use]
pub fn calibrated(logits: [f64; 4], temperature: f64) -> [f64; 4] {
    let most = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let weights = logits.map(|x| ((x - most) / temperature).exp());
    let all: f64 = weights.iter().sum();
    weights.map(|w| w / all)
}

/// Tokens that all sequences begin with.
pub(crate) fn common(sequences: &[Vec<u32>]) -> usize {
    let Some((first, others)) = sequences.split_first() else { return 0 };
    let with_first = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    others.iter().map(with_first).min().unwrap_or(first.len())
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
                anyhow::bail!(
                    "the checkpoint's tokenizer makes {} tokens of the digit {}: use another",
                    ids.len(),
                    label.digit()
                )
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
            if !(shorten(&mut doc.title)
                || doc.tags.pop().is_some()
                || doc.visual.pop().is_some()
                || shorten(&mut query))
            {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;
    use crate::recipe::ModelShape;
    use crate::task::SPECIAL_TOKENS;

    #[test]
    fn scoring_a_query_s_documents_together_gives_what_each_gives_alone() {
        let texts = ["jaguar car review", "spotted cat in the jungle", "a b c d e f g"];
        let tokenizer = Tokenizer::train(texts.iter(), 320, &SPECIAL_TOKENS).unwrap();
        let shape =
            ModelShape { hidden: 32, layers: 2, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48, ..ModelShape::default() };
        let config = Config::scratch(&shape, tokenizer.size());
        let policy = Policy::from_scratch(config, tokenizer, 5, &Device::Cpu).unwrap();
        let doc = |title: &str| Doc { title: title.into(), visual: vec!["cat:cars".into()], ..Doc::default() };
        let docs = ["Jaguar car", "Jaguar cat in the jungle", "", "Jaguar car"].map(doc);
        let settings = TaggerSettings { visual: true, max_prompt_tokens: 90, temperature: None };
        let all = policy.tag_logits("jaguar car", &docs.each_ref(), &settings).unwrap();
        assert_eq!(all[0], all[3]);
        let labels = policy.tokenizer.label_ids().unwrap();
        for (doc, together) in docs.iter().zip(&all) {
            let prompt = policy.tokenizer.tagging_prompt("jaguar car", doc, &settings).unwrap();
            let group = Group { prompt, completions: labels.map(|label| vec![label]).to_vec() };
            let alone = policy.score(std::slice::from_ref(&group), 1.0).unwrap();
            let completions = vec![vec![labels[3]]];
            let candle = policy.choice_logits_in_graph(&[Group { completions, ..group }], &labels).unwrap();
            for l in 1..4 {
                let wanted = f64::from(alone[l] - alone[0]);
                assert!((together[l] - together[0] - wanted).abs() < 1e-4, "{together:?} {alone:?}");
                assert!((f64::from(candle[l] - candle[0]) - wanted).abs() < 1e-4, "{candle:?} {alone:?}");
            }
        }
        assert!(policy.tag_logits("jaguar car", &[], &settings).unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_is_no_relevance_model_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tagger::open(dir.path(), Precision::F32).err().unwrap().to_string();
        assert!(error.contains("core train sft --task relevance"), "{error}");
        std::fs::write(dir.path().join(TAGGER), "{").unwrap();
        let error = Tagger::open(dir.path(), Precision::F32).err().unwrap().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
