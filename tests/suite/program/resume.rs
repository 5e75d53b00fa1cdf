//! A training run that was killed goes on to the same numbers as one that was not.

use std::path::Path;

use crate::common::{core, fails, json, ok, small};

const SECTIONS: &str = "
[train]
steps = 8
batch = 4
accumulate = 2
eval_every = 4
eval_examples = 8
save_every = 4
";

fn weights(run: &Path, step: u64) -> Vec<u8> {
    let dir = run.join(format!("step-{step:08}"));
    let file =
        ["model.safetensors", "adapter_model.safetensors"].map(|name| dir.join(name)).into_iter().find(|f| f.exists());
    std::fs::read(file.unwrap()).unwrap()
}

/// A workspace with a simulated and mined log, and a recipe file.
fn mined() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    ok(core(dir.path()).args(["simulate", "--recipe", recipe.to_str().unwrap()]));
    let mined = json(core(dir.path()).args(["mine", "--recipe", recipe.to_str().unwrap()]));
    assert!(mined["train"].as_u64().unwrap() > 8, "{mined}");
    (dir, recipe)
}

#[test]
fn a_resumed_run_reaches_the_same_weights() {
    let (dir, recipe) = mined();
    let command = |args: &[&str]| {
        let mut command = core(dir.path());
        command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
        command
    };
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
    std::fs::write(&recipe, small::recipe(SECTIONS).replace("batch = 4", "batch = 2")).unwrap();
    let (code, said) = fails(&mut command(&["train", "sft", "--resume"]));
    assert!(code == 1 && said.contains("train.batch was 4, is 2"), "{said}");
}

#[test]
fn an_adapter_resumes_to_the_same_bits_on_a_base_that_does_not_change() {
    let (dir, recipe) = mined();
    let command = |args: &[&str]| {
        let mut command = core(dir.path());
        command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
        command
    };
    ok(&mut command(&["train", "sft", "--name", "base"]));
    let base = dir.path().join("runs/base/step-00000008");
    let before = weights(&dir.path().join("runs/base"), 8);

    let lora = "[lora]\nrank = 2\nalpha = 4\ntargets = ['q_proj', 'down_proj']\n";
    std::fs::write(&recipe, small::recipe(&format!("{SECTIONS}{lora}"))).unwrap();
    let (_, said) = fails(&mut command(&["train", "sft", "--name", "l"]));
    assert!(said.contains("lora.rank is 2") && said.contains("--init"), "{said}");
    let train = ["train", "sft", "--name", "l", "--init", base.to_str().unwrap()];
    let summary = json(&mut command(&train));
    // Two layers of q (32 → 32) and down (64 → 32), A and B of rank 2.
    assert_eq!(summary["parameters"], 2 * 2 * (32 + 32 + 64 + 32), "{summary}");
    let run = dir.path().join("runs/l");
    let uninterrupted = weights(&run, 8);
    assert!(uninterrupted != weights(&run, 4), "training changes the adapter");
    assert!(!run.join("step-00000008/model.safetensors").exists(), "the base is not copied");
    std::fs::remove_dir_all(run.join("step-00000008")).unwrap();
    let summary = json(&mut command(&[train.as_slice(), &["--resume"]].concat()));
    assert_eq!(summary["steps_now"], 4, "{summary}");
    assert!(weights(&run, 8) == uninterrupted, "the resumed run went elsewhere");
    assert!(weights(&dir.path().join("runs/base"), 8) == before, "the base changed");

    // The run, and its folder alone, can be asked; another rank does not continue it.
    let answer = |model: &str| json(&mut command(&["rewrite", "tennis", "--model", model]));
    let folder = run.join("step-00000008");
    assert_eq!(answer("l")["rewrite"], answer(folder.to_str().unwrap())["rewrite"]);
    std::fs::write(&recipe, small::recipe(&format!("{SECTIONS}{}", lora.replace("rank = 2", "rank = 3")))).unwrap();
    let (_, said) = fails(&mut command(&[train.as_slice(), &["--resume"]].concat()));
    assert!(said.contains("lora.rank was 2, is 3"), "{said}");

    // An adapter may be trained further, by settings that fit it.
    let further = ["train", "sft", "--name", "m", "--init", folder.to_str().unwrap()];
    let (_, said) = fails(&mut command(&further));
    assert!(said.contains("other settings"), "{said}");
    std::fs::write(&recipe, small::recipe(&format!("{SECTIONS}{lora}"))).unwrap();
    ok(&mut command(&further));

    std::fs::remove_dir_all(&base).unwrap();
    let (_, said) = fails(&mut command(&["rewrite", "tennis", "--model", "l"]));
    assert!(said.contains("is gone") && said.contains("base_model_name_or_path"), "{said}");
}
