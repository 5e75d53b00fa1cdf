//! The screen against plain files in `snapshots/`; `BLESS=1 cargo test watch` writes them anew, to be read in the diff.

mod judged;

use std::path::Path;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::app::{App, Page};
use super::draw::{Paint, draw};
use super::feed::Feed;
use super::keys;
use crate::journal::{Event, Journal, Logged, PathTimes, RunInfo, Sampled, Status};
use crate::store::{self, Store};

const START_MS: i64 = 1_700_000_000_000;

fn screen(app: &App, width: u16, height: u16, now_ms: i64) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, now_ms, Paint::new(true))).unwrap();
    let rows = terminal.backend().buffer().content.chunks(usize::from(width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

fn same(name: &str, app: &App, width: u16, height: u16) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/watch/snapshots/{name}.txt"));
    let drawn = screen(app, width, height, START_MS + 75_000);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert!(drawn == wanted, "{name} is not as in its file:\n{drawn}");
}

fn press(app: &mut App, codes: &[KeyCode]) {
    for &code in codes {
        app.apply(keys::action(KeyEvent::new(code, KeyModifiers::NONE)).unwrap());
    }
}

fn info(id: i64, verb: &str, status: &str) -> RunInfo {
    let started_ms = START_MS - (9 - id) * 60_000;
    let finished_ms = (status != "running").then_some(started_ms + 61_000);
    RunInfo { id, verb: verb.into(), name: "tiny".into(), status: status.into(), started_ms, finished_ms, events: 7 }
}

fn metrics(step: u64, split: &str, values: &[(&str, f64)]) -> Event {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    Event::Metrics { step, steps: 200, split: split.into(), values }
}

fn sample(step: u64, query: &str, target: &str, output: &str) -> Event {
    let context =
        "watched: Big cats of the Pantanal by night, The fastest land animals; asked: wild animals brazil, 猫";
    let text = str::to_owned;
    Event::Sample { step, query: text(query), context: text(context), target: text(target), output: text(output) }
}

/// What a training run says until step 120 of 200.
fn training_events() -> Vec<Event> {
    let progress = |done| Event::Progress { stage: "train".into(), done, total: 200 };
    let mut events = vec![Event::Note { text: "5312 examples to train on, 1030 held out".into() }, progress(0)];
    for step in 1..=120 {
        let x = step as f64 / 120.0;
        let loss = 0.8 + 5.0 * (1.0 - x).powi(3);
        let speed = [("lr", 0.003 * (1.0 - x)), ("grad_norm", 0.5 + x), ("tokens_per_s", 3_120.0)];
        events.push(metrics(
            step,
            "train",
            &[&[("loss", loss), ("mean_token_accuracy", x * 0.9)], &speed[..]].concat(),
        ));
        if step % 40 == 0 {
            let shares = [("exact_match", x / 2.0), ("reject_precision", 0.75), ("reject_recall", x / 3.0)];
            events.push(metrics(step, "eval", &[&[("loss", loss + 0.3)], &shares[..]].concat()));
            events.push(sample(step, "jaguar", "jaguar animal top speed", "jaguar animal top speed"));
            events.push(sample(step, "weather", "<reject>", "weather\u{1b}[2J tomorrow"));
            events.push(Event::Checkpoint { step, path: format!("work/runs/tiny/step-{step}") });
            events.push(progress(step));
        }
    }
    events
}

fn training_app() -> App {
    let mut app = App::new();
    app.runs = vec![info(9, "train", "running"), info(8, "mine", "done"), info(7, "simulate", "failed")];
    app.training = Some(9);
    let logged = |(i, event)| Logged { id: i as i64 + 1, run: 9, time_ms: START_MS + i as i64 * 500, event };
    app.take(9, &training_events().into_iter().enumerate().map(logged).collect::<Vec<_>>());
    app
}

/// A server's minute: quiet, busy, and quiet again.
fn serving_events() -> Vec<Event> {
    let one = |second: u64| {
        let busy = (5..25).contains(&second);
        let path = |name: &str, count, p50_ms, p99_ms| (name.to_owned(), PathTimes { count, p50_ms, p99_ms });
        let paths = [
            path("plain", 40 + 7 * second, 0.8, 2.0 + second as f64 / 10.0),
            path("fused", 30 + second, 1.7, 4.5 + (second % 5) as f64),
            path("fake", 12, 0.9, 2.25),
        ];
        let fates = [("hit", 42), ("reject", 20 + second), ("miss", 9), ("late", second / 9), ("error", second / 20)];
        Event::Serving {
            span_ms: 2_000,
            paths: if busy { paths.into() } else { Default::default() },
            rewriting: fates.into_iter().filter(|_| busy).map(|(fate, n)| (fate.to_owned(), n)).collect(),
            refused: u64::from(second == 7),
        }
    };
    (1..=24).map(one).collect()
}

fn serving_app() -> App {
    let mut app = training_app();
    app.runs.insert(0, RunInfo { name: "tiny-sft".into(), ..info(10, "serve", "running") });
    let logged = |(i, event)| Logged { id: i as i64 + 500, run: 10, time_ms: START_MS + i as i64 * 2_000, event };
    app.take(10, &serving_events().into_iter().enumerate().map(logged).collect::<Vec<_>>());
    app
}

#[test]
fn the_serving_page_looks_as_in_its_file() {
    let mut app = serving_app();
    press(&mut app, &[KeyCode::Char('5')]);
    same("serving", &app, 80, 24);
    same("serving-wide", &app, 120, 40);
    same("serving-tiny", &app, 20, 5);
    assert!(app.wanted().iter().any(|(run, _)| *run == 10), "its events are read");
    let mut app = serving_app();
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!((app.page, app.opened), (Page::Serving, Some(10)), "a server opens on its page");
}

#[test]
fn a_quiet_server_says_what_to_do_and_one_gone_quiet_shows_no_old_rate() {
    let mut app = training_app();
    app.page = Page::Serving;
    assert!(screen(&app, 80, 24, START_MS).contains("Nothing served yet: start `core serve`"));
    let mut app = serving_app();
    app.page = Page::Serving;
    let idle = Event::Serving { span_ms: 2_000, paths: [].into(), rewriting: [].into(), refused: 0 };
    app.take(10, &[Logged { id: 900, run: 10, time_ms: START_MS + 50_000, event: idle }]);
    let shown = screen(&app, 80, 24, START_MS + 60_000);
    assert!(shown.contains(" 0 searches/s"), "{shown}");
}

/// A prompt of a rollout whose completions say three things.
fn rollout_app() -> App {
    let sampled = |output: &str, advantage: f64| {
        let parts = [("hit", advantage / 2.0), ("posterior", 0.31), ("format", 0.0)];
        let parts = parts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let reward = (output != "jaguar ...").then_some(advantage / 2.0 + 0.31);
        Sampled { output: output.into(), reward, parts, advantage, unsaid: output == "jaguar ..." }
    };
    let tries = [("jaguar car", 1.2), ("jaguar \u{1b}[2Jcat", -0.7), ("jaguar car", 1.2), ("jaguar ...", -1.1)];
    let event = |step, query: &str| Event::Rollout {
        step,
        query: query.into(),
        context: "watched: Sports car, 猫; asked: cars".into(),
        target: "jaguar car".into(),
        sampled: tries.map(|(output, advantage)| sampled(output, advantage)).to_vec(),
    };
    let mut app = training_app();
    let events = [(900, event(1, "older")), (901, event(2, "jaguar"))];
    let logged = events.map(|(id, event)| Logged { id, run: 9, time_ms: START_MS, event });
    app.take(9, &logged);
    press(&mut app, &[KeyCode::Char('6')]);
    app
}

#[test]
fn the_rollouts_page_looks_as_in_its_file_and_is_browsed_prompt_by_prompt() {
    let mut app = rollout_app();
    same("rollouts", &app, 80, 24);
    same("rollouts-wide", &app, 120, 24);
    same("rollouts-tiny", &app, 20, 5);
    press(&mut app, &[KeyCode::Char('j')]);
    let older = screen(&app, 80, 24, START_MS);
    assert!(older.contains("older") && older.contains("group 2 of 2"), "{older}");
}

#[test]
fn every_page_looks_as_in_its_file() {
    let mut app = training_app();
    for (page, name) in Page::ALL.into_iter().zip(["runs", "training", "samples", "log"]) {
        app.page = page;
        same(name, &app, 80, 24);
        same(&format!("{name}-tiny"), &app, 20, 5);
    }
    press(&mut app, &[KeyCode::Char('?')]);
    same("help", &app, 80, 24);
}

#[test]
fn no_size_and_no_page_is_too_small_or_too_large() {
    let mut app = judged::app();
    for help in [false, true] {
        app.help = help;
        for page in Page::ALL {
            app.page = page;
            for width in (1..=40).chain([70, 79, 300]) {
                for height in (1..=18).chain([24, 90]) {
                    screen(&app, width, height, START_MS);
                }
            }
        }
    }
}

#[test]
fn without_colour_the_text_is_the_same() {
    let mut app = judged::app();
    for page in Page::ALL {
        app.page = page;
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut text = |colour| {
            terminal.draw(|frame| draw(frame, &app, START_MS, Paint::new(colour))).unwrap();
            let cells = &terminal.backend().buffer().content;
            let coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
            (cells.iter().map(|cell| cell.symbol()).collect::<String>(), coloured)
        };
        let (plain, coloured) = (text(false), text(true));
        assert_eq!(plain.0, coloured.0);
        assert_eq!((plain.1, coloured.1), (false, true));
    }
}

#[test]
fn keys_open_a_run_move_in_it_and_let_go() {
    let mut app = training_app();
    press(&mut app, &[KeyCode::Char('j'), KeyCode::Enter]);
    assert_eq!((app.opened, app.page), (Some(8), Page::Log));
    assert_eq!(app.wanted(), [(8, 0)]);
    press(&mut app, &[KeyCode::Char('f'), KeyCode::Char('2')]);
    assert_eq!(app.run_of(Page::Training).unwrap().id, 9);
    press(&mut app, &[KeyCode::Esc]);
    assert!(app.quit);
    let mut app = training_app();
    press(&mut app, &[KeyCode::Char('?'), KeyCode::Esc]);
    assert!(!app.help && !app.quit);
}

#[test]
fn what_is_read_stays_in_place_while_more_arrives() {
    let mut app = training_app();
    app.page = Page::Samples;
    press(&mut app, &[KeyCode::Down, KeyCode::Down]);
    let before = screen(&app, 80, 24, START_MS);
    let more = |id| Logged { id, run: 9, time_ms: START_MS, event: sample(200, "late", "late one", "late one") };
    app.take(9, &[more(9_000), more(9_001)]);
    let after = screen(&app, 80, 24, START_MS);
    let body = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&before), body(&after));
    press(&mut app, &[KeyCode::Home]);
    assert!(screen(&app, 80, 24, START_MS).contains("late one"));
}

