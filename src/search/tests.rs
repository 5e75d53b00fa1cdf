//! The engine on a handful of documents.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::{Index, TantivyDocument};

use super::{Engine, How, analysis};
use crate::logs::Doc;
use crate::recipe::{Fusion, SearchPath, stream};

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
        doc("v5", "光良 第一次 演唱会", &["music", "live"], 0.3),
    ]
}

/// A larger catalogue of random words; many titles share words.
fn many(n: usize) -> Vec<Doc> {
    let mut rng = stream(3, "catalogue", &[]);
    let words = ["jaguar", "car", "cat", "review", "live", "sound", "engine", "wild", "road", "test", "queen", "piano"];
    let mut word = || words[(rng.random::<f64>().powi(2) * words.len() as f64) as usize];
    (0..n)
        .map(|i| {
            let title = (0..2 + i % 5).map(|_| word()).collect::<Vec<_>>().join(" ");
            let tags: Vec<&str> = (0..i % 3).map(|_| word()).collect();
            Doc { creator: word().into(), ..doc(&format!("d{i:04}"), &title, &tags, 1.0 / (1.0 + i as f32)) }
        })
        .collect()
}

fn build(docs: &[Doc]) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::build(dir.path(), docs, &SearchPath::default(), |_| ()).unwrap();
    (dir, engine)
}

fn ids(engine: &Engine, query: &str, rewrite: Option<&str>) -> Vec<String> {
    engine.search(query, rewrite, &SearchPath::default()).unwrap().into_iter().map(|h| h.doc).collect()
}

#[test]
fn title_tags_and_creator_are_searched_and_popularity_lifts() {
    let (_dir, engine) = build(&catalogue());
    assert_eq!(engine.len(), 5);
    let jaguar = ids(&engine, "JAGUARS!", None);
    assert_eq!(jaguar.len(), 3);
    let place = |id: &str| jaguar.iter().position(|d| d == id).unwrap();
    assert!(place("v3") < place("v1"), "same text, more popular first: {jaguar:?}");
    assert_eq!(ids(&engine, "ann", None).len(), 5);
    assert_eq!(engine.doc("v2").unwrap().unwrap().tags, ["jaguar", "cars"]);
    assert_eq!(engine.doc("nobody").unwrap(), None);
}

#[test]
fn chinese_is_found_by_its_words_and_by_either_half_of_a_mixed_title() {
    let (_dir, engine) = build(&catalogue());
    for query in ["光良", "演唱会", "光良 演唱", "LIVE 光良"] {
        assert_eq!(ids(&engine, query, None)[0], "v5", "{query}");
    }
}

#[test]
fn a_misspelt_query_is_recalled_by_its_vector() {
    let (_dir, engine) = build(&catalogue());
    let hits = engine.search("kichen bred", None, &SearchPath::default()).unwrap();
    assert_eq!(hits[0].doc, "v4");
    assert!(hits[0].signals.bm25 == 0.0 && hits[0].signals.cosine > 0.2, "{hits:?}");
    let off = SearchPath { vector_recall: 0, ..SearchPath::default() };
    assert!(engine.search("kichen bred", None, &off).unwrap().is_empty());
}

