//! A training run that was killed goes on to the same numbers as one that was not.

mod common;

use std::path::Path;

use common::{core, fails, json, ok};

const RECIPE: &str = "
name = 'r'
[world]
videos = 400
people = 80
weeks = 2
heads = 15
[model]
vocab = 400
hidden = 32
layers = 2
heads = 2
kv_heads = 1
head_dim = 16
ffn = 64
[train]
steps = 8
batch = 4
accumulate = 2
eval_every = 4
eval_examples = 8
save_every = 4
";

fn weights(run: &Path, step: u64) -> Vec<u8> {
    std::fs::read(run.join(format!("step-{step:08}")).join("model.safetensors")).unwrap()
}

#[test]
fn a_resumed_run_reaches_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let command = |args: &[&str]| {
        let mut command = core(dir.path());
        command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
        command
    };
    ok(&mut command(&["simulate"]));
    let mined = json(&mut command(&["mine"]));
    assert!(mined["train"].as_u64().unwrap() > 8, "{mined}");
    ok(&mut command(&["train", "sft"]));
    let run = dir.path().join("runs/r-sft");
    let uninterrupted = weights(&run, 8);
    assert_ne!(uninterrupted, weights(&run, 4), "training changes the weights");

    // What a kill after step 4 leaves: its checkpoint, and a half-written later one.
    std::fs::remove_dir_all(run.join("step-00000008")).unwrap();
    std::fs::create_dir(run.join(".step-00000008.partial")).unwrap();
    let (code, said) = fails(&mut command(&["train", "sft"]));
    assert!(code == 1 && said.contains("--resume") && said.contains("--fresh"), "{said}");
    let summary = json(&mut command(&["train", "sft", "--resume"]));
    assert_eq!(summary["steps_now"], 4, "{summary}");
    assert!(weights(&run, 8) == uninterrupted, "the resumed run went elsewhere");

    // Another recipe does not continue this run.
    std::fs::write(&recipe, RECIPE.replace("batch = 4", "batch = 2")).unwrap();
    let (code, said) = fails(&mut command(&["train", "sft", "--resume"]));
    assert!(code == 1 && said.contains("train.batch was 4, is 2"), "{said}");
}
