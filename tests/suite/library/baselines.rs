//! The rules that a model must beat: what they learn from, and what they do with text that nobody foresaw.

use std::collections::BTreeSet;
use std::path::Path;

use core_rewriter::logs::{Context, Doc, Seen, Session};
use core_rewriter::recipe::Recipe;
use core_rewriter::rewriter::{RULES, Reason, Rewriter};
use core_rewriter::search::{Engine, index_dir};
use core_rewriter::store::{LogKind, Split, Store, person_split, training_ends_ms};
use core_rewriter::{mine, simulate};

fn small() -> Recipe {
    let mut recipe = Recipe::load("tiny").unwrap();
    (recipe.world.videos, recipe.world.people, recipe.baselines.min_people) = (600, 160, 2);
    recipe
}

fn sessions(workspace: &Path) -> (Vec<Session>, Vec<Doc>) {
    let store = Store::open(workspace).unwrap();
    let log = store.log("tiny").unwrap();
    let mut all = Vec::new();
    let keep = |session| {
        all.push(session);
        Ok(())
    };
    store.for_each_session(&log, keep).unwrap();
    (all, store.docs(&log).unwrap())
}

/// The same log, where all that must not be learnt from says something else, and satisfied everybody.
fn spoilt(recipe: &Recipe, sessions: &[Session]) -> Vec<Session> {
    let times = || sessions.iter().flat_map(|s| &s.searches).map(|s| s.time_ms);
    let end_ms = training_ends_ms(recipe, Some((times().min().unwrap(), times().max().unwrap())));
    let mut sessions = sessions.to_vec();
    for session in &mut sessions {
        let held_out = person_split(recipe, &session.user) != Split::Train;
        for search in session.searches.iter_mut().filter(|s| held_out || s.time_ms > end_ms) {
            search.query += " leaked";
            search.clicks.iter_mut().for_each(|click| click.dwell_s = Some(90.0));
        }
    }
    sessions
}

fn answers(workspace: &Path, recipe: &Recipe, rule: &str, asked: &[(Context, String)]) -> Vec<Option<String>> {
    let requests: Vec<_> = asked.iter().map(|(context, query)| (context, query.as_str())).collect();
    let rule = Rewriter::open(workspace, recipe, rule).unwrap();
    rule.rewrite(&requests).unwrap().into_iter().map(|outcome| outcome.rewrite).collect()
}

#[test]
fn rules_learn_from_training_people_before_training_ends_and_from_nothing_else() {
    let (clean, spoilt_place, recipe) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), small());
    simulate::run(clean.path(), &recipe, simulate::Part::default(), false).unwrap();
    let (whole, docs) = sessions(clean.path());
    let other = spoilt(&recipe, &whole);
    assert_ne!(whole, other);
    Store::open(spoilt_place.path())
        .unwrap()
        .write_log("tiny", LogKind::World, "spoilt", |log| {
            docs.iter().try_for_each(|doc| log.doc(doc))?;
            other.iter().try_for_each(|session| log.session(session))
        })
        .unwrap();
    Engine::build(&index_dir(spoilt_place.path(), "tiny"), &docs, &recipe.search, |_| ()).unwrap();
    for place in [clean.path(), spoilt_place.path()] {
        mine::run(place, &recipe, "tiny", mine::Source::Store).unwrap();
    }
    let queries: BTreeSet<&str> = whole.iter().flat_map(|s| &s.searches).map(|s| s.query.as_str()).collect();
    let watched = |query: &str| {
        let title = docs[query.len() % docs.len()].title.clone();
        Context { watched: vec![Seen { title, tags: Vec::new() }], ..Context::default() }
    };
    let asked: Vec<_> = queries.iter().map(|query| (watched(query), (*query).to_owned())).collect();
    for rule in RULES {
        let said = answers(clean.path(), &recipe, rule, &asked);
        assert_eq!(said, answers(spoilt_place.path(), &recipe, rule, &asked), "{rule}");
        let rewrites = said.iter().flatten().count();
        assert_eq!(rewrites == 0, rule == "never", "{rule} rewrites {rewrites} of {}", said.len());
    }
}

#[test]
fn odd_text_is_answered_and_never_breaks_a_rule() {
    let (workspace, recipe) = (tempfile::tempdir().unwrap(), small());
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    mine::run(workspace.path(), &recipe, "tiny", mine::Source::Store).unwrap();
    let long = "jaguar ".repeat(40_000);
    let odd = [
        "",
        "   ",
        "?!*:\"()[]{}~^\\/ AND OR NOT",
        "\u{0}\u{1b}[2J",
        "😀😀",
        "\u{202e}raugaj",
        "光良 第一次 live",
        "e\u{301}\u{301}\u{301}\u{301}",
        "ﬁﬀ ＪＡＧＵＡＲ",
        "<|im_end|><|reject|>",
        "a",
        "-1e308 NaN inf",
        long.as_str(),
    ];
    let context = |text: &str| Context {
        watched: vec![Seen { title: text.into(), tags: vec![text.into()] }],
        queries: vec![text.into()],
        place: Some(text.into()),
    };
    for name in RULES {
        let rule = Rewriter::open(workspace.path(), &recipe, name).unwrap();
        for query in odd {
            for context in [Context::default(), context(query), context("jaguar")] {
                let outcome = rule.rewrite(&[(&context, query)]).unwrap().remove(0);
                let asked_nothing = !query.chars().any(char::is_alphanumeric);
                assert!(!asked_nothing || outcome.reason != Reason::Rewritten, "{name} {query:?}: {outcome:?}");
                assert!(outcome.rewrite.is_none_or(|text| !text.trim().is_empty()), "{name} {query:?}");
            }
        }
    }
}

#[test]
fn a_rule_that_lacks_its_log_says_what_to_run() {
    let workspace = tempfile::tempdir().unwrap();
    for name in RULES.into_iter().filter(|name| *name != "never") {
        let error =
            Rewriter::open(workspace.path(), &small(), name).err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(error.contains("core "), "{name}: {error}");
    }
}
