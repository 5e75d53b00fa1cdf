//! Worlds other than the usual one, end to end: a Chinese one, and a shop.

use std::path::Path;

use core_rewriter::index::{self, Job};
use core_rewriter::mine::{self, Source};
use core_rewriter::recipe::{Kind, Recipe};
use core_rewriter::search::{Engine, index_dir};
use core_rewriter::simulate;
use core_rewriter::store::{Session, Split, Store};

fn preset(name: &str) -> Recipe {
    let mut recipe = Recipe::load(name).unwrap();
    recipe.world.people = 300;
    recipe
}

fn sessions(workspace: &Path, recipe: &Recipe) -> Vec<Session> {
    let store = Store::open(workspace).unwrap();
    let mut all = Vec::new();
    let keep = |session| {
        all.push(session);
        Ok(())
    };
    store.for_each_session(&store.log(&recipe.name).unwrap(), keep).unwrap();
    all
}

#[test]
fn a_chinese_world_is_simulated_indexed_mined_and_searched() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = preset("zh");
    simulate::run(dir.path(), &recipe, simulate::Part::default(), false).unwrap();
    index::run(dir.path(), &recipe, &recipe.name, Job::Build { anew: false }).unwrap();
    let mined = mine::run(dir.path(), &recipe, &recipe.name, Source::Store).unwrap();
    assert!(mined.rewrites > 50, "{mined:?}");
    let all = sessions(dir.path(), &recipe);
    assert!(all.iter().flat_map(|s| &s.searches).all(|s| !s.query.contains(' ')));
    let store = Store::open(dir.path()).unwrap();
    let rows = store.examples(&store.log(&recipe.name).unwrap(), Split::Train).unwrap();
    // What a reformulation adds is a word of its own, though no space stands before it.
    let grown = rows.iter().filter_map(|row| Some((&row.query, row.target.as_ref()?)));
    assert!(grown.clone().filter(|(query, target)| target.starts_with(query.as_str())).count() > 20);
    let engine = Engine::open(&index_dir(dir.path(), &recipe.name), &recipe.search).unwrap();
    let (query, target) = grown.into_iter().next().unwrap();
    for text in [query, target] {
        assert!(!engine.search(text, None, &recipe.search).unwrap().is_empty(), "{text}");
    }
}

#[test]
fn a_shop_has_prices_and_purchases_and_videos_have_neither() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["shop", "tiny"] {
        let recipe = preset(name);
        simulate::run(dir.path(), &recipe, simulate::Part::default(), false).unwrap();
        let all = sessions(dir.path(), &recipe);
        let bought = |s: &Session| s.searches.iter().flat_map(|s| &s.clicks).any(|c| c.bought);
        let share = all.iter().filter(|s| bought(s)).count() as f64 / all.len() as f64;
        let store = Store::open(dir.path()).unwrap();
        let docs = store.docs(&store.log(&recipe.name).unwrap()).unwrap();
        let priced = docs.iter().filter(|doc| doc.tags.iter().any(|tag| tag.starts_with('$'))).count();
        let lasting = docs.iter().filter(|doc| doc.duration_s > 0.0).count();
        match recipe.world.kind {
            Kind::Shop => {
                assert!((0.01..0.1).contains(&share) && priced * 10 > docs.len() * 9 && lasting == 0, "{share}")
            }
            Kind::Video => assert_eq!((share, priced, lasting), (0.0, 0, docs.len())),
        }
    }
}
