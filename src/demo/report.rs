//! The demo's report: what was made, what the rewriters did, whether it helped, what to run next.

use std::path::Path;

use anyhow::Result;

use super::{Report, next, run_name, scratch_name};
use crate::journal::{Cell, Table, say, words};
use crate::judge::{Scores, cells};
use crate::recipe::Recipe;
use crate::{ab, evaluate};

/// Below this a difference is called significant.
const ALPHA: f64 = 0.05;
/// Longest line of running text, in characters.
const WIDTH: usize = 110;
/// Sample rewrites shown.
const SAMPLES: usize = 5;

/// Prints the report as text, or as one JSON object. `source` is how the recipe was named on the command line.
pub(super) fn print(workspace: &Path, source: &str, recipe: &Recipe, report: &Report, json: bool) -> Result<()> {
    if json {
        return say(&format!("{}\n", serde_json::to_string(report)?));
    }
    let parts = [
        made(recipe, report),
        report.held_out.table().to_text(),
        words::wrap(&verdict(&report.held_out, &[&run_name(recipe), &scratch_name(recipe)]), WIDTH) + "\n",
        samples(&report.held_out, &run_name(recipe)).to_text(),
        ab::text(&report.ab),
        next::commands(workspace, source, report),
    ];
    say(&parts.join("\n"))
}

fn made(recipe: &Recipe, report: &Report) -> String {
    let (log, mined, trained) = (&report.log, &report.mined, &report.trained);
    format!(
        "\ncore demo · recipe {} · seed {}\n\n  \
         world    {} videos, {} people, {} weeks: {} sessions, {} searches\n  \
         mined    {} rewrites, {} rejects; {} to train on, {} held out (other people, later weeks)\n  \
         model    {} parameters, from the base that comes with the program: {} steps on {} examples\n           {}\n{}",
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
        trained.checkpoint.display(),
        report.scratch.as_ref().map_or_else(String::new, |scratch| format!(
            "           and {} parameters from nothing: {} steps\n           {}\n",
            scratch.parameters,
            scratch.steps,
            scratch.checkpoint.display()
        ))
    )
}

/// The claim in one sentence, whichever way it went; of the models the first is judged, against the rules.
fn verdict(held_out: &evaluate::Report, models: &[&str]) -> String {
    let model = models.first().copied().unwrap_or_default();
    let find = |name: &str| held_out.scores.iter().find(|s| s.rewriter == name);
    let Some((score, mrr)) = find(model).and_then(|s| Some((s, s.mrr?))) else {
        return "The model has no score.".into();
    };
    let claim = match (mrr.p < ALPHA, mrr.difference > 0.0) {
        (true, true) => "The model beats no rewriting on held-out searches",
        (true, false) => "The model is worse than no rewriting on held-out searches",
        (false, _) => "The model does not differ from no rewriting on held-out searches",
    };
    let best = held_out
        .scores
        .iter()
        .filter(|s| !models.contains(&s.rewriter.as_str()))
        .max_by(|a, b| fused(a).total_cmp(&fused(b)))
        .map(|s| {
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

fn samples(held_out: &evaluate::Report, model: &str) -> Table {
    let mut table = Table::new("samples", "Some of them", &["query", "last_watched", model, "person"]);
    for s in held_out.samples.iter().take(SAMPLES) {
        table.row([short(&s.query, 24), short(&s.watched, 36), short(&s.output, 24), short(&s.target, 24)]);
    }
    table
}

fn short(text: &str, width: usize) -> Cell {
    if text.chars().count() <= width {
        return text.into();
    }
    Cell::shown(text, words::one_line(&text.chars().take(width - 1).chain(['…']).collect::<String>()))
}
