//! Releases of copies of the program's own base, each told apart by a byte.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::model::{LoraSettings, shipped};
use crate::recipe::Recipe;
use crate::rewriter::Rewriter;

/// A checkpoint of a run: the base with a last byte of its own, and what training leaves beside it.
fn checkpoint(workspace: &Path, run: &str, step: u64, byte: u8) -> PathBuf {
    let base = shipped::folder(workspace).unwrap();
    let dir = runs::step_dir(&runs::run_dir(workspace, run).unwrap(), step);
    fs::create_dir_all(&dir).unwrap();
    runs::copy_model(&base, &dir).unwrap();
    let weights = dir.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] = byte;
    fs::write(weights, bytes).unwrap();
    [runs::MOMENTS, runs::STATE].iter().for_each(|name| fs::write(dir.join(name), "x").unwrap());
    dir
}

fn put(workspace: &Path, run: &str) -> ReleaseInfo {
    release(workspace, "l", run, "a test", None).unwrap()
}

#[test]
fn a_release_owns_its_weights_and_the_same_one_is_made_once() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    assert_eq!(in_use(at, "l").unwrap(), None);
    let from = checkpoint(at, "a", 1, 1);
    let first = put(at, "a");
    assert_eq!(
        (first.id, first.step, first.in_use, first.folder.as_path()),
        (1, 1, true, at.join("releases/1").as_path())
    );
    assert!(!first.folder.join(runs::MOMENTS).exists() && !first.folder.join(runs::STATE).exists());
    assert_eq!(put(at, "a"), first, "asked again by a caller that was cut short");
    assert_eq!(release(at, "other", "a", "a test", None).unwrap().id, 2, "another log has releases of its own");
    // The same run and step with other weights: trained anew.
    checkpoint(at, "a", 1, 2);
    let third = put(at, "a");
    assert_eq!((third.id, in_use(at, "l").unwrap()), (3, Some(third.clone())));
    assert_ne!(third.fingerprint, first.fingerprint);
    fs::remove_dir_all(from.parent().unwrap()).unwrap();
    assert!(load(&first).is_ok() && load(&third).is_ok(), "the run is gone, the releases are not");
    // A damaged one is made anew rather than given back.
    checkpoint(at, "a", 1, 2);
    fs::remove_file(third.folder.join("config.json")).unwrap();
    assert_eq!(put(at, "a").id, 4);
    assert_eq!(
        list(at, Some("l")).unwrap().iter().map(|r| (r.id, r.in_use)).collect::<Vec<_>>(),
        [(1, false), (3, false), (4, true)]
    );
}

#[test]
fn a_folder_without_a_row_means_nothing_and_is_replaced() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    checkpoint(at, "a", 1, 1);
    // Killed while copying, and between folder and row.
    for folder in ["releases/1", "releases/.1.new-99999999"] {
        fs::create_dir_all(at.join(folder)).unwrap();
        fs::write(at.join(folder).join("model.safetensors"), "half").unwrap();
    }
    drop(Store::open(at).unwrap());
    assert!(list(at, None).unwrap().is_empty() && in_use(at, "l").unwrap().is_none());
    let first = put(at, "a");
    assert_eq!(first.id, 1);
    load(&first).unwrap();
    let names: Vec<_> = fs::read_dir(at.join("releases")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["1"]);
}

#[test]
fn what_is_no_rewriter_is_not_released_and_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    let fails = |run: &str| format!("{:#}", release(at, "l", run, "a test", None).unwrap_err());
    assert!(fails("gone").contains("core train sft --name gone"));
    assert!(fails("../x").contains("cannot name a run") && fails("release").contains("names the release in use"));
    let folder = checkpoint(at, "half", 1, 1);
    fs::write(folder.join("model.safetensors"), "half").unwrap();
    let said = fails("half");
    assert!(said.contains("cannot release") && said.contains("model.safetensors"), "{said}");
    let folder = checkpoint(at, "tags", 1, 1);
    fs::write(folder.join(TAGGER), "{}").unwrap();
    assert!(fails("tags").contains("relevance model"));
    assert!(release(at, "l", "half", " ", None).unwrap_err().to_string().contains("reason"));
    assert_eq!(fs::read_dir(at.join("releases")).unwrap().count(), 0);
    assert!(list(at, None).unwrap().is_empty());
}

