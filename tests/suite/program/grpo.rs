//! Learning from rewards through the binary: what is sampled, judged and logged, and that a killed run loses nothing.

use std::path::PathBuf;

use crate::common::small::{self, command, events, teach};
use crate::common::{fails, json, ok};
use core_rewriter::journal::{Event, Sampled};
use core_rewriter::recipe::Recipe;
use core_rewriter::rewriter::{Answerable, Whose};
use core_rewriter::store::{Split, Store};
use core_rewriter::task::context_line;

const SECTIONS: &str = "
[train]
steps = 30
lr = 3e-3
batch = 4
eval_every = 10
eval_examples = 8
save_every = 10
taught = 1.0
[reward]
relevance = 0.5
min_people = 1
[grpo]
steps = 4
prompts = 3
num_generations = 4
num_iterations = 2
max_completion_length = 6
";

/// A workspace with a log, its index, a model that was taught a little, and a recipe file that saves every other step.
fn taught() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    teach(dir.path(), &recipe);
    std::fs::write(&recipe, small::recipe(SECTIONS).replace("save_every = 10", "save_every = 2")).unwrap();
    (dir, recipe)
}

#[test]
fn rollouts_are_judged_part_by_part_and_a_resumed_run_samples_the_same() {
    let (dir, recipe) = taught();
    let (code, said) = fails(&mut command(dir.path(), &recipe, &["train", "grpo"]));
    assert!(code == 1 && said.contains("--init"), "{said}");
    let train = ["train", "grpo", "--init", "r-sft"];
    ok(&mut command(dir.path(), &recipe, &train));
    let events = events(dir.path(), "r-grpo");

    // Two rollouts of three prompts, each learnt from twice.
    let rollouts: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Rollout { step, sampled, .. } => Some((*step, sampled)),
            _ => None,
        })
        .collect();
    assert_eq!(rollouts.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 1, 1, 3, 3, 3]);
    let weight = |part: &str| match part {
        "posterior" | "hit" | "decision" => 1.0,
        "relevance" | "format" => 0.5,
        other => panic!("{other}"),
    };
    for (_, group) in &rollouts {
        assert_eq!(group.len(), 4);
        let rewards: Vec<f64> = group.iter().map(|sampled| sampled.reward.unwrap()).collect();
        for (sampled, reward) in group.iter().zip(&rewards) {
            let sum: f64 = sampled.parts.iter().map(|(part, value)| weight(part) * value).sum();
            assert!((sum - reward).abs() < 1e-9, "{sampled:?}");
        }
        let mean = rewards.iter().sum::<f64>() / 4.0;
        let spread = (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        for (sampled, reward) in group.iter().zip(&rewards) {
            assert!((sampled.advantage - (reward - mean) / (spread + 1e-4)).abs() < 1e-9, "{sampled:?}");
        }
    }

    // Under the names of TRL; the ratio to the policy that sampled is 1 at first and moves in the second step on a rollout.
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Metrics { split, values, .. } if split == "train" => Some(values),
            _ => None,
        })
        .collect();
    for name in ["reward", "reward_std", "frac_reward_zero_std", "completions/mean_length", "rewards/hit/mean"] {
        assert!(steps[0].contains_key(name) && !steps[1].contains_key(name), "{name}: {:?}", steps[0].keys());
    }
    assert_eq!(steps.iter().map(|values| values["kl"] > 1e-9).collect::<Vec<_>>(), [false, true, true, true]);
    assert!(steps.iter().all(|values| values["loss"].is_finite() && values.contains_key("clip_ratio/region_mean")));
    // Above that of a certain choice, below that of an even one among the whole vocabulary.
    assert!(steps.iter().all(|values| 0.0 < values["entropy"] && values["entropy"] < 400f64.ln()));

    let weights =
        |step: u64| std::fs::read(dir.path().join(format!("runs/r-grpo/step-{step:08}/model.safetensors"))).unwrap();
    let uninterrupted = weights(4);
    assert!(uninterrupted != weights(2), "training changes the weights");
    std::fs::remove_dir_all(dir.path().join("runs/r-grpo/step-00000004")).unwrap();
    let summary = json(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
    assert_eq!(summary["steps_now"], 2, "{summary}");
    assert!(weights(4) == uninterrupted, "the resumed run went elsewhere");

    // Other rewards do not continue it.
    let other = std::fs::read_to_string(&recipe).unwrap().replace("relevance = 0.5", "relevance = 0.25");
    std::fs::write(&recipe, other).unwrap();
    let (_, said) = fails(&mut command(dir.path(), &recipe, &[&train[..], &["--resume"]].concat()));
    assert!(said.contains("reward.relevance was 0.5, is 0.25"), "{said}");
}

