//! Reading UBI files and mining examples, through the public faces.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use core_rewriter::journal::Reader;
use core_rewriter::logs::{Click, LogFile, Search, Session, Watched, ubi};
use core_rewriter::mine::{self, Source};
use core_rewriter::recipe::Recipe;
use core_rewriter::store::{ExampleRow, LogKind, Split, Store};
use rand::{Rng, SeedableRng};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> LogFile {
    ubi::read(&at(path), &Recipe::default().mine, &|_| ()).unwrap()
}

fn reasons(file: &LogFile) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for row in &file.skipped {
        *counts.entry(row.reason.as_str()).or_default() += 1;
    }
    counts
}

fn queries(session: &Session) -> Vec<&str> {
    session.searches.iter().map(|s| s.query.as_str()).collect()
}

#[test]
fn ranks_count_from_one_whatever_the_application_counts_from() {
    let file = read("tests/data/ubi/ordinals.ndjson");
    let [zero, one] = file.sessions.as_slice() else { panic!("two sessions, got {}", file.sessions.len()) };
    let ranks = |s: &Search| s.clicks.iter().map(|c| (c.doc.clone(), c.rank)).collect::<Vec<_>>();
    assert_eq!(ranks(&zero.searches[0]), [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(ranks(&one.searches[0]), [("7".to_owned(), 2)]);
    // `a` until the click on `b`; nothing tells how long `b` was looked at.
    let dwells = |s: &Search| s.clicks.iter().map(|c| c.dwell_s).collect::<Vec<_>>();
    assert_eq!(dwells(&zero.searches[0]), [Some(4.0), None]);
    // No query row for o2: the search event's message is the query. The file's own dwell goes before the clock.
    assert_eq!(one.searches[1].query, "jaguar car");
    let bought = &one.searches[1].clicks[0];
    assert!(bought.bought && bought.dwell_s == Some(42.5) && bought.rank == 0);
    // All three spellings of time in session s2 are the same day, UTC.
    let times: Vec<_> = one.searches.iter().map(|s| s.time_ms).chain([bought.time_ms]).collect();
    assert_eq!(times, [1_700_000_000_000, 1_700_000_030_000, 1_700_000_036_000]);
    assert_eq!((file.docs.len(), file.docs[0].title.as_str()), (1, "Jaguar F-Type"));
    assert_eq!(reasons(&file), BTreeMap::from([("no object id", 1)]));
}

#[test]
fn older_lines_with_index_and_tab_are_read() {
    let file = read("tests/data/ubi/older.tsv");
    let search = &file.sessions[0].searches[0];
    assert_eq!(search.shown, ["11", "12"]);
    // The rank is not said, so it is the place among what was shown; sorting the page ended the dwell.
    let click = Click { doc: "12".into(), rank: 2, time_ms: 1_700_000_004_000, dwell_s: Some(12.0), bought: false };
    assert_eq!(search.clicks, [click]);
    // The session id stands inside the click's attributes alone.
    assert_eq!((file.sessions[0].id.as_str(), file.sessions[0].user.as_str()), ("inner", "c"));
    assert_eq!((file.rows_read, reasons(&file)), (3, BTreeMap::from([("action not about a result", 1)])));
}

#[test]
fn every_kind_of_damage_is_counted_and_the_rest_is_read() {
    let file = read("tests/data/ubi/damaged.ndjson");
    assert_eq!(queries(&file.sessions[0]), ["good", "wrapped"]);
    let expected = [
        ("action not about a result", 1),
        ("duplicate", 1),
        ("empty query", 1),
        ("invalid JSON", 6),
        ("invalid UTF-8", 1),
        ("neither query nor event", 1),
        ("no object id", 1),
        ("no query for the id", 1),
        ("no query id", 2),
        ("no session, client or user id", 1),
        ("truncated last line", 1),
        ("unknown time", 1),
    ];
    assert_eq!(reasons(&file), BTreeMap::from(expected));
    // 23 lines; a blank one and two action lines are framing.
    assert_eq!((file.rows_read, file.skipped.len()), (20, 18));
    let cut = file.skipped.last().unwrap();
    assert_eq!((cut.line, cut.reason.as_str()), (23, "truncated last line"));
    assert!(file.skipped.iter().all(|s| !s.excerpt.chars().any(char::is_control)));
}

#[test]
fn a_line_of_megabytes_is_skipped_and_the_next_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.ndjson");
    let row = |q: &str| format!(r#"{{"query_id":"q","client_id":"c","user_query":"{q}","timestamp":1700000000000}}"#);
    std::fs::write(&path, format!("{}\n{}\n", row(&"x".repeat(3 << 20)), row("short"))).unwrap();
    let file = ubi::read(&path, &Recipe::default().mine, &|_| ()).unwrap();
    assert_eq!(reasons(&file), BTreeMap::from([("line too long", 1)]));
    assert_eq!(queries(&file.sessions[0]), ["short"]);
}

#[test]
fn a_query_being_typed_is_the_last_one_only() {
    let file = read("tests/data/ubi/typing.ndjson");
    let kept = ["laptop", "bag", "bag red", "red case", "sofa", "sofa bed", "lamp"];
    assert_eq!(queries(&file.sessions[0]), kept);
    assert_eq!(reasons(&file), BTreeMap::from([("typed on within 2 s", 5)]));
}

#[test]
fn rows_without_a_session_are_put_into_sittings() {
    let file = read("tests/data/ubi/sessions.ndjson");
    let sittings: Vec<_> = file.sessions.iter().map(|s| (s.user.as_str(), queries(s))).collect();
    let of_k = vec!["joins what follows", "named", "joins", "another text under the same id"];
    assert_eq!(sittings, [("c", vec!["first", "second"]), ("c", vec!["hours later"]), ("u", of_k)]);
    let named = &file.sessions[2];
    assert_eq!(named.id, "named");
    // One id, two texts: each click goes to the text it quotes, else to the last one typed by then.
    let clicks: Vec<Vec<_>> =
        named.searches.iter().map(|s| s.clicks.iter().map(|c| c.doc.as_str()).collect()).collect();
    assert_eq!(clicks, [vec![], vec!["x"], vec![], vec!["y"]]);
    let ids: HashSet<_> = named.searches.iter().map(|s| &s.id).collect();
    assert_eq!(ids.len(), 4);
    // Opened outside search, and opened from a search: both were watched; `x` has no title.
    let watched: Vec<_> = named.watched.iter().map(|w| w.title.as_str()).collect();
    assert_eq!(watched, ["Big cats of Brazil", "Jaguar"]);
    assert_eq!(reasons(&file), BTreeMap::from([("no query id", 1)]));
}

#[test]
fn a_dwell_ends_with_the_next_event_unless_that_is_hours_away() {
    let session = &read("tests/data/ubi/dwell.ndjson").sessions[0];
    let dwells: Vec<_> = session.searches.iter().flat_map(|s| &s.clicks).map(|c| c.dwell_s).collect();
    assert_eq!(dwells, [None, Some(1.0), Some(60.0)]);
    // What was left at once was not watched.
    let watched: Vec<_> = session.watched.iter().map(|w| w.title.as_str()).collect();
    assert_eq!(watched, ["Then nothing for hours", "Read for a minute"]);
}

#[test]
fn what_was_shown_comes_from_hit_ids_or_else_from_impressions() {
    let file = read("tests/data/ubi/shown.ndjson");
    let [quoted, hits] = file.sessions[0].searches.as_slice() else { panic!("two searches") };
    assert_eq!((quoted.query.as_str(), quoted.time_ms), ("quoted by events alone", 1_700_000_000_005));
    assert_eq!(quoted.shown, ["a", "b", "c", "x"]);
    assert_eq!(hits.shown, ["p", "q"]);
    assert_eq!(hits.clicks[0].rank, 2);
}

#[test]
fn a_folder_is_read_in_name_order_and_an_empty_one_is_refused() {
    let file = read("tests/data/ubi");
    let parts = [
        "damaged.ndjson",
        "dwell.ndjson",
        "older.tsv",
        "ordinals.ndjson",
        "sessions.ndjson",
        "shown.ndjson",
        "typing.ndjson",
    ];
    let rows: usize = parts.iter().map(|p| read(&format!("tests/data/ubi/{p}")).rows_read).sum();
    assert_eq!(file.rows_read, rows);
    assert!(file.skipped.iter().any(|s| s.excerpt.starts_with("damaged.ndjson: ")));
    let empty = tempfile::tempdir().unwrap();
    let mine = Recipe::default().mine;
    let error = ubi::read(empty.path(), &mine, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("no .ndjson"), "{error}");
    let error = ubi::read(&empty.path().join("absent.ndjson"), &mine, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("absent.ndjson"), "{error}");
}

#[test]
fn the_real_slice_adds_up() {
    let path = at("datasets/ubi-sample/chorus.ndjson");
    let bytes = Cell::new(0);
    let file = ubi::read(&path, &Recipe::default().mine, &|n| bytes.set(bytes.get() + n)).unwrap();
    assert_eq!(bytes.get(), ubi::size(&path));
    // Counted without the reader: every second line of the bulk file is a row.
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(file.rows_read, text.lines().count() / 2);
    let expected = [
        ("action not about a result", 34),
        ("duplicate", 24),
        ("empty query", 6),
        ("no query for the id", 60),
        ("no query id", 2),
        ("typed on within 2 s", 105),
    ];
    assert_eq!(reasons(&file), BTreeMap::from(expected));
    assert_eq!(file.sessions.len(), 22);
    let searches: Vec<_> = file.sessions.iter().flat_map(|s| &s.searches).collect();
    let ids: HashSet<_> = searches.iter().map(|s| &s.id).collect();
    assert_eq!((searches.len(), ids.len()), (35, 35));
    let in_order =
        |s: &Session| s.searches.is_sorted_by_key(|s| s.time_ms) && s.watched.is_sorted_by_key(|w| w.time_ms);
    assert!(file.sessions.iter().all(in_order));
}

#[test]
fn no_bytes_stop_the_reader() {
    let text = std::fs::read(at("datasets/ubi-sample/chorus.ndjson")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any.ndjson");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for _ in 0..150 {
        let from = rng.random_range(0..text.len() - 20_000);
        let mut part = text[from..from + 20_000].to_vec();
        for _ in 0..rng.random_range(1..200) {
            let (a, b) = (rng.random_range(0..part.len()), rng.random_range(0..part.len()));
            match rng.random_range(0..3) {
                0 => part[a] = rng.random(),
                1 => part[a] = part[b],
                _ => part.swap(a, b),
            }
        }
        std::fs::write(&path, &part).unwrap();
        // An `Ok` also says that rows read, used and skipped added up.
        ubi::read(&path, &Recipe::default().mine, &|_| ()).unwrap();
    }
}

#[test]
fn importing_and_mining_the_real_slice_gives_one_set_of_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::default();
    let path = at("datasets/ubi-sample/chorus.ndjson");
    let import = || mine::run(dir.path(), &recipe, "chorus", Source::Ubi(&path)).unwrap();
    let summary = import();
    assert_eq!((summary.rows_read, summary.rows_skipped), (537, 231));
    assert_eq!((summary.queries, summary.sessions), (35, 22));
    let skipped: BTreeMap<_, _> = summary.skipped_by_reason.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(skipped, reasons(&read("datasets/ubi-sample/chorus.ndjson")));
    adds_up(&summary);
    // A few sittings in a demo shop leave nothing on either side, and the summary says so.
    assert_eq!(summary.held_out, 0);
    assert!(summary.note.contains("Nothing is held out"), "{}", summary.note);
    let runs = Reader::open(dir.path()).unwrap().runs().unwrap();
    assert!(runs.len() == 1 && runs.iter().all(|r| r.verb == "mine" && r.status == "done"));
    // Again, over the first import and without it: the same, and not twice.
    assert_eq!(import(), summary);
    assert_eq!(mine::run(dir.path(), &recipe, "chorus", Source::Store).unwrap(), summary);
}

#[test]
fn a_simulated_log_is_not_overwritten_by_a_file() {
    let dir = tempfile::tempdir().unwrap();
    world(dir.path(), 3, 2);
    let path = at("datasets/ubi-sample");
    let error = mine::run(dir.path(), &Recipe::default(), "w", Source::Ubi(&path)).unwrap_err().to_string();
    assert!(error.contains("--log"), "{error}");
    assert_eq!(Store::open(dir.path()).unwrap().log("w").unwrap().kind, "world");
}

#[test]
fn a_log_that_is_not_there_fails_with_the_names_of_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    world(dir.path(), 3, 2);
    let error = mine::run(dir.path(), &Recipe::default(), "wrold", Source::Store).unwrap_err().to_string();
    assert!(error.contains("wrold") && error.contains("holds w"), "{error}");
    assert_eq!(Reader::open(dir.path()).unwrap().runs().unwrap()[0].status, "failed");
}

