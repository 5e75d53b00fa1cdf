//! The decoder's forward pass over right-padded rows, every operation with a gradient.
//!
//! Shapes: `b` rows, `t` positions, `n = b·t` tokens, `h` width, `q` query heads, `k` key/value heads, `d` head width.
//! Rows are padded on the right, so that no real token ever looks at padding.
//! Products may be computed in another number format than float32 ([`super::Policy::compute_in`]); the residual
//! stream, norms, rotary positions, softmax and logits stay in float32.
//! candle's fused `rms_norm`, `rope` and `softmax_last_dim` have no backward and pass no gradient without a word: they are used
//! through `fused.rs`, which has one; the tests of `model/mod.rs` and `tests/suite/reference/model.rs` watch.

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};

use super::batch::{Batch, Shared};
use super::config::Config;
use super::frozen::FrozenWeight;
use super::fused::{masked_softmax, rms_norm, turned};
use super::lora::Lora;
use super::rows::Rows;

/// One decoder layer's parameters; biases in Qwen2, head norms in Qwen3.
pub(super) struct Layer {
    pub input_norm: Tensor,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub q_norm: Option<Tensor>,
    pub k_norm: Option<Tensor>,
    pub o: Linear,
    pub ffn_norm: Tensor,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Layer {
    fn projections(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("self_attn.q_proj", &mut self.q),
            ("self_attn.k_proj", &mut self.k),
            ("self_attn.v_proj", &mut self.v),
            ("self_attn.o_proj", &mut self.o),
            ("mlp.gate_proj", &mut self.gate),
            ("mlp.up_proj", &mut self.up),
            ("mlp.down_proj", &mut self.down),
        ]
    }

    /// The same layer with its projections in `dtype`, for products, and its norms in float32.
    pub fn cast(&self, dtype: DType) -> candle_core::Result<Self> {
        let norm = |weight: &Tensor| weight.to_dtype(DType::F32);
        Ok(Self {
            input_norm: norm(&self.input_norm)?,
            q: self.q.cast(dtype)?,
            k: self.k.cast(dtype)?,
            v: self.v.cast(dtype)?,
            q_norm: self.q_norm.as_ref().map(norm).transpose()?,
            k_norm: self.k_norm.as_ref().map(norm).transpose()?,
            o: self.o.cast(dtype)?,
            ffn_norm: norm(&self.ffn_norm)?,
            gate: self.gate.cast(dtype)?,
            up: self.up.cast(dtype)?,
            down: self.down.cast(dtype)?,
        })
    }
}

/// `x·Wᵀ + b`, and `+ s·(x·Aᵀ)·Bᵀ` with an adapter.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    frozen: bool,
    low: Option<LowRank>,
}

/// An adapter's part of a projection.
struct LowRank {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl Linear {
    /// The same projection in `dtype`; a gradient goes back through the cast, so variables keep their own format.
    fn cast(&self, dtype: DType) -> candle_core::Result<Self> {
        let low = match &self.low {
            Some(LowRank { a, b, scale }) => {
                Some(LowRank { a: a.to_dtype(dtype)?, b: b.to_dtype(dtype)?, scale: *scale })
            }
            None => None,
        };
        Ok(Self {
            weight: self.weight.to_dtype(dtype)?,
            bias: self.bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?,
            frozen: self.frozen,
            low,
        })
    }

    /// `x` has the weight's number format, and so has the result.
    pub fn forward(&self, x_nh: &Tensor) -> candle_core::Result<Tensor> {
        let mut y = match self.frozen {
            true => x_nh.apply_op1(FrozenWeight(self.weight.clone()))?,
            false => x_nh.matmul(&self.weight.t()?)?,
        };
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match &self.low {
            Some(LowRank { a, b, scale }) => y + (x_nh.matmul(&a.t()?)?.matmul(&b.t()?)? * *scale)?,
            None => Ok(y),
        }
    }
}

/// A decoder's parameters under the names that the computation uses.
pub(super) struct Weights {
    pub embed: Tensor,
    pub layers: Vec<Layer>,
    pub norm: Tensor,
    head: Linear,
}

impl Weights {
    /// Arranges parameters given in the order of [`Config::parameters`].
    ///
    /// # Panics
    /// When there are fewer tensors than the configuration lists; the caller made them from that list.
    pub fn new(config: &Config, tensors: impl IntoIterator<Item = Tensor>) -> Self {
        let mut by_name: std::collections::HashMap<String, Tensor> =
            config.parameters().into_iter().map(|(name, _)| name).zip(tensors).collect();
        let mut optional = |name: &str| by_name.remove(name);
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let mut maybe = |name: &str| optional(&format!("model.layers.{i}.{name}"));
            let mut take = |name: &str| maybe(name).expect("Config::parameters lists every weight");
            let norms = (take("input_layernorm.weight"), take("post_attention_layernorm.weight"));
            let head_norms = (maybe("self_attn.q_norm.weight"), maybe("self_attn.k_norm.weight"));
            let mut linear = |name: &str| Linear {
                weight: maybe(&format!("{name}.weight")).expect("Config::parameters lists every weight"),
                bias: maybe(&format!("{name}.bias")),
                frozen: false,
                low: None,
            };
            layers.push(Layer {
                input_norm: norms.0,
                q: linear("self_attn.q_proj"),
                k: linear("self_attn.k_proj"),
                v: linear("self_attn.v_proj"),
                q_norm: head_norms.0,
                k_norm: head_norms.1,
                o: linear("self_attn.o_proj"),
                ffn_norm: norms.1,
                gate: linear("mlp.gate_proj"),
                up: linear("mlp.up_proj"),
                down: linear("mlp.down_proj"),
            });
        }
        let mut take = |name: &str| optional(name).expect("Config::parameters lists every weight");
        let (embed, norm) = (take("model.embed_tokens.weight"), take("model.norm.weight"));
        let head = if config.tied { embed.clone() } else { take("lm_head.weight") };
        Self { embed, layers, norm, head: Linear { weight: head, bias: None, frozen: false, low: None } }
    }

