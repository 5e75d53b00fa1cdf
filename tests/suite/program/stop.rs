//! Ctrl-C and a kill at any moment: what was done stays, and the same command goes on to the same numbers.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{core, fails, json, ok};
use serde_json::Value;

const RECIPE: &str = "
name = 's'
[world]
videos = 400
people = 200
weeks = 2
heads = 15
[model]
vocab = 400
hidden = 32
layers = 2
heads = 2
kv_heads = 1
head_dim = 16
ffn = 64
[train]
steps = 12
batch = 4
eval_every = 4
eval_examples = 8
save_every = 2
";

/// A demo under way in its own process.
fn start(workspace: &Path) -> Child {
    let mut command = demo(workspace);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn demo(workspace: &Path) -> Command {
    std::fs::create_dir_all(workspace).unwrap();
    let recipe = workspace.join("s.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let mut command = core(workspace);
    command.args(["demo", "--recipe", recipe.to_str().unwrap()]);
    command
}

/// Waits until `there` holds, or until the process has ended.
fn wait_for(child: &mut Child, there: impl Fn() -> bool) {
    let started = Instant::now();
    while !there() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The report without what tells of this very call: where it wrote, and how much was left to do.
fn numbers(workspace: &Path) -> Value {
    let mut report = json(&mut demo(workspace));
    for (part, keys) in [("trained", &["checkpoint", "steps_now"][..]), ("log", &["reused", "figures", "cost"])] {
        for key in keys {
            report[part].as_object_mut().unwrap().remove(*key).unwrap();
        }
    }
    // A time, and so another one each time.
    for trial in report["ab"]["trials"].as_array_mut().unwrap() {
        for one in trial["treatments"].as_array_mut().unwrap() {
            one.as_object_mut().unwrap().remove("rewrite_ms").unwrap();
        }
    }
    report
}

#[test]
fn a_killed_demo_resumes_to_the_report_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let whole = numbers(&dir.path().join("whole"));
    let marks: [(&str, &str); 3] = [
        ("made its workspace", "core.db"),
        ("built its index", "index/s/current.json"),
        ("saved a step", "runs/s-sft/step-00000004/trainer.json"),
    ];
    for (number, (when, mark)) in marks.iter().enumerate() {
        let workspace = dir.path().join(number.to_string());
        let mut child = start(&workspace);
        wait_for(&mut child, || workspace.join(mark).exists());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(numbers(&workspace), whole, "killed when it had {when}");
    }
}

#[test]
fn ctrl_c_saves_the_step_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    ok(demo(dir.path()).arg("--json"));
    let recipe = dir.path().join("long.toml");
    std::fs::write(&recipe, RECIPE.replace("steps = 12", "steps = 100000")).unwrap();
    let mut command = core(dir.path());
    command.args(["train", "sft", "--name", "long", "--recipe", recipe.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let run = dir.path().join("runs/long");
    wait_for(&mut child, || run.join("step-00000002/trainer.json").exists());
    // Meanwhile nobody else may write this run.
    let (code, said) = fails(command.arg("--resume"));
    assert!(code == 1 && said.contains("another process"), "{said}");
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    let runs = json(core(dir.path()).arg("runs"));
    let stopped = runs["runs"].as_array().unwrap().iter().find(|run| run["status"] == "stopped");
    assert!(stopped.is_some_and(|run| run["name"] == "long"), "{runs}");
    let saved = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(saved.into_iter().all(|name| name.starts_with("step-")), "something half-written is left");
}
