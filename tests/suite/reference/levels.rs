//! What the engine computes, again with narrower vector instructions, as on other processors.

use std::process::Command;

/// The modules whose numbers the engine makes.
const ENGINE: [&str; 5] = ["engine", "lora", "model", "objectives", "train"];

#[test]
fn other_instruction_sets_give_the_same() {
    for level in ["plain", "avx2", "avx512"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let modules = ENGINE.map(|name| format!("reference::{name}::"));
        let output = command.arg("--quiet").args(modules).env("CORE_SIMD", level).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "with CORE_SIMD={level}:\n{said}");
        assert!(!said.contains("running 0 tests"), "with CORE_SIMD={level} no test was found:\n{said}");
    }
}