    /// Float32 embeddings of ids, `[n, h]`.
    pub fn embedded(&self, ids_n: &Tensor) -> candle_core::Result<Tensor> {
        self.embed.index_select(ids_n, 0)?.to_dtype(DType::F32)
    }

    /// Float32 logits of float32 states after the final norm. In bfloat16 the largest of them would be rounded by
    /// 0.03 and more.
    pub fn logits(&self, normed: &Tensor) -> candle_core::Result<Tensor> {
        self.head.cast(DType::F32)?.forward(normed)
    }

    /// What is used over and over while decoding, cast once: see [`Layer::cast`].
    pub fn cast(&self, dtype: DType) -> candle_core::Result<Self> {
        Ok(Self {
            embed: self.embed.clone(),
            layers: self.layers.iter().map(|layer| layer.cast(dtype)).collect::<candle_core::Result<_>>()?,
            norm: self.norm.to_dtype(DType::F32)?,
            head: self.head.cast(DType::F32)?,
        })
    }

    /// Freezes every projection and puts the adapter's variables, as `see` shows them, beside those it stands on.
    pub fn with_adapter(mut self, lora: &Lora, see: impl Fn(&Var) -> Tensor) -> Self {
        self.head.frozen = true;
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in layer.projections() {
                linear.frozen = true;
                linear.low = lora.place(&format!("model.layers.{i}.{name}")).map(|at| LowRank {
                    a: see(&lora.vars[at].1),
                    b: see(&lora.vars[at + 1].1),
                    scale: lora.settings.scale(),
                });
            }
        }
        self
    }
}

/// Cosines and sines of positions `0..len`, `[len, d/2]` each.
pub(super) fn rotary(config: &Config, len: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let half = config.head_dim / 2;
    let mut cos = Vec::with_capacity(len * half);
    let mut sin = Vec::with_capacity(len * half);
    // Frequencies and angles in float32, as the reference does: at large positions the rounding shows.
    let frequencies: Vec<f32> =
        (0..half).map(|i| 1.0 / (config.rope_theta as f32).powf((2 * i) as f32 / config.head_dim as f32)).collect();
    for position in 0..len {
        for frequency in &frequencies {
            let angle = position as f32 * frequency;
            cos.push(angle.cos());
            sin.push(angle.sin());
        }
    }
    Ok((Tensor::from_vec(cos, (len, half), device)?, Tensor::from_vec(sin, (len, half), device)?))
}

/// Hidden states along the way, each `[n, h]`.
pub struct Hidden {
    /// Token embeddings.
    pub embed: Tensor,
    /// After each layer.
    pub layers: Vec<Tensor>,
    /// After the final norm.
    pub normed: Tensor,
}

/// What all layers of one pass have in common.
pub(super) struct Pass<'a> {
    config: &'a Config,
    /// Number format of products.
    dtype: DType,
    /// `[t, d/2]`, or `[b, t, d/2]` where rows have positions of their own.
    cos: Tensor,
    sin: Tensor,
    /// `[b, heads, t, t]`: 0 where a token may look, -∞ elsewhere.
    mask: Tensor,
    rows: usize,
    width: usize,
}

impl<'a> Pass<'a> {
    pub fn new(config: &'a Config, batch: &Batch, dtype: DType) -> Result<Self> {
        let device = batch.ids_n.device();
        let (mut cos, mut sin) = rotary(config, batch.width, device)?;
        let mask = match &batch.shared {
            None => causal_mask(batch.width, device)?,
            Some(Shared { positions_n, mask }) => {
                let shape = (batch.rows, batch.width, config.head_dim / 2);
                cos = cos.index_select(positions_n, 0)?.reshape(shape)?;
                sin = sin.index_select(positions_n, 0)?.reshape(shape)?;
                mask.clone()
            }
        };
        // Spread once for all layers.
        let mask = mask.broadcast_as((batch.rows, config.heads, batch.width, batch.width))?.contiguous()?;
        Ok(Self { config, dtype, cos, sin, mask, rows: batch.rows, width: batch.width })
    }

