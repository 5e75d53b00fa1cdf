//! The shape of a decoder, read from and written to a Hugging Face `config.json`.
//!
//! Two spellings are in use: `rope_theta` and `torch_dtype` at the top, or `rope_parameters` and `dtype`
//! (transformers 5). Both are read; what is written carries both, so that old and new readers are served.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use serde_json::{Map, Value, json};

use crate::recipe::ModelShape;

/// Which decoder: they differ in two details of the attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Biases on the query, key and value projections; no norm on queries and keys.
    Qwen2,
    /// An RMS norm on every query and key head; no biases.
    Qwen3,
}

/// Shape and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Qwen2 or Qwen3.
    pub family: Family,
    /// Rows of the embedding; at least the size of the tokenizer.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the gated feed-forward.
    pub ffn: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in every RMS norm.
    pub norm_eps: f64,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Longest sequence, prompt and completion together, in tokens.
    pub max_positions: usize,
    /// Keys of the file that are not read here, carried through to the file that is written.
    other: Map<String, Value>,
}

impl Config {
    /// A Qwen3 decoder with tied embeddings, to be trained from nothing.
    #[must_use]
    pub fn scratch(shape: &ModelShape, vocab: usize) -> Self {
        Self {
            family: Family::Qwen3,
            vocab,
            hidden: shape.hidden,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            ffn: shape.ffn,
            rope_theta: 10_000.0,
            norm_eps: 1e-6,
            tied: true,
            max_positions: 2048,
            other: Map::new(),
        }
    }

    /// Reads `config.json` in a model folder.
    ///
    /// # Errors
    /// A missing or malformed file; another architecture; a variant (scaled rotary embedding, sliding window,
    /// attention bias in Qwen3, another activation) that would be computed wrongly.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: a model folder needs config.json, the weights and tokenizer.json", path.display())
        })?;
        let map: Map<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
        Self::from_map(map).with_context(|| format!("cannot use {}", path.display()))
    }

    fn from_map(map: Map<String, Value>) -> Result<Self> {
        let family = match map.get("model_type").and_then(Value::as_str) {
            Some("qwen2") => Family::Qwen2,
            Some("qwen3") => Family::Qwen3,
            Some(other) => bail!("model_type {other} is not supported: core reads qwen2 and qwen3"),
            None => bail!("model_type is missing: core reads qwen2 and qwen3"),
        };
        refuse_variants(&map, family)?;
        let hidden = size(&map, "hidden_size")?;
        let heads = size(&map, "num_attention_heads")?;
        let head_dim = match (optional_size(&map, "head_dim")?, family) {
            (Some(n), _) => n,
            (None, Family::Qwen2) => hidden / heads,
            // What transformers' Qwen3Config assumes.
            (None, Family::Qwen3) => 128,
        };
        let nested_theta = map.get("rope_parameters").and_then(|p| p.get("rope_theta"));
        let config = Self {
            family,
            vocab: size(&map, "vocab_size")?,
            hidden,
            layers: size(&map, "num_hidden_layers")?,
            heads,
            kv_heads: optional_size(&map, "num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            ffn: size(&map, "intermediate_size")?,
            rope_theta: map.get("rope_theta").or(nested_theta).and_then(Value::as_f64).unwrap_or(10_000.0),
            norm_eps: map.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6),
            tied: map.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            max_positions: optional_size(&map, "max_position_embeddings")?.unwrap_or(32_768),
            other: map,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// Names the key that does not fit.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab),
            ("hidden_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.ffn),
        ];
        for (key, n) in sizes {
            ensure!(n > 0, "{key} must be at least 1");
            ensure!(n <= 1 << 24, "{key} = {n} is beyond any model this program can hold");
        }
        ensure!(
            self.heads.is_multiple_of(self.kv_heads),
            "num_key_value_heads = {} must divide num_attention_heads = {}",
            self.kv_heads,
            self.heads
        );
        ensure!(self.head_dim.is_multiple_of(2), "head_dim = {} must be even", self.head_dim);
        ensure!(self.rope_theta > 0.0 && self.rope_theta.is_finite(), "rope_theta must be a positive number");
        ensure!(self.norm_eps >= 0.0 && self.norm_eps.is_finite(), "rms_norm_eps must not be negative");
        Ok(())
    }

    /// The text of `config.json` beside weights of a number format, both spellings in one file.
    #[must_use]
    pub fn to_json(&self, dtype: DType) -> String {
        let dtype = if dtype == DType::BF16 { "bfloat16" } else { "float32" };
        let mut map = self.other.clone();
        let (model_type, architecture) = match self.family {
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        };
        let known = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ffn,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "rope_parameters": { "rope_type": "default", "rope_theta": self.rope_theta },
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.max_positions,
            "hidden_act": "silu",
            "torch_dtype": dtype,
            "dtype": dtype,
        });
        if let Value::Object(known) = known {
            map.extend(known);
        }
        format!("{:#}\n", Value::Object(map))
    }

    /// End-of-sequence ids that the file names; empty when it names none.
    #[must_use]
    pub fn eos_ids(&self) -> Vec<u32> {
        ids(self.other.get("eos_token_id"))
    }

    /// Every parameter's Hugging Face name and shape, in the order of the checkpoint.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (h, q, kv) = (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut list = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab, h])];
        for layer in 0..self.layers {
            let mut push = |name: &str, shape: Vec<usize>| list.push((format!("model.layers.{layer}.{name}"), shape));
            for (name, out) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
                push(&format!("self_attn.{name}.weight"), vec![out, h]);
                if self.family == Family::Qwen2 {
                    push(&format!("self_attn.{name}.bias"), vec![out]);
                }
            }
            push("self_attn.o_proj.weight", vec![h, q]);
            if self.family == Family::Qwen3 {
                push("self_attn.q_norm.weight", vec![self.head_dim]);
                push("self_attn.k_norm.weight", vec![self.head_dim]);
            }
            push("mlp.gate_proj.weight", vec![self.ffn, h]);
            push("mlp.up_proj.weight", vec![self.ffn, h]);
            push("mlp.down_proj.weight", vec![h, self.ffn]);
            push("input_layernorm.weight", vec![h]);
            push("post_attention_layernorm.weight", vec![h]);
        }
        list.push(("model.norm.weight".to_owned(), vec![h]));
        if !self.tied {
            list.push(("lm_head.weight".to_owned(), vec![self.vocab, h]));
        }
        list
    }
}

