//! Text to ids and back: a byte-level BPE, read from a Hugging Face folder or trained on the log's own text.
//!
//! Text from people goes through [`Tokenizer::encode_plain`] alone: whatever it spells, it never becomes a special
//! token.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::checkpoint::write_file;
use super::config::ids;

/// Qwen2's split of text into pieces that no merge crosses.
const PIECES: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The template of a tokenizer trained here: ChatML, without a default system prompt.
const CHATML: &str = "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

/// A tokenizer, its chat template and its end tokens.
#[derive(Clone)]
pub struct Tokenizer {
    /// Turns spelled special tokens into their ids.
    marked: Inner,
    /// Treats every text as text.
    plain: Inner,
    settings: Map<String, Value>,
    generation: Map<String, Value>,
    pub(super) template: Option<String>,
    pub(super) special: Vec<(String, u32)>,
    eos: Vec<u32>,
}

impl Tokenizer {
    /// Trains a byte-level BPE with Qwen2's pieces and NFC. It has at most `vocab` ids, special tokens first; fewer
    /// when the text has too few repeating pieces. The end token is `<|im_end|>`, `<|endoftext|>` or else the last
    /// special token. The same texts in the same order give the same tokenizer.
    ///
    /// # Errors
    /// A vocabulary without room for the 256 bytes and the special tokens; no special token at all.
    pub fn train<S, I>(texts: I, vocab: usize, special: &[&str]) -> Result<Self>
    where
        S: AsRef<str> + Send,
        I: Iterator<Item = S> + Send,
    {
        let least = 256 + special.len();
        ensure!(vocab >= least, "model.vocab = {vocab} is too small: bytes and special tokens alone take {least}");
        let empty = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": { "type": "NFC" },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": PIECES }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ]},
            "post_processor": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {}, "merges": [] },
        });
        let mut inner = Inner::from_bytes(empty.to_string()).map_err(|e| anyhow!("{e}"))?;
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(special.iter().map(|s| AddedToken::from(*s, true)).collect())
            .build();
        inner
            .train(&mut TrainerWrapper::from(trainer), texts)
            .map_err(|e| anyhow!("cannot train the tokenizer: {e}"))?;
        let eos = ["<|im_end|>", "<|endoftext|>"].into_iter().find(|t| special.contains(t)).or(special.last().copied());
        let eos = eos.context("a tokenizer needs a special token that ends a text")?;
        let pad = if special.contains(&"<|endoftext|>") { "<|endoftext|>" } else { eos };
        let settings = json!({
            "tokenizer_class": "Qwen2Tokenizer", "eos_token": eos, "pad_token": pad, "bos_token": null,
            "unk_token": null, "add_bos_token": false, "add_prefix_space": false, "errors": "replace",
            "clean_up_tokenization_spaces": false, "split_special_tokens": false, "model_max_length": 2048,
        });
        let generation = json!({
            "eos_token_id": inner.token_to_id(eos), "pad_token_id": inner.token_to_id(pad), "do_sample": false,
        });
        Self::assemble(inner, object(settings), object(generation), Some(CHATML.to_owned()))
    }

    /// Reads `tokenizer.json` and, where present, `tokenizer_config.json`, `chat_template.jinja` and
    /// `generation_config.json`.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: core reads this format only; transformers' save_pretrained writes it",
                path.display()
            )
        })?;
        let inner = Inner::from_bytes(bytes).map_err(|e| anyhow!("{} is not a tokenizer: {e}", path.display()))?;
        let settings = optional_json(&dir.join("tokenizer_config.json"))?;
        let generation = optional_json(&dir.join("generation_config.json"))?;
        let template = match std::fs::read_to_string(dir.join("chat_template.jinja")) {
            Ok(text) => Some(text),
            Err(_) => template_in(&settings),
        };
        Self::assemble(inner, settings, generation, template)
    }

    fn assemble(
        mut marked: Inner,
        settings: Map<String, Value>,
        generation: Map<String, Value>,
        template: Option<String>,
    ) -> Result<Self> {
        marked.with_padding(None);
        marked.with_truncation(None).map_err(|e| anyhow!("{e}"))?;
        marked.set_encode_special_tokens(false);
        let mut plain = marked.clone();
        plain.set_encode_special_tokens(true);
        let mut special: Vec<(String, u32)> = marked
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content, id))
            .collect();
        // Longest first, so that a token is found before one that it contains.
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.1.cmp(&b.1)));
        let mut eos = ids(generation.get("eos_token_id"));
        if eos.is_empty() {
            let name = settings.get("eos_token").and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
            eos.extend(name.and_then(|name| marked.token_to_id(name)));
        }
        Ok(Self { marked, plain, settings, generation, template, special, eos })
    }

    /// Uses the end tokens of `config.json` when the tokenizer's own files name none.
    pub(super) fn eos_if_unknown(&mut self, eos: &[u32]) {
        if self.eos.is_empty() {
            self.eos = eos.to_vec();
        }
    }

    /// Writes what [`Tokenizer::load`] reads, into an existing folder.
    ///
    /// # Errors
    /// A full disk; a folder that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let text = self.marked.to_string(true).map_err(|e| anyhow!("cannot lay out tokenizer.json: {e}"))?;
        write_file(&dir.join("tokenizer.json"), text.as_bytes())?;
        let mut settings = self.settings.clone();
        if let Some(template) = &self.template {
            write_file(&dir.join("chat_template.jinja"), template.as_bytes())?;
            // Readers before transformers 4.43 look for it here.
            settings.insert("chat_template".into(), Value::String(template.clone()));
        }
        for (name, map) in [("tokenizer_config.json", &settings), ("generation_config.json", &self.generation)] {
            write_file(&dir.join(name), format!("{:#}\n", Value::Object(map.clone())).as_bytes())?;
        }
        Ok(())
    }

    /// One more than the largest id.
    #[must_use]
    pub fn size(&self) -> usize {
        self.marked.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }

    /// Whether another tokenizer means the same by every id.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.marked.get_vocab(true) == other.marked.get_vocab(true)
    }

    /// The ids of a text from people; special tokens that it spells stay text.
    ///
    /// # Errors
    /// None that text can cause; a tokenizer whose model lacks bytes may refuse some.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.plain, text)
    }

    /// The ids of a text that this program made; special tokens that it spells become their ids.
    ///
    /// # Errors
    /// See [`Tokenizer::encode_plain`].
    pub fn encode_marked(&self, text: &str) -> Result<Vec<u32>> {
        encode(&self.marked, text)
    }

    /// The id of a token by its exact spelling, special tokens included.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.marked.token_to_id(token)
    }

    /// Text of ids; with `skip_special` special tokens leave no trace. Unfinished characters show as U+FFFD.
    ///
    /// # Errors
    /// None for a byte-level tokenizer; another decoder may refuse ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.marked.decode(ids, skip_special).map_err(|e| anyhow!("cannot decode ids: {e}"))
    }

    /// Ids that end a completion: those of `generation_config.json`, else of `tokenizer_config.json`, else of
    /// `config.json`.
    #[must_use]
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The spelling of a token named in `tokenizer_config.json` (`bos_token`, `eos_token`, …).
    pub(super) fn named(&self, key: &str) -> Option<&str> {
        self.settings.get(key).and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()))
    }

    /// Starts decoding ids one by one.
    #[must_use]
    pub fn stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, skip_special, pending: Vec::new() }
    }
}

