//! The demo's report: what was made, what the rewriters did, whether it helped, what to run next.

use std::path::Path;

use anyhow::Result;

use super::{Report, next, run_name};
use crate::evaluate;
use crate::journal::{Cell, Table, say, words};
use crate::judge::{Scores, cells};
use crate::recipe::Recipe;

/// Below this a difference is called significant.
const ALPHA: f64 = 0.05;
/// Longest line of running text, in characters.
const WIDTH: usize = 110;
/// Sample rewrites shown.
const SAMPLES: usize = 5;
/// What the experiment is summed up by, and the short names that fit a line; `core ab` shows every metric.
const KEY_METRICS: [(&str, &str); 3] =
    [("vv10s_per_search", "vv10s/search ↑"), ("ctr", "ctr ↑"), ("query_reformulation_rate", "reformulated ↓")];

/// Prints the report as text, or as one JSON object. `source` is how the recipe was named on the command line.
pub(super) fn print(workspace: &Path, source: &str, recipe: &Recipe, report: &Report, json: bool) -> Result<()> {
    if json {
        return say(&format!("{}\n", serde_json::to_string(report)?));
    }
    let parts = [
        made(recipe, report),
        report.held_out.table().to_text(),
        words::wrap(&verdict(&report.held_out, &run_name(recipe)), WIDTH) + "\n",
        samples(&report.held_out, &run_name(recipe)).to_text(),
        experiment(report).to_text(),
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
         model    {} parameters from nothing, {} steps on {} examples\n           {}\n",
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

/// Every treatment's key metrics in one table: difference from no rewriting, in percent of it.
fn experiment(report: &Report) -> Table {
    let people = report.ab.first().map_or(0, |ab| ab.people);
    let shares: Vec<_> =
        report.ab.iter().map(|ab| format!("{} {:.1} %", ab.treatment, 100.0 * ab.rewritten_share)).collect();
    let title = format!(
        "Simulated A/B against no rewriting, {people} held-out people in both arms: difference in percent, 95 % interval, p\n\
         over all searches, and over the rewritten ones ({})",
        shares.join(", ")
    );
    let columns = ["treatment", "metric", "all_%", "ci95", "p", "rewritten_%", "ci95_", "p_"];
    let mut table = Table::new("ab", title, &columns);
    for ab in &report.ab {
        for (metric, name) in KEY_METRICS {
            let Some(row) = ab.rows.iter().find(|row| row.metric == metric) else { continue };
            let [all, impacted] = [row.all.as_ref(), row.impacted.as_ref()];
            let lift = |c: Option<&_>| c.map_or(Cell::from(None::<f64>), cells::relative);
            table.row([
                ab.treatment.as_str().into(),
                Cell::shown(metric, name),
                lift(all),
                cells::relative_interval(all),
                cells::p_value(all.map(|c| c.p)),
                lift(impacted),
                cells::relative_interval(impacted),
                cells::p_value(impacted.map(|c| c.p)),
            ]);
        }
    }
    table
}
