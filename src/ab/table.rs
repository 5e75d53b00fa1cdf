//! The tables of `core ab`.

use crate::journal::{Cell, Table};
use crate::judge::{Design, Experiment, Look, Null, Treatment, Trial, cells};
use crate::recipe::Recall;

/// An experiment as text: one treatment with all its metrics, or several with the main one; looks and decay where there are
/// any.
#[must_use]
pub fn text(experiment: &Experiment) -> String {
    let mut tables = Vec::new();
    let alone = experiment.trials.iter().all(|trial| trial.treatments.len() == 1);
    for trial in &experiment.trials {
        match &trial.treatments[..] {
            [one] if alone => tables.push(metrics(experiment, trial, one)),
            _ => tables.push(side_by_side(experiment, trial)),
        }
        let looked_at = trial.treatments.iter().filter(|one| one.looks.len() > 1);
        tables.extend(looked_at.map(|one| looks(experiment.level, one)));
    }
    if !experiment.decay.is_empty() {
        tables.push(decay(experiment));
    }
    tables.iter().map(Table::to_text).collect::<Vec<_>>().join("\n")
}

fn who(experiment: &Experiment, trial: &Trial) -> String {
    let design = match experiment.design {
        Design::Hashed => "hashed to one arm each",
        Design::Paired => "in every arm",
    };
    let recall = match experiment.recall {
        Recall::Index => "",
        Recall::Fake => ", what a rewrite finds read from the fake index",
    };
    let lives = match experiment.lives {
        1 => String::new(),
        n => format!(", {n} lives each"),
    };
    format!("{} held-out people, {design}{lives}{recall}", trial.people)
}

fn when(trial: &Trial) -> String {
    match trial.weeks {
        1 => format!("week {}", trial.first_week),
        n => format!("weeks {} to {}", trial.first_week, trial.first_week + n - 1),
    }
}

fn metrics(experiment: &Experiment, trial: &Trial, one: &Treatment) -> Table {
    let title = format!(
        "A/B after the log ({}): {} against {}\n{}; {:.1} % of searches rewritten, {:.2} ms a rewrite\n{} of its rewrites are \
         queries of the fake index; {} of functional searches left alone",
        when(trial),
        one.treatment,
        experiment.control,
        who(experiment, trial),
        100.0 * one.rewritten_share,
        one.rewrite_ms,
        share(one.index_hits),
        share(one.functional_left_alone),
    );
    let columns = ["metric", "on", "control", "treatment", "relative", "difference", "ci95", "p", "of_oracle"];
    let mut table = Table::new("ab", title, &columns);
    for row in &one.rows {
        for (on, comparison) in [("all", &row.all), ("rewritten", &row.impacted)] {
            let Some(c) = comparison else { continue };
            let arrow = if row.more_is_better { "↑" } else { "↓" };
            table.row([
                Cell::shown(row.metric.as_str(), format!("{} {arrow}", row.metric)),
                on.into(),
                cells::fixed(Some(c.control)),
                cells::fixed(Some(c.treatment)),
                cells::relative(c),
                cells::signed(Some(c.difference)),
                cells::interval(Some(c)),
                cells::p_value(Some(c.p)),
                cells::percent(row.share_of_oracle().filter(|_| on == "all")),
            ]);
        }
    }
    table
}

