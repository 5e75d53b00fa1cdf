//! The same tests again with narrower vector instructions, as on other processors.

use std::process::Command;

/// Runs this test binary once more for each level below the best; under one of them, does nothing.
pub fn again() {
    if std::env::var_os("CORE_SIMD").is_some() {
        return;
    }
    for level in ["plain", "avx2", "avx512"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--quiet"]).env("CORE_SIMD", level).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "with CORE_SIMD={level}:\n{said}");
    }
}
