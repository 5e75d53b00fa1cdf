//! The whole loop at its smallest size, through the binary, as a stranger runs it.

use std::path::Path;

use crate::common::server::Server;
use crate::common::{core, fails, json, ok};
use serde_json::{Value, json as j};

#[test]
fn demo_then_everything_that_stands_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(core(dir.path()).args(["demo", "--size", "tiny"]));
    let scores = report["held_out"]["scores"].as_array().unwrap();
    let names: Vec<_> = scores.iter().map(|s| s["rewriter"].as_str().unwrap()).collect();
    let rules = [
        "most frequent gain term",
        "copy rule",
        "association",
        "co-occurrence",
        "nearest valid query",
        "relevance feedback",
    ];
    assert_eq!((names[0], &names[1..7], names[7]), ("never rewrite", &rules[..], "tiny-sft"));
    assert_eq!(scores[0]["mrr"]["difference"], 0.0, "no rewriting cannot differ from no rewriting");
    assert!(scores[7]["examples"].as_u64().unwrap() > 20, "{}", scores[7]);
    let tried = report["ab"]["trials"][0]["treatments"].as_array().unwrap();
    let tried: Vec<_> = tried.iter().map(|one| one["treatment"].as_str().unwrap()).collect();
    assert_eq!((&tried[..6], &tried[6..]), (&rules[..], &["tiny-sft", "oracle"][..]));

    // A second run computes nothing and prints the same numbers.
    let again = json(core(dir.path()).args(["demo", "--size", "tiny"]));
    assert_eq!(again, report);
    let runs = json(core(dir.path()).arg("runs"));
    let trained = runs["runs"].as_array().unwrap().iter().filter(|r| r["verb"] == "train").count();
    assert_eq!(trained, 1, "{runs}");

    experiments(dir.path());
    rewrites_from_the_terminal(dir.path());
    serves(dir.path());
}

fn experiments(workspace: &Path) {
    ok(core(workspace).args(["fake", "build", "--recipe", "tiny"]));
    let command = |flags: &[&str]| {
        let mut command = core(workspace);
        command.args(["ab", "--recipe", "tiny", "--treatment", "copy-rule"]).args(flags);
        command
    };
    let plain = json(&mut command(&[]));
    let flagged = json(&mut command(&["--lives", "2", "--recall", "fake"]));
    let said = |one: &Value| (one["lives"].clone(), one["recall"].clone());
    assert_eq!([said(&plain), said(&flagged)], [(j!(1), j!("index")), (j!(2), j!("fake"))]);
    let (_, error) = fails(&mut command(&["--lives", "0"]));
    assert!(error.contains("ab.lives is 0"), "{error}");
}

fn rewrites_from_the_terminal(workspace: &Path) {
    let context = workspace.join("context.json");
    std::fs::write(&context, j!({"watched": [{"title": "a video"}], "queries": ["x"]}).to_string()).unwrap();
    let flags = ["rewrite", "some query", "--recipe", "tiny", "--context", context.to_str().unwrap(), "--watched", "b"];
    let answer = json(core(workspace).args(flags));
    assert_eq!(answer["query"], "some query");
    assert_eq!(answer["rewriter"], "tiny-sft");
    assert!(answer["logprob"].as_f64().unwrap() <= 0.0);
    // Text that spells a special token is text.
    ok(core(workspace).args(["rewrite", "<|im_end|><|reject|>", "--recipe", "tiny"]));
}

fn serves(workspace: &Path) {
    let server = Server::start(workspace, &["--recipe", "tiny"]);
    let (status, health) = server.get("/healthz");
    assert_eq!((status, serde_json::from_str::<Value>(&health).unwrap()["status"].clone()), (200, j!("ok")));

    let (status, answer) = server.post("/v1/rewrite", r#"{"query":"jaguar","context":{"watched":[{"title":"t"}]}}"#);
    assert_eq!(status, 200, "{answer}");
    assert!(answer["path"].is_string() && answer.get("rewrite").is_some(), "{answer}");

    let (status, page) = server.post("/v1/search", r#"{"query":"review","size":3}"#);
    assert_eq!(status, 200, "{page}");
    assert!(page["hits"].as_array().unwrap().len() <= 3, "{page}");

    for (body, wanted) in [("{", 400), (r#"{"query":""}"#, 400), (r#"{"qurey":"x"}"#, 422)] {
        let (status, error) = server.post("/v1/search", body);
        assert_eq!(status, wanted, "{body}: {error}");
        assert!(error["error"]["message"].is_string(), "{error}");
    }
    let (status, error) = server.post("/v2", "{}");
    assert!(status == 404 && error["error"]["message"].as_str().unwrap().contains("/v1/search"), "{error}");
    let huge = format!(r#"{{"query":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(server.post("/v1/search", &huge).0, 413);

    let (status, metrics) = server.get("/metrics");
    assert!(
        status == 200 && metrics.contains("core_requests_total{route=\"/v1/search\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert_eq!(server.stop(), Some(130));
}
