//! The pages of the gate and of the weekly loop: what they show, how they are moved in, and what they pass over.

use super::*;
use crate::judge::{Check, Comparison, Lift, Verdict, Week, Weeks};

fn check(measure: &str, control: f64, difference: f64, rule: &str, passed: bool) -> Check {
    let (low, high) = (difference - 0.02, difference + 0.015);
    let treatment = control + difference;
    let found = Comparison { control, treatment, difference, low, high, p: 0.05, people: 99 };
    Check { measure: measure.into(), found, rule: rule.into(), passed }
}

/// A dozen checks; the second fails where the candidate is refused.
fn verdict(candidate: &str, release: Option<i64>) -> Verdict {
    let promoted = release.is_some();
    let mut checks = vec![
        check("r_main", 2.257, 0.0259, "must rise", true),
        check("entropy", 0.1885, -0.0901, "loses at most 30 %", promoted),
        check("mean_length", 3.266, -0.7187, "rises by at most 15 %", true),
        check("truncated", 0.0044, -0.0002, "rises by at most 0.01", true),
        check("index_hit_rate", 0.3433, 0.1734, "falls by at most 0.05", true),
        check("reject_rate", 0.8194, 0.0997, "moves by at most 0.1", true),
        check("kl", 0.0, 0.1833, "at most 1 nats", true),
    ];
    let own = |i: usize| check(&format!("own_{i}"), 1.0, 0.0, "not worse: the interval reaches 0", true);
    checks.extend((8..=12).map(own));
    let (incumbent, candidate, unit) = ("release:1".into(), candidate.into(), "people".into());
    Verdict { incumbent, candidate, queries: 742, unit, checks, promoted, release }
}

/// A loop of so many weeks of twenty; every third candidate is released.
fn weeks(done: u32) -> Weeks {
    let mut weeks = Weeks::new("tiny-weekly", 20);
    for week in 1..=done {
        let lift = |percent: f64| Some(Lift { percent, low: percent - 2.25, high: percent + 9.5 });
        let x = f64::from(week);
        let release = (week % 3 == 0).then_some(i64::from(week / 3) + 1);
        weeks.push(Week {
            week,
            incumbent: i64::from((week - 1) / 3) + 1,
            searches: 8_000 + week as usize,
            examples: [267, 63],
            verdict: verdict(&format!("tiny-weekly-{week:03}"), release),
            in_use: i64::from(week / 3) + 1,
            improvement_rate: vec![0.3, 0.4],
            drift: 0.5 + x / 100.0,
            lift: lift(x / 2.0),
            candidate_lift: lift(x / 3.0 - 1.0),
            first_lift: (week > 1).then(|| lift(1.0 - x / 10.0)).flatten(),
            ungated_lift: lift(2.0 - x / 4.0),
            ungated: Some(format!("tiny-weekly-{week:03}-ungated")),
        });
    }
    weeks
}

fn report(id: i64, run: i64, title: &str, body: impl serde::Serialize) -> Logged {
    let body = serde_json::to_value(body).unwrap();
    Logged {
        id,
        run,
        time_ms: START_MS,
        event: Event::Report { title: title.into(), fingerprint: String::new(), body },
    }
}

/// A workspace that trains, serves, and has a loop of seven weeks with its newest gate.
pub(super) fn app() -> App {
    let mut app = serving_app();
    let named = |name: &str, run: RunInfo| RunInfo { name: name.into(), ..run };
    app.runs.insert(0, named("tiny-weekly", info(11, "weekly", "running")));
    app.runs.insert(0, named("tiny-weekly-001 against release:1", info(12, "gate", "failed")));
    app.runs.insert(0, named("tiny-weekly-006 against release:2", info(13, "gate", "done")));
    (app.gate, app.weekly) = (Some(13), Some(11));
    for done in 1..=7 {
        app.take(11, &[report(900 + done, 11, "weekly", weeks(done as u32))]);
    }
    app.take(12, &[report(908, 12, "gate", verdict("tiny-weekly-001", None))]);
    app.take(13, &[report(909, 13, "gate", verdict("tiny-weekly-\u{1b}[2J006", Some(3)))]);
    app
}

fn shown(app: &App, width: u16, height: u16) -> String {
    screen(app, width, height, START_MS)
}

#[test]
fn the_gate_page_looks_as_in_its_file() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('7')]);
    same("gate", &app, 80, 24);
    same("gate-wide", &app, 120, 24);
    same("gate-narrow", &app, 36, 12);
    same("gate-tiny", &app, 20, 5);
    assert!(!shown(&app, 120, 24).contains('\u{1b}'), "what a terminal would obey is not drawn");
}

#[test]
fn the_weekly_page_looks_as_in_its_file() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('8')]);
    same("weekly", &app, 80, 24);
    same("weekly-wide", &app, 120, 40);
    same("weekly-narrow", &app, 36, 12);
    same("weekly-tiny", &app, 20, 5);
}