#[test]
fn a_rollback_goes_back_and_refuses_what_it_cannot_open() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    let fails = |to: Option<i64>| format!("{:#}", rollback(at, "l", to, "a test").unwrap_err());
    assert!(fails(None).contains("no store"));
    assert!(!at.join(FILE_NAME).exists());
    drop(Store::open(at).unwrap());
    assert!(fails(None).contains("core release RUN"));
    for (run, byte) in [("a", 1), ("b", 2), ("c", 3)] {
        checkpoint(at, run, 1, byte);
        put(at, run);
    }
    let back = rollback(at, "l", None, "c was worse").unwrap();
    assert_eq!((back.id, &back), (2, in_use(at, "l").unwrap().as_ref().unwrap()));
    assert_eq!(rollback(at, "l", Some(2), "again").unwrap().id, 2);
    assert_eq!(Store::open(at).unwrap().changes(None).unwrap().len(), 4, "what is in use already is no change");

    let weights = back.folder.with_file_name("1").join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    for (damage, wanted) in [(false, "not the one that was released"), (true, "cannot list")] {
        if damage {
            fs::remove_dir_all(weights.parent().unwrap()).unwrap();
        }
        let said = fails(None);
        for part in ["release 1 ", "releases/1", "core rollback --to ID", "release 2 of log \"l\" stays in use", wanted]
        {
            assert!(said.contains(part), "{part} not in {said}");
        }
    }
    assert!(fails(Some(9)).contains("no release 9: it has 1, 2, 3"));
    assert_eq!(rollback(at, "l", Some(3), "forward again").unwrap().id, 3);
    checkpoint(at, "d", 1, 4);
    assert_eq!(release(at, "other", "d", "a test", None).unwrap().id, 4);
    assert!(fails(Some(4)).contains("log \"l\" has no release 4"));
    let first = rollback(at, "other", None, "a test").unwrap_err().to_string();
    assert!(first.contains("first of log \"other\""), "{first}");
}

#[test]
fn an_adapter_is_released_with_its_base_named_and_watched() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    let base = checkpoint(at, "base", 1, 1);
    let settings = LoraSettings { rank: 2, alpha: 4.0, rslora: false, targets: vec!["q_proj".into()] };
    let policy = Policy::load(&base, &device::open().unwrap()).unwrap().with_lora(settings, 3).unwrap();
    let adapter = runs::step_dir(&runs::run_dir(at, "lora").unwrap(), 2);
    fs::create_dir_all(&adapter).unwrap();
    policy.save_adapter(&adapter).unwrap();
    let made = put(at, "lora");
    assert!(load(&made).unwrap().lora().is_some());
    assert!(!made.folder.join("model.safetensors").exists());
    // The base was trained anew in its place: another model now.
    checkpoint(at, "base", 1, 9);
    assert!(format!("{:#}", load(&made).err().unwrap()).contains("the base that its adapter stands on"));
    fs::remove_dir_all(base).unwrap();
    assert!(format!("{:#}", load(&made).err().unwrap()).contains("is gone"));
}

#[test]
fn names_open_the_release_in_use_or_one_by_its_number_with_or_without_a_mode() {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path();
    let recipe = Recipe::parse("name = 'l'", "test").unwrap();
    let open = |name: &str| Rewriter::open(at, &recipe, name);
    assert!(in_use_or_newest(at, "l").is_err());
    checkpoint(at, "a", 1, 1);
    assert_eq!(in_use_or_newest(at, "l").unwrap(), "a");
    assert!(open("release").err().unwrap().to_string().contains("core release RUN"));
    put(at, "a");
    checkpoint(at, "b", 1, 2);
    put(at, "b");
    assert_eq!(in_use_or_newest(at, "l").unwrap(), "release:2");
    assert_eq!(in_use_or_newest(at, "another").unwrap(), "b", "the newest run");
    for (name, opened) in [
        ("release", "release:2"),
        ("release:1", "release:1"),
        ("release:free", "release:2:free"),
        ("release:1:free", "release:1:free"),
    ] {
        assert_eq!(open(name).unwrap().name(), opened);
    }
    assert_ne!(open("release:1").unwrap().identity(), open("release:2").unwrap().identity());
    assert_eq!(open("release").unwrap().identity(), open("release:2").unwrap().identity());
    for (name, wanted) in [
        ("release:9", "no release 9"),
        ("release:x", "names no release"),
        ("release:x:free", "names no release"),
        ("released", "no rewriter"),
    ] {
        let said = format!("{:#}", open(name).err().unwrap());
        assert!(said.contains(wanted), "{name}: {said}");
    }
}
