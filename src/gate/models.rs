//! A candidate model against the one in use, on people and weeks that neither was trained on, through the path that serves.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::measure::{ByPerson, Ground};
use super::metrics::Metric;
use super::rules;
use crate::journal::Journal;
use crate::judge::reward::{Rewarder, Side};
use crate::judge::{Ratio, Verdict, compare};
use crate::model::runs;
use crate::recipe::Recipe;
use crate::rewriter::{Answerable, Rewriter, Whose, release::release};
use crate::store::Store;

pub(super) fn verdict(
    workspace: &Path,
    recipe: &Recipe,
    (incumbent, candidate): (&str, &str),
    release: bool,
    journal: &Journal,
) -> Result<Verdict> {
    let run = runs::run_dir(workspace, candidate).ok().map(|dir| runs::latest(&dir)).transpose()?.flatten();
    ensure!(
        run.is_some() || !release,
        "only a run of the workspace can be released, and {candidate:?} is none: --dry-run says the verdict alone"
    );
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    let rewarder = Rewarder::open(workspace, recipe)?;
    let searched = rewarder.searched(workspace, Side::HeldOut, recipe.gate.examples, recipe.ratio.mended)?;
    ensure!(
        !searched.is_empty(),
        "no search of a held-out person in log {:?} has documents that were stayed with and others that were passed over: \
         a longer log is needed, or a larger mine.held_out_people",
        log.name
    );
    let answerable = Answerable::read(&store, recipe, &log, Whose::Everyone)?;
    let ground = Ground { searched: &searched, rewarder: &rewarder, answerable: &answerable, recipe };
    let [old, new] = [incumbent, candidate].map(|name| Rewriter::open(workspace, recipe, name));
    let found = ground.both(&old?, &new?, journal)?;
    let known = Metric::ALL.into_iter().filter_map(|metric| Some((metric, pairs(&found, metric)?)));
    let checks = known.map(|(metric, pairs)| {
        let found = compare(&pairs, recipe.ab.resamples, recipe.seed).with_context(|| metric.name())?;
        Ok(rules::check(metric, found, &recipe.gate))
    });
    let checks = checks.collect::<Result<Vec<_>>>()?;
    let promoted = checks.iter().all(|check| check.passed);
    let (incumbent, candidate) = (incumbent.to_owned(), candidate.to_owned());
    let mut verdict = Verdict {
        incumbent,
        candidate,
        queries: searched.len(),
        unit: "people".into(),
        checks,
        promoted,
        release: None,
    };
    if promoted && release {
        verdict.release = Some(released(workspace, recipe, &verdict)?);
    }
    Ok(verdict)
}

/// Puts the candidate in use; its verdict stays with it.
fn released(workspace: &Path, recipe: &Recipe, verdict: &Verdict) -> Result<i64> {
    let reason = format!("passed the gate against {}", verdict.incumbent);
    let body = serde_json::to_value(verdict)?;
    Ok(release(workspace, &recipe.name, &verdict.candidate, &reason, Some(body))?.id)
}

/// A metric of both, person by person; none where one of them has nothing to say of it.
fn pairs([old, new]: &[ByPerson; 2], metric: Metric) -> Option<Vec<(Ratio, Ratio)>> {
    let of = |found: &ByPerson, person: &String| found.get(person).and_then(|own| own.get(&metric)).copied();
    let pairs: Vec<(Ratio, Ratio)> = new
        .keys()
        .map(|person| {
            let after = of(new, person).unwrap_or_default();
            // Nothing diverges from itself.
            let itself = Ratio { num: 0.0, den: after.den };
            let before = if metric == Metric::Kl { itself } else { of(old, person).unwrap_or_default() };
            (before, after)
        })
        .collect();
    let counts = |side: fn(&(Ratio, Ratio)) -> Ratio| pairs.iter().any(|pair| side(pair).den > 0.0);
    (counts(|pair| pair.0) && counts(|pair| pair.1)).then_some(pairs)
}
