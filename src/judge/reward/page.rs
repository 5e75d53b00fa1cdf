//! The retrieval rewards: what stands on the page that a rewrite brings about (JD, "Relevance Matters").

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use super::relevances::Source;
use super::scorer::{Scorer, Wanted};
use super::{Asked, listed};
use crate::recipe::{PLAIN_SCORER, Recall, Recipe, Reward};
use crate::search::fake::{FakeIndex, Ranked};
use crate::search::{Engine, ServedPages};

/// The worth of a page; the person sees it with the rewrite in it, as served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Mean relevance of the first `reward.top_k` documents to the person's own query, in [0, 1]; 0 for an empty page.
    pub relevance: f64,
    /// 1/rank of the document that satisfied the person, 0 when it is not there; none where nobody knows which.
    pub hit: Option<f64>,
}

impl Worth {
    fn of(asked: &Asked, page: &[Ranked], relevances: &[f64]) -> Self {
        let hit = asked.satisfied_doc.map(|doc| {
            let place = page.iter().position(|place| place.doc == doc);
            place.map_or(0.0, |place| 1.0 / (place + 1) as f64)
        });
        Self { relevance: relevances.iter().sum::<f64>() / relevances.len().max(1) as f64, hit }
    }
}

/// The pages that people would be served, and what their relevance is asked of.
pub(super) struct Pages {
    /// What documents of rewrites are read from (`serve.recall`), of what training may see; with none rewrites are searched for.
    fake: Option<FakeIndex>,
    by: By,
}

/// What the relevance of a page's documents is asked of, by the recipe's `reward.scorer`.
enum By {
    /// The search path, which has told it with the page.
    Path,
    /// A relevance model; and the documents' numbers by id.
    Learned { scorer: Box<Scorer>, numbers: HashMap<String, u32> },
}

impl Pages {
    /// # Errors
    /// A scorer that names no relevance model; no log; a fake index that cannot be written.
    pub fn open(workspace: &Path, engine: &Engine, recipe: &Recipe) -> Result<Self> {
        let fake = match recipe.serve.recall {
            Recall::Fake if wanted(&recipe.reward) => Some(listed::training(workspace, recipe)?),
            Recall::Fake | Recall::Index => None,
        };
        if recipe.reward.scorer == PLAIN_SCORER {
            return Ok(Self { fake, by: By::Path });
        }
        let source = Source { key: "reward.scorer", name: &recipe.reward.scorer, visual: true };
        let scorer = Box::new(Scorer::open(workspace, engine, recipe, &source)?);
        Ok(Self { fake, by: By::Learned { scorer, numbers: engine.numbers()? } })
    }

    /// The worth of the page of every answer, a rewrite or none; a page that fails fails alone.
    ///
    /// # Errors
    /// A relevance model that cannot be asked; a store that cannot be read.
    pub fn of(
        &self,
        engine: &Engine,
        recipe: &Recipe,
        answers: &[(Asked, Option<&str>)],
    ) -> Result<Vec<Result<Worth>>> {
        let served = ServedPages { engine, fake: self.fake.as_ref() };
        let shown =
            |(asked, rewrite): &(Asked, Option<&str>)| served.page(asked.time_ms, asked.query, *rewrite, recipe);
        let pages: Vec<Result<Vec<Ranked>>> = answers.par_iter().map(shown).collect();
        let first = |page: &[Ranked]| page.len().min(recipe.reward.top_k);
        let By::Learned { scorer, numbers } = &self.by else {
            let worth = |((asked, _), page): (&(Asked, _), Result<Vec<Ranked>>)| {
                let page = page?;
                let relevances: Vec<f64> = page[..first(&page)].iter().map(Ranked::relevance).collect();
                Ok(Worth::of(asked, &page, &relevances))
            };
            return Ok(answers.iter().zip(pages).map(worth).collect());
        };
        let known = |page: &[Ranked]| -> Vec<u32> {
            page[..first(page)].iter().filter_map(|place| numbers.get(&place.doc).copied()).collect()
        };
        let mut wanted = Wanted::default();
        for ((asked, _), page) in answers.iter().zip(&pages) {
            page.iter().for_each(|page| wanted.add(asked.query, known(page)));
        }
        let (scoring, _) = scorer.score(engine, &wanted)?;
        let worth = |((asked, _), page): (&(Asked, _), Result<Vec<Ranked>>)| {
            let page = page?;
            let of_query = scoring.get(asked.query);
            let told = |number: &u32| of_query.and_then(|scores| scores.get(number)).copied();
            let told = |number| told(number).context("a document of the page was not scored");
            let relevances = known(&page).iter().map(told).collect::<Result<Vec<f64>>>()?;
            Ok(Worth::of(asked, &page, &relevances))
        };
        Ok(answers.iter().zip(pages).map(worth).collect())
    }
}

