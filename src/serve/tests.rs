//! The server without a socket: nothing that rewriting does reaches the plain answer, and what it brings adds up.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::complaints::Complaints;
use super::counters::Counters;
use super::nearline::Nearline;
use super::path::Paths;
use super::router;
use super::source::{Answer, Live, Source};
use crate::journal::Journal;
use crate::logs::{Context, Doc};
use crate::model::Cancel;
use crate::recipe::{Recall, Recipe, Rewrites};
use crate::rewriter::{Outcome, Reason, Rewriter};
use crate::search::fake::{Card, List, Live as LiveIndex, fake_path, write};
use crate::search::{Engine, index_dir};

/// Requests of each arm of the identity test: eight arms make ten thousand.
const REQUESTS: usize = 1_250;

fn documents() -> Vec<Doc> {
    let (animals, cars) = (["wild", "jungle", "cat", "zoo"], ["car", "engine", "race", "review"]);
    (0..200)
        .map(|i| {
            let words = if i % 2 == 0 { animals } else { cars };
            let title = format!("{} {} {}", ["jaguar", "puma", "lynx"][i % 3], words[i / 2 % 4], words[i / 8 % 4]);
            Doc { id: format!("v{i:03}"), title, popularity: 1.0 / (i + 1) as f32, ..Doc::default() }
        })
        .collect()
}

fn paths(workspace: &Path, source: Source, change: impl FnOnce(&mut Recipe)) -> Arc<Paths> {
    let mut recipe = Recipe { name: "t".into(), ..Recipe::default() };
    change(&mut recipe);
    let dir = index_dir(workspace, &recipe.name);
    let engine = Engine::open(&dir).or_else(|_| Engine::build(&dir, &documents(), |_| ())).unwrap();
    let fake = LiveIndex::new(&fake_path(workspace, &recipe.name));
    fake.refresh().unwrap();
    Arc::new(Paths {
        engine: Arc::new(engine),
        source,
        rewriter: "test".into(),
        fake: Arc::new(fake),
        recipe,
        recorder: None,
        counters: Counters::default(),
        complaints: Arc::new(Complaints::default()),
    })
}

fn live(answer: impl Fn(&Context, &str, &Cancel) -> Result<Outcome> + Send + Sync + 'static) -> Source {
    Source::Live(Live::new(each(answer), 2))
}

/// A rewriter that answers one at a time.
fn each(answer: impl Fn(&Context, &str, &Cancel) -> Result<Outcome> + Send + Sync + 'static) -> Arc<Answer> {
    Arc::new(move |requests, cancel| requests.iter().map(|(context, query)| answer(context, query, cancel)).collect())
}

fn outcome(rewrite: Option<&str>) -> Outcome {
    let reason = if rewrite.is_some() { Reason::Rewritten } else { Reason::Rejected };
    Outcome { rewrite: rewrite.map(str::to_owned), reason, logprob: None }
}

fn until_nobody_waits(cancel: &Cancel) {
    while !cancel.is_set() {
        std::thread::sleep(Duration::from_micros(100));
    }
}

