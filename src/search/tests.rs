//! The engine on a handful of documents.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::logs::Doc;
use crate::recipe::SearchPath;

fn doc(id: &str, title: &str, tags: &[&str], popularity: f32) -> Doc {
    let tags = tags.iter().map(|t| (*t).to_owned()).collect();
    Doc { id: id.into(), title: title.into(), tags, creator: "Ann Lee".into(), popularity, ..Doc::default() }
}

fn catalogue() -> Vec<Doc> {
    vec![
        doc("v3", "Jaguar road test", &["cars"], 0.9),
        doc("v1", "Jaguar in the wild", &["animals"], 0.2),
        doc("v2", "Engine sound compilation", &["jaguar", "cars"], 0.1),
        doc("v4", "Bread baking at home", &["kitchen"], 1.0),
    ]
}

fn ids(engine: &Engine, query: &str, rewrite: Option<&str>) -> Vec<String> {
    engine.search(query, rewrite, &SearchPath::default()).unwrap().into_iter().map(|h| h.doc).collect()
}

#[test]
fn title_tags_and_creator_are_searched_and_popularity_lifts() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), &catalogue(), |_| ()).unwrap();
    assert_eq!(engine.len(), 4);
    let jaguar = ids(&engine, "JAGUAR!", None);
    assert_eq!(jaguar.len(), 3);
    let place = |id: &str| jaguar.iter().position(|d| d == id).unwrap();
    assert!(place("v3") < place("v1"), "same text, more popular first: {jaguar:?}");
    assert_eq!(ids(&engine, "ann", None).len(), 4);
    assert_eq!(engine.doc("v2").unwrap().unwrap().tags, ["jaguar", "cars"]);
    assert_eq!(engine.doc("nobody").unwrap(), None);
}

#[test]
fn no_rewrite_and_a_rewrite_that_finds_nothing_give_the_plain_page_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), &catalogue(), |_| ()).unwrap();
    let plain = engine.search("jaguar", None, &SearchPath::default()).unwrap();
    for useless in ["zzz", "", "?!\u{0}", "  "] {
        assert_eq!(engine.search("jaguar", Some(useless), &SearchPath::default()).unwrap(), plain);
    }
    let ignored = SearchPath { rewrite_weight: 0.0, ..SearchPath::default() };
    assert_eq!(engine.search("jaguar", Some("jaguar wild"), &ignored).unwrap(), plain);
}

#[test]
fn a_rewrite_moves_its_sense_up_and_brings_in_what_the_query_missed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), &catalogue(), |_| ()).unwrap();
    assert_eq!(ids(&engine, "jaguar", Some("jaguar wild animals"))[0], "v1");
    assert_eq!(ids(&engine, "jagaur", None), [""; 0]);
    assert!(ids(&engine, "jagaur", Some("jaguar")).contains(&"v3".to_owned()));
}

#[test]
fn a_document_beyond_the_recall_limit_still_gets_its_own_bm25() {
    let dir = tempfile::tempdir().unwrap();
    let mut docs: Vec<Doc> = (0..30).map(|i| doc(&format!("a{i:02}"), "jaguar", &[], 0.5)).collect();
    docs.push(doc("z", "a long title where jaguar comes late and the wild is green", &[], 1.0));
    let engine = Engine::build(dir.path(), &docs, |_| ()).unwrap();
    let narrow = SearchPath { recall: 5, page: 5, ..SearchPath::default() };
    let page = engine.search("jaguar", Some("wild"), &narrow).unwrap();
    let z = page.iter().find(|h| h.doc == "z").expect("the rewrite recalls it");
    assert!(z.signals.bm25 > 0.0 && z.signals.rewrite == 1.0, "{z:?}");
    let wide = SearchPath { recall: 50, page: 50, ..SearchPath::default() };
    let alone = engine.search("jaguar", None, &wide).unwrap().into_iter().find(|h| h.doc == "z").unwrap();
    assert!((alone.signals.bm25 - z.signals.bm25).abs() < 1e-5);
}

#[test]
fn odd_characters_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), &catalogue(), |_| ()).unwrap();
    for odd in ["title:jaguar", "\"jaguar", "jaguar AND (", "-jaguar +", "jaguar~2^9", "jaguar*", "\u{202e}jaguar\u{0}"]
    {
        assert_eq!(ids(&engine, odd, Some(odd)).len(), 3, "{odd:?}");
    }
    assert_eq!(ids(&engine, "光良 😀 ́", None), [""; 0]);
    assert_eq!(ids(&engine, &"x".repeat(200_000), None), [""; 0]);
    let long: String = (0..5_000).map(|i| format!("w{i} ")).collect();
    assert_eq!(ids(&engine, &long, None), [""; 0]);
}

#[test]
fn a_killed_build_leaves_the_earlier_index_and_the_next_build_sweeps() {
    let dir = tempfile::tempdir().unwrap();
    drop(Engine::build(dir.path(), &catalogue(), |_| ()).unwrap());
    let dead = dir.path().join("build-1-1");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("meta.json"), "{half").unwrap();
    std::fs::write(dir.path().join("current.json.new"), "{\"fold").unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    assert_eq!(engine.fingerprint(), Engine::fingerprint_of(&catalogue()));
    assert_eq!(ids(&engine, "bread", None), ["v4"]);

    let mut docs = catalogue();
    docs.push(doc("v5", "Bread, again", &[], 0.5));
    let engine = Engine::build(dir.path(), &docs, |_| ()).unwrap();
    assert_eq!(ids(&engine, "bread", None).len(), 2);
    assert_ne!(engine.fingerprint(), Engine::fingerprint_of(&catalogue()));
    assert!(!dead.exists());
}

#[test]
fn a_missing_or_damaged_index_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let error = Engine::open(&dir.path().join("none")).err().unwrap().to_string();
    assert!(error.contains("no search index at") && error.contains("core simulate"), "{error}");
    std::fs::write(dir.path().join("current.json"), "{}").unwrap();
    assert!(Engine::open(dir.path()).err().unwrap().to_string().contains("damaged"));
}

#[test]
fn every_document_is_ticked_and_of_two_with_one_id_the_later_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut docs: Vec<Doc> = (0..2_500).map(|i| doc(&format!("d{i}"), "filler", &[], 0.5)).collect();
    docs.push(doc("d7", "replacement", &[], 0.5));
    let ticks = AtomicU64::new(0);
    let engine = Engine::build(dir.path(), &docs, |n| _ = ticks.fetch_add(n, Ordering::Relaxed)).unwrap();
    assert_eq!(ticks.into_inner(), 2_500);
    assert_eq!(engine.len(), 2_500);
    assert_eq!(ids(&engine, "replacement", None), ["d7"]);
}

#[test]
fn an_empty_catalogue_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), &[], |_| ()).unwrap();
    assert!(engine.is_empty());
    assert_eq!(ids(&engine, "jaguar", Some("wild")), [""; 0]);
}