/// Decodes ids one by one, holding back characters whose bytes are not all there yet.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    pending: Vec<u32>,
}

impl DecodeStream<'_> {
    /// Takes an id and gives the text that became certain; empty while a character is unfinished.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.pending.push(id);
        let text = self.tokenizer.decode(&self.pending, self.skip_special)?;
        if text.ends_with('\u{FFFD}') {
            return Ok(String::new());
        }
        self.pending.clear();
        Ok(text)
    }

    /// What was held back, unfinished characters as U+FFFD.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String> {
        self.tokenizer.decode(&self.pending, self.skip_special)
    }
}

fn encode(tokenizer: &Inner, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|e| anyhow!("cannot encode a text: {e}"))?;
    Ok(encoding.get_ids().to_vec())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn optional_json(path: &Path) -> Result<Map<String, Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The template inside `tokenizer_config.json`: a text, or a list of named ones with a default.
fn template_in(settings: &Map<String, Value>) -> Option<String> {
    match settings.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => list
            .iter()
            .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|t| t.get("template")?.as_str().map(str::to_owned)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

    fn trained() -> Tokenizer {
        let texts = ["iron man repair", "how to repair an iron", "标点 符号 标点", "wi-fi 密码 wi-fi"].repeat(4);
        Tokenizer::train(texts.iter(), 300, &SPECIAL).unwrap()
    }

    #[test]
    fn any_text_survives_training_encoding_and_decoding() {
        let tokenizer = trained();
        assert!(tokenizer.size() <= 300);
        for text in ["iron man", "Ünïcode 👩‍💻\r\n\t", "<|im_end|>", "", "标点?!"] {
            let ids = tokenizer.encode_plain(text).unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
            assert!(ids.iter().all(|id| *id >= 3), "{text}: a special id in {ids:?}");
        }
        assert_eq!(tokenizer.encode_marked("<|im_end|>").unwrap(), [2]);
        assert_eq!(tokenizer.eos(), [2]);
        assert!(tokenizer.encode_plain(" repair").unwrap().len() < 4, "nothing was merged");
    }

    #[test]
    fn training_is_repeatable_and_a_folder_reads_back() {
        let (a, b) = (trained(), trained());
        assert_eq!(a.marked.to_string(false).unwrap(), b.marked.to_string(false).unwrap());
        let dir = tempfile::tempdir().unwrap();
        a.save(dir.path()).unwrap();
        let c = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(a.marked.to_string(false).unwrap(), c.marked.to_string(false).unwrap());
        assert_eq!((c.eos(), &c.template), (a.eos(), &a.template));
    }

    #[test]
    fn a_vocabulary_without_room_for_bytes_is_refused() {
        let error = Tokenizer::train(["a"].iter(), 258, &SPECIAL).err().unwrap().to_string();
        assert!(error.contains("259"), "{error}");
    }
}
