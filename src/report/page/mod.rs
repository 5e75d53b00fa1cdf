//! An experiment as one HTML file: no network, no script, pictures inside; every text in it escaped by the template.

mod picture;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use crate::journal::{Reader, Reported, words};
use crate::judge::{Comparison, Decay, Design, Experiment, Look, Null, Row, Treatment, Trial, cells};
use crate::recipe::Recall;
use picture::{Forest, Path as LookPath};

const TEMPLATE: &str = include_str!("page.html");

/// Writes the newest experiment of a workspace, and its newest A/A runs, as a page.
///
/// # Errors
/// No experiment yet; a file that cannot be written.
pub(super) fn write(workspace: &Path, file: &Path) -> Result<()> {
    let reader = Reader::open(workspace)?;
    let Some(reported) = reader.newest_report("ab")? else {
        bail!("no experiment in {} yet: run `core ab --all` first", workspace.display());
    };
    let experiment = read(&reported)?;
    let null = reader.newest_report("aa")?.map(|reported| read::<Null>(&reported)).transpose()?;
    let page = render(&experiment, null.as_ref(), &reported)?;
    std::fs::write(file, page)
        .with_context(|| format!("cannot write {}: check that its folder is there and may be written", file.display()))
}

fn read<T: serde::de::DeserializeOwned>(reported: &Reported) -> Result<T> {
    serde_json::from_value(reported.body.clone()).with_context(|| {
        format!("run {} was made by another version of the program: run `core ab` again", reported.run)
    })
}

fn render(experiment: &Experiment, null: Option<&Null>, reported: &Reported) -> Result<String> {
    let mut env = Environment::new();
    // The ending of the name turns escaping on.
    env.add_template("page.html", TEMPLATE).context("the page's template is part of the program")?;
    let page = Page {
        experiment,
        design: match experiment.design {
            Design::Hashed => "hashed to one arm each",
            Design::Paired => "in every arm",
        },
        recall: match experiment.recall {
            Recall::Index => "searched for",
            Recall::Fake => "read from the fake index",
        },
        trials: experiment.trials.iter().map(stretch).collect(),
        decay: experiment.decay.iter().map(faded).collect(),
        null: null.map(equal_arms),
        run: reported.run,
        when: words::utc(reported.started_ms),
        settings: &reported.recipe,
    };
    Ok(env.get_template("page.html")?.render(Value::from(Serde(page)))?)
}

/// All that the template shows.
#[derive(Serialize)]
struct Page<'a> {
    experiment: &'a Experiment,
    design: &'a str,
    recall: &'a str,
    trials: Vec<Stretch>,
    decay: Vec<[String; 7]>,
    null: Option<EqualArms>,
    run: i64,
    when: String,
    settings: &'a str,
}

/// One stretch of weeks as the template shows it.
#[derive(Serialize)]
struct Stretch {
    weeks: String,
    people: usize,
    metric: String,
    forest: Forest,
    treatments: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    rewritten: String,
    hits: String,
    functional: String,
    rewrite_ms: String,
    of_oracle: String,
    all: String,
    all_p: String,
    impacted: String,
    impacted_p: String,
    metrics: Vec<[String; 9]>,
    looks: Vec<[String; 8]>,
    path: Option<LookPath>,
}

fn stretch(trial: &Trial) -> Stretch {
    let last = trial.first_week + trial.weeks - 1;
    Stretch {
        weeks: if trial.weeks == 1 { format!("week {last}") } else { format!("weeks {} to {last}", trial.first_week) },
        people: trial.people,
        metric: trial.treatments.iter().find_map(|one| one.rows.first()).map_or_else(String::new, |r| r.metric.clone()),
        forest: Forest::of(trial),
        treatments: trial.treatments.iter().map(shown).collect(),
    }
}

fn shown(one: &Treatment) -> Shown {
    let main = one.rows.first();
    let [all, impacted] = [main.and_then(|row| row.all), main.and_then(|row| row.impacted)];
    let looked_at = one.looks.len() > 1;
    Shown {
        name: one.treatment.clone(),
        rewritten: percent(one.rewritten_share),
        hits: one.index_hits.map_or_else(missing, percent),
        functional: one.functional_left_alone.map_or_else(missing, percent),
        rewrite_ms: format!("{:.2}", one.rewrite_ms),
        of_oracle: main.and_then(Row::share_of_oracle).map_or_else(missing, percent),
        all: all.as_ref().map_or_else(missing, lift),
        all_p: all.map_or_else(missing, |c| cells::p_text(c.p)),
        impacted: impacted.as_ref().map_or_else(missing, lift),
        impacted_p: impacted.map_or_else(missing, |c| cells::p_text(c.p)),
        metrics: one.rows.iter().flat_map(metric).collect(),
        looks: one.looks.iter().filter(|_| looked_at).map(look).collect(),
        path: looked_at.then(|| LookPath::of(&one.looks)),
    }
}

/// A metric over all searches, and over the rewritten ones.
fn metric(row: &Row) -> Vec<[String; 9]> {
    let arrow = if row.more_is_better { "↑" } else { "↓" };
    let line = |on: &str, c: Comparison, of_oracle: Option<f64>| {
        [
            format!("{} {arrow}", row.metric),
            on.to_owned(),
            format!("{:.4}", c.control),
            format!("{:.4}", c.treatment),
            format!("{:+.4}", c.difference),
            format!("[{:+.4}, {:+.4}]", c.low, c.high),
            cells::p_text(c.p),
            c.people.to_string(),
            of_oracle.map_or_else(missing, percent),
        ]
    };
    let all = row.all.map(|c| line("all", c, row.share_of_oracle()));
    let impacted = row.impacted.map(|c| line("rewritten", c, None));
    all.into_iter().chain(impacted).collect()
}

