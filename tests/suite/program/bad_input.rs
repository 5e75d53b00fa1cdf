//! Bad input: one clear sentence with the remedy, exit code 1 or 2, nothing lost.

use std::net::TcpListener;

use crate::common::{core, fails, json, ok};

#[test]
fn a_recipe_typo_names_the_line_the_key_and_the_nearest_key() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("my.toml");
    std::fs::write(&recipe, "name = \"x\"\n[train]\nstpes = 5\n").unwrap();
    let (code, said) = fails(core(dir.path()).args(["simulate", "--recipe", recipe.to_str().unwrap()]));
    assert_eq!(code, 1);
    for part in ["my.toml:3", "`stpes`", "`steps`"] {
        assert!(said.contains(part), "{part} not in {said}");
    }
    assert!(!dir.path().join("core.db").exists(), "a typo must stop the command before it makes anything");
}

#[test]
fn a_recipe_that_is_no_text_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("my.toml");
    std::fs::write(&recipe, b"seed = 1\n# caf\xe9\n").unwrap();
    let (code, said) = fails(core(dir.path()).args(["simulate", "--recipe", recipe.to_str().unwrap()]));
    assert!(code == 1 && said.contains("my.toml:2") && said.contains("UTF-8"), "{said}");
}

#[test]
fn a_log_that_is_not_there_is_told_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    ok(core(dir.path()).args(["mine", "--from", "ubi", "tests/data/ubi", "--log", "shop"]));
    let (code, said) = fails(core(dir.path()).args(["mine", "--log", "shpo"]));
    assert!(code == 1 && said.contains("it holds shop"), "{said}");
    // A run that failed is on the list, and nothing of the log that is there was lost.
    let runs = json(core(dir.path()).arg("runs"));
    assert_eq!(runs["runs"][0]["status"], "failed");
    assert_eq!(json(core(dir.path()).arg("logs"))["logs"][0]["log"], "shop");
}

#[test]
fn wrong_flags_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(fails(core(dir.path()).args(["demo", "--size", "tiny", "--recipe", "my.toml"])).0, 2);
    assert_eq!(fails(core(dir.path()).args(["rewrite", "  ", "--model", "never"])).0, 2);
    assert_eq!(fails(core(dir.path()).arg("--nonsense")).0, 2);
    assert_eq!(fails(core(dir.path()).args(["mine", "--from", "ubi"])).0, 2);
    let (code, said) = fails(core(dir.path()).arg("watch"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("terminal"), "{said}");
}

#[test]
fn an_empty_workspace_says_what_to_run() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["runs"][..], &["rewrite", "x"], &["eval"], &["ab"], &["serve"], &["train", "sft"]] {
        let (code, said) = fails(core(dir.path()).args(command));
        assert_eq!(code, 1, "{command:?}");
        assert!(said.starts_with("core: ") && said.contains("run `core "), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(dir.path().join("core.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = std::fs::read(dir.path().join("core.db")).unwrap();
    for command in [&["runs"][..], &["simulate"], &["doctor"]] {
        let (code, said) = fails(core(dir.path()).args(command));
        assert_eq!(code, 1);
        assert!(said.contains("newer") || command == ["doctor"], "{command:?}: {said}");
    }
    assert_eq!(std::fs::read(dir.path().join("core.db")).unwrap(), before);
}

#[test]
fn a_checkpoint_with_a_missing_file_or_of_another_architecture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let rewrite = |dir: &std::path::Path| fails(core(dir).args(["rewrite", "x", "--model", model.to_str().unwrap()]));
    let (code, said) = rewrite(dir.path());
    assert!(code == 1 && said.contains("config.json"), "{said}");
    std::fs::write(model.join("config.json"), r#"{"model_type":"llama","architectures":["LlamaForCausalLM"]}"#)
        .unwrap();
    let (code, said) = rewrite(dir.path());
    assert!(code == 1 && said.contains("llama") && said.contains("qwen3"), "{said}");
}

#[test]
fn a_log_with_a_cut_line_and_broken_bytes_is_read_and_the_rows_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.ndjson");
    let good = |id: &str, query: &str| {
        format!(
            "{{\"query_id\":\"{id}\",\"client_id\":\"c\",\"user_query\":\"{query}\",\"timestamp\":\"2025-01-01T00:00:0{id}Z\"}}\n"
        )
    };
    let mut bytes = good("1", "first").into_bytes();
    bytes.extend(b"{\"query_id\":\"x\xff\xfe\",\"user_query\":\"y\"}\n");
    bytes.extend(good("2", "second").into_bytes());
    bytes.extend(b"{\"query_id\":\"3\",\"user_qu");
    std::fs::write(&log, bytes).unwrap();
    let mined = json(core(dir.path()).args(["mine", "--from", "ubi", log.to_str().unwrap()]));
    assert_eq!(mined["rows_read"], 4, "{mined}");
    assert_eq!(mined["rows_skipped"], 2, "{mined}");
    let by_reason = mined["skipped_by_reason"].as_object().unwrap();
    assert_eq!(by_reason.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 2, "{mined}");
    assert_eq!(mined["queries"], 2, "{mined}");
}

#[test]
fn a_port_in_use_is_said_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    ok(core(dir.path()).args(["simulate", "--recipe", "tiny"]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let serve = ["serve", "--recipe", "tiny", "--model", "never", "--port", &port];
    let (code, said) = fails(core(dir.path()).args(serve));
    assert_eq!(code, 1);
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
}

#[test]
fn a_full_standard_output_is_an_error_and_a_reader_that_left_is_not() {
    let dir = tempfile::tempdir().unwrap();
    ok(core(dir.path()).arg("doctor"));
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let status = core(dir.path()).arg("doctor").stdout(full).stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }
}
