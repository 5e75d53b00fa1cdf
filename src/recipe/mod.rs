//! A recipe: one TOML file that says everything a run depends on, checked before anything starts.
//!
//! Every key has a default ([`Recipe::default`] is the `demo` preset's base); an unknown key is
//! refused with its line and the nearest key that exists ([`errors`]).

mod check;
mod errors;
mod experiment;
mod gating;
mod preference;
mod relevance;
mod reward;
mod rollouts;
mod searching;
mod sections;
mod seeds;
mod serving;
mod usage;
mod weeks;
mod world;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

pub use experiment::{AbTest, Baselines};
pub use gating::Gate;
pub use preference::{Flaw, Form, Mpo, Ratio, Reference};
pub use relevance::{Reason, Relevance};
pub use reward::{Beside, Grpo, ImportanceLevel, LossType, Reward, ScaleRewards};
pub use rollouts::Rollouts;
pub use searching::{Encoding, Fusion, PLAIN_SCORER, Pooling, RewriteWeights, SearchPath};
pub use sections::{FromScratch, Lora, Mine, ModelShape, Precision, Pretrain, Train};
pub use seeds::{Fingerprint, stream};
pub use serving::{Decoding, Fake, Recall, Rewrites, Rewriting, Serve};
pub use usage::Usage;
pub use weeks::Weekly;
pub use world::{Kind, Language, World};

/// The presets that ship inside the binary: `(name, TOML text)`.
pub const PRESETS: [(&str, &str); 7] = [
    ("demo", include_str!("../../recipes/demo.toml")),
    ("tiny", include_str!("../../recipes/tiny.toml")),
    ("shop", include_str!("../../recipes/shop.toml")),
    ("zh", include_str!("../../recipes/zh.toml")),
    ("decay", include_str!("../../recipes/decay.toml")),
    ("large", include_str!("../../recipes/large.toml")),
    ("base", include_str!("../../recipes/base.toml")),
];

/// Everything a run depends on. Same recipe and same machine give the same numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Name of the log in the store, and prefix of the runs made from it.
    pub name: String,
    /// The one source of randomness; every room draws from its own named stream of it.
    pub seed: u64,
    /// The synthetic world.
    pub world: World,
    /// When a reformulation becomes a training example.
    pub mine: Mine,
    /// Shape of a model trained from scratch.
    pub model: ModelShape,
    /// What a base model reads.
    pub pretrain: Pretrain,
    /// The training loop.
    pub train: Train,
    /// What a rewrite is worth.
    pub reward: Reward,
    /// CoRe's reward.
    pub ratio: Ratio,
    /// Learning from rewards.
    pub grpo: Grpo,
    /// Learning from pairs of answers.
    pub mpo: Mpo,
    /// Servers that sample in place of this machine.
    pub rollouts: Rollouts,
    /// Adapters instead of full fine-tuning.
    pub lora: Lora,
    /// Annotated pairs, and the model that learns from them.
    pub relevance: Relevance,
    /// The search path that rewriting stands beside.
    pub search: SearchPath,
    /// The simulated experiment.
    pub ab: AbTest,
    /// What a candidate must be like to be released.
    pub gate: Gate,
    /// The continuous loop.
    pub weekly: Weekly,
    /// The rules that a model must beat.
    pub baselines: Baselines,
    /// How a trained model answers.
    pub rewriting: Rewriting,
    /// The HTTP server.
    pub serve: Serve,
    /// The index of valid queries that a server may answer rewrites from.
    pub fake: Fake,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            name: "demo".into(),
            seed: 7,
            world: World::default(),
            mine: Mine::default(),
            model: ModelShape::default(),
            pretrain: Pretrain::default(),
            train: Train::default(),
            reward: Reward::default(),
            ratio: Ratio::default(),
            grpo: Grpo::default(),
            mpo: Mpo::default(),
            rollouts: Rollouts::default(),
            lora: Lora::default(),
            relevance: Relevance::default(),
            search: SearchPath::default(),
            ab: AbTest::default(),
            gate: Gate::default(),
            weekly: Weekly::default(),
            baselines: Baselines::default(),
            rewriting: Rewriting::default(),
            serve: Serve::default(),
            fake: Fake::default(),
        }
    }
}

