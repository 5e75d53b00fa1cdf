//! Measures of TREC runs against `trec_eval`'s own output: equal to the last printed digit.

use std::path::{Path, PathBuf};

use core_rewriter::judge::trec::{NAMES, Qrels, Run, measure};

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/trec_eval").join(file)
}

#[test]
fn means_are_those_that_trec_eval_prints_for_its_own_test_run() {
    let (run, qrels) = (Run::read(&golden("results.test")).unwrap(), Qrels::read(&golden("qrels.test")).unwrap());
    let measured = measure(&run, &qrels);
    let printed = std::fs::read_to_string(golden("out.test.a")).unwrap();
    let printed = |name: &str| {
        let line = printed.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(2)).map(str::to_owned)
    };
    assert_eq!(printed("runid").as_deref(), Some(run.tag.as_str()));
    let counts = [
        ("num_q", measured.queries.len()),
        ("num_ret", measured.retrieved),
        ("num_rel", measured.relevant),
        ("num_rel_ret", measured.relevant_retrieved),
    ];
    for (name, count) in counts {
        assert_eq!(printed(name), Some(count.to_string()), "{name}");
    }
    let mut compared = 0;
    for name in NAMES {
        // It prints neither the cuts at 1 and 3 nor those below 5.
        let Some(wanted) = printed(name) else { continue };
        assert_eq!(format!("{:.4}", measured.mean(name).unwrap()), wanted, "{name}");
        compared += 1;
    }
    assert_eq!(compared, NAMES.len() - 2);
}

#[test]
fn graded_judgments_ties_and_queries_on_one_side_alone_count_as_there() {
    let text = std::fs::read_to_string(golden("measures.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lines = |of: &str, line: &dyn Fn(&str, &str, &serde_json::Value) -> String| {
        let by_query = golden[of].as_object().unwrap().iter();
        let all = by_query.flat_map(|(query, docs)| {
            docs.as_object().unwrap().iter().map(|(doc, value)| line(query, doc, value)).collect::<Vec<_>>()
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), all.collect::<Vec<_>>().join("\n")).unwrap();
        file
    };
    let run = lines("run", &|query, doc, score| format!("{query} Q0 {doc} 0 {score} x"));
    let qrels = lines("qrels", &|query, doc, relevance| format!("{query} 0 {doc} {relevance}"));
    let measured = measure(&Run::read(run.path()).unwrap(), &Qrels::read(qrels.path()).unwrap());
    let per_query = golden["per_query"].as_object().unwrap();
    assert_eq!(measured.queries.len(), per_query.len());
    let mut compared = 0;
    for (query, wanted) in per_query {
        for (name, value) in NAMES.iter().zip(measured.queries[query]) {
            if let Some(wanted) = wanted[*name].as_f64() {
                assert!((value - wanted).abs() < 1e-9, "{query} {name}: {value}, not {wanted}");
                compared += 1;
            }
        }
    }
    assert!(compared > 80, "{compared}");
}
