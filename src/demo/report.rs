//! The demo's report: what was made, what the rewriters did, whether it helped, what to run next.

use std::path::Path;

use anyhow::Result;

use super::{Report, run_name};
use crate::evaluate;
use crate::journal::say;
use crate::judge::{Scores, cells};
use crate::recipe::Recipe;

/// Below this a difference is called significant.
const ALPHA: f64 = 0.05;

/// Prints the report as text, or as one JSON object.
pub(super) fn print(workspace: &Path, recipe: &Recipe, report: &Report, json: bool) -> Result<()> {
    if json {
        return say(&format!("{}\n", serde_json::to_string(report)?));
    }
    say(&made(recipe, report))?;
    say(&report.held_out.table().to_text())?;
    say(&format!("\n{}\n\n", verdict(&report.held_out, &run_name(recipe))))?;
    for experiment in &report.ab {
        say(&format!("{}\n", experiment.table().to_text()))?;
    }
    say(&next(workspace, recipe, report))
}

fn made(recipe: &Recipe, report: &Report) -> String {
    let (log, mined, trained) = (&report.log, &report.mined, &report.trained);
    format!(
        "\ncore demo · recipe {} · seed {}\n\n  \
         world    {} videos, {} people, {} weeks: {} sessions, {} searches\n  \
         mined    {} rewrites, {} rejects; {} to train on, {} held out (other people, later weeks)\n  \
         model    {} parameters from nothing, {} steps on {} examples: {}\n\n",
        report.recipe,
        report.seed,
        log.docs,
        recipe.world.people,
        recipe.world.weeks,
        log.sessions,
        log.searches,
        mined.rewrites,
        mined.rejects,
        mined.train,
        mined.held_out,
        trained.parameters,
        trained.steps,
        trained.examples,
        trained.checkpoint.display()
    )
}

/// The claim in one sentence, whichever way it went.
fn verdict(held_out: &evaluate::Report, model: &str) -> String {
    let find = |name: &str| held_out.scores.iter().find(|s| s.rewriter == name);
    let Some((score, mrr)) = find(model).and_then(|s| Some((s, s.mrr?))) else {
        return "The model has no score.".into();
    };
    let claim = match (mrr.p < ALPHA, mrr.difference > 0.0) {
        (true, true) => "The model beats no rewriting on held-out searches",
        (true, false) => "The model is worse than no rewriting on held-out searches",
        (false, _) => "The model does not differ from no rewriting on held-out searches",
    };
    let best =
        held_out.scores.iter().filter(|s| s.rewriter != model).max_by(|a, b| fused(a).total_cmp(&fused(b))).map(|s| {
            format!("; the best rule is {} at {:.3} (exact match {:.1} %)", s.rewriter, fused(s), 100.0 * s.exact_match)
        });
    format!(
        "{claim}: MRR@10 {:.3} → {:.3}, {:+.3} [{:+.3}, {:+.3}], p = {}, {} people. Its exact match is {:.1} %{}.",
        mrr.control,
        mrr.treatment,
        mrr.difference,
        mrr.low,
        mrr.high,
        cells::p_text(mrr.p),
        mrr.people,
        100.0 * score.exact_match,
        best.unwrap_or_default()
    )
}

fn fused(s: &Scores) -> f64 {
    s.mrr.map_or(f64::NEG_INFINITY, |m| m.treatment)
}

fn next(workspace: &Path, recipe: &Recipe, report: &Report) -> String {
    let sample = report.held_out.samples.iter().find(|s| s.output != "<reject>");
    let (query, watched) = sample.map_or(("jaguar", ""), |s| (s.query.as_str(), s.watched.as_str()));
    let watched = if watched.is_empty() { String::new() } else { format!(" --watched \"{watched}\"") };
    let place = |command: &str| {
        let mut line = format!("  core {command}");
        if workspace != Path::new("workspace") {
            line += &format!(" -w {}", workspace.display());
        }
        if recipe.name != "demo" {
            line += &format!(" --recipe {}", recipe.name);
        }
        line
    };
    format!(
        "Next:\n{}\n{}\n{}\n{}\n{}\n",
        place(&format!("rewrite \"{query}\"{watched}")) + "   one rewrite",
        place("serve") + "   the same over HTTP",
        place("watch") + "   curves and samples, live or afterwards",
        place("runs") + "   every run",
        "  core mine --from ubi datasets/ubi-sample   a real log"
    )
}
