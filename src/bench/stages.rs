//! nDCG@10 after each stage, judged by what the world's people wanted, with and without the rewrite that names their need.
//!
//! The searches are those of held-out people in the weeks after the log. Only this verb and the world know their needs: the
//! stages were fitted on the clicks of other people in earlier weeks. Each person types into the plain path; the same queries
//! are then answered with the oracle's rewrite under both configurations, so that what fusion can gain at best is seen too. Where the
//! recipe names a model for relevance (`search.scorer`), all of it is asked again with that.

use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::journal::{Cell, Event, Journal, Table, stop};
use crate::judge::{Comparison, Ratio, cells, compare, ndcg};
use crate::recipe::{Fusion, Recipe, SearchPath};
use crate::search::{Engine, Stage, index_dir};
use crate::store::{Split, person_split};
use crate::world::{Need, Page, World};
use crate::{index, simulate};

/// Places that count.
const PLACES: usize = 10;
/// The rewrites that a query is answered with.
const REWRITES: [(&str, Option<Fusion>); 3] =
    [("plain", None), ("oracle, configuration a", Some(Fusion::A)), ("oracle, configuration b", Some(Fusion::B))];
const STAGES: [(&str, Stage); 3] =
    [("recall", Stage::Recall), ("rawrank", Stage::Rawrank), ("finerank", Stage::Finerank)];

/// One stage of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which rewrite is fused, and how.
    pub path: String,
    /// The stage.
    pub stage: String,
    /// Mean nDCG@10 of what leaves it, over searches.
    pub ndcg: f64,
    /// Against the stage before, people as the unit.
    pub over_before: Option<Comparison>,
    /// Against the same stage of the plain path.
    pub over_plain: Option<Comparison>,
}

/// All stages of all paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Searches that were judged.
    pub searches: usize,
    /// People who made them.
    pub people: usize,
    /// The log that the ranking was fitted on.
    pub fitted_on: Option<String>,
    /// In the order of the stages, path by path.
    pub rows: Vec<Row>,
}

impl Report {
    /// One row a stage.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!("{} searches of {} held-out people, nDCG@{PLACES}", self.searches, self.people);
        let columns =
            ["path", "stage", "ndcg", "over_before", "before_ci95", "before_p", "over_plain", "plain_ci95", "plain_p"];
        let mut table = Table::new("stages", title, &columns);
        for row in &self.rows {
            let compared = |c: Option<&Comparison>| {
                [cells::signed(c.map(|c| c.difference)), cells::interval(c), cells::p_value(c.map(|c| c.p))]
            };
            let [before, before_ci, before_p] = compared(row.over_before.as_ref());
            let [plain, plain_ci, plain_p] = compared(row.over_plain.as_ref());
            let (path, stage) = (Cell::from(row.path.as_str()), Cell::from(row.stage.as_str()));
            let ndcg = cells::fixed(Some(row.ndcg));
            table.row([path, stage, ndcg, before, before_ci, before_p, plain, plain_ci, plain_p]);
        }
        table
    }
}

/// A way that a query is answered.
struct Way<'a> {
    name: String,
    fusion: Option<Fusion>,
    engine: &'a Engine,
}

/// nDCG of one search at each way and stage.
type Judged = Vec<[f64; STAGES.len()]>;

/// Makes log and index where they are missing, and judges the stages.
pub(super) fn run(workspace: &Path, recipe: &Recipe) -> Result<Report> {
    simulate::run(workspace, recipe, simulate::Part::default(), false)?;
    index::run(workspace, recipe, &recipe.name, index::Job::Build { anew: false })?;
    Journal::record(workspace, "bench", "stages", &recipe.to_toml(), |journal| {
        let report = judge(workspace, recipe, journal)?;
        let body = serde_json::to_value(&report)?;
        journal.emit(&Event::Report { title: "stages".into(), fingerprint: recipe.to_toml(), body })?;
        Ok(report)
    })
}

