//! The shape of a BERT-class encoder, from `config.json`. What would be computed wrongly is refused by name.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_nn::Activation;
use candle_transformers::models::{bert, xlm_roberta};
use serde_json::{Map, Value};

use super::files;

/// Most bytes of a `config.json`.
const CONFIG_BYTES: u64 = 1 << 20;
/// Most parameters: 4 GiB as float32, twice the largest XLM-RoBERTa that texts are encoded with.
const MOST_PARAMETERS: u128 = 1 << 30;
/// Upper bounds of single sizes: what a text takes while it is encoded grows with them.
const WIDEST: u64 = 1 << 16;
const MOST_HEADS: u64 = 128;

/// Which network: they differ in how positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Positions from 0.
    Bert,
    /// Positions from behind the padding id.
    XlmRoberta,
}

/// The feed-forward's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Gelu,
    Relu,
}

/// Shape and constants of an encoder. What `Debug` prints of it is part of the encoder's fingerprint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub family: Family,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of a state, and of a vector.
    pub hidden: usize,
    pub layers: usize,
    heads: usize,
    ffn: usize,
    positions: usize,
    types: usize,
    norm_eps: f64,
    /// What a batch's short rows are filled up with.
    pub pad: u32,
    act: Act,
}

impl Shape {
    /// Reads `config.json` of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let bytes = files::read(&path, CONFIG_BYTES)?;
        let map = serde_json::from_slice(&bytes).with_context(|| format!("{} is not a JSON object", path.display()))?;
        Self::from_map(&map).with_context(|| format!("cannot use {}", path.display()))
    }

    fn from_map(map: &Map<String, Value>) -> Result<Self> {
        const KNOWN: &str = "core reads encoders of type bert and xlm-roberta";
        let family = match map.get("model_type").and_then(Value::as_str) {
            Some("bert") => Family::Bert,
            Some("xlm-roberta") => Family::XlmRoberta,
            Some(other) => bail!("model_type {other} is not supported: {KNOWN}"),
            None => bail!("model_type is missing: {KNOWN}"),
        };
        let act = match map.get("hidden_act").and_then(Value::as_str) {
            Some("gelu") | None => Act::Gelu,
            Some("relu") => Act::Relu,
            Some(other) => bail!("hidden_act {other} is not supported: core computes gelu and relu"),
        };
        match map.get("position_embedding_type").and_then(Value::as_str) {
            Some("absolute") | None => {}
            Some(other) => bail!("position_embedding_type {other} is not supported: core computes absolute ones"),
        }
        ensure!(map.get("is_decoder") != Some(&Value::Bool(true)), "is_decoder is true: give an encoder");
        let number = |key: &str, usual: f64| map.get(key).map_or(Some(usual), Value::as_f64);
        let pad = match (map.get("pad_token_id"), family) {
            (None | Some(Value::Null), Family::Bert) => 0,
            (None | Some(Value::Null), Family::XlmRoberta) => 1,
            (Some(id), _) => id.as_u64().and_then(|id| u32::try_from(id).ok()).context("pad_token_id is no id")?,
        };
        let shape = Self {
            family,
            vocab: size(map, "vocab_size", 1 << 24)?,
            hidden: size(map, "hidden_size", WIDEST)?,
            layers: size(map, "num_hidden_layers", WIDEST)?,
            heads: size(map, "num_attention_heads", MOST_HEADS)?,
            ffn: size(map, "intermediate_size", WIDEST)?,
            positions: size(map, "max_position_embeddings", WIDEST)?,
            types: size(map, "type_vocab_size", WIDEST)?,
            norm_eps: number("layer_norm_eps", 1e-12).context("layer_norm_eps is no number")?,
            pad,
            act,
        };
        shape.check()?;
        Ok(shape)
    }

    /// Whether the numbers fit together, and into memory.
    fn check(&self) -> Result<()> {
        ensure!(
            self.hidden.is_multiple_of(self.heads),
            "num_attention_heads = {} must divide hidden_size = {}",
            self.heads,
            self.hidden
        );
        ensure!((0.0..=1.0).contains(&self.norm_eps), "layer_norm_eps = {} must lie in [0, 1]", self.norm_eps);
        ensure!(
            (self.pad as usize) < self.vocab,
            "pad_token_id = {} is not below vocab_size = {}",
            self.pad,
            self.vocab
        );
        ensure!(self.longest() >= 4, "max_position_embeddings = {} leaves no room for a text", self.positions);
        let [h, ffn] = [self.hidden, self.ffn].map(|n| n as u128);
        let rows = (self.vocab + self.positions + self.types) as u128;
        let parameters = rows * h + self.layers as u128 * (4 * h * h + 2 * h * ffn);
        ensure!(
            parameters <= MOST_PARAMETERS,
            "its sizes make {parameters} parameters, and core holds encoders of at most {MOST_PARAMETERS}"
        );
        Ok(())
    }

    /// Most tokens that it has positions for.
    pub fn longest(&self) -> usize {
        match self.family {
            Family::Bert => self.positions,
            Family::XlmRoberta => self.positions.saturating_sub(self.pad as usize + 1),
        }
    }

    /// Numbers that a layer holds at once for a text of so many tokens: scores of attention, states, the feed-forward's.
    pub fn floats(&self, tokens: usize) -> usize {
        tokens * (tokens * self.heads + 4 * self.hidden + self.ffn)
    }

    /// Every parameter's name and shape.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (h, ffn) = (self.hidden, self.ffn);
        let mut list = vec![
            ("embeddings.word_embeddings.weight".to_owned(), vec![self.vocab, h]),
            ("embeddings.position_embeddings.weight".to_owned(), vec![self.positions, h]),
            ("embeddings.token_type_embeddings.weight".to_owned(), vec![self.types, h]),
        ];
        let mut both = |name: String, weight: Vec<usize>| {
            list.push((format!("{name}.bias"), vec![weight[0]]));
            list.push((format!("{name}.weight"), weight));
        };
        both("embeddings.LayerNorm".into(), vec![h]);
        for layer in 0..self.layers {
            for (name, weight) in [
                ("attention.self.query", vec![h, h]),
                ("attention.self.key", vec![h, h]),
                ("attention.self.value", vec![h, h]),
                ("attention.output.dense", vec![h, h]),
                ("attention.output.LayerNorm", vec![h]),
                ("intermediate.dense", vec![ffn, h]),
                ("output.dense", vec![h, ffn]),
                ("output.LayerNorm", vec![h]),
            ] {
                both(format!("encoder.layer.{layer}.{name}"), weight);
            }
        }
        list
    }

    /// The shape as candle's BERT takes it.
    pub fn to_bert(&self) -> bert::Config {
        let hidden_act = match self.act {
            Act::Gelu => bert::HiddenAct::Gelu,
            Act::Relu => bert::HiddenAct::Relu,
        };
        bert::Config {
            vocab_size: self.vocab,
            hidden_size: self.hidden,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: self.ffn,
            hidden_act,
            max_position_embeddings: self.positions,
            type_vocab_size: self.types,
            layer_norm_eps: self.norm_eps,
            pad_token_id: self.pad as usize,
            ..bert::Config::default()
        }
    }

    /// The shape as candle's XLM-RoBERTa takes it.
    pub fn to_xlm_roberta(&self) -> xlm_roberta::Config {
        let hidden_act = match self.act {
            Act::Gelu => Activation::Gelu,
            Act::Relu => Activation::Relu,
        };
        xlm_roberta::Config {
            hidden_size: self.hidden,
            layer_norm_eps: self.norm_eps,
            attention_probs_dropout_prob: 0.0,
            hidden_dropout_prob: 0.0,
            num_attention_heads: self.heads,
            position_embedding_type: "absolute".into(),
            intermediate_size: self.ffn,
            hidden_act,
            num_hidden_layers: self.layers,
            vocab_size: self.vocab,
            max_position_embeddings: self.positions,
            type_vocab_size: self.types,
            pad_token_id: self.pad,
        }
    }
}

fn size(map: &Map<String, Value>, key: &str, most: u64) -> Result<usize> {
    let value = map.get(key).with_context(|| format!("{key} is missing"))?;
    match value.as_u64() {
        Some(n) if (1..=most).contains(&n) => Ok(n as usize),
        _ => bail!("{key} = {value} must be a whole number between 1 and {most}"),
    }
}
