//! `core index` and `core search` through the binary: growing, killing, damage, and queries nobody would type.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{core, fails, json, ok};
use core_rewriter::store::{Click, Doc, LogKind, Search, Session, Store};
use serde_json::Value;

const WORDS: [&str; 12] =
    ["jaguar", "car", "cat", "review", "live", "sound", "engine", "wild", "road", "queen", "piano", "光良 演唱会"];

/// A log named `shop` with so many documents, and some sessions that click on them.
fn log(workspace: &Path, docs: usize) {
    let doc = |i: usize| Doc {
        id: format!("d{i:05}"),
        title: format!("{} {} part {i}", WORDS[i % 12], WORDS[i / 12 % 12]),
        tags: vec![WORDS[i / 144 % 12].into()],
        creator: "Ann Lee".into(),
        popularity: 1.0 / (1.0 + i as f32),
        published_ms: 1_700_000_000_000 + i as i64,
        ..Doc::default()
    };
    let session = |n: i64| {
        // One document is stayed with wherever it stands.
        let mut shown = vec!["d00012".to_owned(), "d00000".into(), "d00024".into()];
        shown.rotate_right(n as usize % 3);
        let rank = n as u32 % 3 + 1;
        let click = Click { doc: "d00012".into(), rank, dwell_s: Some(30.0), time_ms: n + 2, ..Click::default() };
        let search = Search { id: format!("q{n}"), query: "jaguar".into(), time_ms: n + 1, shown, clicks: vec![click] };
        Session {
            id: format!("s{n}"),
            user: format!("u{n}"),
            start_ms: n,
            searches: vec![search],
            ..Session::default()
        }
    };
    let fill = |log: &mut core_rewriter::store::LogWriter| {
        (0..docs).try_for_each(|i| log.doc(&doc(i)))?;
        (0..120).try_for_each(|n| log.session(&session(n)))
    };
    Store::open(workspace).unwrap().write_log("shop", LogKind::Ubi, "made by a test", fill).unwrap();
}

fn build(workspace: &Path) -> Value {
    json(core(workspace).args(["index", "build", "--log", "shop"]))
}

fn search(workspace: &Path, query: &str) -> Value {
    json(core(workspace).args(["search", query, "--log", "shop"]))
}

/// Folders of builds, the one in use among them.
fn builds(workspace: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace.join("index/shop")).unwrap().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

#[test]
fn a_killed_build_leaves_the_old_index_serving_and_the_next_one_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 500);
    assert_eq!(build(dir.path())["update"]["how"], "anew");
    let before = search(dir.path(), "jaguar review");
    assert_eq!(before["hits"].as_array().unwrap().len(), 10);
    log(dir.path(), 4_000);
    let old = builds(dir.path());
    for mark in ["", "meta.json", "satisfaction.f32"] {
        let mut command = core(dir.path());
        command.args(["index", "build", "--log", "shop"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        let there = || builds(dir.path()).iter().any(|b| !old.contains(b) && b.join(mark).exists());
        while !there() && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let after = search(dir.path(), "jaguar review");
        if json(core(dir.path()).args(["index", "stats", "--log", "shop"]))["stats"]["docs"] == 500 {
            assert_eq!(after, before, "killed at {mark:?}");
        } else {
            // The last mark is reached a moment before the build is whole.
            assert_eq!(mark, "satisfaction.f32", "a build was put into use before it was whole");
        }
    }
    let done = build(dir.path());
    assert_eq!(done["stats"]["docs"], 4_000, "{done}");
    assert_eq!(builds(dir.path()).len(), 1, "what killed builds left is gone");
    // Few documents match, so that no tie at recall's limit can fall otherwise.
    let whole = search(dir.path(), "435 3999");
    let other = tempfile::tempdir().unwrap();
    log(other.path(), 4_000);
    build(other.path());
    let ids = |page: &Value| -> Vec<String> {
        page["hits"].as_array().unwrap().iter().map(|h| h["doc"].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids(&whole).starts_with(&["d00435".into(), "d03999".into()]), "{whole}");
    assert_eq!(ids(&whole), ids(&search(other.path(), "435 3999")), "grown or built anew, one answer");
}

#[test]
fn a_build_adds_what_is_new_learns_from_clicks_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 300);
    let first = build(dir.path());
    assert_eq!((&first["update"]["how"], &first["fitted"]), (&"anew".into(), &true.into()));
    assert_eq!(first["ranking"]["fitted_on"], "shop");
    assert!(first["ranking"]["pairs"].as_u64().unwrap() > 50, "{first}");
    let clicked = json(core(dir.path()).args(["search", "jaguar", "--log", "shop", "--size", "30"]));
    let hits = clicked["hits"].as_array().unwrap();
    let liked = hits.iter().find(|h| h["doc"] == "d00012").unwrap();
    assert!(liked["signals"]["satisfaction"].as_f64().unwrap() > 1.0, "{liked}");
    let again = build(dir.path());
    assert_eq!((&again["update"]["how"], &again["fitted"]), (&"unchanged".into(), &false.into()));
    log(dir.path(), 350);
    let grown = build(dir.path());
    assert_eq!((&grown["update"]["how"], &grown["update"]["added"]), (&"grown".into(), &50.into()));
    let text = ok(core(dir.path()).args(["index", "stats", "--log", "shop"]));
    assert!(text.contains("350") && text.contains("shop"), "{text}");
}