#[test]
fn the_gate_page_is_about_the_newest_verdict_or_the_opened_one() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('7')]);
    assert!(shown(&app, 80, 24).contains("promoted, release 3"));
    press(&mut app, &[KeyCode::Char('1'), KeyCode::Char('j'), KeyCode::Enter]);
    assert_eq!((app.page, app.opened), (Page::Gate, Some(12)), "a gate opens on its page");
    let refused = shown(&app, 80, 24);
    assert!(refused.contains("✗ refused") && refused.contains("1 of 12 failed"), "{refused}");
    // A run of another kind has no verdict: the newest one is shown, and named.
    press(&mut app, &[KeyCode::Char('1'), KeyCode::Char('j'), KeyCode::Enter]);
    assert_eq!((app.page, app.opened), (Page::Weekly, Some(11)), "a loop opens on its page");
    press(&mut app, &[KeyCode::Char('7')]);
    assert_eq!(app.run_of(Page::Gate).map(|run| run.id), Some(13));
    assert!(shown(&app, 120, 24).contains("newest: run 13 gate"));
    let wanted: Vec<_> = app.wanted().into_iter().map(|(run, _)| run).collect();
    assert_eq!(wanted, [11, 13], "their events are read");
}

#[test]
fn keys_move_from_check_to_check_and_from_week_to_week() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('7')]);
    assert!(!shown(&app, 80, 10).contains("> own_12"));
    press(&mut app, &[KeyCode::Char('G')]);
    let last = shown(&app, 80, 10);
    assert!(last.contains("> own_12") && last.contains("own_12: not worse"), "{last}");
    press(&mut app, &[KeyCode::Char('j'), KeyCode::Char('k')]);
    assert!(shown(&app, 80, 10).contains("> own_11"));

    press(&mut app, &[KeyCode::Char('8'), KeyCode::Char('j')]);
    assert!(shown(&app, 80, 24).contains("week 6: tiny-weekly-006, all checks passed"));
    // The week looked at stays when the next one is done; on the newest the cursor follows.
    app.take(11, &[report(950, 11, "weekly", weeks(8))]);
    assert!(shown(&app, 80, 24).contains("week 6: tiny-weekly-006"));
    press(&mut app, &[KeyCode::Home]);
    app.take(11, &[report(951, 11, "weekly", weeks(9))]);
    assert!(shown(&app, 80, 24).contains("week 9: tiny-weekly-009"));
}

#[test]
fn a_report_of_another_version_is_passed_over() {
    let mut older = serde_json::to_value(weeks(8)).unwrap();
    older["rows"][0].as_object_mut().unwrap().remove("verdict");
    let damaged = [older, serde_json::json!({"checks": 7}), serde_json::json!(null), serde_json::json!([{}])];
    for (title, page) in [("gate", Page::Gate), ("weekly", Page::Weekly)] {
        for body in &damaged {
            // With nothing else it is said; behind one that was read, that one stays.
            let mut empty = serving_app();
            empty.runs.insert(0, info(13, title, "done"));
            empty.page = page;
            empty.take(13, &[report(900, 13, title, body)]);
            assert!(shown(&empty, 80, 24).contains("another version of `core`"));
            let mut known = app();
            known.page = page;
            let before = shown(&known, 80, 24);
            let run = known.run_of(page).unwrap().id;
            known.take(run, &[report(990, run, title, body)]);
            assert_eq!(shown(&known, 80, 24), before);
        }
    }
}

#[test]
fn empty_pages_say_where_a_verdict_and_a_week_come_from() {
    let mut app = training_app();
    app.page = Page::Gate;
    assert!(shown(&app, 80, 24).contains("No verdict yet: `core gate` or `core weekly` gives one."));
    app.page = Page::Weekly;
    assert!(shown(&app, 80, 24).contains("No week done yet: `core weekly` runs the loop"));
}

#[test]
fn a_loop_taken_up_again_shows_what_it_had_before_it_says_more() {
    let dir = tempfile::tempdir().unwrap();
    let emit = |journal: &Journal, title: &str, body| {
        journal.emit(&Event::Report { title: title.into(), fingerprint: "f".into(), body }).unwrap();
    };
    let first = Journal::start(dir.path(), "weekly", "tiny", "").unwrap();
    emit(&first, "weekly", serde_json::to_value(weeks(2)).unwrap());
    first.finish(Status::Stopped).unwrap();
    let gate = Journal::start(dir.path(), "gate", "a against b", "").unwrap();
    emit(&gate, "gate", serde_json::to_value(verdict("a", None)).unwrap());
    gate.finish(Status::Failed).unwrap();
    // Cut short, as the disk of a killed machine may hold it.
    let second = Journal::start(dir.path(), "weekly", "tiny", "").unwrap();
    second.append(r#"{"kind":"report","title":"eval","fingerprint":"f","bo"#).unwrap();
    let (mut app, mut feed) = (App::new(), Feed::new(dir.path()));
    feed.look(&mut app).unwrap();
    app.page = Page::Weekly;
    assert!(shown(&app, 80, 24).contains("2 of 20 weeks, 0 promoted"), "{}", shown(&app, 80, 24));
    app.page = Page::Gate;
    assert!(shown(&app, 80, 24).contains("a against release:1"));
    emit(&second, "weekly", serde_json::to_value(weeks(3)).unwrap());
    feed.look(&mut app).unwrap();
    app.page = Page::Weekly;
    assert!(shown(&app, 80, 24).contains("3 of 20 weeks, 1 promoted"));
    assert_eq!(app.run_of(Page::Weekly).unwrap().id, second.run());
}