fn adds_up(s: &mine::Summary) {
    assert_eq!(s.queries, s.samples + s.unused + s.dropped_by_reason.values().sum::<usize>(), "{s:?}");
    assert_eq!(s.samples, s.rewrites + s.rejects);
    assert_eq!(s.samples, s.train + s.held_out);
}

const DAY_MS: i64 = 86_400_000;

/// Every person, every day: one rewrite in one session, one reject in another.
fn world(workspace: &Path, people: usize, days: i64) {
    let search = |query: &str, time_ms: i64, dwell_s: f32| {
        let click = Click {
            doc: format!("d{dwell_s}"),
            rank: 1,
            time_ms: time_ms + 1_000,
            dwell_s: Some(dwell_s),
            bought: false,
        };
        Search { id: format!("{query}{time_ms}"), query: query.into(), time_ms, shown: Vec::new(), clicks: vec![click] }
    };
    let mut store = Store::open(workspace).unwrap();
    let fill = store.write_log("w", LogKind::World, "test", |w| {
        for user in 0..people {
            for day in 0..days {
                let time_ms = day * DAY_MS + user as i64 * 1_000;
                let title = "Big cats of Brazil".to_owned();
                let watched = Watched { title, time_ms: time_ms - 60_000, ..Watched::default() };
                let mut session = Session { user: format!("u{user}"), start_ms: time_ms, ..Session::default() };
                session.id = format!("a{user}-{day}");
                session.watched = vec![watched];
                session.searches = vec![search("jaguar", time_ms, 1.0), search("jaguar cats", time_ms + 20_000, 60.0)];
                w.session(&session)?;
                session.id = format!("b{user}-{day}");
                session.searches = vec![search("weather", time_ms + DAY_MS / 2, 30.0)];
                w.session(&session)?;
            }
        }
        Ok(())
    });
    fill.unwrap();
}

