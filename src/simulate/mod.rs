//! `simulate`: let the world's people search for some weeks with the plain search path, and log it.
//!
//! What a log would hold goes into the store; what only the world knows goes into the hidden tables beside it.

mod figures;
mod pages;
mod spool;

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::journal::words::bytes;
use crate::journal::{Journal, Progress, Table, stop};
use crate::recipe::{Fingerprint, PLAIN_SCORER, Recipe, SearchPath};
use crate::search::{Engine, index_dir};
use crate::store::{Lock, LogInfo, LogKind, Store};
use crate::truth::{Truth, Writer};
use crate::world::{SimSession, World};
use pages::PlainPages;
use spool::Spool;

pub use figures::Figures;

/// Changes when the same recipe would give another log, so that an older log is made anew.
const VERSION: &str = "world-4";
/// Weeks of a person simulated between two writes: bounds the sessions held in memory, however many weeks there are.
const CHUNK: usize = 256;
/// What a person who stopped a simulation is told.
const ADVICE: &str = "a log is written whole or not at all; run the same command again";

/// A part of a recipe's world; the whole of it by default. People and weeks of a part live as they would in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Only the first so many people.
    pub people: Option<usize>,
    /// Only the first so many weeks.
    pub weeks: Option<u32>,
    /// Of these, not the first so many.
    pub without: u32,
}

impl Part {
    fn people(&self, recipe: &Recipe) -> usize {
        self.people.unwrap_or(usize::MAX).min(recipe.world.people)
    }

    fn weeks(&self, recipe: &Recipe) -> Range<u32> {
        let end = self.weeks.unwrap_or(u32::MAX).min(recipe.world.weeks);
        self.without.min(end)..end
    }
}

/// What a simulation left in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the log.
    pub log: String,
    /// Sessions in it.
    pub sessions: usize,
    /// Searches in it.
    pub searches: usize,
    /// Documents in it, and in the index.
    pub docs: usize,
    /// Hash of everything in it: the same recipe, the same hash.
    pub hash: String,
    /// The store already held this log; nothing was simulated.
    pub reused: bool,
    /// How the people fared; none when the log was reused.
    pub figures: Option<Figures>,
    /// What it cost; none when the log was reused.
    #[serde(default)]
    pub cost: Option<Cost>,
}

/// What a simulated search costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Searches a second, from the first one asked to the last one stored.
    pub searches_per_s: f64,
    /// Bytes of a search in the store, with its clicks and its share of its session.
    pub bytes_per_search: f64,
}

impl Summary {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = ["log", "sessions", "searches", "docs", "hash", "reused", "searches_per_s", "bytes_per_search"];
        let mut table = Table::new("simulate", "", &columns);
        table.row([
            self.log.as_str().into(),
            self.sessions.into(),
            self.searches.into(),
            self.docs.into(),
            self.hash.as_str().into(),
            self.reused.into(),
            self.cost.map(|cost| cost.searches_per_s).into(),
            self.cost.map(|cost| cost.bytes_per_search).into(),
        ]);
        table
    }
}

/// Simulates the weeks of a recipe, or a part of them, into the log of its name; builds the index of its documents.
///
/// A log that the same recipe made earlier is kept, unless `fresh`. The same recipe writes the same log, in the same order.
///
/// # Errors
/// A log of that name from another source, a folder that cannot be written, a full disk.
pub fn run(workspace: &Path, recipe: &Recipe, part: Part, fresh: bool) -> Result<Summary> {
    Journal::record(workspace, "simulate", &recipe.name, &recipe.to_toml(), |journal| {
        simulate(workspace, recipe, part, fresh, journal)
    })
}