#[test]
fn beside_rewards_only_those_examples_are_learnt_that_an_index_answers_where_the_recipe_says_so() {
    let (dir, recipe) = taught();
    let learnt = |examples: &str, made: &str, tried: &str| {
        let sections = SECTIONS
            .replace("taught = 1.0", made)
            .replace("steps = 4", &format!("steps = 2\nexamples = \"{examples}\"\n{tried}"))
            + "[fake]\nmin_people = 2\n";
        std::fs::write(&recipe, small::recipe(&sections)).unwrap();
        json(&mut command(dir.path(), &recipe, &["train", "grpo", "--init", "r-sft", "--fresh"]))["examples"].clone()
    };
    let (all, answered) = ["all", "answered"].map(|which| learnt(which, "taught = 0.0", "made = 20.0")).into();
    let store = Store::open_existing(dir.path()).unwrap();
    let log = store.log("r").unwrap();
    let examples = store.examples(&log, Split::Train).unwrap();
    let index =
        Answerable::read(&store, &Recipe::load(recipe.to_str().unwrap()).unwrap(), &log, Whose::Training).unwrap();
    let (left_alone, rewritten): (Vec<_>, Vec<_>) = examples.iter().partition(|row| row.target.is_none());
    let held = rewritten.iter().filter(|row| index.holds(row.target.as_deref().unwrap())).count();
    assert!(!left_alone.is_empty() && (1..rewritten.len()).contains(&held), "{held} of {}", rewritten.len());
    assert_eq!((all, answered), (examples.len().into(), (left_alone.len() + held).into()));

    // Made searches, and searches as they came, are tried as well as the mined ones, where there are some.
    let tried = || {
        let rollouts = events(dir.path(), "r-grpo").into_iter().filter_map(|event| match event {
            Event::Rollout { query, context, target, .. } => Some((query, context, target)),
            _ => None,
        });
        let mined = |tried: &(String, String, String)| {
            examples.iter().any(|row| (&row.query, &context_line(&row.context)) == (&tried.0, &tried.1))
        };
        rollouts.filter(|tried| !mined(tried)).map(|(.., target)| target).collect::<Vec<_>>()
    };
    assert!(tried().is_empty());
    learnt("answered", "taught = 3.0\nslips = 0.5", "made = 20.0");
    assert!(!tried().is_empty());
    for (mended, left_alone) in [("0.0", true), ("1.0", false)] {
        learnt("answered", "taught = 0.0", &format!("searched = 20.0\nmended = {mended}"));
        let targets = tried();
        assert!(!targets.is_empty());
        assert!(targets.iter().all(|target| (target == "<reject>") == left_alone), "{mended}: {targets:?}");
    }
}

#[test]
fn a_policy_that_is_sure_is_told_what_nobody_said_where_that_earns_more() {
    let (dir, recipe) = taught();
    let groups = |unsaid: bool| -> Vec<(String, Vec<Sampled>)> {
        // So cold that all completions of a prompt are the same.
        let cold = format!("[grpo]\ntemperature = 0.01\nunsaid = {unsaid}");
        std::fs::write(&recipe, small::recipe(&SECTIONS.replace("[grpo]", &cold))).unwrap();
        ok(&mut command(dir.path(), &recipe, &["train", "grpo", "--init", "r-sft", "--fresh"]));
        let rollouts = events(dir.path(), "r-grpo").into_iter().filter_map(|event| match event {
            Event::Rollout { target, sampled, .. } => Some((target, sampled)),
            _ => None,
        });
        rollouts.collect()
    };
    let alike = |sampled: &[Sampled]| sampled.iter().all(|one| one.output == sampled[0].output);
    assert!(groups(false).iter().take(3).all(|(_, sampled)| alike(sampled)));
    let groups = groups(true);
    let told: Vec<_> = groups.iter().take(3).filter(|(_, sampled)| !alike(sampled)).collect();
    assert!(!told.is_empty(), "{groups:?}");
    for (target, sampled) in told {
        let (last, others) = sampled.split_last().unwrap();
        assert!(last.unsaid && others.iter().all(|one| !one.unsaid));
        assert!(alike(others) && (last.output == "<reject>" || last.output == *target), "{sampled:?}");
        assert!(last.reward > others[0].reward && last.advantage > 0.0 && others[0].advantage < 0.0, "{sampled:?}");
    }
}

#[test]
fn a_reward_is_explained_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    for args in [&["simulate"][..], &["index", "build"]] {
        ok(&mut command(dir.path(), &recipe, args));
    }
    let explain = |args: &[&str]| json(&mut command(dir.path(), &recipe, &[&["judge", "explain"], args].concat()));
    let part = |found: &serde_json::Value, name: &str| {
        let rows = found["parts"].as_array().unwrap();
        rows.iter().find(|row| row["part"] == name).unwrap()["value"].as_f64()
    };
    let unknown = explain(&["mercury", "--rewrite", "mercury qwxyz qwxyz"]);
    assert_eq!((part(&unknown, "posterior"), part(&unknown, "decision")), (Some(-1.0), None));
    assert_eq!(part(&unknown, "format"), Some(2.0 / 3.0 - 1.0));
    let sum = -1.0 + 0.5 * part(&unknown, "relevance").unwrap() + 0.5 * (2.0 / 3.0 - 1.0);
    assert!((unknown["reward"].as_f64().unwrap() - sum).abs() < 1e-9, "{unknown}");
    // Some of what everybody asks for satisfied somebody in so small a log too.
    let common = ["opening hours", "weather tomorrow", "calculator", "translate", "stopwatch", "settings"];
    let posteriors = common.map(|query| part(&explain(&["mercury", "--rewrite", query]), "posterior").unwrap());
    assert!(posteriors.iter().any(|p| *p > 0.0) && posteriors.iter().all(|p| *p > 0.0 || *p == -1.0), "{posteriors:?}");
    assert_eq!(part(&explain(&["mercury"]), "posterior"), Some(0.0));
    let (code, said) = fails(&mut command(dir.path(), &recipe, &["judge", "explain", " "]));
    assert!(code == 2 && said.contains("query is empty"), "{said}");
}