    /// Splits `[n, heads·d]` into `[b, heads, t, d]`.
    fn split(&self, x: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        x.reshape((self.rows, self.width, heads, self.config.head_dim))?.transpose(1, 2)?.contiguous()
    }

    /// Normed where there is a norm, and turned by position; computed in float32.
    fn normed_and_turned(&self, x: &Tensor, norm: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let x = x.to_dtype(DType::F32)?;
        let x = match norm {
            Some(weight) => rms_norm(&x, weight, self.config.norm_eps)?,
            None => x,
        };
        turned(&x, &self.cos, &self.sin)
    }

    /// Attention up to, not including, the output projection: `[n, q·d]`.
    fn attention(&self, layer: &Layer, x_nh: &Tensor) -> candle_core::Result<Tensor> {
        let Config { heads, kv_heads, head_dim, norm_eps, .. } = *self.config;
        let (b, t) = (self.rows, self.width);
        let x = rms_norm(x_nh, &layer.input_norm, norm_eps)?.to_dtype(self.dtype)?;
        let q = self.normed_and_turned(&self.split(&layer.q.forward(&x)?, heads)?, layer.q_norm.as_ref())?;
        let k = self.normed_and_turned(&self.split(&layer.k.forward(&x)?, kv_heads)?, layer.k_norm.as_ref())?;
        let v = self.split(&layer.v.forward(&x)?, kv_heads)?;
        // The queries of one key head stand below each other, so that keys need not be repeated.
        let q = (q.reshape((b, kv_heads, heads / kv_heads * t, head_dim))? / (head_dim as f64).sqrt())?;
        let scores = q.to_dtype(self.dtype)?.matmul(&k.to_dtype(self.dtype)?.t()?)?.to_dtype(DType::F32)?;
        let weights = masked_softmax(&scores.reshape((b, heads, t, t))?, &self.mask)?;
        let weights = weights.reshape((b, kv_heads, heads / kv_heads * t, t))?;
        let mixed = weights.to_dtype(self.dtype)?.matmul(&v)?.reshape((b, heads, t, head_dim))?;
        mixed.transpose(1, 2)?.contiguous()?.reshape((b * t, heads * head_dim))
    }

    /// The rest of a layer; it treats every token alone, so any choice of rows may be given.
    fn rest(&self, layer: &Layer, x: &Tensor, mixed: &Tensor) -> candle_core::Result<Tensor> {
        let x = (x + layer.o.forward(mixed)?.to_dtype(DType::F32)?)?;
        let y = rms_norm(&x, &layer.ffn_norm, self.config.norm_eps)?.to_dtype(self.dtype)?;
        let gated = (layer.gate.forward(&y)?.silu()? * layer.up.forward(&y)?)?;
        x + layer.down.forward(&gated)?.to_dtype(DType::F32)?
    }

    /// One layer: float32 states of all tokens in; out those of `wanted`, or of all.
    pub fn layer(&self, layer: &Layer, x: &Tensor, wanted: Option<&Rows>) -> candle_core::Result<Tensor> {
        let layer = &layer.cast(self.dtype)?;
        let mixed = self.attention(layer, x)?;
        match wanted {
            None => self.rest(layer, x, &mixed),
            Some(wanted) => self.rest(layer, &wanted.of(x)?, &wanted.of(&mixed)?),
        }
    }

    /// The final norm.
    pub fn normed(&self, weights: &Weights, x: &Tensor) -> candle_core::Result<Tensor> {
        rms_norm(x, &weights.norm.to_dtype(DType::F32)?, self.config.norm_eps)
    }
}

/// Hidden states after the final norm of chosen tokens: `[wanted, h]`.
///
/// The last layer's feed-forward is computed for the wanted tokens only.
pub(super) fn hidden_of(pass: &Pass, weights: &Weights, batch: &Batch, wanted: &Rows) -> Result<Tensor> {
    let mut x = weights.embedded(&batch.ids_n)?;
    for (i, layer) in weights.layers.iter().enumerate() {
        let last = i + 1 == weights.layers.len();
        x = pass.layer(layer, &x, last.then_some(wanted))?;
    }
    Ok(pass.normed(weights, &x)?)
}

/// Hidden states of all tokens after every stage, for inspection.
pub(super) fn hidden_states(pass: &Pass, weights: &Weights, batch: &Batch) -> Result<Hidden> {
    let embed = weights.embedded(&batch.ids_n)?;
    let mut layers: Vec<Tensor> = Vec::with_capacity(weights.layers.len());
    for layer in &weights.layers {
        layers.push(pass.layer(layer, layers.last().unwrap_or(&embed), None)?);
    }
    let normed = pass.normed(weights, layers.last().unwrap_or(&embed))?;
    Ok(Hidden { embed, layers, normed })
}

/// `[t, t]`: 0 where a position may look, -∞ at what comes after it.
pub(super) fn causal_mask(t: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> =
        (0..t).flat_map(|i| (0..t).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 })).collect();
    Ok(Tensor::from_vec(mask, (t, t), device)?)
}
