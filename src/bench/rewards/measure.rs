//! Answers of every row to held-out people, judged alike.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

use super::Row;
use super::variants::START;
use crate::journal::{Journal, stop};
use crate::judge::reward::{Asked, PARTS, Rewarder, Said, foreign, total};
use crate::judge::{Comparison, Experiment, Ratio, compare};
use crate::logs::words;
use crate::recipe::Recipe;
use crate::rewriter::{Answerable, Rewriter, Whose};
use crate::store::{ExampleRow, Split, Store};
use crate::task::Target;

/// Requests answered at once.
const CHUNK: usize = 64;
/// Which part of a reward is the reciprocal rank.
const HIT: usize = 2;
/// Which part is CoRe's ratio.
const RATIO: usize = 5;

/// What one row did in one world.
pub(super) struct Measured {
    pub name: String,
    pub seconds: f64,
    /// By person, in the order of the alphabet: `[reward, reciprocal rank, log ratio]`.
    people: BTreeMap<String, [Ratio; 3]>,
    /// Out of how many: right, left alone, left alone rightly, rewrites, valid rewrites.
    counts: [f64; 6],
    off_context: f64,
    popularity: f64,
    words: f64,
    vv10s: Option<Comparison>,
}

/// Places in [`Measured::counts`].
const ASKED: usize = 0;
const RIGHT: usize = 1;
const REJECTED: usize = 2;
const REJECTED_RIGHTLY: usize = 3;
const REWRITTEN: usize = 4;
const VALID: usize = 5;

/// Every row: its name, its run, its seconds.
pub(super) fn all(
    workspace: &Path,
    recipe: &Recipe,
    trained: &[(String, String, f64)],
    journal: &Journal,
) -> Result<Vec<Measured>> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    // Neither half was learnt from, and no row is chosen by either.
    let rows = [store.examples(&log, Split::Validation)?, store.examples(&log, Split::Test)?].concat();
    ensure!(!rows.is_empty(), "nobody is held out: raise mine.held_out_people or world.people");
    let mut recipe = recipe.clone();
    // Parts that the recipe gives no weight are asked for all the same, and weigh nothing.
    let weights = Rewarder::open(workspace, &recipe)?.weights();
    recipe.reward.hit = recipe.reward.hit.max(f64::MIN_POSITIVE);
    recipe.reward.ratio = recipe.reward.ratio.max(f64::MIN_POSITIVE);
    let rewarder = Rewarder::open(workspace, &recipe)?;
    let evidence = rewarder.evidence(workspace, &rows)?;
    let answerable = Answerable::read(&store, &recipe, &log, Whose::Everyone)?;
    let progress = journal.progress("judge", (trained.len() * rows.len()) as u64);
    let mut measured = Vec::new();
    for (name, run, seconds) in trained {
        let rewriter = Rewriter::open(workspace, &recipe, run)?;
        let mut row = Measured::new(name, *seconds);
        for (some, evidence) in rows.chunks(CHUNK).zip(evidence.chunks(CHUNK)) {
            stop::check("what was trained is kept; run the same command again")?;
            let requests: Vec<_> = some.iter().map(|row| (&row.context, row.query.as_str())).collect();
            let said: Vec<Said> =
                rewriter.rewrite(&requests)?.into_iter().map(|outcome| said(outcome.rewrite)).collect();
            let asked = some.iter().zip(evidence).map(|(row, evidence)| Asked::of(row).with(evidence));
            let answers: Vec<_> = asked.zip(&said).collect();
            for ((example, said), parts) in some.iter().zip(&said).zip(rewarder.judge(&answers)?) {
                let earned = [total(&parts, &weights), parts[HIT], parts[RATIO]];
                row.count(example, said, earned, &rewarder, &answerable);
            }
            progress.inc(some.len() as u64);
        }
        measured.push(row);
    }
    debug_assert_eq!((PARTS[HIT], PARTS[RATIO]), ("hit", "ratio"));
    progress.finish(&format!("{} rows on {} held-out searches", trained.len(), rows.len()));
    Ok(measured)
}

fn said(rewrite: Option<String>) -> Said {
    rewrite.map_or(Said::Reject, Said::Rewrite)
}

impl Measured {
    fn new(name: &str, seconds: f64) -> Self {
        Self {
            name: name.to_owned(),
            seconds,
            people: BTreeMap::new(),
            counts: [0.0; 6],
            off_context: 0.0,
            popularity: 0.0,
            words: 0.0,
            vv10s: None,
        }
    }

