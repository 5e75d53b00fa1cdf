//! What rewriting brings, in the request and behind it; and that nobody works for someone who left.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::bail;

use super::super::nearline::Nearline;
use super::*;
use crate::recipe::Rewrites;
use crate::search::fake::{Card, List, write};

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