fn simulate(workspace: &Path, recipe: &Recipe, part: Part, fresh: bool, journal: &Journal) -> Result<Summary> {
    let _alone = Lock::take(workspace, &format!("simulate-{}", recipe.name))?;
    let mut store = Store::open(workspace)?;
    let origin = origin(recipe, part);
    let earlier = store.find_log(&recipe.name)?;
    if let Some(log) = earlier.as_ref().filter(|log| log.kind != "world") {
        bail!("the log {:?} was read from {}: give the recipe another name, or delete that log", log.name, log.origin);
    }
    let progress = journal.progress("world", recipe.world.videos as u64);
    let world = World::new(recipe)?;
    progress.finish(&format!("{} videos, {} people", world.docs().len(), world.people()));
    let engine = engine(workspace, recipe, &world, fresh, journal)?;
    let kept = earlier.as_ref().filter(|log| log.origin.starts_with(&format!("{origin} ")) && !fresh);
    if let Some(log) = kept.filter(|log| Truth::is_there(workspace, log)) {
        journal.note(format!("the log {} is already there: {} sessions", log.name, log.sessions))?;
        return Ok(reused(log));
    }
    let mut truth = Writer::create(workspace, &recipe.name)?;
    let lives = Lives { recipe, part, world: &world, engine: &engine, journal };
    if let Some(log) = kept {
        journal.note(format!("the log {} is already there; its hidden tables are written again", log.name))?;
        lives.live(&mut |session| truth.session(session))?;
        truth.finish(&log.origin)?;
        return Ok(reused(log));
    }
    if let Some(log) = &earlier {
        journal.note(format!("the log {} and what was mined from it are replaced", log.name))?;
    }
    let (mut spool, started) = (Spool::new(workspace)?, Instant::now());
    let figures = lives.live(&mut |session| {
        truth.session(session)?;
        spool.add(&session.session)
    })?;
    let hash = spool.hash(&Engine::fingerprint_of(world.docs()));
    let origin = format!("{origin} {hash}");
    // First: a log whose truth is of another simulation is found out, and simulated again.
    truth.finish(&origin)?;
    // Nothing is said to the journal while the log is written: both are one file, which has one writer at a time.
    let progress = Progress::on_screen("write", figures.sessions as u64);
    let grown = store.write_log(&recipe.name, LogKind::World, &origin, |log| {
        world.docs().iter().try_for_each(|doc| log.doc(&doc))?;
        let before = log.bytes()?;
        spool.for_each(|session| {
            stop::check(ADVICE)?;
            progress.inc(1);
            log.session(&session)
        })?;
        Ok(log.bytes()? - before)
    })?;
    let (searches, seconds) = (figures.searches as f64, started.elapsed().as_secs_f64());
    let cost = Cost { searches_per_s: searches / seconds, bytes_per_search: grown as f64 / searches.max(1.0) };
    let size = bytes(cost.bytes_per_search as u64);
    progress.finish(&format!("{:.0} searches a second in all, {size} each", cost.searches_per_s));
    Ok(Summary {
        log: recipe.name.clone(),
        sessions: figures.sessions,
        searches: figures.searches,
        docs: world.docs().len(),
        hash,
        reused: false,
        figures: Some(figures),
        cost: Some(cost),
    })
}

fn reused(log: &LogInfo) -> Summary {
    let hash = log.origin.rsplit(' ').next().unwrap_or_default().to_owned();
    let (sessions, searches, docs) = (log.sessions, log.searches, log.docs);
    Summary { log: log.name.clone(), sessions, searches, docs, hash, reused: true, figures: None, cost: None }
}

/// What a log is made from: equal origins, equal logs. The hash of what came out stands behind it in the store.
fn origin(recipe: &Recipe, part: Part) -> String {
    // Nothing else in a recipe changes a log: a section that is new, or of training, must not make it anew.
    // A log comes of the plain relevance, whatever later searches are ranked by.
    let search = SearchPath { scorer: PLAIN_SCORER.into(), ..recipe.search.clone() };
    let parts = (&recipe.world, &recipe.mine, &search, recipe.seed);
    let mut f = Fingerprint::default();
    f.add(VERSION.as_bytes());
    f.add(&serde_json::to_vec(&parts).expect("a recipe is plain data"));
    let (people, weeks) = (part.people(recipe), part.weeks(recipe));
    if (people, weeks.end) != (recipe.world.people, recipe.world.weeks) {
        f.add(format!("{people} people, {} weeks", weeks.end).as_bytes());
    }
    if weeks.start > 0 {
        f.add(format!("without the first {}", weeks.start).as_bytes());
    }
    format!("world {}", f.hex())
}

/// The index of the world's documents: the one on disk when it was made from them, else a new one.
fn engine(workspace: &Path, recipe: &Recipe, world: &World, fresh: bool, journal: &Journal) -> Result<Engine> {
    let dir = index_dir(workspace, &recipe.name);
    let _alone = Lock::take(workspace, &format!("index-{}", recipe.name))?;
    // Whatever is wrong with an earlier index, building it anew mends it.
    if let (false, Ok(engine)) = (fresh, Engine::open(&dir, &recipe.search))
        && engine.fingerprint() == Engine::fingerprint_of(world.docs())
    {
        // What clicks have taught since must not change the log that they come from.
        return Ok(engine.unfitted());
    }
    let progress = journal.progress("index", world.docs().len() as u64);
    let engine = Engine::build(&dir, world.docs(), &recipe.search, |n| progress.inc(n))?;
    progress.finish(&format!("{} documents", engine.len()));
    Ok(engine)
}

/// Everything that lives are made from.
struct Lives<'a> {
    recipe: &'a Recipe,
    part: Part,
    world: &'a World,
    engine: &'a Engine,
    journal: &'a Journal,
}

