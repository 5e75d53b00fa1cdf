//! A server from outside: what it served and what came back is mined, its fake index is replaced under it, and without a
//! model it searches.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::server::Server;
use crate::common::{core, fails, json, ok};
use serde_json::{Value, json as j};

/// A small world whose thresholds let a test wait less than a second for a long dwell.
const RECIPE: &str = "
name = 's'
[world]
videos = 600
people = 60
weeks = 1
heads = 10
[mine]
fail_dwell_s = 0.1
success_dwell_s = 0.4
held_out_people = 0.0
held_out_time = 0.0
[serve]
deadline_ms = 20000
recall = 'RECALL'
[fake]
min_people = 2
";

/// Simulates the small world; the recipe's path.
fn world(workspace: &Path, recall: &str) -> String {
    let recipe = workspace.join("s.toml");
    std::fs::write(&recipe, RECIPE.replace("RECALL", recall)).unwrap();
    let recipe = recipe.to_str().unwrap().to_owned();
    ok(core(workspace).args(["simulate", "--recipe", &recipe]));
    recipe
}

/// Some query of the world's log, with a title that its answers hold, and a word of that title to add.
fn failing_search(server: &Server) -> (String, String, String) {
    for query in ["review", "live", "tutorial", "news", "trailer", "car", "game", "music"] {
        let (_, page) = server.post("/v1/search", &j!({"query": query, "session": "probe"}).to_string());
        for hit in page["hits"].as_array().unwrap() {
            let title = hit["title"].as_str().unwrap();
            let other = title.split_whitespace().find(|w| w.len() > 3 && !w.eq_ignore_ascii_case(query));
            if let Some(word) = other {
                return (query.into(), title.into(), word.to_lowercase());
            }
        }
    }
    panic!("the world's videos have titles of several words");
}

#[test]
fn what_was_served_and_what_came_back_is_mined() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = world(dir.path(), "index");
    let serve = ["--recipe", &recipe, "--model", "never"];
    let server = Server::start(dir.path(), &serve);
    let (query, title, word) = failing_search(&server);
    let search = |query: &str, id: &str| {
        let context = j!({"watched": [{"title": title}], "place": "Leeds"});
        let body = j!({"query": query, "query_id": id, "user": "ann", "context": context});
        let (status, page) = server.post("/v1/search", &body.to_string());
        assert_eq!(status, 200, "{page}");
        page
    };
    search(&query, "first");
    let page = search(&format!("{query} {word}"), "second");
    let doc = page["hits"][0]["doc"].as_str().unwrap().to_owned();
    let event = j!({
        "action_name": "click", "query_id": "second", "client_id": "ann", "timestamp": "2026-01-01T00:00:00Z",
        "event_attributes": {"object": {"object_id": doc}, "position": {"ordinal": 1}},
    });
    let (status, said) = server.post("/v1/feedback", &event.to_string());
    assert_eq!((status, &said["taken"]), (200, &j!(1)), "{said}");
    let dwell = j!({"events": [
        {"query_id": "second", "doc": doc, "dwell_s": 0.5},
        {"query_id": "never served", "doc": doc},
        {"query_id": "first", "doc": "no such document"},
    ]});
    let (status, said) = server.post("/v1/feedback", &dwell.to_string());
    assert_eq!((status, &said["taken"], said["refused"].as_array().unwrap().len()), (200, &j!(1), 2), "{said}");
    // A later search, so that the dwell lies within the log.
    std::thread::sleep(Duration::from_millis(700));
    search("something else", "third");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("core_feedback_total{result=\"taken\"} 2"), "{metrics}");
    assert!(!metrics.contains("result=\"failed\""), "{metrics}");
    assert_eq!(server.stop(), Some(130));

    let mined = json(core(dir.path()).args(["mine", "--recipe", &recipe, "--log", "s-served"]));
    // The rewrite; and the second query, which satisfied and was followed by something else: a reject.
    assert_eq!((&mined["rewrites"], &mined["train"], &mined["unused"]), (&j!(1), &j!(2), &j!(0)), "{mined}");
    let store = rusqlite::Connection::open(dir.path().join("core.db")).unwrap();
    let sql = "SELECT query, target, context_json, satisfied_doc FROM example JOIN log ON example.log = log.id
               WHERE log.name = 's-served' AND target IS NOT NULL";
    let row: (String, String, String, String) =
        store.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
    assert_eq!((row.0, row.1, row.3), (query.clone(), format!("{query} {word}"), doc));
    let context: Value = serde_json::from_str(&row.2).unwrap();
    assert_eq!((&context["watched"][0]["title"], &context["place"]), (&j!(title), &j!("Leeds")));
    let served: String =
        store.query_row("SELECT group_concat(path || ' ' || rewriting, ',') FROM served JOIN search ON search = pk WHERE id IN ('first', 'second')", [], |r| r.get(0)).unwrap();
    assert_eq!(served, "plain off,plain off");
    // What was shown and clicked counts towards the next fake index too.
    let built = json(core(dir.path()).args(["fake", "build", "--recipe", &recipe]));
    assert_eq!(built["index"]["logs"], j!(["s", "s-served"]));
}