fn look(look: &Look) -> [String; 8] {
    [
        look.days.to_string(),
        format!("{:+.4}", look.difference),
        format!("[{:+.4}, {:+.4}]", look.low, look.high),
        cells::p_text(look.p),
        words::number(look.boundary.p),
        format!("{:+.2}", look.z),
        format!("{:.2}", look.boundary.z),
        look.decision.words().to_owned(),
    ]
}

fn faded(d: &Decay) -> [String; 7] {
    let points = |x: f64| format!("{:+.2}", 100.0 * x);
    [
        d.treatment.clone(),
        format!("{} % in week {}", points(d.early), d.early_week),
        format!("{} % in week {}", points(d.late), d.late_week),
        points(d.change),
        points(d.low),
        points(d.high),
        cells::p_text(d.p),
    ]
}

#[derive(Serialize)]
struct EqualArms {
    runs: usize,
    people: usize,
    looks: u32,
    level: f64,
    metrics: Vec<[String; 4]>,
}

fn equal_arms(null: &Null) -> EqualArms {
    let line = |row: &crate::judge::NullMetric| {
        let [end, uncorrected, corrected] = [row.at_end, row.any_look_uncorrected, row.any_look_corrected].map(percent);
        [row.metric.clone(), end, uncorrected, corrected]
    };
    let metrics = null.by_metric.iter().map(line).collect();
    EqualArms { runs: null.runs, people: null.people, looks: null.looks, level: null.level, metrics }
}

/// A lift in percent of the control, with its interval.
fn lift(c: &Comparison) -> String {
    if c.control == 0.0 {
        return missing();
    }
    let [at, low, high] = [c.difference, c.low, c.high].map(|x| 100.0 * x / c.control);
    format!("{at:+.2} % [{low:+.1}, {high:+.1}]")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn missing() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Boundary, Decision};

    fn experiment(name: &str) -> Experiment {
        let c =
            Comparison { control: 0.5, treatment: 0.55, difference: 0.05, low: 0.02, high: 0.08, p: 0.0004, people: 9 };
        let boundary = Boundary { z: 2.96, p: 0.003, spent: 0.003 };
        let at = |days, decision| Look {
            days,
            control: 0.5,
            difference: 0.05,
            low: -0.01,
            high: 0.11,
            z: 3.1,
            p: 0.002,
            boundary,
            decision,
        };
        let row = Row {
            metric: "vv10s_per_search".into(),
            more_is_better: true,
            all: Some(c),
            impacted: None,
            oracle_difference: Some(0.1),
        };
        let treatment = Treatment {
            treatment: name.into(),
            rewritten_share: 0.25,
            index_hits: Some(0.95),
            functional_left_alone: None,
            rewrite_ms: 1.5,
            rows: vec![row],
            looks: vec![at(7, Decision::GoOn), at(14, Decision::Better)],
        };
        let trial = Trial { first_week: 5, weeks: 2, people: 9, treatments: vec![treatment] };
        Experiment {
            recipe: "demo".into(),
            seed: 7,
            version: "0".into(),
            control: "never <rewrite>".into(),
            design: Design::Paired,
            recall: Recall::Fake,
            lives: 3,
            level: 0.05,
            trials: vec![trial],
            decay: Vec::new(),
        }
    }

    fn page(name: &str, null: Option<&Null>) -> String {
        let reported =
            Reported { run: 3, started_ms: 0, recipe: "name = \"<demo>\"".into(), body: serde_json::Value::Null };
        render(&experiment(name), null, &reported).unwrap()
    }

    #[test]
    fn the_page_holds_every_number_and_asks_the_network_for_nothing() {
        let metrics = vec![crate::judge::NullMetric {
            metric: "ctr".into(),
            at_end: 0.045,
            any_look_uncorrected: 0.171,
            any_look_corrected: 0.052,
        }];
        let null = Null { runs: 200, people: 300, level: 0.05, looks: 7, share_significant: 0.045, by_metric: metrics };
        let page = page("copy rule", Some(&null));
        let wanted = [
            "copy rule",
            "+10.00 % [+4.0, +16.0]",
            "&lt;0.001",
            "50.0 %",
            "25.0 %",
            "weeks 5 to 6",
            "people in every arm, 3 lives each",
            "rewrites read from the fake index",
            "stop: better",
            "17.1 %",
            "1970-01-01 00:00",
            "seed 7",
            "<svg",
        ];
        for part in wanted {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        for outside in ["http:", "https:", "<script", "<link", "src="] {
            // The name of SVG's own language is an address that nobody fetches; inside HTML it is not needed.
            assert!(!page.contains(outside), "{outside} is in the page");
        }
    }

    #[test]
    fn names_are_text_wherever_they_stand() {
        let page = page("<b>\"x\" & 'y'</b><svg onload=alert(1)>", None);
        assert!(!page.contains("<b>") && !page.contains("onload=alert(1)>"), "{page}");
        assert!(page.contains("&lt;b&gt;") && page.contains("never &lt;rewrite&gt;") && page.contains("&lt;demo&gt;"));
    }

    #[test]
    fn tags_are_closed_in_their_order() {
        let page = page("copy rule", None);
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            let name = tag.trim_start_matches('/').split(|c: char| c.is_whitespace() || c == '/').next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.starts_with('!') && !tag.ends_with('/') && !["meta", "br"].contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0]);
    }
}
