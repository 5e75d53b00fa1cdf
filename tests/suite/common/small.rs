//! A world of seconds and a model of crumbs, for tests that train through the binary.

use std::path::Path;
use std::process::Command;

use core_rewriter::journal::{Event, Reader};

use super::{core, ok};

/// The beginning of a recipe; what a test trains stands behind it.
const WORLD_AND_MODEL: &str = "
name = 'r'
[world]
videos = 400
people = 80
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
";

/// A recipe of the small world, with further sections.
pub fn recipe(sections: &str) -> String {
    format!("{WORLD_AND_MODEL}{sections}")
}

/// The binary with a workspace and a recipe.
pub fn command(workspace: &Path, recipe: &Path, args: &[&str]) -> Command {
    let mut command = core(workspace);
    command.args(args).args(["--recipe", recipe.to_str().unwrap()]);
    command
}

/// Makes a log, its index, its examples, and a model that is taught a little.
pub fn teach(workspace: &Path, recipe: &Path) {
    for args in [&["simulate"][..], &["index", "build"], &["mine"], &["train", "sft"]] {
        ok(&mut command(workspace, recipe, args));
    }
}

/// All that a training run had to say.
pub fn events(workspace: &Path, run: &str) -> Vec<Event> {
    let reader = Reader::open(workspace).unwrap();
    let id = reader.runs().unwrap().into_iter().find(|r| r.verb == "train" && r.name == run).unwrap().id;
    reader.events(id, 0, 10_000).unwrap().into_iter().map(|logged| logged.event).collect()
}
