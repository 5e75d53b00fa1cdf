//! The gate on TREC files, through the binary.

use std::path::{Path, PathBuf};

use crate::common::{self, core, fails, json, small};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/trec_eval").join(file)
}

/// A run of twelve queries in which the one relevant document of each stands at a rank.
fn run(dir: &Path, name: &str, rank_of: impl Fn(usize) -> usize) -> PathBuf {
    let lines = (0..12).flat_map(|query| {
        let rank_of = &rank_of;
        let at = rank_of(query);
        (1..=10).map(move |rank| {
            let doc = if rank == at { "right".to_owned() } else { format!("other{rank}") };
            format!("{query} Q0 {doc} {rank} {} {name}\n", 100 - rank)
        })
    });
    let path = dir.join(name);
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

#[test]
fn what_gets_better_is_promoted_and_anything_else_is_refused_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (run(dir.path(), "old", |q| 3 + q % 3), run(dir.path(), "new", |q| 1 + q % 2));
    let qrels = dir.path().join("qrels");
    std::fs::write(&qrels, (0..12).map(|q| format!("{q} 0 right 1\n")).collect::<String>()).unwrap();
    let gate = |a: &Path, b: &Path, qrels: &Path| {
        let mut command = core(dir.path());
        command.args(["gate", "--runs", a.to_str().unwrap(), b.to_str().unwrap(), "--qrels", qrels.to_str().unwrap()]);
        command
    };
    let verdict = json(&mut gate(&old, &new, &qrels));
    assert_eq!((&verdict["promoted"], &verdict["queries"]), (&true.into(), &12.into()));
    let main = &verdict["checks"][0];
    assert_eq!((&main["measure"], &main["passed"]), (&"ndcg_cut_10".into(), &true.into()));
    // Half of the queries at rank 1, half at rank 2.
    let wanted = (1.0 + 1.0 / 3.0_f64.log2()) / 2.0;
    assert!((main["treatment"].as_f64().unwrap() - wanted).abs() < 1e-12, "{main}");
    for (a, b) in [(&new, &old), (&old, &old)] {
        let (code, said) = fails(&mut gate(a, b, &qrels));
        assert!(code == 3 && said.contains("refused: ndcg_cut_10"), "{code}: {said}");
    }
    let (code, said) = fails(&mut gate(&old, &golden("results.test"), &qrels));
    assert!(code == 1 && said.contains("no query in common"), "{said}");
    let (code, said) = fails(&mut gate(&old, &qrels, &qrels));
    assert!(code == 1 && said.contains("line 1") && said.contains("6"), "{said}");
}

const SECTIONS: &str = "
[mine]
held_out_people = 0.4
[train]
steps = 30
lr = 3e-3
batch = 4
eval_every = 30
eval_examples = 8
save_every = 30
[gate]
examples = 50
samples = 4
[ab]
resamples = 200
";

#[test]
fn a_model_is_held_against_the_release_in_use_by_twelve_rules() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    let command = |args: &[&str]| small::command(dir.path(), &recipe, args);
    small::teach(dir.path(), &recipe);
    let (code, said) = fails(&mut command(&["gate"]));
    assert!(code == 1 && said.contains("--incumbent") && said.contains("core release RUN"), "{said}");
    json(&mut command(&["release", "r-sft"]));

    // A model against itself: nothing moves, and what must rise does not.
    let mut itself = command(&["gate", "r-sft", "--json"]);
    let output = common::run(&mut itself);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("refused: r_main failed"), "{said}");
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["promoted"], &verdict["release"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(verdict["incumbent"], "release:1");
    let checks = verdict["checks"].as_array().unwrap();
    for check in checks {
        let zero = |key: &str| check[key].as_f64().unwrap().abs() < 1e-9;
        assert!(zero("difference") && zero("low") && zero("high"), "{check}");
        assert_eq!(check["passed"], check["measure"] != "r_main", "{check}");
    }
    // So small a model may rewrite nothing, and then there is nothing to say of rewrites.
    assert!(checks.len() >= 9, "{verdict}");
    for (at, name) in
        ["r_main", "S_pos", "r_rand", "entropy", "surprisal", "mean_length", "truncated"].iter().enumerate()
    {
        assert_eq!(checks[at]["measure"], *name);
    }

    // Whatever is refused, or only looked at, changes nothing of what is in use.
    let looked = common::run(&mut command(&["gate", "r-sft", "--incumbent", "never", "--dry-run"]));
    assert!(matches!(looked.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&looked.stderr));
    assert_eq!(json(&mut command(&["releases"]))["releases"].as_array().unwrap().len(), 1);
    let (code, said) = fails(&mut command(&["gate", "copy-rule"]));
    assert!(code == 1 && said.contains("only a run of the workspace can be released"), "{said}");
    let (code, said) = fails(&mut command(&["gate", "nothing-of-that-name"]));
    assert!(code == 1 && said.contains("nothing-of-that-name"), "{said}");
    let (code, said) = fails(&mut command(&["gate", "r-sft", "--runs", "a", "b", "--qrels", "c"]));
    assert!(code == 2 && said.contains("cannot be used with"), "{said}");
}
