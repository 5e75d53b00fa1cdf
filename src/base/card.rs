//! A base's card, from what its run left behind: the checkpoint's own settings, the journal's curves, the newest probes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::journal::{Event, Reader};
use crate::model::{Policy, runs, simd_level};

/// Rows of the curve.
const POINTS: usize = 14;
/// Share of words recalled at which copying counts as there.
const APPEARED: f64 = 0.5;
const EVENTS_AT_ONCE: usize = 10_000;

/// One evaluation on documents that were never trained on.
struct Point {
    step: u64,
    tokens: f64,
    values: BTreeMap<String, f64>,
}

/// The card as Markdown.
pub(super) fn write(workspace: &Path, run: &str, step: &Path, policy: &Policy) -> Result<String> {
    let path = step.join(runs::STATE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} is missing: only a run of this program has a card", path.display()))?;
    let made: Value = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let reader = Reader::open(workspace)?;
    let History { points, seconds, computed_by } = history(&reader, run)?;
    let mut card = String::from("# A base that reads its context\n\n");
    facts(&mut card, &made, policy, &format!("{:.0} minutes by the clock on {computed_by}", seconds / 60.0))?;
    curve(&mut card, &points)?;
    probes(&mut card, &reader)?;
    card += "\n## Limits\n\n\
        It knows no facts and no language beyond how words are spelt: it was taught to look things up in its context, to leave\n\
        alone what it has no ground for, and to mend words that stand before it. It is a start for fine-tuning, not a chat\n\
        model. Prompts are in small letters, in the form of `src/task/rewriting.rs`, and at most some hundred tokens long.\n";
    Ok(card)
}

fn facts(card: &mut String, made: &Value, policy: &Policy, time: &str) -> Result<()> {
    let at = |path: &str| made.pointer(path).map_or("?".to_owned(), ToString::to_string);
    let c = &policy.config;
    let tokens = made["num_tokens"].as_f64().unwrap_or(f64::NAN);
    let count = |path: &str| made.pointer(path).and_then(Value::as_u64).unwrap_or(1);
    let documents = count("/fingerprint/train/batch") * count("/fingerprint/train/accumulate");
    writeln!(
        card,
        "Made by `core pretrain` from nothing and exported by `core base export`; this page is written by the latter.\n\n\
         | | |\n|---|---|\n\
         | shape | Qwen3: {} layers, width {}, {} query and {} key heads of {}, feed-forward {}, {} tokens, embeddings tied |\n\
         | parameters | {} ({} bytes in bfloat16) |\n\
         | data | documents of `src/corpus`, drawn on the fly, none twice: {} |\n\
         | seed | {} |\n\
         | steps | {} of {} documents, peak learning rate {} |\n\
         | tokens | {:.0} million |\n\
         | time | {time} |\n\
         | licence | Apache-2.0; word lists: datasets/words-en, datasets/words-zh |",
        c.layers,
        c.hidden,
        c.heads,
        c.kv_heads,
        c.head_dim,
        c.ffn,
        policy.tokenizer.size(),
        policy.parameters(),
        2 * policy.parameters(),
        at("/fingerprint/pretrain"),
        at("/fingerprint/seed"),
        at("/step"),
        documents,
        at("/fingerprint/train/lr"),
        tokens / 1e6,
    )?;
    Ok(())
}

fn curve(card: &mut String, points: &[Point]) -> Result<()> {
    let kinds = ["recall", "repeat", "rewrite", "unsupported", "plain", "mend", "unknown", "split"];
    writeln!(
        card,
        "\n## Curve\n\nOn documents that were never trained on; shares of last questions answered to the letter.\n"
    )?;
    writeln!(card, "| step | million tokens | loss | {} |", kinds.join(" | "))?;
    writeln!(card, "|---|---|---|{}", "---|".repeat(kinds.len()))?;
    for point in thinned(points) {
        write!(card, "| {} | {:.1} | {:.3} |", point.step, point.tokens / 1e6, point.values["loss"])?;
        for kind in kinds {
            match point.values.get(&format!("exact_match/{kind}")) {
                Some(share) => write!(card, " {:.0} % |", 100.0 * share)?,
                None => write!(card, " – |")?,
            }
        }
        writeln!(card)?;
    }
    let appeared = points.iter().find(|p| p.values.get("exact_match/recall").is_some_and(|share| *share >= APPEARED));
    match appeared {
        Some(p) => writeln!(
            card,
            "\nCopying appears after {:.1} million tokens (half of the words recalled).",
            p.tokens / 1e6
        )?,
        None => writeln!(card, "\nCopying did not appear: never were half of the words recalled.")?,
    }
    Ok(())
}

/// The rows that `core bench base` reported last, in its own words.
fn probes(card: &mut String, reader: &Reader) -> Result<()> {
    let Some(report) = reader.newest_report("base")? else { return Ok(()) };
    let Some(tables) = report.body["markdown"].as_str() else { return Ok(()) };
    writeln!(card, "\n## Probes\n\n`core bench base` gave:\n\n{tables}")?;
    Ok(())
}

/// What the journal has of a run.
struct History {
    points: Vec<Point>,
    seconds: f64,
    /// This machine, unless the run says that a card computed it.
    computed_by: String,
}

/// Evaluations of all runs of a name that went on from one another, and the seconds they took.
fn history(reader: &Reader, name: &str) -> Result<History> {
    let (mut points, mut seconds) = (BTreeMap::new(), 0.0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut computed_by = format!("{threads} threads, {:?} products", simd_level());
    let mut runs: Vec<_> = reader.runs()?.into_iter().filter(|r| r.verb == "train" && r.name == name).collect();
    runs.reverse();
    for run in runs {
        seconds += run.duration_ms(run.started_ms).unwrap_or(0) as f64 / 1e3;
        let (mut after, mut tokens) = (0, f64::NAN);
        loop {
            let events = reader.events(run.id, after, EVENTS_AT_ONCE)?;
            let Some(last) = events.last() else { break };
            after = last.id;
            for logged in events {
                match logged.event {
                    Event::Metrics { split, values, .. } if split == "train" => {
                        tokens = values.get("num_tokens").copied().unwrap_or(tokens);
                    }
                    Event::Metrics { step, values, .. } => drop(points.insert(step, Point { step, tokens, values })),
                    Event::Note { text } => {
                        if let Some(card) = text.strip_suffix(" computes") {
                            card.clone_into(&mut computed_by);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(History { points: points.into_values().collect(), seconds, computed_by })
}

/// The first, the last, and some between whose steps grow by about the same factor.
fn thinned(points: &[Point]) -> Vec<&Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let factor = (last.step as f64 / first.step as f64).powf(1.0 / (POINTS - 1) as f64);
    let mut kept: Vec<&Point> = Vec::new();
    for point in points {
        let due = kept.last().is_none_or(|before| point.step as f64 >= before.step as f64 * factor * 0.999);
        if due || point.step == last.step {
            kept.push(point);
        }
    }
    kept
}
