//! `core bench compare`: one run of ours and of the peers, as a page that says who was how fast on what machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::journal::{Cell, Table};

/// Our case (its row is named `core-<case>-<precision>`), a peer's, and how many times faster we mean to be.
const PAIRS: [(&str, &str, f64); 14] = [
    ("sft-tiny", "tiny-torch-autocast-completion-compile", 1.2),
    ("sft-tiny", "tiny-trl-sft-f32", 5.0),
    ("grpo-tiny", "tiny-trl-grpo-f32", 15.0),
    ("mpo-tiny-pairs", "tiny-trl-mpo-f32", 8.0),
    ("mpo-tiny-shared", "tiny-trl-mpo-f32", 20.0),
    ("sample-tiny", "tiny-generate-sample-4x8", 12.0),
    ("rewrite-tiny", "tiny-llamacpp-f32", 2.0),
    ("sft-small", "small-lora-trl-sft-f32", 2.0),
    ("sft-small", "small-lora-torch-bf16-completion", 1.0),
    ("grpo-small", "small-lora-trl-grpo-f32", 10.0),
    ("mpo-small-pairs", "small-lora-trl-mpo-f32", 1.0),
    ("rewrite-small", "small-llamacpp-f32", 1.0),
    ("rewrite-small", "small-llamacpp-bf16", 1.0),
    ("sample-small", "small-generate-sample-b8-bf16", 1.0),
];
/// Peak memory that we mean to stay within, as a share of the peer's.
const MEMORY_BAR: f64 = 1.0 / 3.0;

/// A measured case, whoever measured it.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    case: String,
    median_s: f64,
    min_s: f64,
    p99_s: f64,
    n: u64,
    peak_rss_mb: Option<f64>,
    other_cpu: Option<f64>,
    #[serde(default)]
    versions: BTreeMap<String, String>,
}

/// One of ours against one of theirs.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// Our case.
    pub ours: String,
    /// The peer's.
    pub peer: String,
    /// `f32` or `bf16`, of our products.
    pub precision: String,
    /// Our median seconds.
    pub ours_s: f64,
    /// The peer's median seconds.
    pub peer_s: f64,
    /// How many times faster we are.
    pub ratio: f64,
    /// How many times faster we mean to be.
    pub bar: f64,
    /// Our peak memory as a share of the peer's; only where both said it.
    pub memory: Option<f64>,
}

/// Everything one run says.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The machine this page was written on, which is the one that was measured.
    pub machine: String,
    /// Versions of the peers.
    pub versions: BTreeMap<String, String>,
    /// All pairs of which both sides were measured.
    pub pairs: Vec<Pair>,
    #[serde(skip)]
    rows: Vec<Row>,
    /// Cases that gave no figure, with the reason they gave.
    pub failed: Vec<String>,
}

/// Reads the JSON lines of a run: one case a line, the last of a name counts.
///
/// # Errors
/// A file that cannot be read; a line that is no case, by its number; no pair at all.
pub fn compare(path: &Path) -> Result<Comparison> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut rows, mut failed): (BTreeMap<String, Row>, _) = (BTreeMap::new(), Vec::new());
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("{}:{}: not a line of JSON", path.display(), i + 1))?;
        if let Some(error) = value.get("error") {
            failed.push(format!("{}: {error}", value["case"].as_str().unwrap_or("?")));
            continue;
        }
        let row: Row = serde_json::from_value(value)
            .with_context(|| format!("{}:{}: not a measured case", path.display(), i + 1))?;
        rows.insert(row.case.clone(), row);
    }
    let mut pairs = Vec::new();
    for (ours, peer, bar) in PAIRS {
        let Some(theirs) = rows.get(peer) else { continue };
        for precision in ["f32", "bf16"] {
            let Some(own) = rows.get(&format!("core-{ours}-{precision}")) else { continue };
            let memory = own.peak_rss_mb.zip(theirs.peak_rss_mb).map(|(ours, theirs)| ours / theirs);
            pairs.push(Pair {
                ours: ours.into(),
                peer: peer.into(),
                precision: precision.into(),
                ours_s: own.median_s,
                peer_s: theirs.median_s,
                ratio: theirs.median_s / own.median_s,
                bar,
                memory,
            });
        }
    }
    ensure!(
        !pairs.is_empty(),
        "{} holds no case of ours beside one of a peer: name ours core-<case>-<precision>, say core-sft-tiny-f32",
        path.display()
    );
    let versions = rows.values().flat_map(|row| row.versions.clone()).collect();
    Ok(Comparison { machine: machine(), versions, pairs, rows: rows.into_values().collect(), failed })
}