    fn count(
        &mut self,
        row: &ExampleRow,
        said: &Said,
        earned: [Option<f64>; 3],
        rewarder: &Rewarder,
        answerable: &Answerable,
    ) {
        let person = self.people.entry(row.user.clone()).or_default();
        for (sum, earned) in person.iter_mut().zip(earned) {
            earned.into_iter().for_each(|earned| sum.add(earned));
        }
        let mut add = |place: usize, is: bool| self.counts[place] += f64::from(u8::from(is));
        let target = Target::from_option(row.target.as_deref());
        add(ASKED, true);
        match said {
            Said::Rewrite(text) => {
                let found = rewarder.posterior(text);
                add(REWRITTEN, true);
                add(RIGHT, target.text() == Some(text));
                add(VALID, answerable.holds(text));
                self.off_context += foreign(&row.context, &row.query, text);
                self.popularity += f64::from(found.searches).ln_1p();
                self.words += words(text).count() as f64;
            }
            Said::Reject | Said::Faulty => {
                add(REJECTED, true);
                add(REJECTED_RIGHTLY, target == Target::Reject);
                add(RIGHT, target == Target::Reject);
            }
        }
    }
}

/// Puts the lifts of an experiment beside the rows, which were its treatments in the same order.
pub(super) fn lifts(measured: &mut [Measured], experiment: &Experiment) {
    let treatments = experiment.trials.iter().flat_map(|trial| &trial.treatments);
    for (row, treatment) in measured.iter_mut().zip(treatments) {
        row.vv10s = treatment.rows.first().and_then(|row| row.all);
    }
}

/// The rows over some worlds, each holding the same ones in the same order.
pub(super) fn rows(worlds: &[&Vec<Measured>], recipe: &Recipe) -> Vec<Row> {
    let Some(first) = worlds.first() else { return Vec::new() };
    let start = first.iter().position(|row| row.name == START).unwrap_or(0);
    let rows = first.iter().enumerate().map(|(place, row)| {
        let against_start = |metric: usize| {
            let pairs: Vec<(Ratio, Ratio)> = worlds
                .iter()
                .flat_map(|world| world[start].people.values().zip(world[place].people.values()))
                .map(|(before, after)| (before[metric], after[metric]))
                .collect();
            compare(&pairs, recipe.ab.resamples, recipe.seed)
        };
        let sum = |of: &dyn Fn(&Measured) -> f64| worlds.iter().map(|world| of(&world[place])).sum::<f64>();
        let counts: Vec<f64> = (0..6).map(|at| sum(&|row| row.counts[at])).collect();
        let share = |of: f64, all: f64| (all > 0.0).then(|| of / all);
        Row {
            name: row.name.clone(),
            seconds: sum(&|row| row.seconds),
            reward: against_start(0),
            mrr: against_start(1),
            exact_match: counts[RIGHT] / counts[ASKED],
            reject_rate: counts[REJECTED] / counts[ASKED],
            reject_precision: share(counts[REJECTED_RIGHTLY], counts[REJECTED]),
            index_hit_rate: share(counts[VALID], counts[REWRITTEN]),
            off_context: share(sum(&|row| row.off_context), counts[REWRITTEN]),
            popularity: share(sum(&|row| row.popularity), counts[REWRITTEN]),
            ratio: against_start(2),
            words: share(sum(&|row| row.words), counts[REWRITTEN]),
            vv10s: over(&worlds.iter().filter_map(|world| world[place].vv10s).collect::<Vec<_>>()),
        }
    });
    rows.collect()
}

/// Independent worlds' differences, averaged; the interval is that of a mean of independent estimates.
fn over(worlds: &[Comparison]) -> Option<Comparison> {
    let n = worlds.len() as f64;
    let mean = |of: fn(&Comparison) -> f64| worlds.iter().map(of).sum::<f64>() / n;
    let difference = mean(|c| c.difference);
    let wide = |of: fn(&Comparison) -> f64| worlds.iter().map(|c| of(c).powi(2)).sum::<f64>().sqrt() / n;
    let [first, ..] = worlds else { return None };
    if worlds.len() == 1 {
        return Some(*first);
    }
    Some(Comparison {
        control: mean(|c| c.control),
        treatment: mean(|c| c.treatment),
        difference,
        low: difference - wide(|c| c.difference - c.low),
        high: difference + wide(|c| c.high - c.difference),
        // A test over worlds would need more of them than there are.
        p: f64::NAN,
        people: worlds.iter().map(|c| c.people).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_are_averaged_and_their_interval_narrows() {
        let one = |difference: f64| Comparison {
            control: 1.0,
            treatment: 1.0 + difference,
            difference,
            low: difference - 0.3,
            high: difference + 0.3,
            p: 0.5,
            people: 10,
        };
        assert_eq!(over(&[]), None);
        assert_eq!(over(&[one(0.2)]).unwrap().p, 0.5);
        let four = over(&[one(0.1), one(0.3), one(0.1), one(0.3)]).unwrap();
        assert!((four.difference - 0.2).abs() < 1e-12 && four.people == 40);
        assert!((four.low - 0.05).abs() < 1e-9 && (four.high - 0.35).abs() < 1e-9, "{four:?}");
    }
}
