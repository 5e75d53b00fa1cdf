//! What only the world knows is needed by nothing that learns, ranks or serves: with the hidden tables deleted all of it works.

use std::path::Path;

use crate::common::server::Server;
use crate::common::{core, fails, json, ok, run};
use serde_json::{Value, json as j};

/// The tiny world with a model that is trained for a few steps.
fn recipe(folder: &Path) -> String {
    let path = folder.join("small.toml");
    let text = "name = \"small\"\nseed = 7\n[world]\nvideos = 800\npeople = 150\nweeks = 2\nheads = 40\n\
                [mine]\nheld_out_people = 0.4\n[model]\nvocab = 400\nhidden = 32\nlayers = 1\nheads = 2\nkv_heads = 1\nffn = 64\n\
                [train]\nsteps = 4\neval_every = 2\nsave_every = 2\n";
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn row<'a>(report: &'a Value, key: &str) -> Option<&'a Value> {
    report["rows"].as_array().unwrap().iter().find(|row| row["key"] == key)
}

#[test]
fn without_the_hidden_tables_only_the_truth_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, recipe) = (dir.path().join("w"), recipe(dir.path()));
    let command = |args: &[&str]| {
        let mut command = core(&workspace);
        command.args(args).args(["--recipe", &recipe]);
        command
    };
    ok(&mut command(&["simulate"]));
    let whole = json(&mut command(&["world", "describe"]));
    assert!(row(&whole, "ambiguous").unwrap()["value"].as_f64().unwrap() > 0.1, "{whole}");
    assert_eq!(whole["complaint"], Value::Null);

    std::fs::remove_dir_all(workspace.join("truth")).unwrap();
    let output = run(command(&["world", "describe"]).arg("--json"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("hidden tables") && said.contains("core simulate"), "{said}");
    let part: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(row(&part, "ambiguous").is_none());
    assert_eq!(row(&part, "ctr_1"), row(&whole, "ctr_1"), "what the log says is said all the same");

    ok(&mut command(&["mine"]));
    ok(&mut command(&["index", "build"]));
    ok(&mut command(&["fake", "build"]));
    ok(&mut command(&["train", "sft"]));
    let scores = json(&mut command(&["eval"]));
    // Seven rules and the model.
    assert_eq!(scores["scores"].as_array().unwrap().len(), 8, "{scores}");
    assert_eq!(json(&mut command(&["rewrite", "mercury", "--watched", "Planet"]))["rewriter"], "small-sft");
    assert!(json(&mut command(&["search", "mercury"]))["hits"].as_array().is_some_and(|hits| !hits.is_empty()));
    let server = Server::start(&workspace, &["--recipe", &recipe]);
    let (status, page) = server.post("/v1/search", &j!({"query": "mercury"}).to_string());
    assert_eq!(status, 200, "{page}");
    server.stop();
    assert!(!workspace.join("truth").exists(), "nothing made them again");

    // The remedy that the complaint names: the log and what was mined from it stay.
    assert_eq!(json(&mut command(&["simulate"]))["reused"], true);
    let again = json(&mut command(&["world", "describe"]));
    assert_eq!(again["rows"], whole["rows"]);
}

#[test]
fn any_log_is_described_and_drawn_as_far_as_it_can_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/ubi-sample");
    ok(core(dir.path()).args(["mine", "--from", "ubi", sample]));
    let plots = dir.path().join("plots");
    let report = json(core(dir.path()).args(["world", "describe", "--log", "ubi-sample", "--plot"]).arg(&plots));
    assert_eq!((report["kind"].as_str(), &report["complaint"]), (Some("ubi"), &Value::Null));
    assert_eq!(row(&report, "searches").unwrap()["value"], 35.0, "{report}");
    assert!(row(&report, "ambiguous").is_none(), "a real log has no hidden tables");
    for picture in report["pictures"].as_array().unwrap() {
        let text = std::fs::read_to_string(picture.as_str().unwrap()).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
    }
    assert!(plots.join("queries-per-session.svg").exists());

    let (code, said) = fails(core(dir.path()).args(["world", "describe", "--log", "nothing"]));
    assert!(code == 1 && said.contains("ubi-sample"), "{said}");
}