/// Ids under a key that holds one number or a list of them.
pub(super) fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(v) => one(v).into_iter().collect(),
        None => Vec::new(),
    }
}

fn optional_size(map: &Map<String, Value>, key: &str) -> Result<Option<usize>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n > 0 => Ok(Some(n)),
            _ => bail!("{key} = {v} must be a positive whole number"),
        },
    }
}

fn size(map: &Map<String, Value>, key: &str) -> Result<usize> {
    optional_size(map, key)?.with_context(|| format!("{key} is missing"))
}

/// Refuses what the decoder here does not compute, rather than computing something else.
fn refuse_variants(map: &Map<String, Value>, family: Family) -> Result<()> {
    for key in ["rope_scaling", "rope_parameters"] {
        let rope = map.get(key).unwrap_or(&Value::Null);
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        match (rope, kind) {
            (Value::Null, _) | (_, Some("default")) => {}
            (_, Some(kind)) => bail!("{key} of type {kind} is not supported: only unscaled (default) positions are"),
            (_, None) if key == "rope_parameters" => {}
            (_, None) => bail!("{key} = {rope} is not supported: only unscaled (default) positions are"),
        }
    }
    let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    let sliding = map
        .get("layer_types")
        .and_then(Value::as_array)
        .is_some_and(|kinds| kinds.iter().any(|k| k.as_str() != Some("full_attention")));
    if flag("use_sliding_window") || sliding {
        bail!("sliding-window attention is not supported: core computes full attention in every layer");
    }
    if family == Family::Qwen3 && flag("attention_bias") {
        bail!("attention_bias is not supported in qwen3");
    }
    match map.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu") => Ok(()),
        Some(act) => bail!("hidden_act {act} is not supported: core computes silu"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::from_map(serde_json::from_str(text)?)
    }

    const OLD: &str = r#"{"model_type": "qwen3", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 12,
        "rope_theta": 5000.0, "tie_word_embeddings": true, "eos_token_id": [3, 4], "initializer_range": 0.5"#;

    #[test]
    fn both_spellings_give_the_same_shape_and_what_is_written_reads_back() {
        let old = parse(&format!("{OLD}}}")).unwrap();
        let new = parse(&format!("{OLD}}}").replace(
            r#""rope_theta": 5000.0"#,
            r#""rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"}, "dtype": "bfloat16""#,
        ))
        .unwrap();
        assert_eq!((old.rope_theta, new.rope_theta), (5000.0, 5000.0));
        assert_eq!(old.parameters(), new.parameters());
        assert_eq!(old.eos_ids(), [3, 4]);
        let again = parse(&new.to_json(DType::F32)).unwrap();
        assert_eq!(again.rope_theta, 5000.0);
        assert_eq!(again.head_dim, 6);
        assert!(again.to_json(DType::F32).contains("initializer_range"));
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        let cases = [
            (r#", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}"#, "yarn"),
            (r#", "rope_scaling": {"type": "linear", "factor": 4.0}"#, "linear"),
            (r#", "use_sliding_window": true"#, "sliding"),
            (r#", "attention_bias": true"#, "attention_bias"),
            (r#", "hidden_act": "gelu""#, "gelu"),
            (r#", "num_key_value_heads": 3"#, "num_key_value_heads"),
            (r#", "head_dim": -1"#, "head_dim"),
            (r#", "model_type": "llama""#, "llama is not supported: core reads qwen2 and qwen3"),
        ];
        for (extra, word) in cases {
            let error = format!("{:#}", parse(&format!("{OLD}{extra}}}")).unwrap_err());
            assert!(error.contains(word), "{extra}: {error}");
        }
    }
}
