//! The weekly loop through the binary: what a week tells, and that a loop killed at any moment ends where it would have.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{core, json, ok};
use serde_json::Value;

const RECIPE: &str = "
name = 'r'
[world]
videos = 500
people = 90
weeks = 2
heads = 15
[mine]
held_out_people = 0.4
[train]
steps = 12
lr = 1e-3
batch = 8
eval_every = 12
eval_examples = 8
save_every = 4
[mpo]
steps = 6
sync_every = 3
groups = 4
num_generations = 6
temperature = 1.5
max_completion_length = 8
lr = 3e-4
[gate]
examples = 60
samples = 4
# What so little training does is noise: whatever does not lower the main reward is let through.
entropy_loss = 1.0
surprisal_rise = 9.0
length_rise = 9.0
truncated_rise = 1.0
hit_loss = 1.0
reject_move = 1.0
concentration_rise = 1.0
popularity_move = 9.0
kl = 99.0
[ab]
resamples = 200
";

fn recipe(dir: &Path) -> PathBuf {
    let file = dir.join("r.toml");
    std::fs::write(&file, RECIPE).unwrap();
    file
}

fn weekly(workspace: &Path, recipe: &Path) -> std::process::Command {
    let mut command = core(workspace);
    command.args(["weekly", "--weeks", "3", "--recipe", recipe.to_str().unwrap()]);
    command
}

/// Weights of the release in use.
fn weights(workspace: &Path, weeks: &Value) -> Vec<u8> {
    let last = weeks["rows"].as_array().unwrap().last().unwrap();
    std::fs::read(workspace.join(format!("releases/{}/model.safetensors", last["in_use"]))).unwrap()
}

#[test]
fn a_loop_killed_at_ten_moments_ends_in_the_same_releases_as_one_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path());
    let alone = dir.path().join("alone");
    let plot = dir.path().join("weeks.svg");
    let started = Instant::now();
    let weeks = json(weekly(&alone, &recipe).args(["--plot", plot.to_str().unwrap()]));
    let took = started.elapsed();

    let rows = weeks["rows"].as_array().unwrap();
    let promoted = rows.iter().filter(|row| row["verdict"]["promoted"] == true).count();
    assert_eq!((weeks["weeks"].as_u64(), weeks["promoted"].as_u64()), (Some(3), Some(promoted as u64)));
    for (place, row) in rows.iter().enumerate() {
        let in_use_before = if place == 0 { &rows[0]["incumbent"] } else { &rows[place - 1]["in_use"] };
        assert_eq!(&row["incumbent"], in_use_before, "a week is logged with what the week before left in use");
        assert_eq!(row["in_use"] == row["incumbent"], row["verdict"]["promoted"] == false, "{row}");
        assert!(row["searches"].as_u64().unwrap() > 300 && row["examples"][0].as_u64().unwrap() > 10, "{row}");
        let drift = row["drift"].as_f64().unwrap();
        assert!(drift > 0.05 && drift < 1.0, "{row}");
        assert_eq!(row["improvement_rate"].as_array().unwrap().len(), 2, "one a phase");
        assert!(row["lift"]["percent"].is_number() && row["first_lift"]["percent"].is_number(), "{row}");
    }
    let picture = std::fs::read_to_string(&plot).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("behind the gate") && !picture.contains("NaN"));

    // A second call has nothing left to do and says the same.
    let again = Instant::now();
    assert_eq!(json(&mut weekly(&alone, &recipe)), weeks);
    assert!(again.elapsed() < took / 2, "everything was there");

    let killed = dir.path().join("killed");
    let mut kills = 0;
    // Moments that are spread over the whole loop, each counted from where the one before left it.
    for moment in 0..10_u32 {
        let mut child =
            weekly(&killed, &recipe).arg("--json").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let patience = took.mul_f64(0.06 + 0.11 * f64::from(moment * 7 % 10) / 10.0);
        std::thread::sleep(patience.max(Duration::from_millis(300)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills >= 6, "the loop was killed {kills} times before it had ended");
    let ended = json(&mut weekly(&killed, &recipe));
    assert_eq!(ended, weeks);
    assert!(weights(&killed, &ended) == weights(&alone, &weeks), "the release in use has other weights");

    // The releases say why they are there; the way back is open.
    let releases = json(core(&alone).args(["releases", "--log", "r-weekly"]));
    let listed = releases["releases"].as_array().unwrap();
    assert_eq!(listed.len(), 1 + promoted);
    assert!(listed[0]["reason"].as_str().unwrap().contains("first"), "{releases}");
    let text = ok(&mut weekly(&alone, &recipe));
    assert!(text.contains("weeks, ") && text.contains("promoted"), "{text}");
}