struct Reply {
    status: StatusCode,
    rewriting: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn post(paths: &Arc<Paths>, route: &str, body: impl Into<Body>) -> Reply {
    let request = Request::post(route).header("content-type", "application/json").body(body.into()).unwrap();
    let response = router(paths.clone()).oneshot(request).await.unwrap();
    let rewriting = response.headers().get("x-rewriting").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status();
    Reply { status, rewriting, body: to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec() }
}

async fn search(paths: &Arc<Paths>, body: Value) -> Reply {
    post(paths, "/v1/search", body.to_string()).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Requests of many kinds, the same in every arm.
fn requests() -> Vec<String> {
    let queries =
        ["jaguar", "puma wild", "LYNX race!", "nothing at all", "title:car AND (", "光良 jaguar", "😀", "jagaur"];
    let titles = ["best cat of the zoo", "race car engine", "", "猫"];
    let one = |i: usize| {
        let context = json!({"watched": [{"title": titles[i % 4]}], "queries": [queries[i % 7]]});
        json!({
            "query": format!("{} {}", queries[i % 8], ["", "review", "cat"][i / 8 % 3]),
            "context": context, "size": 1 + i % 12, "query_id": format!("q{i}"),
        })
        .to_string()
    };
    (0..REQUESTS).map(one).collect()
}

async fn all(paths: &Arc<Paths>, requests: &[String]) -> Vec<Reply> {
    let mut replies = Vec::new();
    // Several at once, as a server has them.
    for chunk in requests.chunks(25) {
        let tasks: Vec<_> = chunk
            .iter()
            .map(|body| {
                let (paths, body) = (paths.clone(), body.clone());
                tokio::spawn(async move { post(&paths, "/v1/search", body).await })
            })
            .collect();
        for task in tasks {
            replies.push(task.await.unwrap());
        }
    }
    replies
}

/// A rewriter whose files are gone: as `core serve` opens it.
fn gone(workspace: &Path) -> Source {
    let folder = workspace.join("runs/gone/step-00000001");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let recipe = Recipe::default();
    let opened = Rewriter::open(workspace, &recipe, folder.to_str().unwrap());
    assert!(opened.is_err());
    let journal = Journal::start(workspace, "serve", "t", "").unwrap();
    let (cancel, complaints) = (Cancel::default(), Arc::new(Complaints::default()));
    super::source(workspace, &recipe, opened, &cancel, &complaints, &journal).unwrap().1
}

#[test]
fn whatever_becomes_of_rewriting_the_plain_page_goes_out_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, requests, runtime) = (dir.path(), requests(), runtime());
    let plain = runtime.block_on(all(&paths(workspace, Source::Off, |_| ()), &requests));
    assert!(plain.iter().all(|reply| reply.status == 200 && reply.rewriting == "off"));
    let broken = gone(workspace);
    let stuck = Cancel::default();
    let waits = stuck.clone();
    let never = each(move |_, _, _| {
        until_nobody_waits(&waits);
        Ok(outcome(Some("jaguar cat")))
    });
    let complaints = Arc::new(Complaints::default());
    let missing = Nearline::start(workspace, "m", never, stuck.clone(), complaints).unwrap();
    let late = |_: &Context, _: &str, cancel: &Cancel| {
        until_nobody_waits(cancel);
        Ok(outcome(Some("jaguar cat")))
    };
    let arms: [(&str, Source, Recall); 8] = [
        ("rejected", live(|_, _, _| Ok(outcome(None))), Recall::Index),
        ("unchanged", live(|_, query, _| Ok(outcome(Some(&query.to_uppercase())))), Recall::Index),
        ("missed", Source::Nearline(missing), Recall::Index),
        ("missed", live(|_, _, _| Ok(outcome(Some("a query that no list has")))), Recall::Fake),
        ("late", live(late), Recall::Index),
        // Unwinds as a panic does, without its lines on the terminal.
        ("error", live(|_, _, _| std::panic::resume_unwind(Box::new("broken"))), Recall::Index),
        ("error", live(|_, _, _| bail!("no memory left")), Recall::Index),
        ("error", broken, Recall::Index),
    ];
    let mut served = 0;
    for (at, (fate, source, recall)) in arms.into_iter().enumerate() {
        let arm = paths(workspace, source, |recipe| {
            recipe.serve.recall = recall;
            recipe.serve.deadline_ms = if fate == "late" { 1 } else { 60_000 };
        });
        let replies = runtime.block_on(all(&arm, &requests));
        for ((reply, plain), request) in replies.iter().zip(&plain).zip(&requests) {
            assert_eq!((reply.status, &reply.body), (plain.status, &plain.body), "arm {at}: {request}");
            assert_eq!(reply.rewriting, fate, "arm {at}: {request}");
            served += 1;
        }
    }
    stuck.set();
    assert_eq!(served, 10_000);
}