fn share(of: Option<f64>) -> String {
    of.map_or_else(|| "none".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn side_by_side(experiment: &Experiment, trial: &Trial) -> Table {
    let main = trial.treatments.iter().find_map(|one| one.rows.first()).map_or("nothing", |row| row.metric.as_str());
    let title = format!(
        "A/B after the log ({}) against {}: {main}, difference in percent of the control, 95 % interval, p\n{}; over all \
         searches, and over those where the rewrite differs; p is of each treatment by itself; hits: rewrites that are \
         queries of the fake index; functional: such searches left alone",
        when(trial),
        experiment.control,
        who(experiment, trial)
    );
    let columns = [
        "treatment",
        "all_%",
        "ci95",
        "p",
        "of_oracle",
        "rewritten",
        "rewritten_%",
        "ci95_",
        "p_",
        "hits",
        "functional",
        "rewrite_ms",
    ];
    let mut table = Table::new("ab", title, &columns);
    for one in &trial.treatments {
        let Some(row) = one.rows.first() else { continue };
        let [all, impacted] = [row.all.as_ref(), row.impacted.as_ref()];
        table.row([
            one.treatment.as_str().into(),
            all.map_or(None::<f64>.into(), cells::relative),
            cells::relative_interval(all),
            cells::p_value(all.map(|c| c.p)),
            cells::percent(row.share_of_oracle()),
            cells::percent(Some(one.rewritten_share)),
            impacted.map_or(None::<f64>.into(), cells::relative),
            cells::relative_interval(impacted),
            cells::p_value(impacted.map(|c| c.p)),
            cells::percent(one.index_hits),
            cells::percent(one.functional_left_alone),
            Cell::shown(one.rewrite_ms, format!("{:.2}", one.rewrite_ms)),
        ]);
    }
    table
}

fn looks(level: f64, one: &Treatment) -> Table {
    let metric = one.rows.first().map_or("", |row| row.metric.as_str());
    let title = format!(
        "Looks at {metric} of {}: p as if it were the only look, and the level that this look leaves it\n\
         O'Brien-Fleming-type spending of {level}; the interval holds at all looks together",
        one.treatment
    );
    let columns = ["days", "difference", "interval", "p", "level", "z", "boundary", "decision"];
    let mut table = Table::new("looks", title, &columns);
    for look in &one.looks {
        let Look { days, low, high, .. } = *look;
        table.row([
            u64::from(days).into(),
            cells::signed(Some(look.difference)),
            Cell::shown(vec![low, high], format!("[{low:+.4}, {high:+.4}]")),
            cells::p_value(Some(look.p)),
            Cell::shown(look.boundary.p, small(look.boundary.p)),
            Cell::shown(look.z, format!("{:+.2}", look.z)),
            Cell::shown(look.boundary.z, format!("{:.2}", look.boundary.z)),
            look.decision.words().into(),
        ]);
    }
    table
}

/// A level, which may be far below what a p-value is told to.
fn small(p: f64) -> String {
    if p < 0.001 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

fn decay(experiment: &Experiment) -> Table {
    let title = "What a lift lost: relative lift of the main metric in an early and a late week, the same people\n\
                 change in percentage points, 95 % interval, p";
    let columns = ["treatment", "early_week", "early_%", "late_week", "late_%", "change_points", "ci95", "p"];
    let mut table = Table::new("decay", title, &columns);
    let points = |x: f64| Cell::shown(x, format!("{:+.2}", 100.0 * x));
    for d in &experiment.decay {
        table.row([
            d.treatment.as_str().into(),
            u64::from(d.early_week).into(),
            points(d.early),
            u64::from(d.late_week).into(),
            points(d.late),
            points(d.change),
            Cell::shown(vec![d.low, d.high], format!("[{:+.2}, {:+.2}]", 100.0 * d.low, 100.0 * d.high)),
            cells::p_value(Some(d.p)),
        ]);
    }
    table
}

/// One row a metric of runs without a difference.
#[must_use]
pub fn null_table(null: &Null) -> Table {
    let title = format!(
        "{} A/A runs of {} people: share called different at the level {}\nat the end; and at any of {} look(s), each by the \
         level itself, or by its corrected boundary",
        null.runs, null.people, null.level, null.looks
    );
    let mut table = Table::new("aa", title, &["metric", "at_end", "any_look_uncorrected", "any_look_corrected"]);
    for row in &null.by_metric {
        table.row([
            row.metric.as_str().into(),
            cells::percent(Some(row.at_end)),
            cells::percent(Some(row.any_look_uncorrected)),
            cells::percent(Some(row.any_look_corrected)),
        ]);
    }
    table
}