#[test]
fn nobody_and_no_day_that_is_held_out_is_in_training() {
    let dir = tempfile::tempdir().unwrap();
    let (people, days) = (60, 10);
    world(dir.path(), people, days);
    let mut recipe = Recipe::default();
    recipe.mine.rejects_per_rewrite = 0.5;
    let summary = mine::run(dir.path(), &recipe, "w", Source::Store).unwrap();
    adds_up(&summary);
    let store = Store::open(dir.path()).unwrap();
    let log = store.log("w").unwrap();
    let held_out = || -> Vec<ExampleRow> {
        let sides = [Split::Validation, Split::Test].map(|side| store.examples(&log, side).unwrap());
        assert!(sides.iter().all(|side| !side.is_empty()));
        sides.concat()
    };
    let train = store.examples(&log, Split::Train).unwrap();
    let sides = [Split::Train, Split::Validation, Split::Test].map(|side| store.examples(&log, side).unwrap());
    let held = held_out();
    assert_eq!((train.len(), held.len()), (summary.train, summary.held_out));
    assert!(!train.is_empty());
    let trained: HashSet<_> = train.iter().map(|e| &e.user).collect();
    let tested: HashSet<_> = held.iter().map(|e| &e.user).collect();
    assert!(trained.is_disjoint(&tested));
    assert!((4..=20).contains(&tested.len()), "a share of 0.2 of 60 people is about 12, not {}", tested.len());
    let last_trained = train.iter().map(|e| e.time_ms).max().unwrap();
    let first_tested = held.iter().map(|e| e.time_ms).min().unwrap();
    assert!(last_trained < first_tested);
    // The span ends half a day into the tenth day; its last quarter starts in the eighth.
    assert_eq!((last_trained / DAY_MS, first_tested / DAY_MS), (7, 7));
    // Rejects are capped on each side; the rest was drawn out and counted.
    for side in &sides {
        let rewrites = side.iter().filter(|e| e.target.is_some()).count();
        assert_eq!(side.len() - rewrites, (rewrites as f64 * 0.5).round() as usize);
    }
    let example = train.iter().find(|e| e.target.is_some()).unwrap();
    assert_eq!((example.query.as_str(), example.target.as_deref()), ("jaguar", Some("jaguar cats")));
    assert_eq!(example.satisfied_doc.as_deref(), Some("d60"));
    assert_eq!(example.context.watched[0].title, "Big cats of Brazil");
    assert!(example.context.queries.is_empty());
    // The same recipe draws the same; another seed holds out others.
    let again = mine::run(dir.path(), &recipe, "w", Source::Store).unwrap();
    assert_eq!((again, store.examples(&log, Split::Train).unwrap()), (summary, train));
    recipe.seed += 1;
    mine::run(dir.path(), &recipe, "w", Source::Store).unwrap();
    let others: HashSet<_> = held_out().into_iter().map(|e| e.user).collect();
    assert_ne!(others, tested.into_iter().cloned().collect());
}