#[test]
fn each_fate_is_told_when_there_is_time_enough() {
    let dir = tempfile::tempdir().unwrap();
    let late = |_: &Context, _: &str, cancel: &Cancel| {
        until_nobody_waits(cancel);
        Ok(outcome(None))
    };
    let arms: [(&str, Source); 6] = [
        ("off", Source::Off),
        ("rejected", live(|_, _, _| Ok(outcome(None)))),
        ("unchanged", live(|_, _, _| Ok(outcome(Some("Jaguar!"))))),
        ("error", live(|_, _, _| std::panic::resume_unwind(Box::new("broken")))),
        ("error", Source::Broken("gone".into())),
        ("rewritten", live(|_, _, _| Ok(outcome(Some("jaguar cat"))))),
    ];
    for (fate, source) in arms {
        let paths = paths(dir.path(), source, |recipe| recipe.serve.deadline_ms = 60_000);
        let reply = runtime().block_on(search(&paths, json!({"query": "jaguar"})));
        assert_eq!(reply.rewriting, fate);
        let page = reply.json();
        let expected =
            if fate == "rewritten" { (json!("fused"), json!("jaguar cat")) } else { (json!("plain"), Value::Null) };
        assert_eq!((page["path"].clone(), page["rewrite"].clone()), expected, "{fate}");
        let rewrite = runtime().block_on(post(&paths, "/v1/rewrite", r#"{"query":"jaguar"}"#)).json();
        assert_eq!((&rewrite["path"], &rewrite["rewrite"]), (&json!(fate), &expected.1));
    }
    let paths = paths(dir.path(), live(late), |recipe| recipe.serve.deadline_ms = 20);
    assert_eq!(runtime().block_on(search(&paths, json!({"query": "jaguar"}))).rewriting, "late");
}

#[test]
fn a_late_rewrite_and_one_whose_client_left_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (said, heard) = channel();
    let said: Mutex<Sender<&str>> = Mutex::new(said);
    let source = live(move |_, _, cancel| {
        said.lock().unwrap().send("began").unwrap();
        until_nobody_waits(cancel);
        said.lock().unwrap().send("ended").unwrap();
        Ok(outcome(None))
    });
    let paths = paths(dir.path(), source, |recipe| recipe.serve.deadline_ms = 60_000);
    let runtime = runtime();
    let reply = runtime.block_on(search(&paths, json!({"query": "jaguar", "deadline_ms": 5})));
    assert_eq!(reply.rewriting, "late");
    let next = || heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!([next(), next()], ["began", "ended"]);
    let asked = paths.clone();
    let client = runtime.spawn(async move { search(&asked, json!({"query": "puma"})).await });
    assert_eq!(next(), "began");
    client.abort();
    assert_eq!(next(), "ended");
}

#[test]
fn near_line_rewrites_are_computed_behind_kept_and_read_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let answer = each(move |context, query, _| {
        sees.lock().unwrap().push((query.to_owned(), context.clone()));
        match query {
            "weather" => Ok(outcome(None)),
            "poison" => bail!("cannot be answered"),
            _ => Ok(outcome(Some("jaguar cat"))),
        }
    });
    let start = |identity: &str| {
        let complaints = Arc::new(Complaints::default());
        let nearline = Nearline::start(dir.path(), identity, answer.clone(), Cancel::default(), complaints).unwrap();
        paths(dir.path(), Source::Nearline(nearline), |recipe| {
            (recipe.serve.rewrites, recipe.serve.deadline_ms) = (Rewrites::Nearline, 60_000);
        })
    };
    drop(crate::store::Store::open(dir.path()).unwrap());
    let runtime = runtime();
    let ask = |paths: &Arc<Paths>, query: &str, older: &str| {
        let watched = json!([{"title": "zoo cat"}, {"title": older}]);
        let context = json!({"watched": watched, "queries": [older], "place": older});
        runtime.block_on(search(paths, json!({"query": query, "context": context}))).rewriting
    };
    let settled = |paths: &Arc<Paths>| {
        let began = Instant::now();
        while paths.source.waiting() > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing is computed behind");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let first = start("model of today");
    assert_eq!(["Jaguar", "weather", "poison"].map(|q| ask(&first, q, "mine")), ["missed"; 3]);
    settled(&first);
    assert_eq!(ask(&first, " jaguar ", "somebody else's"), "rewritten");
    assert_eq!(["weather", "poison"].map(|q| ask(&first, q, "x")), ["rejected", "missed"]);
    settled(&first);
    // The store remembers, and another model is asked anew.
    assert_eq!(ask(&start("model of today"), "JAGUAR", ""), "rewritten");
    assert_eq!(ask(&start("model of tomorrow"), "jaguar", ""), "missed");
    let seen = seen.lock().unwrap();
    assert!(seen.iter().any(|(query, _)| query == "jaguar"), "{seen:?}");
    for (_, context) in seen.iter() {
        let titles: Vec<_> = context.watched.iter().map(|seen| seen.title.as_str()).collect();
        assert_eq!((titles, context.queries.len(), &context.place), (vec!["zoo cat"], 0, &None));
    }
}

fn build_fake(workspace: &Path, key: &str, docs: &[(&str, &str)]) {
    let cards: Vec<_> =
        docs.iter().map(|(doc, title)| Card { doc: (*doc).into(), title: (*title).into(), tags: vec![] }).collect();
    let weights = (0..docs.len() as u32).map(|i| (i, 1.0 / (i + 1) as f32)).collect();
    let list = List { key: key.into(), head: true, docs: weights };
    write(&fake_path(workspace, "t"), &["t".into()], &cards, std::iter::once(list), |_| ()).unwrap();
}

#[test]
fn a_list_of_the_fake_index_is_filtered_merged_explained_and_replaced_while_serving() {
    let dir = tempfile::tempdir().unwrap();
    build_fake(dir.path(), "jaguar cat", &[("new", "Jaguar, a cat"), ("off", "Bread baking"), ("v000", "jaguar wild")]);
    let paths = paths(dir.path(), live(|_, _, _| Ok(outcome(Some("Jaguar cat")))), |recipe| {
        (recipe.serve.recall, recipe.serve.deadline_ms) = (Recall::Fake, 60_000);
    });
    let runtime = runtime();
    let ask = |query: &str| runtime.block_on(search(&paths, json!({"query": query, "explain": true})));
    let page = ask("jaguar").json();
    assert_eq!((&page["path"], &page["rewrite"]), (&json!("fake"), &json!("Jaguar cat")));
    let hits = page["hits"].as_array().unwrap();
    let new = hits.iter().find(|hit| hit["doc"] == "new").expect("the list's best is on the page");
    let number = |value: &Value| value.as_f64().unwrap();
    let (base, weight) = (number(&new["fake"]["base"]), number(&new["fake"]["weight"]));
    assert!((number(&new["score"]) - base * (1.0 + weight)).abs() < 1e-9, "{new}");
    assert!(hits.iter().all(|hit| hit["doc"] != "off"), "what has nothing to do with the query stays out: {page}");
    let explained = page["explanation"]["hits"].as_array().unwrap();
    let said = explained.iter().find(|hit| hit["doc"] == "new").unwrap()["score"].as_str().unwrap();
    assert!(said.starts_with(&format!("{} = {base} × (1 + {weight})^1", number(&new["score"]))), "{said}");
    assert_eq!(page["explanation"]["fake"]["version"], 1);
    // Of a query that the list has nothing to do with, nothing is left.
    let reply = ask("weather forecast");
    assert_eq!((reply.rewriting.as_str(), &reply.json()["path"]), ("irrelevant", &json!("plain")));
    build_fake(dir.path(), "jaguar cat", &[("newer", "Jaguar, a cat")]);
    assert!(ask("jaguar").json().to_string().contains("\"new\""), "until it is looked for");
    assert_eq!(paths.fake.refresh().unwrap(), Some(2));
    let page = ask("jaguar").json().to_string();
    assert!(page.contains("\"newer\"") && !page.contains("\"new\""), "{page}");
    build_fake(dir.path(), "another", &[("new", "Jaguar, a cat")]);
    paths.fake.refresh().unwrap();
    assert_eq!(ask("jaguar").rewriting, "missed");
}

#[test]
fn any_text_is_answered_or_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path(), live(|_, query, _| Ok(outcome(Some(&format!("{query} cat"))))), |_| ());
    let runtime = runtime();
    let status = |body: String| {
        let reply = runtime.block_on(post(&paths, "/v1/search", body));
        let said = reply.json();
        let message = said["error"]["message"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!(reply.status.is_success(), message.is_empty(), "{said}");
        for inner in ["tantivy", "panick", "queryparser", "syntaxerror", "regex", "sqlite"] {
            assert!(!message.contains(inner), "{message}");
        }
        reply.status.as_u16()
    };
    let query = |text: &str| status(json!({ "query": text }).to_string());
    for answered in [
        "?!.,;:",
        "AND OR NOT",
        "\"jaguar",
        "jaguar^3~2 +x -y *",
        "(((((",
        "title:[a TO z]",
        "{}[]<>\\/",
        "a\u{200b}b",
        "\u{0}jaguar\u{7}",
        "jaguar 光良 пума ジャガー",
        "👩‍👩‍👧‍👦",
        "ｊａｇｕａｒ",
        "e\u{301}\u{301}\u{301}",
        "\u{202e}raugaj",
        "' OR 1=1 --",
        &"猫".repeat(170),
        &"a ".repeat(256),
    ] {
        assert_eq!(query(answered), 200, "{answered:?}");
    }
    for refused in ["", "   ", "\u{200b}", "\t\r\n", &"x".repeat(513)] {
        assert_eq!(query(refused), 400, "{refused:?}");
    }
    assert_eq!(query(&"x".repeat(100_000)), 413);
    for (body, wanted) in [
        ("", 400),
        ("{", 400),
        ("null", 422),
        ("[]", 422),
        (r#"{"query": 7}"#, 422),
        (r#"{"query": "\ud800"}"#, 400),
        (r#"{"query": "x", "size": -1}"#, 422),
        (r#"{"query": "x", "size": 1e9}"#, 422),
        (r#"{"query": "x", "context": {"watched": "y"}}"#, 422),
        (r#"{"query": "x", "size": 0, "deadline_ms": 0}"#, 200),
        (r#"{"query": "x", "size": 18446744073709551615}"#, 200),
    ] {
        assert_eq!(status(body.into()), wanted, "{body}");
    }
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(status(nested.clone()), 422);
    assert_eq!(runtime.block_on(post(&paths, "/v1/feedback", nested)).status, 400);
    let broken = runtime.block_on(post(&paths, "/v1/search", &b"{\"query\": \"\xff\"}"[..]));
    assert_eq!(broken.status, 400);
    let long: Vec<_> = (0..900).map(|i| json!({"title": format!("{i} {}", "x".repeat(40))})).collect();
    assert_eq!(status(json!({"query": "x", "context": {"watched": long}}).to_string()), 200);
}

#[test]
fn feedback_that_cannot_be_kept_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path(), Source::Off, |_| ());
    let send = |body: Value| {
        let reply = runtime().block_on(post(&paths, "/v1/feedback", body.to_string()));
        (reply.status.as_u16(), reply.json())
    };
    let (status, said) = send(json!({"query_id": "q", "dco": "v000"}));
    assert!(status == 422 && said["refused"][0]["reason"].as_str().unwrap().contains("`dco`"), "{said}");
    let (status, said) = send(json!([{"query_id": "q", "doc": "v000", "dwell_s": -1}, {"action_name": "click"}]));
    assert_eq!((status, said["refused"].as_array().unwrap().len()), (422, 2), "{said}");
    let impression = json!({"action_name": "impression", "query_id": "q", "timestamp": "2026-01-01T00:00:00Z",
                            "event_attributes": {"object": {"object_id": "v000"}}});
    let (status, said) = send(json!({"events": [impression]}));
    assert_eq!((status, &said["known"]), (200, &json!(1)), "{said}");
    assert_eq!(send(json!({"events": []})).0, 200);
    assert_eq!(send(json!({"query_id": "q", "doc": "v000"})).0, 503, "this server keeps no log");
    assert_eq!(send(Value::Array(vec![json!({}); 257])).0, 400);
}