impl Lives<'_> {
    /// Lets everybody live through the weeks, and passes their sessions to `keep`, person by person, in time order.
    fn live(&self, keep: &mut dyn FnMut(&SimSession) -> Result<()>) -> Result<Figures> {
        let (weeks, mut figures) = (self.part.weeks(self.recipe), Figures::default());
        let pages = PlainPages::new(self.world, self.engine, &self.recipe.search, weeks.end);
        let people: Vec<usize> = (0..self.part.people(self.recipe)).collect();
        let progress = self.journal.progress("simulate", people.len() as u64);
        for chunk in people.chunks((CHUNK / weeks.len().max(1)).max(16)) {
            let one = |person: &usize| {
                stop::check(ADVICE)?;
                let sessions = self.world.simulate_person(*person, weeks.clone(), &|asked| pages.get(asked));
                progress.inc(1);
                sessions.with_context(|| format!("person {person}"))
            };
            let lives: Vec<_> = chunk.par_iter().map(one).collect::<Result<_>>()?;
            for session in lives.iter().flatten() {
                figures.add(session);
                keep(session)?;
            }
        }
        progress.finish(&format!("{} searches in {} sessions", figures.searches, figures.sessions));
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(workspace: &Path, change: impl FnOnce(&mut Recipe)) -> Result<Summary> {
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos) = (30, 800);
        change(&mut recipe);
        run(workspace, &recipe, Part::default(), false)
    }

    fn everything(workspace: &Path) -> Vec<crate::logs::Session> {
        let store = Store::open(workspace).unwrap();
        let mut all = Vec::new();
        let keep = |s| {
            all.push(s);
            Ok(())
        };
        store.for_each_session(&store.log("tiny").unwrap(), keep).unwrap();
        all
    }

    #[test]
    fn the_same_recipe_writes_the_same_log_and_the_second_run_keeps_it() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = small(a.path(), |_| ()).unwrap();
        assert_eq!(small(b.path(), |_| ()).unwrap().hash, first.hash);
        let sessions = everything(a.path());
        assert_eq!(sessions, everything(b.path()));
        assert_eq!((first.sessions, first.docs, first.reused), (sessions.len(), 800, false));
        let again = small(a.path(), |_| ()).unwrap();
        assert_eq!((again.sessions, again.searches, again.reused), (first.sessions, first.searches, true));
        assert_eq!((again.hash, first.hash.len()), (first.hash, 16));
        assert!(
            std::fs::read_dir(a.path()).unwrap().flatten().all(|e| !e.file_name().to_string_lossy().contains("spool"))
        );
    }

    #[test]
    fn another_world_replaces_the_log_and_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let first = small(dir.path(), |_| ()).unwrap();
        let other = small(dir.path(), |r| r.world.videos = 700).unwrap();
        assert_eq!((other.docs, other.reused), (700, false));
        assert_ne!(other.hash, first.hash);
        assert_eq!(Engine::look(&index_dir(dir.path(), "tiny")).unwrap().0.docs, 700);
    }

    #[test]
    fn lost_hidden_tables_are_written_again_and_the_log_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        small(dir.path(), |_| ()).unwrap();
        let log = || Store::open(dir.path()).unwrap().log("tiny").unwrap();
        let id = log().id;
        let truths = || -> Vec<_> {
            let truth = Truth::open(dir.path(), &log()).unwrap();
            everything(dir.path()).iter().map(|s| truth.of_session(&s.id).unwrap()).collect()
        };
        let first = truths();
        assert!(everything(dir.path()).iter().zip(&first).all(|(s, t)| s.searches.len() == t.len()));
        std::fs::remove_dir_all(dir.path().join("truth")).unwrap();
        assert!(small(dir.path(), |_| ()).unwrap().reused);
        assert_eq!(truths(), first);
        assert_eq!(log().id, id, "the log itself was not written again");
    }

    #[test]
    fn a_part_is_what_the_whole_has_of_these_people_and_weeks() {
        let (whole, part) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        small(whole.path(), |_| ()).unwrap();
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos) = (30, 800);
        for (week, weeks, without) in [("0", 1, 0), ("1", 2, 1)] {
            let wanted = Part { people: Some(12), weeks: Some(weeks), without };
            assert!(!run(part.path(), &recipe, wanted, false).unwrap().reused);
            let own = |s: &crate::logs::Session| s.user.as_str() < "p000012" && s.id.split('-').nth(1) == Some(week);
            let expected: Vec<_> = everything(whole.path()).into_iter().filter(own).collect();
            assert!(expected.len() > 20);
            assert_eq!(everything(part.path()), expected);
        }
        assert!(!run(part.path(), &recipe, Part::default(), false).unwrap().reused);
    }

    #[test]
    fn training_settings_do_not_make_a_new_log() {
        let dir = tempfile::tempdir().unwrap();
        small(dir.path(), |_| ()).unwrap();
        assert!(small(dir.path(), |r| r.train.steps += 1).unwrap().reused);
        assert!(!small(dir.path(), |r| r.seed += 1).unwrap().reused);
    }

    #[test]
    fn a_log_from_a_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap().write_log("tiny", LogKind::Ubi, "shop.jsonl", |_| Ok(())).unwrap();
        let error = small(dir.path(), |_| ()).unwrap_err().to_string();
        assert!(error.contains("shop.jsonl") && error.contains("another name"), "{error}");
    }
}
