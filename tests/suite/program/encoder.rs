//! An index whose vectors come from an encoder's folder, through the binary: built, asked, refused, rebuilt.

use std::path::{Path, PathBuf};

use crate::common::{core, fails, json, ok};
use core_rewriter::store::{Doc, LogKind, Store};
use serde_json::Value;

const WORDS: [&str; 8] = ["jaguar", "car", "cat", "wild", "road", "piano", "光良 演唱会", "engine"];

/// A workspace with a small log and a copy of the tiny BERT that may be spoilt.
struct Place {
    dir: tempfile::TempDir,
    encoder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let encoder = dir.path().join("encoder");
        std::fs::create_dir_all(encoder.join("1_Pooling")).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoder/bert");
        for file in ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"] {
            std::fs::copy(golden.join(file), encoder.join(file)).unwrap();
        }
        let place = Self { dir, encoder };
        place.log(200);
        place
    }

    fn log(&self, docs: usize) {
        let doc = |i: usize| Doc {
            id: format!("d{i:04}"),
            title: format!("{} {} part {i}", WORDS[i % 8], WORDS[i / 8 % 8]),
            tags: vec![WORDS[i / 64 % 8].into()],
            popularity: 1.0 / (1.0 + i as f32),
            ..Doc::default()
        };
        let fill = |log: &mut core_rewriter::store::LogWriter| (0..docs).try_for_each(|i| log.doc(&doc(i)));
        Store::open(&self.workspace()).unwrap().write_log("shop", LogKind::Ubi, "made by a test", fill).unwrap();
    }

    fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    /// A recipe with this encoder and more lines of `[search.encoding]`.
    fn recipe(&self, encoder: &str, options: &str) -> String {
        let path = self.dir.path().join("recipe.toml");
        let text = format!("name = \"shop\"\n[search]\nencoder = {encoder:?}\n[search.encoding]\n{options}\n");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn own(&self) -> String {
        self.recipe(self.encoder.to_str().unwrap(), "query_prefix = \"query: \"\npassage_prefix = \"passage: \"")
    }

    fn command(&self, recipe: &str, args: &[&str]) -> std::process::Command {
        let mut command = core(&self.workspace());
        command.args(["--recipe", recipe]).args(args).env("HF_HUB_OFFLINE", "1");
        command
    }

    fn build(&self, recipe: &str) -> Value {
        json(&mut self.command(recipe, &["index", "build"]))
    }
}

#[test]
fn an_index_of_a_folders_vectors_is_built_searched_grown_and_named() {
    let place = Place::new();
    let built = place.build(&place.own());
    assert_eq!(built["update"]["how"], "anew");
    assert_eq!(built["stats"]["encoder"]["dimension"], 32);
    // No document says so: the vectors alone can recall it.
    let page = json(&mut place.command(&place.own(), &["search", "jagaur enigne"]));
    let hits = page["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 10, "{page}");
    for hit in hits {
        assert!(hit["signals"]["cosine"].as_f64().unwrap() > 0.2 && hit["signals"]["bm25"] == 0.0, "{hit}");
    }
    let exact = json(&mut place.command(&place.own(), &["search", "jaguar road part 4"]));
    let cosines: Vec<f64> =
        exact["hits"].as_array().unwrap().iter().map(|h| h["signals"]["cosine"].as_f64().unwrap()).collect();
    assert!(cosines.iter().any(|c| *c != cosines[0]), "{exact}");
    let text = ok(&mut place.command(&place.own(), &["index", "stats"]));
    assert!(text.contains("encoder") && text.contains("32"), "{text}");
    assert_eq!(place.build(&place.own())["update"]["how"], "unchanged");
    place.log(230);
    let grown = place.build(&place.own());
    assert_eq!((&grown["update"]["how"], &grown["update"]["added"]), (&"grown".into(), &30.into()));
}

#[test]
fn another_encoder_is_refused_until_the_index_is_built_with_it() {
    let place = Place::new();
    place.build(&place.own());
    let own = place.encoder.to_str().unwrap();
    let cls = "pooling = \"cls\"";
    for (encoder, options, words) in
        [("hashed", "", "\"hashed\" (256 dimensions"), (own, cls, "first token, 64 tokens")]
    {
        let recipe = place.recipe(encoder, options);
        let (_, said) = fails(&mut place.command(&recipe, &["search", "jaguar"]));
        for part in [words, "32 dimensions, mean, 64 tokens, \"query: \" before queries", "core index build"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // What is in the index can be looked at with any recipe.
        let stats = json(&mut place.command(&recipe, &["index", "stats"]));
        assert_eq!(stats["stats"]["encoder"]["name"], own);
    }
    let recipe = place.recipe("hashed", "");
    let rebuilt = place.build(&recipe);
    assert_eq!((&rebuilt["update"]["how"], &rebuilt["stats"]["encoder"]["dimension"]), (&"anew".into(), &256.into()));
    let page = json(&mut place.command(&recipe, &["search", "jaguar"]));
    assert_eq!(page["hits"].as_array().unwrap().len(), 10);
    let (_, said) = fails(&mut place.command(&place.own(), &["search", "jaguar"]));
    assert!(said.contains("vectors of the encoder \"hashed\""), "{said}");
}

#[test]
fn a_spoilt_folder_is_refused_and_leaves_the_index_as_it_is() {
    let place = Place::new();
    place.build(&place.own());
    let before = json(&mut place.command(&place.own(), &["search", "jaguar"]));
    let weights = place.encoder.join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..5_000]).unwrap();
    for args in [&["index", "build"][..], &["search", "jaguar"]] {
        let (_, said) = fails(&mut place.command(&place.own(), args));
        assert!(said.contains("model.safetensors is damaged") && said.contains("fetch it again"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    std::fs::remove_file(&weights).unwrap();
    let (_, said) = fails(&mut place.command(&place.own(), &["search", "jaguar"]));
    assert!(said.contains("model.safetensors is missing"), "{said}");
    std::fs::write(&weights, whole).unwrap();
    assert_eq!(json(&mut place.command(&place.own(), &["search", "jaguar"])), before);
    let (_, said) = fails(&mut place.command(&place.recipe("nobody/nothing", ""), &["index", "build"]));
    assert!(said.contains("search.encoder") && said.contains("not in the local cache"), "{said}");
}