fn judge(workspace: &Path, recipe: &Recipe, journal: &Journal) -> Result<Report> {
    let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?;
    let by_model = Engine::of_log(workspace, recipe, &recipe.name)?;
    let of_engine =
        |engine, by: String| REWRITES.map(|(name, fusion)| Way { name: format!("{name}{by}"), fusion, engine });
    let mut ways = Vec::from(of_engine(&engine, String::new()));
    if let Some(model) = by_model.learned() {
        ways.extend(of_engine(&by_model, format!(", by {}", model.name())));
    }
    let world = World::new(recipe)?;
    let held_out = |p: &usize| person_split(recipe, &world.user_id(*p)) != Split::Train;
    let people: Vec<usize> = (0..world.people()).filter(held_out).collect();
    let progress = journal.progress("judge", people.len() as u64);
    let of_person = |person: &usize| -> Result<Vec<Judged>> {
        stop::check("a judgement is not resumable; run the same command again")?;
        let searches = searches(&world, &engine, recipe, *person)?;
        progress.inc(1);
        searches.iter().filter_map(|(query, need)| of_search(&world, &ways, recipe, query, need).transpose()).collect()
    };
    let judged: Vec<Vec<Judged>> = people.par_iter().map(of_person).collect::<Result<_>>()?;
    let searches = judged.iter().map(Vec::len).sum();
    progress.finish(&format!("{searches} searches"));
    ensure!(searches > 0, "nobody is held out: raise mine.held_out_people or world.people");
    let fitted_on = engine.ranking().fitted_on.clone();
    let people = judged.iter().filter(|j| !j.is_empty()).count();
    Ok(Report { searches, people, fitted_on, rows: rows(&judged, &ways, recipe) })
}

/// What a person typed in the weeks after the log, and meant.
fn searches(world: &World, engine: &Engine, recipe: &Recipe, person: usize) -> Result<Vec<(String, Need)>> {
    let weeks = recipe.world.weeks..recipe.world.weeks + recipe.ab.weeks;
    let sessions = world.simulate_person(person, weeks, &|asked| {
        let query = asked.query;
        let hits = engine.search_as_of(asked.indexed_ms, query, None, &recipe.search)?;
        Ok(Page { shown: hits.into_iter().map(|hit| hit.doc).collect(), rewritten: None })
    })?;
    let of_session = |s: crate::world::SimSession| {
        let queries = s.session.searches.into_iter().map(|search| search.query);
        queries.zip(s.truth.into_iter().map(|truth| truth.need)).collect::<Vec<_>>()
    };
    Ok(sessions.into_iter().flat_map(of_session).collect())
}

/// None when no document answers the need.
fn of_search(world: &World, ways: &[Way], recipe: &Recipe, query: &str, need: &Need) -> Result<Option<Judged>> {
    let ideal = world.best_grades(need, PLACES);
    let oracle = world.oracle_rewrite(need);
    let mut judged = vec![[0.0; STAGES.len()]; ways.len()];
    for (of_way, way) in judged.iter_mut().zip(ways) {
        let settings = SearchPath { fusion: way.fusion.unwrap_or(recipe.search.fusion), ..recipe.search.clone() };
        let rewrite = oracle.as_deref().filter(|_| way.fusion.is_some());
        for (value, (_, stage)) in of_way.iter_mut().zip(STAGES) {
            let found = way.engine.after(stage, query, rewrite, PLACES, &settings)?;
            let grades: Vec<f64> = found.iter().map(|doc| world.grade(need, doc)).collect();
            match ndcg(&grades, &ideal, PLACES) {
                Some(ndcg) => *value = ndcg,
                None => return Ok(None),
            }
        }
    }
    Ok(Some(judged))
}

fn rows(judged: &[Vec<Judged>], ways: &[Way], recipe: &Recipe) -> Vec<Row> {
    let sums = |path: usize, stage: usize| {
        judged.iter().map(move |of_person| Ratio {
            num: of_person.iter().map(|j| j[path][stage]).sum(),
            den: of_person.len() as f64,
        })
    };
    let against = |from: (usize, usize), to: (usize, usize)| {
        let pairs: Vec<_> = sums(from.0, from.1).zip(sums(to.0, to.1)).collect();
        compare(&pairs, recipe.ab.resamples, recipe.seed)
    };
    let mut rows = Vec::new();
    for (path, way) in ways.iter().enumerate() {
        for (stage, (stage_name, _)) in STAGES.iter().enumerate() {
            let total =
                sums(path, stage).fold(Ratio::default(), |a, b| Ratio { num: a.num + b.num, den: a.den + b.den });
            rows.push(Row {
                path: way.name.clone(),
                stage: (*stage_name).to_owned(),
                ndcg: total.num / total.den,
                over_before: stage.checked_sub(1).and_then(|before| against((path, before), (path, stage))),
                over_plain: if path > 0 { against((0, stage), (path, stage)) } else { None },
            });
        }
    }
    rows
}