#[test]
fn a_loss_that_is_no_number_is_said() {
    let mut app = training_app();
    app.page = Page::Training;
    let event = metrics(121, "train", &[("loss", f64::NAN)]);
    app.take(9, &[Logged { id: 9_000, run: 9, time_ms: START_MS, event }]);
    assert!(screen(&app, 80, 24, START_MS).contains("! loss was not a number at step 121"));
}

#[test]
fn a_store_that_is_not_there_is_waited_for_and_an_empty_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("later");
    let (mut app, mut feed) = (App::new(), Feed::new(&workspace));
    feed.look(&mut app).unwrap();
    assert!(screen(&app, 80, 24, 0).contains("Waiting for a store"));
    assert!(!workspace.exists(), "looking must not make the workspace");
    drop(Store::open(&workspace).unwrap());
    feed.look(&mut app).unwrap();
    assert!(screen(&app, 80, 24, 0).contains("No run yet"));
    let journal = Journal::start(&workspace, "mine", "x", "").unwrap();
    feed.look(&mut app).unwrap();
    app.page = Page::Log;
    assert!(screen(&app, 80, 24, 0).contains("said nothing yet"));
    drop(journal);
    std::fs::remove_dir_all(&workspace).unwrap();
    feed.look(&mut app).unwrap();
    assert!(screen(&app, 80, 24, 0).contains("Waiting for a store"));
}

