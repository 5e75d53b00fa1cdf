//! The base model: what it reads is not of the built-in worlds, a killed run goes on to the same weights, and what ships is guarded.

use std::collections::HashSet;
use std::path::Path;

use crate::common::{core, fails, json, ok};
use core_rewriter::corpus::{Corpus, Set};
use core_rewriter::recipe::Recipe;
use core_rewriter::task::Piece;

const RECIPE: &str = "
name = 'small'
[model]
vocab = 600
hidden = 32
layers = 2
heads = 2
kv_heads = 1
head_dim = 16
ffn = 64
[pretrain]
tokenizer_documents = 500
[train]
steps = 8
batch = 4
accumulate = 2
eval_every = 4
eval_examples = 8
save_every = 4
";

/// Rows of a word list of the built-in worlds, without its header.
fn rows(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|row| row.split('\t').map(str::to_lowercase).collect()).collect()
}

#[test]
fn the_stream_and_the_built_in_worlds_share_no_head_sense_or_pair() {
    let recipe = Recipe::load("base").unwrap();
    let corpus = Corpus::new(&recipe.pretrain, recipe.seed);
    let (mut words, mut chinese) = (HashSet::new(), Vec::new());
    for n in 0..6_000 {
        for part in corpus.document(Set::Train, n).parts {
            let Piece::Text(text) = part.piece else { continue };
            match text.is_ascii() {
                true => words.extend(text.split_whitespace().map(str::to_owned)),
                false => chinese.push(text),
            }
        }
    }
    assert!(words.len() > 10_000 && chinese.len() > 5_000, "{} and {}", words.len(), chinese.len());
    let english = rows("world-en/senses.tsv");
    assert!(english.len() > 500);
    for row in &english {
        // Head, sense, gain term; a pair needs both of its words.
        for column in [0, 1, 3] {
            for word in row[column].split(' ') {
                assert!(!words.contains(word), "{word:?} of {row:?}");
            }
        }
    }
    for row in rows("world-zh/senses.tsv") {
        let (head, gain) = (row[0].as_str(), row[3].as_str());
        assert!(head.chars().count() > 1, "one character is no word by itself: {head}");
        for text in &chinese {
            assert!(!text.contains(head), "{head} in {text}");
            assert!(gain.chars().count() < 2 || !text.contains(gain), "{gain} in {text}");
        }
    }
}

#[test]
fn a_resumed_run_reaches_the_same_weights_and_becomes_a_base_with_a_card() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("small.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let command = |args: &[&str]| {
        let mut command = core(dir.path());
        command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
        command
    };
    ok(&mut command(&["pretrain"]));
    let step = dir.path().join("runs/small/step-00000008");
    let weights = || std::fs::read(step.join("model.safetensors")).unwrap();
    let uninterrupted = weights();
    std::fs::remove_dir_all(&step).unwrap();
    let (code, said) = fails(&mut command(&["pretrain"]));
    assert!(code == 1 && said.contains("--resume"), "{said}");
    let summary = json(&mut command(&["pretrain", "--resume"]));
    assert_eq!(summary["steps_now"], 4, "{summary}");
    assert!(weights() == uninterrupted, "the resumed run went elsewhere");

    let folder = dir.path().join("exported");
    let exported = json(&mut command(&["base", "export", "--run", "small", folder.to_str().unwrap()]));
    let parameters = exported["parameters"].as_u64().unwrap();
    // Two bytes a weight, and a header.
    assert!((2 * parameters..2 * parameters + 4_096).contains(&exported["bytes"].as_u64().unwrap()), "{exported}");
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("| 8 | ") && card.contains("Copying did not appear"), "{card}");

    // A base of one's own can be asked and started from.
    let read = json(&mut command(&["bench", "base", "--model", folder.to_str().unwrap(), "--seeds", "0"]));
    let probes = read["reading"].as_array().unwrap();
    assert!(probes.iter().any(|p| p["probe"] == "recall: 15 distractors, 8 pairs back"), "{read}");
    assert!(probes.iter().all(|p| p["questions"].as_u64().unwrap() > 50), "{read}");
}

#[test]
fn a_damaged_base_is_refused_with_the_command_that_restores_it() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    let text = "name = 'r'\n[world]\nvideos = 400\npeople = 200\nweeks = 2\nheads = 15\n\
                [train]\nsteps = 2\nbatch = 4\neval_examples = 8\n";
    std::fs::write(&recipe, text).unwrap();
    let command = |args: &[&str]| {
        let mut command = core(dir.path());
        command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
        command
    };
    ok(&mut command(&["base", "restore"]));
    ok(&mut command(&["simulate"]));
    ok(&mut command(&["mine"]));
    let train = ["train", "sft", "--init", "base", "--fresh"];
    ok(&mut command(&train));

    let weights = dir.path().join("base/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let (code, said) = fails(&mut command(&train));
    assert!(code == 1 && said.contains("model.safetensors") && said.contains("core base restore"), "{said}");
    ok(&mut command(&["base", "restore"]));
    assert!(std::fs::read(&weights).unwrap() == bytes);
    ok(&mut command(&train));
}
