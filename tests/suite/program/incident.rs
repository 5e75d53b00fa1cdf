//! An incident replayed through the binary: the gate judges by the weak scorer and by the sound one, and nothing is released.

use crate::common::small::{self, command};
use crate::common::{fails, json};

const SECTIONS: &str = "
[train]
steps = 40
lr = 2e-3
batch = 4
taught = 1.0
[mpo]
steps = 8
sync_every = 4
groups = 4
num_generations = 6
lr = 1e-3
[gate]
examples = 60
samples = 3
entropy_loss = 1.0
surprisal_rise = 100.0
length_rise = 100.0
truncated_rise = 1.0
hit_loss = 1.0
reject_move = 1.0
concentration_rise = 1.0
popularity_move = 100.0
kl = 100.0
[ab]
resamples = 50
";

#[test]
fn every_round_is_judged_by_what_was_fooled_and_by_what_was_not_and_nothing_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("r.toml");
    std::fs::write(&recipe, small::recipe(SECTIONS)).unwrap();
    let replay = ["bench", "incident", "--flaw", "verbosity", "--flaw", "abstention", "--rounds", "2"];
    let report = json(&mut command(dir.path(), &recipe, &replay));
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["round 1", "round 2", "recovered"].repeat(2));
    let value = |row: &serde_json::Value, verdict: &str, measure: &str| {
        let checks = row[verdict]["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["measure"] == measure).unwrap();
        [found["control"].as_f64().unwrap(), found["treatment"].as_f64().unwrap()]
    };
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["flaw"], ["verbosity", "abstention"][place / 3]);
        // What says some words is forgiven more by the weak scorer; where abstaining is the cheat, the scorer is sound.
        assert_eq!(value(row, "seen", "S_pos") != value(row, "sound", "S_pos"), place < 3);
        // What both look at is the same.
        assert_eq!(value(row, "seen", "mean_length"), value(row, "sound", "mean_length"));
        assert_eq!(value(row, "seen", "mean_length")[0], value(&rows[0], "seen", "mean_length")[0], "one release");
    }
    // Rounds go on from one another.
    assert_ne!(value(&rows[0], "seen", "surprisal")[1], value(&rows[1], "seen", "surprisal")[1]);
    // Bands as wide as these let some pass; a replay releases none of them all the same.
    assert!(rows.iter().any(|row| row["seen"]["promoted"] == true), "{report}");
    let releases = json(&mut command(dir.path(), &recipe, &["releases"]));
    assert_eq!(releases["releases"].as_array().map(Vec::len), Some(0), "{releases}");
    let (code, said) = fails(&mut command(dir.path(), &recipe, &["bench", "incident", "--flaw", "sloth"]));
    assert!(code == 2 && said.contains("verbosity"), "{said}");
}
