//! Running the binary from tests.

pub mod endpoint;
pub mod golden;
pub mod server;
pub mod small;

use std::path::Path;
use std::process::{Command, Output};

/// The binary with a workspace.
pub fn core(workspace: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_core"));
    command.args(["--workspace", workspace.to_str().unwrap()]).env("NO_COLOR", "1");
    command
}

/// Runs to the end; what it printed.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Runs to a good end; its standard output.
pub fn ok(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs to an error; its exit code and what it said.
pub fn fails(command: &mut Command) -> (i32, String) {
    let output = run(command);
    assert!(!output.status.success(), "{command:?} should have failed");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Standard output as JSON.
pub fn json(command: &mut Command) -> serde_json::Value {
    let text = ok(command.arg("--json"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}
