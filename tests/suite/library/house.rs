//! The plan of the house against the code: import order, SQL and async in their rooms, a line on top of each file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Low to high: a noun may use those before it.
const NOUNS: [&str; 12] =
    ["recipe", "store", "journal", "logs", "task", "corpus", "model", "search", "judge", "rewriter", "world", "truth"];
/// A verb may use any noun and no verb.
const VERBS: [&str; 17] = [
    "base", "simulate", "describe", "index", "mine", "train", "evaluate", "fake", "serve", "ab", "watch", "report",
    "rewrite", "find", "doctor", "gate", "release",
];
/// May use verbs too.
const COMPOSING: [&str; 3] = ["bench", "demo", "weekly"];
/// Rooms that hold the hidden state of the world, and those that may know it: never one that mines, trains, judges, ranks,
/// rewrites or serves.
const HIDDEN: [(&str, &[&str]); 2] =
    [("world", &["truth", "simulate", "ab", "demo", "bench", "weekly"]), ("truth", &["simulate", "describe"])];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The room of a file, and its code without comments.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let files = sources(&src()).into_iter().filter_map(|path| {
        let inside = path.strip_prefix(src()).unwrap().to_owned();
        let room = inside.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        Some((room, path, code.join("\n")))
    });
    files.filter(|(room, _, _)| !["lib", "main", "cli"].contains(&room.as_str())).collect()
}

/// Rooms that a text names as `crate::room` or inside `use crate::{room, …}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let name = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                // Only the first level of the list names rooms.
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars().chain([',']) {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth <= 0 => {
                            names.insert(name(item.trim()));
                            item.clear();
                        }
                        _ if depth <= 0 => item.push(c),
                        _ => {}
                    }
                }
            }
            None => {
                names.insert(name(rest));
            }
        }
    }
    names
}

#[test]
fn rooms_are_those_of_the_plan() {
    let planned: BTreeSet<&str> = NOUNS.iter().chain(&VERBS).chain(&COMPOSING).copied().collect();
    let files = rooms();
    let built: BTreeSet<&str> = files.iter().map(|(room, _, _)| room.as_str()).collect();
    assert_eq!(built, planned);
}

#[test]
fn imports_follow_the_plan() {
    let mut wrong = Vec::new();
    for (room, path, code) in rooms() {
        for other in used(&code) {
            let noun = NOUNS.iter().position(|n| *n == other);
            let verb = VERBS.contains(&other.as_str()) || COMPOSING.contains(&other.as_str());
            let place = NOUNS.iter().position(|n| *n == room);
            let allowed = other == room
                || match place {
                    Some(place) => noun.is_some_and(|noun| noun < place) || (noun.is_none() && !verb),
                    None => !verb || COMPOSING.contains(&room.as_str()),
                };
            if !allowed {
                wrong.push(format!("{} uses {other}", path.display()));
            }
            let hidden = HIDDEN.iter().find(|(hidden, _)| *hidden == other);
            if hidden.is_some_and(|(hidden, may)| room != *hidden && !may.contains(&room.as_str())) {
                wrong.push(format!("{} peeks at {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hidden_tables_are_out_of_reach_of_what_learns_ranks_and_serves() {
    let learners = [
        "mine", "train", "evaluate", "index", "fake", "serve", "rewrite", "find", "judge", "rewriter", "search",
        "model",
    ];
    for learner in learners {
        assert!(NOUNS.contains(&learner) || VERBS.contains(&learner), "{learner} is a room");
        assert!(HIDDEN.iter().all(|(_, may)| !may.contains(&learner)), "{learner} may not be let in");
    }
    // An import is one way in; opening the files by hand would be another.
    let inside =
        |room: &str| HIDDEN.iter().any(|(hidden, may)| *hidden == room || *hidden == "truth" && may.contains(&room));
    for (room, path, code) in rooms() {
        assert!(
            inside(&room) || !code.contains("\"truth\""),
            "{} names the folder of the hidden tables",
            path.display()
        );
    }
}

#[test]
fn sql_async_and_unsafe_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, path, code) in rooms() {
        let sql = ["rusqlite", "SELECT ", "INSERT INTO", "DELETE FROM"].iter().any(|word| code.contains(word));
        if sql && !["store", "journal", "truth"].contains(&room.as_str()) {
            wrong.push(format!("{} holds SQL", path.display()));
        }
        if (code.contains("async fn") || code.contains(".await") || code.contains("tokio")) && room != "serve" {
            wrong.push(format!("{} is async", path.display()));
        }
        // Kernels alone may be unsafe: code that counts on what a processor has.
        if code.contains("unsafe ") && !path.starts_with(src().join("model/engine")) {
            wrong.push(format!("{} is unsafe", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_verb_is_called_through_one_public_run() {
    for verb in VERBS.iter().chain(&COMPOSING) {
        let text = std::fs::read_to_string(src().join(verb).join("mod.rs")).unwrap();
        let public: Vec<_> = text.lines().filter(|line| line.starts_with("pub fn ")).collect();
        assert!(public.len() == 1 && public[0].starts_with("pub fn run("), "{verb}: {public:?}");
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{} has no //! line on top", path.display()));
        }
        if text.lines().count() > 400 {
            wrong.push(format!("{} has {} lines", path.display(), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_use_lines_sees_nested_lists() {
    let code = "use crate::{ab, train::{x, y}, mine};\nlet z = crate::logs::words(q);";
    assert_eq!(used(code), ["ab", "logs", "mine", "train"].map(String::from).into());
}