#[test]
fn events_of_a_newer_kind_are_passed_over_and_a_newer_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::start(dir.path(), "train", "x", "").unwrap();
    for body in [r#"{"kind":"hologram","depth":3}"#, "not even JSON", r#"{"kind":"metrics","step":"one"}"#] {
        journal.append(body).unwrap();
    }
    journal.note("still here").unwrap();
    let (mut app, mut feed) = (App::new(), Feed::new(dir.path()));
    feed.look(&mut app).unwrap();
    app.page = Page::Log;
    assert!(screen(&app, 80, 24, 0).contains("still here"));
    store::pretend_newer(dir.path());
    let error = Feed::new(dir.path()).look(&mut App::new()).unwrap_err().to_string();
    assert!(error.contains("newer `core`"), "{error}");
}

#[test]
fn a_finished_run_replayed_looks_as_it_did_live() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::start(dir.path(), "train", "x", "").unwrap();
    let (mut live, mut feed) = (App::new(), Feed::new(dir.path()));
    for (i, event) in training_events().iter().enumerate() {
        journal.emit(event).unwrap();
        if i % 7 == 0 {
            feed.look(&mut live).unwrap();
        }
    }
    journal.finish(Status::Done).unwrap();
    feed.look(&mut live).unwrap();
    let mut replayed = App::new();
    Feed::new(dir.path()).look(&mut replayed).unwrap();
    assert_eq!(live, replayed);
    for page in Page::ALL {
        (live.page, replayed.page) = (page, page);
        let now_ms = crate::journal::now_ms();
        assert_eq!(screen(&live, 80, 24, now_ms), screen(&replayed, 80, 24, now_ms));
    }
    live.page = Page::Training;
    assert!(screen(&live, 80, 24, 0).contains("step 120 of 200"));
}
