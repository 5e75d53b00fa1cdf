//! From texts to ids, by the folder's `tokenizer.json`. Whatever a text spells, it never becomes a special token.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::config::Shape;
use super::files;
use crate::recipe::{Encoding, Fingerprint};

/// Most bytes of a `tokenizer.json`: that of XLM-RoBERTa, with 250 thousand pieces, has 17 MB.
const TOKENIZER_BYTES: u64 = 64 << 20;

/// A tokenizer that gives ids of one encoder's vocabulary, and no more of them than it has positions for.
pub(super) struct Tokens {
    inner: Tokenizer,
    marks: Marks,
    vocab: usize,
    longest: usize,
}

/// Ids that stand before and behind every text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Marks {
    before: Vec<u32>,
    behind: Vec<u32>,
}

/// The part of the file that is read here; the tokenizer reads the others.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    post_processor: Value,
}

impl Tokens {
    /// Reads `tokenizer.json`, and adds it to the fingerprint.
    pub fn read(folder: &Path, shape: &Shape, settings: &Encoding, print: &mut Fingerprint) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = files::read(&path, TOKENIZER_BYTES)?;
        let inner = Tokenizer::from_bytes(&bytes).map_err(|e| anyhow!("{} is not a tokenizer: {e}", path.display()))?;
        print.add(&bytes);
        let failed = || format!("cannot use {}", path.display());
        let File { post_processor } = serde_json::from_slice(&bytes).with_context(failed)?;
        let longest = settings.max_tokens.min(shape.longest());
        Self::fit(inner, &post_processor, shape, longest).with_context(failed)
    }

    fn fit(mut inner: Tokenizer, post_processor: &Value, shape: &Shape, longest: usize) -> Result<Self> {
        let most = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        ensure!(
            most <= shape.vocab,
            "it has {most} ids, but config.json's vocab_size is {}: tokenizer and weights are of different encoders",
            shape.vocab
        );
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        // Both are done here: the library's own believe a file that names marks it does not have.
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner.with_truncation(None).map_err(|e| anyhow!("{e}"))?;
        let mut marks = Marks::default();
        marks.add(post_processor).context("its post_processor is not one that core knows")?;
        let Marks { before, behind } = &marks;
        ensure!(
            before.len() + behind.len() < longest,
            "it puts {} marks around a text, and {longest} tokens (search.encoding.max_tokens, or the encoder's own limit) \
             leave no room for any",
            before.len() + behind.len()
        );
        Ok(Self { inner, marks, vocab: shape.vocab, longest })
    }

    /// Most tokens of a text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The ids of a text, the encoder's own marks around them; what is too long is cut off at its end.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| anyhow!("the tokenizer refuses a text: {e}"))?;
        let Marks { before, behind } = &self.marks;
        let room = self.longest - before.len() - behind.len();
        let text = encoding.get_ids().iter().take(room);
        let ids: Vec<u32> = before.iter().chain(text).chain(behind).copied().collect();
        ensure!(
            ids.iter().all(|id| (*id as usize) < self.vocab),
            "the tokenizer gives ids beyond the encoder's vocabulary of {}: its post_processor names others",
            self.vocab
        );
        Ok(ids)
    }
}

impl Marks {
    /// Reads what a `post_processor` puts around one text.
    fn add(&mut self, processor: &Value) -> Result<()> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).context("an id is no number");
        let named = |key: &str| id(&processor[key][1]).with_context(|| format!("its {key} has no id"));
        match processor["type"].as_str() {
            None if processor.is_null() => Ok(()),
            // It shifts offsets, which nobody asks for here.
            Some("ByteLevel") => Ok(()),
            Some("BertProcessing" | "RobertaProcessing") => {
                self.before.push(named("cls")?);
                self.behind.push(named("sep")?);
                Ok(())
            }
            Some("Sequence") => {
                let all = processor["processors"].as_array().context("a Sequence without processors")?;
                all.iter().try_for_each(|processor| self.add(processor))
            }
            Some("TemplateProcessing") => {
                let pieces = processor["single"].as_array().context("a template without `single`")?;
                let at = pieces.iter().position(|piece| piece["Sequence"]["id"] == "A");
                let at = at.context("a template without the text")?;
                for (place, piece) in pieces.iter().enumerate().filter(|(place, _)| *place != at) {
                    let name = piece["SpecialToken"]["id"].as_str().context("a template with more than one text")?;
                    let ids = processor["special_tokens"][name]["ids"].as_array();
                    let ids = ids.with_context(|| format!("its special_tokens lack {name:?}"))?;
                    let side = if place < at { &mut self.before } else { &mut self.behind };
                    ids.iter().try_for_each(|value| id(value).map(|id| side.push(id)))?;
                }
                Ok(())
            }
            other => Err(anyhow!("it is of type {}", other.unwrap_or("none"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_read_from_every_kind_and_others_are_refused() {
        let of = |processor: Value| {
            let mut marks = Marks::default();
            marks.add(&processor).map(|()| (marks.before, marks.behind))
        };
        let bert = json!({ "type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2] });
        assert_eq!(of(bert.clone()).unwrap(), (vec![2], vec![3]));
        assert_eq!(of(json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, bert] })).unwrap().0, [2]);
        assert_eq!(of(Value::Null).unwrap(), (vec![], vec![]));
        let template = |single: Value| {
            let special = json!({ "<s>": { "id": "<s>", "ids": [0, 7], "tokens": ["<s>", "x"] } });
            of(json!({ "type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special }))
        };
        let (text, mark) =
            (json!({ "Sequence": { "id": "A", "type_id": 0 } }), |s: &str| json!({ "SpecialToken": { "id": s } }));
        assert_eq!(template(json!([mark("<s>"), text, mark("<s>")])).unwrap(), (vec![0, 7], vec![0, 7]));
        for (single, words) in [
            (json!([mark("</s>"), text]), "lack \"</s>\""),
            (json!([text, text]), "more than one"),
            (json!([mark("<s>")]), "without the text"),
        ] {
            assert!(format!("{:#}", template(single).unwrap_err()).contains(words), "{words}");
        }
        assert!(of(json!({ "type": "New" })).unwrap_err().to_string().contains("New"));
        assert!(of(json!({ "type": "BertProcessing" })).is_err());
    }
}
