//! One week of everybody, with what is in use beside the search path; and the log of the window that ends with it.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{Loop, state};
use crate::journal::{Progress, stop};
use crate::recipe::Fingerprint;
use crate::rewriter::{Rewriter, release};
use crate::store::{LogKind, Session, Store};
use crate::world::{Asked, Page};

/// Milliseconds of a week.
const WEEK_MS: i64 = 7 * 86_400_000;

/// What a week's log is like.
pub(super) struct Lived {
    /// Searches of the week.
    pub searches: usize,
    /// Total variation between its queries and those of the week before.
    pub drift: f64,
}

impl Loop<'_> {
    /// Lets everybody live week `week` of the loop (from 1) with a release, and makes the log that of the window which ends
    /// with it, in one transaction.
    pub(super) fn live(&self, week: u32, release: i64) -> Result<()> {
        let name = release::name(release);
        let rewriter = Rewriter::open(self.workspace, &self.recipe, &name)?;
        let new = self.sessions(week, &rewriter)?;
        let mut store = Store::open(self.workspace)?;
        let log = store.log(&self.recipe.name)?;
        let begins_ms = self.begins_ms(week) - i64::from(self.recipe.weekly.window - 1) * WEEK_MS;
        let mut window: Vec<Session> = Vec::new();
        store.for_each_session(&log, |session| {
            if session.start_ms >= begins_ms {
                window.push(session);
            }
            Ok(())
        })?;
        window.extend(new);
        // Person by person, in time order, as any log.
        window.sort_by(|a, b| (&a.user, a.start_ms, &a.id).cmp(&(&b.user, b.start_ms, &b.id)));
        let mut hash = Fingerprint::default();
        for session in &window {
            hash.add(&serde_json::to_vec(session)?);
        }
        let origin = state::origin(&self.fingerprint, week, release, &hash.hex());
        let progress = Progress::on_screen("write", window.len() as u64);
        store.write_log(&self.recipe.name, LogKind::World, &origin, |log| {
            self.world.docs().iter().try_for_each(|doc| log.doc(&doc))?;
            window.iter().try_for_each(|session| {
                progress.inc(1);
                log.session(session)
            })
        })?;
        progress.finish(&format!("{} sessions of {} weeks", window.len(), self.recipe.weekly.window));
        Ok(())
    }

    fn sessions(&self, week: u32, rewriter: &Rewriter) -> Result<Vec<Session>> {
        let week = self.recipe.world.weeks + week - 1;
        let progress = self.journal.progress("live", self.world.people() as u64);
        let search = |asked: Asked| -> Result<Page> {
            let outcome = rewriter.rewrite(&[(asked.context, asked.query)])?.pop();
            let rewritten = outcome.and_then(|outcome| outcome.rewrite);
            let settings = &self.recipe.search;
            let hits = self.engine.search_as_of(asked.indexed_ms, asked.query, rewritten.as_deref(), settings)?;
            Ok(Page { shown: hits.into_iter().map(|hit| hit.doc).collect(), rewritten })
        };
        let one = |person: usize| {
            stop::check("run the same command again to go on")?;
            let sessions = self.world.simulate_person(person, week..week + 1, &search)?;
            progress.inc(1);
            Ok(sessions.into_iter().map(|sim| sim.session).collect::<Vec<_>>())
        };
        let lives: Vec<Vec<Session>> = (0..self.world.people())
            .into_par_iter()
            .map(one)
            .collect::<Result<_>>()
            .with_context(|| format!("week {}", week + 1))?;
        progress.finish(&format!("{} sessions", lives.iter().map(Vec::len).sum::<usize>()));
        Ok(lives.concat())
    }

    /// When a week of the loop begins, Unix milliseconds.
    fn begins_ms(&self, week: u32) -> i64 {
        self.world.begins_ms() + i64::from(self.recipe.world.weeks + week - 1) * WEEK_MS
    }

    /// What the newest week of the log is like.
    pub(super) fn look_at(&self, week: u32) -> Result<Lived> {
        let store = Store::open_existing(self.workspace)?;
        let begins_ms = self.begins_ms(week);
        let [mut before, mut now]: [HashMap<String, usize>; 2] = Default::default();
        store.for_each_session(&store.log(&self.recipe.name)?, |session| {
            let side = if session.start_ms >= begins_ms { &mut now } else { &mut before };
            for search in session.searches.iter().filter(|s| s.time_ms >= begins_ms - WEEK_MS) {
                *side.entry(search.query.clone()).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(Lived { searches: now.values().sum(), drift: total_variation(&before, &now) })
    }
}

/// Half the sum of differences between two distributions, in [0, 1].
fn total_variation(a: &HashMap<String, usize>, b: &HashMap<String, usize>) -> f64 {
    let sum = |counts: &HashMap<String, usize>| counts.values().sum::<usize>().max(1) as f64;
    let share =
        |counts: &HashMap<String, usize>, key: &String, all: f64| counts.get(key).map_or(0.0, |n| *n as f64 / all);
    let (all_a, all_b) = (sum(a), sum(b));
    let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
    let mut differences: Vec<f64> = keys.map(|key| (share(a, key, all_a) - share(b, key, all_b)).abs()).collect();
    // The order of a map differs from run to run, and with it the last digit of a sum.
    differences.sort_by(f64::total_cmp);
    differences.iter().sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_variation_is_0_of_equals_and_1_of_strangers() {
        let of = |pairs: &[(&str, usize)]| pairs.iter().map(|(q, n)| ((*q).to_owned(), *n)).collect::<HashMap<_, _>>();
        let a = of(&[("x", 1), ("y", 3)]);
        assert_eq!(total_variation(&a, &of(&[("x", 2), ("y", 6)])), 0.0);
        assert_eq!(total_variation(&a, &of(&[("z", 5)])), 1.0);
        assert_eq!(total_variation(&a, &of(&[("x", 3), ("y", 1)])), 0.5);
    }
}
