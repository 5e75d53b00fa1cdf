//! Where each parameter of a decoder stands in the list of parameters, and the views a computation works on.

use anyhow::{Context, Result};

use crate::model::Config;
use crate::model::lora::Lora;

/// A projection `y = x·Wᵀ (+ b)`; `w` and `b` are places in the parameter list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub w: usize,
    pub b: Option<usize>,
    pub outputs: usize,
    pub inputs: usize,
    pub lora: Option<Adapter>,
}

/// A low-rank addition to a projection: `s·(x·Aᵀ)·Bᵀ`, A \[rank, inputs\], B \[outputs, rank\].
#[derive(Debug, Clone, Copy)]
pub(super) struct Adapter {
    pub a: usize,
    pub b: usize,
    pub rank: usize,
    pub scale: f32,
}

/// One decoder layer's parameters.
#[derive(Debug, Clone)]
pub(super) struct LayerPlan {
    pub input_norm: usize,
    pub post_norm: usize,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    /// Norms on query and key heads (Qwen3).
    pub qk_norm: Option<(usize, usize)>,
}

/// A decoder's parameters by role.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub embed: usize,
    /// The output head; the embedding where they are tied.
    pub head: usize,
    pub final_norm: usize,
    pub layers: Vec<LayerPlan>,
    pub vocab: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub eps: f32,
}

impl LayerPlan {
    /// All its projections.
    pub fn projections(&self) -> [Linear; 7] {
        [self.q, self.k, self.v, self.o, self.gate, self.up, self.down]
    }
}

impl Plan {
    /// The lowest layer that carries an adapter; 0 when none does.
    pub fn lowest_adapter(&self) -> usize {
        self.layers.iter().position(|l| l.projections().iter().any(|p| p.lora.is_some())).unwrap_or(0)
    }

    /// Finds every parameter by its Hugging Face name; an adapter's stand behind the decoder's own.
    ///
    /// # Errors
    /// A parameter that a decoder of this shape needs is not in the list.
    pub fn new(config: &Config, lora: Option<&Lora>) -> Result<Self> {
        let names: Vec<(String, Vec<usize>)> = config.parameters();
        let find = |name: &str| names.iter().position(|(n, _)| n == name);
        let need = |name: &str| find(name).with_context(|| format!("the decoder has no parameter {name}"));
        let layers = (0..config.layers).map(|i| {
            let at = |part: &str| format!("model.layers.{i}.{part}");
            let linear = |part: &str| -> Result<Linear> {
                let w = need(&at(&format!("{part}.weight")))?;
                let (outputs, inputs) = (names[w].1[0], names[w].1[1]);
                let adapter = |lora: &Lora| {
                    let a = names.len() + lora.place(&at(part))?;
                    Some(Adapter { a, b: a + 1, rank: lora.settings.rank, scale: lora.settings.scale() as f32 })
                };
                let (b, lora) = (find(&at(&format!("{part}.bias"))), lora.and_then(adapter));
                Ok(Linear { w, b, outputs, inputs, lora })
            };
            Ok(LayerPlan {
                input_norm: need(&at("input_layernorm.weight"))?,
                post_norm: need(&at("post_attention_layernorm.weight"))?,
                q: linear("self_attn.q_proj")?,
                k: linear("self_attn.k_proj")?,
                v: linear("self_attn.v_proj")?,
                o: linear("self_attn.o_proj")?,
                gate: linear("mlp.gate_proj")?,
                up: linear("mlp.up_proj")?,
                down: linear("mlp.down_proj")?,
                qk_norm: find(&at("self_attn.q_norm.weight")).zip(find(&at("self_attn.k_norm.weight"))),
            })
        });
        let embed = need("model.embed_tokens.weight")?;
        Ok(Self {
            embed,
            head: find("lm_head.weight").unwrap_or(embed),
            final_norm: need("model.norm.weight")?,
            layers: layers.collect::<Result<_>>()?,
            vocab: config.vocab,
            hidden: config.hidden,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            eps: config.norm_eps as f32,
        })
    }
}