#[test]
fn bm25_ranks_and_scores_are_tantivys_own() {
    let docs = many(400);
    let (_dir, engine) = build(&docs);
    // Plain Tantivy on the same documents, with its own query parser.
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(analysis::NAME)
        .set_index_option(tantivy::schema::IndexRecordOption::WithFreqsAndPositions);
    let text = TextOptions::default().set_indexing_options(indexing);
    let id = schema.add_text_field("id", STRING | STORED);
    let fields = ["title", "tags", "creator"].map(|name| schema.add_text_field(name, text.clone()));
    let index = Index::create_in_ram(schema.build());
    index.tokenizers().register(analysis::NAME, analysis::analyzer());
    let mut writer: tantivy::IndexWriter = index.writer_with_num_threads(1, 20 << 20).unwrap();
    for doc in &docs {
        let mut row = TantivyDocument::default();
        row.add_text(id, &doc.id);
        row.add_text(fields[0], &doc.title);
        doc.tags.iter().for_each(|tag| row.add_text(fields[1], tag));
        row.add_text(fields[2], &doc.creator);
        writer.add_document(row).unwrap();
    }
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let parser = QueryParser::for_index(&index, fields.to_vec());
    let settings = SearchPath { recall: 30, vector_recall: 0, rawrank: 30, page: 30, ..SearchPath::default() };
    for query in ["jaguar", "jaguar car", "queen piano live", "road", "wild cat review sound"] {
        let theirs = searcher.search(&parser.parse_query(query).unwrap(), &TopDocs::with_limit(30).order_by_score());
        let theirs: Vec<(f32, String)> = theirs
            .unwrap()
            .into_iter()
            .map(|(score, at)| {
                let row: TantivyDocument = searcher.doc(at).unwrap();
                (score, row.get_first(id).unwrap().as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(theirs.len(), 30, "{query}");
        let ours = engine.after(super::Stage::Recall, query, None, 30, &settings).unwrap();
        assert_eq!(ours, theirs.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>(), "{query}");
        let signals = engine.search(query, None, &settings).unwrap();
        for (score, id) in &theirs {
            let ours = signals.iter().find(|hit| hit.doc == *id).unwrap().signals.bm25;
            assert!((ours - f64::from(*score)).abs() < 1e-5 * ours, "{query} {id}: {ours} {score}");
        }
    }
}

#[test]
fn no_rewrite_and_one_that_is_none_give_the_plain_page_bit_for_bit() {
    let (_dir, engine) = build(&many(300));
    let plain = engine.search("jaguar car", None, &SearchPath::default()).unwrap();
    assert_eq!(plain.len(), 10);
    for same in ["qqqq", "", "?!\u{0}", "  ", "JAGUAR, car!", "jag\u{200b}uar  car", "ｊａｇｕａｒ car"] {
        for fusion in [Fusion::A, Fusion::B] {
            let settings = SearchPath { fusion, ..SearchPath::default() };
            assert_eq!(engine.search("jaguar car", Some(same), &settings).unwrap(), plain, "{same:?}");
        }
    }
    let none = SearchPath { rewrite_recall: 0.0, rewrite_rawrank: 0.0, rewrite_finerank: 0.0, ..SearchPath::default() };
    assert_eq!(engine.search("jaguar car", Some("jaguar wild"), &none).unwrap(), plain);
    // The original signals are untouched by a rewrite that is used.
    let fused = engine.search("jaguar car", Some("jaguar wild"), &SearchPath::default()).unwrap();
    assert_ne!(fused, plain);
    for hit in &fused {
        let Some(before) = plain.iter().find(|p| p.doc == hit.doc) else { continue };
        let untouched = super::Signals { rewrite: 0.0, rawrank: before.signals.rawrank, ..hit.signals };
        assert_eq!(untouched, before.signals);
    }
}

#[test]
fn a_rewrite_moves_its_sense_up_and_brings_in_what_the_query_missed() {
    let (_dir, engine) = build(&catalogue());
    assert_eq!(ids(&engine, "jaguar", None)[0], "v3");
    assert_eq!(ids(&engine, "jaguar", Some("jaguar wild animals"))[0], "v1");
    assert!(ids(&engine, "felidae", None).is_empty());
    assert_eq!(ids(&engine, "felidae", Some("jaguar wild"))[0], "v1");
    // Configuration A leaves recall alone.
    let a = SearchPath { fusion: Fusion::A, ..SearchPath::default() };
    assert!(engine.search("felidae", Some("jaguar wild"), &a).unwrap().is_empty());
    assert_eq!(engine.search("jaguar", Some("jaguar wild animals"), &a).unwrap()[0].doc, "v1");
}

#[test]
fn a_document_beyond_the_recall_limit_still_gets_its_own_bm25() {
    let mut docs: Vec<Doc> = (0..30).map(|i| doc(&format!("a{i:02}"), "jaguar", &[], 0.5)).collect();
    docs.push(doc("z", "a long title where jaguar comes late and the wild is green", &[], 1.0));
    let (_dir, engine) = build(&docs);
    let narrow = SearchPath { recall: 5, page: 5, vector_recall: 0, ..SearchPath::default() };
    let page = engine.search("jaguar", Some("wild green"), &narrow).unwrap();
    let z = page.iter().find(|h| h.doc == "z").expect("the rewrite recalls it");
    assert!(z.signals.bm25 > 0.0 && z.signals.rewrite > 0.7, "{z:?}");
    let wide = SearchPath { recall: 50, page: 50, ..SearchPath::default() };
    let alone = engine.search("jaguar", None, &wide).unwrap().into_iter().find(|h| h.doc == "z").unwrap();
    assert_eq!(alone.signals.bm25, z.signals.bm25);
}

#[test]
fn odd_characters_are_text() {
    let (_dir, engine) = build(&catalogue());
    for odd in ["title:jaguar", "\"jaguar", "jaguar AND (", "-jaguar +", "jaguar~2^9", "jaguar*", "\u{202e}jaguar\u{0}"]
    {
        let found = ids(&engine, odd, Some(odd));
        assert!(["v1", "v2", "v3"].iter().all(|v| found.contains(&(*v).to_owned())), "{odd:?}: {found:?}");
    }
    for nothing in ["", " \t\n", "?!()[]{}\"'~^*:\\/", "\u{200b}\u{feff}", "😀🎉", "\u{301}"] {
        assert_eq!(ids(&engine, nothing, Some(nothing)), [""; 0], "{nothing:?}");
    }
    assert_eq!(ids(&engine, &"x".repeat(100_000), None), [""; 0]);
    assert!(ids(&engine, &"jaguar ".repeat(20_000), None).contains(&"v3".to_owned()));
    let long: String = (0..5_000).map(|i| format!("q{i}z ")).collect();
    engine.search(&long, Some(&long), &SearchPath::default()).unwrap();
    assert_eq!(ids(&engine, "光良 jaguar 😀 ́", None).len(), 4, "scripts mix");
}

#[test]
fn a_grown_catalogue_is_added_to_and_answers_as_one_built_anew() {
    let docs = many(600);
    let dir = tempfile::tempdir().unwrap();
    let grow = |docs: &[Doc]| Engine::update(dir.path(), docs, &SearchPath::default(), false, |_, _| Ok(())).unwrap().1;
    assert_eq!((grow(&docs[..400]).how, grow(&docs[..400]).how), (How::Anew, How::Unchanged));
    for n in (420..=600).step_by(20) {
        let update = grow(&docs[..n]);
        assert_eq!((update.how, update.added), (How::Grown, 20));
    }
    let grown = Engine::open(dir.path(), &SearchPath::default()).unwrap();
    assert!(grown.stats().segments <= 9 && grown.stats().shards <= 6, "{:?}", grown.stats());
    let (_other, anew) = build(&docs);
    assert_eq!(grown.fingerprint(), anew.fingerprint());
    // Nothing is cut off, so that no tie at a limit can fall otherwise.
    let all = SearchPath { recall: 600, vector_recall: 0, rawrank: 600, page: 600, ..SearchPath::default() };
    for query in ["jaguar", "queen piano", "wild cat"] {
        assert_eq!(grown.search(query, None, &all).unwrap(), anew.search(query, None, &all).unwrap());
    }
    // One that changed or went is more than growth.
    let mut changed = docs.clone();
    changed[5].title.push_str(" again");
    assert_eq!(grow(&changed).how, How::Anew);
    assert_eq!(grow(&docs[1..]).how, How::Anew);
}

#[test]
fn a_killed_build_leaves_the_earlier_index_and_the_next_build_sweeps() {
    let (dir, _) = build(&catalogue());
    let dead = dir.path().join("build-1-1");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("meta.json"), "{half").unwrap();
    std::fs::write(dir.path().join("current.json.new"), "{\"fold").unwrap();
    let engine = Engine::open(dir.path(), &SearchPath::default()).unwrap();
    assert_eq!(engine.fingerprint(), Engine::fingerprint_of(&catalogue()));
    assert_eq!(ids(&engine, "bread", None)[0], "v4");

    let mut docs = catalogue();
    docs.push(doc("v6", "Bread, again", &[], 0.5));
    let engine = Engine::build(dir.path(), &docs, &SearchPath::default(), |_| ()).unwrap();
    assert!(ids(&engine, "bread", None).contains(&"v6".to_owned()));
    assert_ne!(engine.fingerprint(), Engine::fingerprint_of(&catalogue()));
    assert!(!dead.exists());
}

#[test]
fn a_missing_index_and_every_damaged_file_is_named_with_the_command_that_rebuilds_it() {
    let (dir, engine) = build(&catalogue());
    drop(engine);
    let error = |dir: &std::path::Path| format!("{:#}", Engine::look(dir).err().unwrap());
    let none = error(&dir.path().join("none"));
    assert!(none.contains("no search index at") && none.contains("core index build"), "{none}");
    let build = std::fs::read_dir(dir.path()).unwrap().flatten().find(|e| e.path().is_dir()).unwrap().path();
    let mut files = 0;
    for entry in std::fs::read_dir(&build).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let whole = std::fs::read(&path).unwrap();
        if name.ends_with(".lock") || name == ".managed.json" || whole.is_empty() {
            continue;
        }
        files += 1;
        let mut broken = whole.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 0xff;
        // A line break at the end of a JSON file may go unharmed.
        let cut = whole.trim_ascii_end().len().min(whole.len() - 1);
        for damage in [broken, whole[..cut - 1].to_vec()] {
            std::fs::write(&path, damage).unwrap();
            let said = error(dir.path());
            assert!(said.contains(&name) && said.contains("core index build"), "{name}: {said}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert!(files >= 8, "{files}");
    Engine::open(dir.path(), &SearchPath::default()).unwrap();
    std::fs::write(dir.path().join("current.json"), "{}").unwrap();
    let said = error(dir.path());
    assert!(said.contains("current.json") && said.contains("core index build"), "{said}");
}

#[test]
fn every_document_is_ticked_and_of_two_with_one_id_the_later_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut docs: Vec<Doc> = (0..2_500).map(|i| doc(&format!("d{i}"), "filler", &[], 0.5)).collect();
    docs.push(doc("d7", "replacement", &[], 0.5));
    let ticks = AtomicU64::new(0);
    let engine =
        Engine::build(dir.path(), &docs, &SearchPath::default(), |n| _ = ticks.fetch_add(n, Ordering::Relaxed))
            .unwrap();
    assert_eq!(ticks.into_inner(), 2_500);
    assert_eq!(engine.len(), 2_500);
    assert_eq!(ids(&engine, "replacement", None)[0], "d7");
    assert_eq!(engine.doc("d7").unwrap().unwrap().title, "replacement");
}

#[test]
fn an_empty_catalogue_answers_nothing() {
    let (_dir, engine) = build(&[]);
    assert!(engine.is_empty());
    assert_eq!(ids(&engine, "jaguar", Some("wild")), [""; 0]);
}

#[test]
fn an_explanation_can_be_redone_by_hand() {
    let docs = many(300);
    let (_dir, engine) = build(&docs);
    let settings = SearchPath::default();
    let (query, rewrite) = ("jaguar review", Some("jaguar wild cat"));
    let e = engine.explain(query, rewrite, &settings).unwrap();
    let page = engine.search(query, rewrite, &settings).unwrap();
    assert_eq!(e.hits.iter().map(|h| h.hit.clone()).collect::<Vec<_>>(), page, "one ranking, two ways to ask for it");
    let w = e.weights.rawrank;
    for note in &e.hits {
        let s = note.hit.signals;
        let close = |a: f64, b: f64, what: &str| assert!((a - b).abs() < 2e-5 * b.abs().max(1.0), "{what}: {a} {b}");
        let bm25 = note.matches.iter().filter(|m| m.field != "visual").map(|m| {
            let (tf, length) = (f64::from(m.frequency), f64::from(m.length));
            m.idf * 2.2 * tf / (tf + 1.2 * (0.25 + 0.75 * length / m.average_length))
        });
        close(bm25.sum(), s.bm25, "bm25");
        let coverage = |terms: &[super::explain::TermNote], matches: &[super::explain::MatchNote]| {
            let best = |term: &str| matches.iter().filter(|m| m.term == term).map(|m| m.worth).fold(0.0, f64::max);
            terms.iter().map(|t| t.rarity * best(&t.term)).sum::<f64>() / terms.iter().map(|t| t.rarity).sum::<f64>()
        };
        let relevance = |coverage: f64, cosine: f64| 0.75 * coverage + 0.25 * ((cosine - 0.2) / 0.8).max(0.0);
        close(relevance(coverage(&e.terms, &note.matches), s.cosine), s.relevance, "relevance");
        let r = relevance(coverage(&e.rewrite_terms, &note.rewrite_matches), note.rewrite_cosine);
        close(r, s.rewrite, "rewrite");
        let raw = w.bm25 * (1.0 + s.bm25).ln()
            + w.relevance * s.relevance
            + w.visual * s.visual
            + w.popularity * s.popularity.ln()
            + w.freshness * s.freshness
            + settings.rewrite_rawrank * s.rewrite;
        close(raw, s.rawrank, "rawrank");
        let fine = (0.05 + 0.95 * s.relevance).powf(settings.relevance_weight)
            * s.popularity.powf(settings.popularity_weight)
            * s.satisfaction.powf(settings.satisfaction_weight)
            * (1.0 + s.rewrite).powf(settings.rewrite_finerank);
        close(fine, note.hit.score, "score");
    }
    let text = e.to_text();
    for part in ["rawrank", "finerank", "rarity", &page[0].doc, "jaguar wild cat"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
