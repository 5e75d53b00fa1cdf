//! A decoder with random weights: where training from nothing starts.

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Config, Policy, Tokenizer};

impl Policy {
    /// Makes a decoder with random weights.
    ///
    /// Embeddings are drawn with deviation `1/√hidden`, so that tied logits start near unit size; projections with
    /// 0.02 (GPT-2), those that write into the residual stream divided by `√(2·layers)`. Norms start at 1, biases at 0.
    ///
    /// # Errors
    /// A shape that does not fit together, or a tokenizer larger than the vocabulary.
    pub fn from_scratch(config: Config, tokenizer: Tokenizer, seed: u64, device: &Device) -> Result<Self> {
        Self::from_scratch_in(config, tokenizer, seed, DType::F32, device)
    }

    /// [`Policy::from_scratch`] with its matrices rounded to `dtype` as they are drawn.
    ///
    /// # Errors
    /// Those of [`Policy::from_scratch`].
    pub fn from_scratch_in(
        config: Config,
        tokenizer: Tokenizer,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut vars = Vec::new();
        for (name, shape) in config.parameters() {
            let (n, matrix) = (shape.iter().product(), shape.len() == 2);
            let values = match initial_deviation(&config, &name) {
                Some(deviation) => (0..n).map(|_| (normal(&mut rng) * deviation) as f32).collect(),
                None => vec![if name.ends_with(".bias") { 0.0f32 } else { 1.0 }; n],
            };
            let tensor = Tensor::from_vec(values, shape, device)?;
            vars.push((name, Var::from_tensor(&if matrix { tensor.to_dtype(dtype)? } else { tensor })?));
        }
        Self::assemble(config, tokenizer, vars, None, None, device)
    }
}

/// Deviation of a parameter's first values; `None` for norms and biases, which start at constants.
fn initial_deviation(config: &Config, name: &str) -> Option<f64> {
    if name.contains("norm") || name.ends_with(".bias") {
        return None;
    }
    Some(match name {
        "model.embed_tokens.weight" | "lm_head.weight" => 1.0 / (config.hidden as f64).sqrt(),
        _ if name.contains("o_proj") || name.contains("down_proj") => 0.02 / (2.0 * config.layers as f64).sqrt(),
        _ => 0.02,
    })
}

/// A standard normal draw (Box and Muller).
pub(super) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