impl Recipe {
    /// Reads a preset by name (see [`PRESETS`]) or a TOML file by path.
    ///
    /// # Errors
    /// Names the file, the line and the key of the first thing that is wrong, and the remedy.
    pub fn load(name_or_path: &str) -> Result<Self> {
        if let Some((name, text)) = PRESETS.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, &format!("preset {name}"));
        }
        let path = Path::new(name_or_path);
        let bytes = std::fs::read(path).with_context(|| {
            let presets: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            format!("cannot read recipe {}: give a TOML file or a preset ({})", path.display(), presets.join(", "))
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
            anyhow!("recipe {name_or_path}:{line}: a byte that is not UTF-8: save the file as UTF-8 text")
        })?;
        Self::parse(text, name_or_path)
    }

    /// Reads a recipe from TOML text; `source` is how error messages call it.
    ///
    /// # Errors
    /// See [`Recipe::load`].
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|e| errors::explain(&e, text, source))?;
        check::check(&recipe).with_context(|| format!("recipe {source}"))?;
        Ok(recipe)
    }

    /// The recipe as TOML, every default written out: what a run keeps in the journal.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_parse_and_survive_a_round_trip() {
        for (name, _) in PRESETS {
            let recipe = Recipe::load(name).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(Recipe::parse(&recipe.to_toml(), "again").unwrap(), recipe);
        }
    }

    #[test]
    fn every_file_of_recipes_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > PRESETS.len(), "presets, and a base for a card");
        for file in files {
            Recipe::load(file.to_str().unwrap()).unwrap();
        }
    }

    #[test]
    fn the_demo_s_recipe_for_an_index_has_the_demo_s_world_and_model() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/demo-index.toml");
        let (demo, own) = (Recipe::load("demo").unwrap(), Recipe::load(path.to_str().unwrap()).unwrap());
        let of_demo =
            Recipe { grpo: demo.grpo.clone(), reward: demo.reward.clone(), ab: demo.ab.clone(), ..own.clone() };
        assert_eq!(of_demo, demo);
        assert!(own.grpo != demo.grpo && own.reward != demo.reward && own.ab != demo.ab);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
        let error = Recipe::parse("seed = 1\n\n[mine]\nfial_dwell_s = 2.0\n", "my.toml").unwrap_err().to_string();
        assert!(error.contains("my.toml:4"), "{error}");
        assert!(error.contains("`fial_dwell_s`"), "{error}");
        assert!(error.contains("did you mean `fail_dwell_s`"), "{error}");
    }

    #[test]
    fn a_wrong_type_and_a_wrong_value_name_the_place() {
        let error = Recipe::parse("[train]\nsteps = \"many\"\n", "my.toml").unwrap_err().to_string();
        assert!(error.contains("my.toml:2"), "{error}");
        for (text, key) in [
            ("[train]\nbatch = 0\n", "train.batch"),
            ("[lora]\nalpha = 0\n", "lora.alpha"),
            ("[lora]\ntargets = ['lm_head']\n", "lora.targets"),
            ("[lora]\ntargets = []\n", "lora.targets"),
            ("[fake]\nexamination = []\n", "fake.examination"),
            ("[fake]\nmin_people = 0\n", "fake.min_people"),
            ("[search]\nencoder = ''\n", "search.encoder"),
            ("[relevance]\nmix = 1.0\n", "relevance.mix"),
            ("[relevance]\nreasoning = ['rules', 'rules']\n", "relevance.reasoning"),
            ("[relevance]\nlr = 0\n", "relevance.lr"),
            ("[weekly]\nlr = 0\n", "weekly.lr"),
            ("[weekly]\nreject = -1\n", "weekly.reject"),
            ("[search.encoding]\nmax_tokens = 0\n", "search.encoding.max_tokens"),
        ] {
            let error = format!("{:#}", Recipe::parse(text, "my.toml").unwrap_err());
            assert!(error.contains(key), "{error}");
        }
    }
}
