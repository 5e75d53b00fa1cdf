//! The gate on TREC files, through the binary.

mod common;

use std::path::{Path, PathBuf};

use common::{core, fails, json};

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