/// Whether any reward looks at pages.
pub(super) fn wanted(reward: &Reward) -> bool {
    reward.relevance != 0.0 || reward.hit != 0.0 || reward.relevance_gate != 0.0
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::logs::{Context, Doc};
    use crate::model::calibrated;
    use crate::model::{Config, Policy, Tagger, TaggerSettings, Tokenizer, runs};
    use crate::recipe::{ModelShape, Precision};
    use crate::search::index_dir;
    use crate::store::{LogKind, Store};
    use crate::task::SPECIAL_TOKENS;

    fn docs() -> Vec<Doc> {
        let titles = ["jaguar car engine", "jaguar cat forest", "jaguar car test", "bread recipe"];
        let doc = |(n, title): (usize, &str)| Doc { id: format!("d{n}"), title: title.into(), ..Doc::default() };
        titles.into_iter().enumerate().map(doc).collect()
    }

    /// A model that nobody taught, as a run of its own.
    fn untaught(workspace: &Path, name: &str) -> std::path::PathBuf {
        let texts = ["jaguar car cat engine forest test bread recipe", "1 2 3 4"];
        let tokenizer = Tokenizer::train(texts.iter(), 320, &SPECIAL_TOKENS).unwrap();
        let shape = ModelShape { hidden: 32, layers: 1, heads: 2, kv_heads: 1, head_dim: 16, ffn: 48, vocab: 320 };
        let config = Config::scratch(&shape, tokenizer.size());
        let policy = Policy::from_scratch(config, tokenizer, 5, &Device::Cpu).unwrap();
        let folder = runs::step_dir(&runs::run_dir(workspace, name).unwrap(), 1);
        std::fs::create_dir_all(&folder).unwrap();
        policy.save(&folder, None).unwrap();
        let settings = TaggerSettings { visual: true, max_prompt_tokens: 90, temperature: Some(0.7) };
        settings.save(&folder).unwrap();
        folder
    }

    #[test]
    fn a_page_is_as_relevant_as_its_first_documents_are_to_the_one_that_is_asked() {
        let (dir, docs) = (tempfile::tempdir().unwrap(), docs());
        let workspace = dir.path();
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.reward.top_k, recipe.train.precision) = (2, Precision::F32);
        Store::open(workspace)
            .unwrap()
            .write_log(&recipe.name, LogKind::World, "x", |w| docs.iter().try_for_each(|doc| w.doc(doc)))
            .unwrap();
        let engine = Engine::build(&index_dir(workspace, &recipe.name), &docs, &recipe.search, |_| ()).unwrap();
        let context = Context::default();
        let asked = Asked {
            context: &context,
            query: "jaguar",
            time_ms: i64::MAX,
            satisfied_doc: Some("d1"),
            rewrote: None,
            target: None,
            evidence: None,
        };
        let hits = engine.search("jaguar", Some("jaguar car"), &recipe.search).unwrap();
        let place = hits.iter().position(|hit| hit.doc == "d1").unwrap();
        let worth = |recipe: &Recipe| {
            let pages = Pages::open(workspace, &engine, recipe).unwrap();
            pages.of(&engine, recipe, &[(asked, Some("jaguar car"))]).unwrap().pop().unwrap().unwrap()
        };
        let by_path = worth(&recipe);
        let mean = (hits[0].signals.relevance + hits[1].signals.relevance) / 2.0;
        assert!((by_path.relevance - mean).abs() < 1e-12 && by_path.hit == Some(1.0 / (place + 1) as f64));

        let tagger = Tagger::open(&untaught(workspace, "judge"), Precision::F32).unwrap();
        recipe.reward.scorer = "judge".into();
        let learned = worth(&recipe);
        let first: Vec<&Doc> = hits[..2].iter().map(|hit| docs.iter().find(|d| d.id == hit.doc).unwrap()).collect();
        let own: Vec<f64> = tagger
            .logits("jaguar", &first)
            .unwrap()
            .into_iter()
            .map(|logits| calibrated(logits, 0.7)[2..].iter().sum())
            .collect();
        assert!((learned.relevance - (own[0] + own[1]) / 2.0).abs() < 1e-6, "{learned:?} {own:?}");
        assert!(own.iter().all(|p| (0.01..0.99).contains(p)) && (own[0] - own[1]).abs() > 1e-5, "{own:?}");
        assert!((learned.relevance - by_path.relevance).abs() > 1e-3 && learned.hit == by_path.hit);

        recipe.reward.scorer = "nobody".into();
        let error = Pages::open(workspace, &engine, &recipe).err().unwrap().to_string();
        assert!(error.contains("reward.scorer names \"nobody\""), "{error}");
    }
}