#[test]
fn a_damaged_index_is_named_with_the_command_that_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    build(dir.path());
    let vectors = std::fs::read_dir(&builds(dir.path())[0]).unwrap().flatten().map(|e| e.path());
    let vectors = vectors.into_iter().find(|p| p.to_string_lossy().contains("vectors-")).unwrap();
    let mut bytes = std::fs::read(&vectors).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&vectors, bytes).unwrap();
    for command in [&["search", "jaguar"][..], &["index", "stats"]] {
        let (code, said) = fails(core(dir.path()).args(command).args(["--log", "shop"]));
        assert_eq!(code, 1);
        let name = vectors.file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.contains(&name) && said.contains("core index build"), "{said}");
    }
    build(dir.path());
    assert_eq!(search(dir.path(), "jaguar")["hits"].as_array().unwrap().len(), 10);
}

#[test]
fn any_query_gets_an_answer_or_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 100);
    let (code, said) = fails(core(dir.path()).args(["search", "jaguar", "--log", "shop"]));
    assert!(code == 1 && said.contains("core index build"), "{said}");
    build(dir.path());
    let long = "jaguar ".repeat(15_000);
    let odd = [
        long.as_str(),
        "?!()[]{}",
        "title:jaguar AND (",
        "\"jaguar",
        "jaguar -car +cat~2^9",
        "jaguar\u{200b}\u{7}\u{202e}",
        "光良 live 😀",
        "\u{1b}[31mjaguar",
        "*",
        "{\"query\":1}",
    ];
    for query in odd {
        let page = search(dir.path(), query);
        assert!(page["hits"].as_array().unwrap().len() <= 10, "{query:.40}");
        let text = ok(core(dir.path()).args(["search", query, "--log", "shop", "--explain", "--rewrite", query]));
        assert!(text.contains("finerank") && !text.contains('\u{1b}'), "{query:.40}");
    }
    for empty in ["", "  \t"] {
        let (code, said) = fails(core(dir.path()).args(["search", empty, "--log", "shop"]));
        assert!(code == 2 && said.contains("empty"), "{said}");
    }
    assert_eq!(fails(core(dir.path()).args(["search", "x", "--log", "shop", "--size", "0"])).0, 2);
    let mixed = search(dir.path(), "演唱会");
    assert!(mixed["hits"][0]["title"].as_str().unwrap().contains("演唱会"), "{mixed}");
    let explained = json(core(dir.path()).args(["search", "jaguar", "--log", "shop", "--explain"]));
    assert_eq!(explained["hits"][0]["doc"], search(dir.path(), "jaguar")["hits"][0]["doc"]);
}
