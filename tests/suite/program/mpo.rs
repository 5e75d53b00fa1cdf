//! Learning from pairs through the binary: phases are sampled, scored and paired once, and a run killed within one loses nothing.

use std::path::PathBuf;

use crate::common::small::{self, command, events, teach};
use crate::common::{fails, json, ok};
use core_rewriter::journal::Event;

const SECTIONS: &str = "
[train]
steps = 30
lr = 3e-3
batch = 4
eval_every = 10
eval_examples = 8
save_every = 10
taught = 1.0
[mpo]
steps = 5
sync_every = 3
groups = 4
num_generations = 6
max_completion_length = 6
running_delta = true
";

/// A workspace with a log, its index, a model that was taught a little, and a recipe file that saves every step.
fn taught() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    teach(dir.path(), &recipe);
    std::fs::write(&recipe, small::recipe(SECTIONS).replace("save_every = 10", "save_every = 1\nkeep = 9")).unwrap();
    (dir, recipe)
}

#[test]
fn phases_are_sampled_once_and_a_run_killed_within_one_goes_on_to_the_same_weights() {
    let (dir, recipe) = taught();
    let (code, said) = fails(&mut command(dir.path(), &recipe, &["train", "mpo"]));
    assert!(code == 1 && said.contains("--init"), "{said}");
    let train = ["train", "mpo", "--init", "r-sft"];
    ok(&mut command(dir.path(), &recipe, &train));
    let events = events(dir.path(), "r-mpo");
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Metrics { split, values, .. } if split == "train" => Some(values),
            _ => None,
        })
        .collect();

    // Two phases, of three steps and of two: their statistics stand at their first steps.
    assert_eq!(steps.iter().map(|v| v["phase"]).collect::<Vec<_>>(), [1.0, 1.0, 1.0, 2.0, 2.0]);
    assert_eq!(
        steps.iter().map(|v| v.get("reward_calls").copied()).collect::<Vec<_>>(),
        [Some(3.0 * 4.0 * 6.0), None, None, Some(2.0 * 4.0 * 6.0), None]
    );
    for name in ["reward", "reward_std", "S_pos", "S_neg", "S_rand", "frac_reward_zero_std", "reject_rate"] {
        assert!(steps[0].contains_key(name), "{name}: {:?}", steps[0].keys());
    }
    // What held-out people's queries are worth less than, when something must be said to each: of every policy that sampled, and
    // of the last one.
    let forced = |values: &std::collections::BTreeMap<String, f64>| values.get("improvement_rate/forced").copied();
    assert_eq!(steps.iter().map(|v| forced(v).is_some()).collect::<Vec<_>>(), [true, false, false, true, false]);
    let mut evaluated = events.iter().filter_map(|event| match event {
        Event::Metrics { split, values, .. } if split != "train" => forced(values),
        _ => None,
    });
    assert!(evaluated.next_back().is_some_and(|rate| (0.0..=1.0).contains(&rate)));
    for values in steps.iter().filter(|values| values["groups"] > 0.0) {
        let sum = 0.8 * values["loss/sigmoid"] + 0.2 * values["loss/bco_pair"] + values["loss/sft"];
        assert!((values["loss/mpo"] - sum).abs() < 1e-9 && values["loss"] == values["loss/mpo"], "{values:?}");
    }
    // Whoever sampled is the reference at first: nothing is preferred yet.
    assert!(steps[0]["rewards/margins"].abs() < 1e-5 && steps[1]["rewards/margins"].abs() > 1e-6, "{steps:?}");

    // The reward of every answer shown is the recipe's formula of its parts.
    let mut seen = 0;
    for event in &events {
        let Event::Rollout { sampled, step, .. } = event else { continue };
        assert!([1, 4].contains(step) && sampled.len() == 6);
        for answer in sampled.iter().filter(|answer| answer.parts.len() == 3) {
            let [pos, neg, rand] = ["S_pos", "S_neg", "S_rand"].map(|part| answer.parts[part]);
            let ratio = (pos.powf(1.5) / neg * (pos / rand).sqrt()).clamp(0.1, 10.0).ln();
            assert!(answer.reward.unwrap() <= ratio + 1e-9 && answer.reward.unwrap() >= ratio - 0.5, "{answer:?}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} answers were scored");

    let folder = |step: u64| dir.path().join(format!("runs/r-mpo/step-{step:08}"));
    let weights = |step: u64| std::fs::read(folder(step).join("model.safetensors")).unwrap();
    let uninterrupted = weights(5);
    assert!(uninterrupted != weights(2), "training changes the weights");
    // Killed in the first phase, and again with the second phase's file half written.
    for killed_after in [2, 4] {
        (killed_after + 1..=5).for_each(|step| std::fs::remove_dir_all(folder(step)).unwrap());
        if killed_after == 2 {
            std::fs::write(dir.path().join("runs/r-mpo/phase-000001.json"), "{\"fingerprint\":").unwrap();
        }
        let summary = json(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
        assert_eq!(summary["steps_now"], 5 - killed_after, "{summary}");
        assert!(weights(5) == uninterrupted, "the run killed after step {killed_after} went elsewhere");
    }

    // Where a phase's answers are gone they cannot be sampled again by another policy.
    (4..=5).for_each(|step| std::fs::remove_dir_all(folder(step)).unwrap());
    std::fs::remove_file(dir.path().join("runs/r-mpo/phase-000001.json")).unwrap();
    ok(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
    assert!(weights(5) == uninterrupted, "at a border they can");
    std::fs::remove_dir_all(folder(5)).unwrap();
    std::fs::remove_file(dir.path().join("runs/r-mpo/phase-000001.json")).unwrap();
    let (_, said) = fails(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
    assert!(said.contains("phase 1 are gone") && said.contains("--fresh"), "{said}");

    // Another reward does not continue it.
    let other = std::fs::read_to_string(&recipe).unwrap() + "[ratio]\ngamma = 0.25\n";
    std::fs::write(&recipe, other).unwrap();
    let (_, said) = fails(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
    assert!(said.contains("ratio.gamma was 0.5, is 0.25"), "{said}");
}
