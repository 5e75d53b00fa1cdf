//! Relevance from the world's rules to a table, through the binary: annotations, models, a file of judged pairs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::common::{self, core, fails, json, ok};
use core_rewriter::recipe::Recipe;
use core_rewriter::search::Engine;
use core_rewriter::store::{Annotation, Part, Split, Store, subject_split};
use core_rewriter::world::World;
use serde_json::Value;

/// A world of seconds: few people, few queries, hardly any training.
fn recipe(dir: &Path) -> String {
    let mut recipe = Recipe::load("tiny").unwrap();
    recipe.name = "small".into();
    (recipe.world.people, recipe.world.videos, recipe.ab.resamples) = (120, 1_500, 100);
    (recipe.relevance.queries, recipe.relevance.steps, recipe.relevance.batch) = (60, 4, 2);
    (recipe.relevance.distant, recipe.relevance.renamed) = (0.5, 0.5);
    (recipe.grpo.steps, recipe.grpo.prompts, recipe.grpo.num_generations) = (2, 2, 4);
    (recipe.train.steps, recipe.train.eval_every, recipe.train.eval_examples, recipe.train.save_every) = (8, 4, 60, 2);
    let path = dir.join("small.toml");
    std::fs::write(&path, recipe.to_toml()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn annotations(workspace: &Path, log: &str) -> Vec<Annotation> {
    let store = Store::open(workspace).unwrap();
    let log = store.log(log).unwrap();
    [Split::Train, Split::Validation, Split::Test].map(|split| store.annotations(&log, split).unwrap()).concat()
}

fn systems(report: &Value) -> Vec<&str> {
    report["systems"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect()
}

#[test]
fn pairs_are_annotated_by_rule_learnt_from_and_judged_on_other_subjects() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, recipe) = (dir.path().join("w"), recipe(dir.path()));
    let command = |args: &[&str]| {
        let mut command = core(&workspace);
        command.args(["--recipe", &recipe]).args(args);
        command
    };
    let (code, said) = {
        ok(&mut command(&["simulate"]));
        fails(&mut command(&["train", "sft", "--task", "relevance", "--init", "base"]))
    };
    assert!(code == 1 && said.contains("core bench relevance --annotate"), "{said}");

    let annotated = json(&mut command(&["bench", "relevance", "--annotate"]));
    assert_eq!(annotated["systems"].as_array().unwrap().len(), 0);
    let rows = annotations(&workspace, "small");
    the_split_is_by_subject_and_a_pair_comes_once(&recipe, &rows);

    let report = json(&mut command(&["bench", "relevance"]));
    assert_eq!(annotations(&workspace, "small"), rows, "the same recipe annotates the same pairs");
    let names = [
        "majority",
        "bm25",
        "bi-encoder, hashed",
        "sft, words",
        "sft, words and picture",
        "sft, and reasoning",
        "sft, then rewards",
    ];
    assert_eq!(systems(&report), names);
    for system in report["systems"].as_array().unwrap() {
        let sets: Vec<&str> = system["scores"].as_array().unwrap().iter().map(|s| s[0].as_str().unwrap()).collect();
        assert_eq!(sets, ["general", "hard", "salient"]);
        for scores in system["scores"].as_array().unwrap() {
            for metric in ["acc4", "acc2", "macro_f1", "ece"] {
                let [low, value, high] = ["low", "value", "high"].map(|at| scores[1][metric][at].as_f64().unwrap());
                assert!(0.0 <= low && low <= high && high <= 1.0 && (0.0..=1.0).contains(&value), "{scores}");
            }
        }
    }
    let verdict = report["verdict"].to_string();
    assert!(verdict.contains("With the picture") && verdict.contains("Visually Salient"), "{verdict}");
    let again = json(&mut command(&["bench", "relevance"]));
    for (a, b) in report["systems"].as_array().unwrap().iter().zip(again["systems"].as_array().unwrap()) {
        assert_eq!((&a["scores"], &a["temperature"]), (&b["scores"], &b["temperature"]));
    }

    // A relevance model is no rewriter that anybody asked for.
    let (_, said) = fails(&mut command(&["rewrite", "mercury"]));
    assert!(said.contains("no trained model"), "{said}");
    let trained = json(&mut command(&["train", "sft", "--task", "relevance"]));
    let folder = Path::new(trained["checkpoint"].as_str().unwrap());
    assert!(folder.to_string_lossy().contains("small-relevance/"), "{}", folder.display());
    assert!(folder.join("relevance.json").exists());

    // Rewards can be made from what it says, and then they are not those of the search path.
    json(&mut command(&["index", "build"]));
    let worth = |scorer: &str| {
        let text = std::fs::read_to_string(&recipe).unwrap();
        std::fs::write(&recipe, text.replace("scorer = \"path\"", &format!("scorer = \"{scorer}\""))).unwrap();
        let args = ["judge", "explain", "mercury", "--rewrite", "mercury engine", "--satisfied", "v0000001"];
        let output = common::run(command(&args).args(["--skipped", "v0000002", "--json"]));
        std::fs::write(&recipe, text).unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let ratio = |(said, error): (String, String)| {
        let found: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {error}"));
        let parts = found["parts"].as_array().unwrap().clone();
        parts.iter().find(|part| part["part"] == "ratio").unwrap()["because"].as_str().unwrap().to_owned()
    };
    let (path, learned) = (ratio(worth("path")), ratio(worth("small-relevance")));
    assert!(path.contains("S_pos") && learned.contains("S_pos") && path != learned, "{path}\n{learned}");
    let (_, said) = worth("nobody");
    assert!(said.contains("ratio.scorer names \"nobody\"") && said.contains("--task relevance"), "{said}");
}

#[test]
fn rewards_by_a_relevance_model_stand_beside_those_by_the_search_path() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, recipe) = (dir.path().join("w"), recipe(dir.path()));
    let report =
        json(core(&workspace).args(["--recipe", &recipe, "bench", "rewards", "--rows", "relevance", "--no-ab"]));
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let by_model = ["relevance-learned", "gated-learned", "fusion-learned"];
    assert_eq!(names[..4], ["sft", "grpo", "more-sft", "multi-task"]);
    assert!(by_model.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(rows.iter().all(|row| row["reward"]["people"].as_u64() > Some(0)), "{report}");
    // What was learnt on both tasks can be asked for both.
    let mixed = workspace.join("runs/small-rewards-multi-task");
    let folder = core_rewriter::model::runs::latest(&mixed).unwrap().unwrap().0;
    assert!(folder.join("relevance.json").exists());
    let said = json(
        core(&workspace).args(["--recipe", &recipe, "rewrite", "mercury", "--model"]).arg("small-rewards-multi-task"),
    );
    assert!(said.to_string().contains("mercury"), "{said}");
}

#[test]
fn the_ranking_takes_its_relevance_from_the_model_that_a_recipe_names() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, plain) = (dir.path().join("w"), recipe(dir.path()));
    let named = |scorer: &str| {
        // In bfloat16 a score's last digits depend on which documents are asked together.
        let text = std::fs::read_to_string(&plain).unwrap().replace("precision = \"auto\"", "precision = \"f32\"");
        let path = dir.path().join(format!("by-{scorer}.toml"));
        std::fs::write(&path, text.replace("[search]\n", &format!("[search]\nscorer = \"{scorer}\"\n"))).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let command = |recipe: &str, args: &[&str]| {
        let mut command = core(&workspace);
        command.args(["--recipe", recipe]).args(args);
        command
    };
    json(&mut command(&plain, &["bench", "relevance", "--annotate"]));
    json(&mut command(&plain, &["index", "build"]));
    json(&mut command(&plain, &["train", "sft", "--task", "relevance", "--init", "base"]));
    let learned = named("small-relevance");
    assert_eq!(json(&mut command(&learned, &["simulate"]))["reused"], true, "a log comes of the plain relevance");

    let asked = ["search", "mercury", "--rewrite", "mercury engine", "--explain"];
    let [by_path, by_model] = [&plain, &learned].map(|recipe| json(&mut command(recipe, &asked)));
    assert_eq!((&by_path["relevance_by"], &by_model["relevance_by"]), (&Value::Null, &"small-relevance".into()));
    let recipe = Recipe::load(&learned).unwrap();
    let engine = Engine::of_log(&workspace, &recipe, "small").unwrap();
    let (model, numbers) = (engine.learned().unwrap(), engine.numbers().unwrap());
    let hits = by_model["hits"].as_array().unwrap();
    assert!(hits.len() > 3);
    for hit in hits {
        let number = numbers[hit["doc"].as_str().unwrap()];
        let said = ["mercury", "mercury engine"].map(|text| model.relevance(text, &[number]).unwrap()[0]);
        let of = |value: &Value| value.as_f64().unwrap();
        let signals = &hit["signals"];
        assert!((of(&signals["relevance"]) - said[0]).abs() < 1e-5 && (of(&signals["rewrite"]) - said[1]).abs() < 1e-5);
        let factors: Vec<f64> = hit["factors"].as_array().unwrap().iter().map(of).collect();
        assert!((factors[0] - (0.05 + 0.95 * said[0]).powi(2)).abs() < 1e-4, "{hit}");
        assert!((factors[3] - (1.0 + said[1]).powi(2)).abs() < 1e-4, "{hit}");
        assert!((of(&hit["score"]) - factors.iter().product::<f64>()).abs() < 1e-9, "{hit}");
        assert_ne!(hit["features"][1], signals["relevance"], "rawrank has the plain scorer's");
    }
    let text = ok(&mut command(&learned, &asked));
    assert!(text.contains("P(L3 or L4) of the model small-relevance"), "{text}");
    let page = |args: &[&str]| json(&mut command(&learned, args))["hits"].clone();
    assert_eq!(page(&["search", "mercury", "--rewrite", "Mercury!"]), page(&["search", "mercury"]));

    let stages = json(&mut command(&learned, &["bench", "stages"]));
    let rows = stages["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[9]["path"]), (18, &Value::from("plain, by small-relevance")));
    let ndcg = |row: usize| rows[row]["ndcg"].as_f64().unwrap();
    assert_eq!([ndcg(9), ndcg(10)], [ndcg(0), ndcg(1)], "recall and rawrank are the plain path's");
    assert_ne!(ndcg(11), ndcg(2));
    let (_, said) = fails(&mut command(&named("nobody"), &["search", "mercury"]));
    assert!(said.contains("search.scorer names \"nobody\"") && said.contains("--task relevance"), "{said}");
}

fn the_split_is_by_subject_and_a_pair_comes_once(recipe: &str, rows: &[Annotation]) {
    let (mut sides, mut pairs) = (HashMap::new(), HashSet::new());
    let mut labels: BTreeMap<(Part, u8), usize> = BTreeMap::new();
    let recipe = Recipe::load(recipe).unwrap();
    let readings = World::new(&recipe).unwrap().readings();
    for row in rows {
        assert!(pairs.insert((&row.query, &row.doc)), "{row:?}");
        assert_eq!(*sides.entry(&row.query).or_insert(row.split), row.split);
        // All queries about a head, whatever the sense, lie on one side.
        assert_eq!(subject_split(&recipe, &readings.of(&row.query).unwrap().subject), row.split, "{row:?}");
        assert_eq!(row.notes.len(), 3, "{row:?}");
        *labels.entry((row.part, row.label)).or_default() += 1;
    }
    assert!(sides.len() > 40 && [Split::Train, Split::Test].iter().all(|s| sides.values().any(|side| side == s)));
    // Strangers come by chance alone, and what only the picture tells is never one.
    assert!(labels[&(Part::General, 1)] > 10 && labels[&(Part::General, 4)] > 10, "{labels:?}");
    assert!(labels[&(Part::Hard, 2)] > 10 && labels[&(Part::Salient, 2)] > 10, "{labels:?}");
    assert!(!labels.contains_key(&(Part::Hard, 1)) && !labels.contains_key(&(Part::Salient, 1)), "{labels:?}");
}

#[test]
fn a_file_of_judged_pairs_is_measured_too_and_its_bad_rows_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, recipe) = (dir.path().join("w"), recipe(dir.path()));
    let file = dir.path().join("esci.jsonl");
    let mut text = String::from("not json\n{\"query\": \"q\", \"title\": \"t\", \"label\": \"X\"}\n");
    for q in 0..40 {
        for (title, label) in [("cable", "E"), ("adapter", "S"), ("charger", "C"), ("garden hose", "I")] {
            text += &format!(
                "{{\"query\": \"usb {q} cable\", \"product_title\": \"USB {q} {title}\", \"esci_label\": \"{label}\"}}\n"
            );
        }
    }
    std::fs::write(&file, text).unwrap();
    let bench = |file: &Path| {
        let mut command = core(&workspace);
        command.args(["--recipe", &recipe, "bench", "relevance", "--data", file.to_str().unwrap()]);
        command
    };
    let report = json(&mut bench(&file));
    assert_eq!(report["log"], "esci");
    // Nobody drew pictures or wrote reasons, so nothing is trained on them.
    assert_eq!(systems(&report), ["majority", "bm25", "bi-encoder, hashed", "sft, words", "sft, then rewards"]);
    let unused: Vec<_> =
        report["unused"].as_array().unwrap().iter().map(|u| (&u["reason"], &u["first_line"])).collect();
    assert_eq!(
        unused,
        [(&Value::from("invalid JSON"), &Value::from(1)), (&Value::from("unknown label"), &Value::from(2))]
    );
    let text = ok(&mut bench(&file));
    assert!(text.contains("unknown label, first in line 2"), "{text}");
    let bad = dir.path().join("bad.jsonl");
    std::fs::write(&bad, "{\"query\": \"q\", \"label\": 4}\n").unwrap();
    let (code, said) = fails(&mut bench(&bad));
    assert!(code == 1 && said.contains("bad.jsonl") && said.contains("line 1: no document"), "{said}");
}