impl Comparison {
    /// One row a pair.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = ["ours", "precision", "peer", "ours_s", "peer_s", "ratio", "bar", "memory"];
        let mut table = Table::new("compare", "", &columns);
        for pair in &self.pairs {
            table.row([
                pair.ours.as_str().into(),
                pair.precision.as_str().into(),
                pair.peer.as_str().into(),
                pair.ours_s.into(),
                pair.peer_s.into(),
                Cell::shown(pair.ratio, format!("{:.2}×", pair.ratio)),
                Cell::shown(pair.bar, format!("{}×", pair.bar)),
                pair.memory.map_or_else(|| Cell::from(None::<f64>), |x| Cell::shown(x, format!("{:.0}%", 100.0 * x))),
            ]);
        }
        table
    }

    /// The page, in Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::from(
            "# Benchmarks\n\nWritten by `core bench compare` from one run of ours and of the peers; \
             `scripts/benchmarks.sh` makes both. Do not edit.\n\n",
        );
        let _ = writeln!(page, "Machine: {}.", self.machine);
        let versions: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = writeln!(page, "Peers: {}.\n", versions.join(", "));
        page.push_str(
            "## Against the peers\n\nMedians of a step's seconds; *ratio* is how many times faster we are, *bar* what we \
             mean to reach, *memory* our peak as a share of the peer's (a third is meant).\n\n\
             | work | our products | ours, s | peer | peer, s | ratio | bar | memory |\n|---|---|---|---|---|---|---|---|\n",
        );
        for p in &self.pairs {
            let reached = if p.ratio >= p.bar { "reached" } else { "missed" };
            let memory = p.memory.map_or_else(
                || "–".into(),
                |x| format!("{:.0} % {}", 100.0 * x, if x <= MEMORY_BAR { "" } else { "(above)" }),
            );
            let _ = writeln!(
                page,
                "| {} | {} | {:.4} | {} | {:.4} | **{:.2}×** | {}× {reached} | {} |",
                p.ours,
                p.precision,
                p.ours_s,
                p.peer,
                p.peer_s,
                p.ratio,
                p.bar,
                memory.trim()
            );
        }
        page.push_str(
            "\n## Every case\n\n*Others* is the share of the machine's processors that other programs took meanwhile.\n\n\
             | case | median s | p99 s | min s | n | peak MiB | others |\n|---|---|---|---|---|---|---|\n",
        );
        for r in &self.rows {
            let (memory, others) = (r.peak_rss_mb.unwrap_or(f64::NAN), 100.0 * r.other_cpu.unwrap_or(f64::NAN));
            let _ = writeln!(
                page,
                "| {} | {:.4} | {:.4} | {:.4} | {} | {memory:.0} | {others:.0} % |",
                r.case, r.median_s, r.p99_s, r.min_s, r.n
            );
        }
        if !self.failed.is_empty() {
            let _ = writeln!(page, "\nWithout a figure: {}.", self.failed.join("; "));
        }
        page
    }
}

/// Processor, cores, memory and system in a line; what is not known is left out.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut parts =
        vec![processor, format!("{cores} cores"), format!("widest instructions {}", crate::model::simd_level().name())];
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|kb| kb.split(' ').next()?.parse::<f64>().ok());
    parts.extend(memory.map(|kb| format!("{:.0} GiB of memory", kb / f64::from(1 << 20))));
    parts.extend(read("/proc/sys/kernel/osrelease").lines().next().map(|release| format!("kernel {release}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &str) -> Result<Comparison> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        std::fs::write(&path, lines).unwrap();
        compare(&path)
    }

    const PEER: &str = r#"{"case":"tiny-trl-grpo-f32","median_s":3.0,"p99_s":3.5,"min_s":2.9,"n":5,"peak_rss_mb":1200,"other_cpu":0.02,"versions":{"trl":"1.0"}}"#;
    const OURS: &str = r#"{"case":"core-grpo-tiny-bf16","median_s":0.15,"p99_s":0.2,"min_s":0.1,"n":50,"peak_rss_mb":300,"other_cpu":0.0}"#;

    #[test]
    fn a_run_becomes_ratios_and_a_page() {
        let failed = r#"{"case":"tiny-llamacpp-f32","error":["no venv"],"wall_s":1.0}"#;
        let comparison = run(&format!("{PEER}\n{OURS}\n\n{failed}\n")).unwrap();
        let [pair] = comparison.pairs.as_slice() else { panic!("one pair") };
        assert!((pair.ratio - 20.0).abs() < 1e-9 && (pair.memory.unwrap() - 0.25).abs() < 1e-9);
        let page = comparison.page();
        assert!(page.contains("**20.00×** | 15× reached | 25 %"), "{page}");
        assert!(page.contains("trl 1.0") && page.contains("tiny-llamacpp-f32: [\"no venv\"]"), "{page}");
        assert_eq!(comparison.table().rows.len(), 1);
    }

    #[test]
    fn what_is_no_run_is_refused_by_line() {
        assert!(format!("{:#}", run(&format!("{PEER}\nnonsense")).unwrap_err()).contains("run.jsonl:2"));
        assert!(format!("{:#}", run(r#"{"case":"x"}"#).unwrap_err()).contains("run.jsonl:1"));
        assert!(format!("{:#}", run(PEER).unwrap_err()).contains("no case of ours"));
    }
}
