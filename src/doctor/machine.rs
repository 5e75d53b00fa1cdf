//! The machine: device, cores, vector instructions, memory, disk, terminal.

use std::io::IsTerminal;
use std::path::Path;

use super::{Finding, State};
use crate::journal::words::bytes;
use crate::model::device;

/// Memory and disk that a demo asks for.
const NEEDED_BYTES: u64 = 1_000_000_000;

/// Everything about the machine, with the disk that the workspace lies on.
pub(super) fn look(workspace: &Path) -> Vec<Finding> {
    let mut findings = vec![
        Finding::ok("program", format!("core {} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)),
        device(),
        cores(),
        simd(std::env::consts::ARCH, &detected()),
    ];
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let limit = read("/sys/fs/cgroup/memory.max").zip(read("/sys/fs/cgroup/memory.current"));
    findings.extend(read("/proc/meminfo").map(|text| memory(&text, limit.as_ref().map(|(m, c)| (&m[..], &c[..])))));
    findings.extend(free_bytes(workspace).map(disk));
    findings.push(terminal());
    findings
}

fn device() -> Finding {
    match device::describe() {
        (found, None) => Finding::ok("device", found),
        (found, Some(why)) => {
            let found = format!("{found} (built for cuda, but no card answers: {why})");
            Finding::not_ok("device", State::Warn, found, "see what `nvidia-smi` says; the CPU computes meanwhile")
        }
    }
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = rayon::current_num_threads();
    let asked =
        std::env::var("RAYON_NUM_THREADS").map_or_else(|_| String::new(), |n| format!(" (RAYON_NUM_THREADS={n})"));
    let found = format!("{cores} cores, {threads} threads in use{asked}");
    if threads == cores {
        return Finding::ok("cores", found);
    }
    let remedy = if threads < cores {
        "cores stand idle: unset RAYON_NUM_THREADS to use them all"
    } else {
        "threads wait for each other: unset RAYON_NUM_THREADS"
    };
    Finding::not_ok("cores", State::Warn, found, remedy)
}

/// The vector instructions that matter here and that this processor has.
fn detected() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let known = [
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("avx512f", has!("avx512f")),
            ("avx512_bf16", has!("avx512bf16")),
        ];
        found.extend(known.into_iter().filter_map(|(name, has)| has.then_some(name)));
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    found
}

fn simd(arch: &str, has: &[&str]) -> Finding {
    let found = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    let lacks = |name| !has.contains(&name);
    let remedy = match arch {
        "x86_64" if lacks("avx2") || lacks("fma") => {
            "no avx2 and fma: training will be several times slower; the `tiny` recipe still runs"
        }
        "x86_64" if lacks("avx512f") => "no avx512: training will be slower, by up to a half",
        "x86_64" => return Finding::ok("simd", found),
        "aarch64" if !lacks("neon") => return Finding::ok("simd", found),
        _ => "no vector instructions known here: training will be several times slower",
    };
    Finding::not_ok("simd", State::Warn, found, remedy)
}

/// Memory from the text of `/proc/meminfo`, and from that of a control group's `memory.max` and `memory.current`.
fn memory(meminfo: &str, limit: Option<(&str, &str)>) -> Finding {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let (Some(mut total), Some(mut available)) = (field("MemTotal:"), field("MemAvailable:")) else {
        return Finding::not_ok(
            "memory",
            State::Warn,
            "not told by /proc/meminfo",
            "look at it in your system's monitor",
        );
    };
    // `max` stands for no limit, and does not parse.
    if let Some((max, current)) = limit
        && let (Ok(max), Ok(current)) = (max.trim().parse::<u64>(), current.trim().parse::<u64>())
    {
        total = total.min(max);
        available = available.min(max.saturating_sub(current));
    }
    let found = format!("{} of {} available", bytes(available), bytes(total));
    if available >= NEEDED_BYTES {
        return Finding::ok("memory", found);
    }
    let remedy =
        format!("training may be killed below {}: end something else, or use the `tiny` recipe", bytes(NEEDED_BYTES));
    Finding::not_ok("memory", State::Warn, found, remedy)
}

/// Bytes that an ordinary person may still write where the workspace lies, or will lie.
#[cfg(unix)]
fn free_bytes(workspace: &Path) -> Option<u64> {
    let absolute = std::path::absolute(workspace).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

fn disk(free: u64) -> Finding {
    let found = format!("{} free at the workspace", bytes(free));
    if free >= NEEDED_BYTES {
        return Finding::ok("disk", found);
    }
    let remedy = format!("a demo needs about {}: free some, or name another --workspace", bytes(NEEDED_BYTES));
    Finding::not_ok("disk", State::Warn, found, remedy)
}

fn terminal() -> Finding {
    if !std::io::stdout().is_terminal() {
        return Finding::ok("terminal", "standard output is not a terminal: no `core watch` there");
    }
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let colour = if colour { "colour" } else { "no colour (NO_COLOR)" };
    match crossterm::terminal::size() {
        Ok((width, height)) if width >= 80 && height >= 24 => {
            Finding::ok("terminal", format!("{width}×{height}, {colour}"))
        }
        Ok((width, height)) => {
            let remedy = "`core watch` shows everything from 80×24 on: make it larger, or make do with less";
            Finding::not_ok("terminal", State::Warn, format!("{width}×{height}, {colour}"), remedy)
        }
        Err(_) => Finding::ok("terminal", format!("size not told, {colour}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24684096 kB\nMemFree:  1 kB\nMemAvailable:   23263516 kB\n";

    #[test]
    fn memory_is_the_smaller_of_the_machine_and_its_limit() {
        assert_eq!(memory(MEMINFO, None), Finding::ok("memory", "24 GB of 25 GB available"));
        assert_eq!(memory(MEMINFO, Some(("max\n", "5\n"))).state, State::Ok);
        let limited = memory(MEMINFO, Some(("2000000000\n", "1500000000\n")));
        assert_eq!((limited.state, limited.found.as_str()), (State::Warn, "500 MB of 2.0 GB available"));
        assert_eq!(memory("nonsense", None).state, State::Warn);
        assert_eq!(memory("MemTotal:\nMemAvailable: x", None).state, State::Warn);
    }

    #[test]
    fn what_the_processor_lacks_is_said() {
        assert_eq!(simd("x86_64", &["avx2", "fma", "avx512f"]).state, State::Ok);
        assert!(simd("x86_64", &["avx2", "fma"]).remedy.unwrap().starts_with("no avx512"));
        assert!(simd("x86_64", &[]).remedy.unwrap().starts_with("no avx2"));
        assert_eq!(simd("aarch64", &["neon"]).state, State::Ok);
        assert_eq!(simd("riscv64", &[]).state, State::Warn);
    }

    #[test]
    fn a_nearly_full_disk_is_warned_of() {
        assert_eq!(disk(2_000_000_000).state, State::Ok);
        let full = disk(200_000_000);
        assert_eq!((full.state, full.found.as_str()), (State::Warn, "200 MB free at the workspace"));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(free_bytes(&dir.path().join("not/there/yet")).is_some(), cfg!(unix));
    }
}