#[test]
fn a_fake_index_is_taken_up_while_serving_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = world(dir.path(), "fake");
    let fake = |what: &[&str]| {
        let mut command = core(dir.path());
        command.arg("fake").args(what).args(["--recipe", &recipe]);
        command
    };
    let (code, said) = fails(&mut fake(&["stats"]));
    assert!(code == 1 && said.contains("no fake index at") && said.contains("core fake build"), "{said}");
    let server = Server::start(dir.path(), &["--recipe", &recipe, "--model", "frequent-gain"]);
    let version = |wanted: u64| {
        let began = Instant::now();
        loop {
            let health: Value = serde_json::from_str(&server.get("/healthz").1).unwrap();
            if health["fake_version"] == wanted {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{health}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let built = json(&mut fake(&["build"]));
    assert!(built["index"]["keys"].as_u64().unwrap() > 10, "{built}");
    version(1);
    ok(&mut fake(&["build"]));
    version(2);
    assert_eq!(json(&mut fake(&["stats"]))["index"]["version"], 2);
    assert_eq!(server.post("/v1/search", r#"{"query":"review"}"#).0, 200);

    let path = dir.path().join("fake/s.fake");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(dir.path().join("bad"), bytes).unwrap();
    std::fs::rename(dir.path().join("bad"), &path).unwrap();
    let (code, said) = fails(&mut fake(&["show", "review"]));
    assert!(code == 1 && said.contains("s.fake is damaged") && said.contains("core fake build"), "{said}");
    assert_eq!(server.post("/v1/search", r#"{"query":"review"}"#).0, 200, "the version before answers on");
    assert_eq!(json(&mut fake(&["build"]))["index"]["version"], 1, "a damaged file's count is lost, its place is not");
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[test]
fn without_its_model_a_server_searches_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = world(dir.path(), "index");
    let gone = dir.path().join("runs/gone/step-00000001");
    std::fs::create_dir_all(&gone).unwrap();
    std::fs::write(gone.join("trainer.json"), "{}").unwrap();
    for model in [&["--model", "gone"][..], &[]] {
        let server = Server::start(dir.path(), &[&["--recipe", recipe.as_str()], model].concat());
        let (status, page) = server.post("/v1/search", r#"{"query":"review","explain":true}"#);
        assert_eq!((status, &page["path"], &page["explanation"]["rewriting"]), (200, &j!("plain"), &j!("error")));
        assert!(!page["hits"].as_array().unwrap().is_empty());
        for (hit, explained) in list(&page["hits"]).iter().zip(list(&page["explanation"]["ranking"]["hits"])) {
            let product: f64 = list(&explained["factors"]).iter().map(|x| x.as_f64().unwrap()).product();
            let score = hit["score"].as_f64().unwrap();
            assert_eq!(hit["doc"], explained["doc"]);
            assert!((product - score).abs() <= 1e-9 * score.abs(), "{product} is not {score}");
        }
        assert_eq!(server.post("/v1/rewrite", r#"{"query":"review"}"#).1["path"], "error");
        assert_eq!(server.stop(), Some(130));
    }
    let store = rusqlite::Connection::open(dir.path().join("core.db")).unwrap();
    let sql = "SELECT count(*) FROM event WHERE body_json LIKE '%there is no rewriter%'";
    assert_eq!(store.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap(), 2);
    // Each server told its journal of the one search that it answered, in whichever stretch of time it fell.
    let sql = "SELECT sum(body_json ->> '$.paths.plain.count'), sum(body_json ->> '$.rewriting.error') FROM event
               WHERE body_json ->> '$.kind' = 'serving'";
    let counts: (i64, i64) = store.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(counts, (2, 2));
}

#[test]
fn the_benches_of_serving_run_to_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(core(dir.path()).args(["bench", "serve", "--videos", "500", "--steps", "60"]));
    let servers = report["servers"].as_array().unwrap();
    assert_eq!((servers.len(), &report["n"]), (3, &j!(60)));
    assert_eq!((&servers[0]["hits"], &servers[0]["added_p99_ms"]), (&j!(0.0), &j!(0.0)));
    assert!(servers[1..].iter().all(|server| server["hits"] == 1.0), "each timed question has its rewrite: {report}");
}
