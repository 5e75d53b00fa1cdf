//! `simulate`: let the world's people search for some weeks with the plain search path, and log it.

mod figures;
mod pages;
mod spool;

use std::path::Path;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::journal::{Journal, Progress, Table, stop};
use crate::recipe::{Fingerprint, Recipe};
use crate::search::{Engine, index_dir};
use crate::store::{Lock, LogKind, Store};
use crate::world::World;
use pages::PlainPages;
use spool::Spool;

pub use figures::Figures;

/// Changes when the same recipe would give another log, so that an older log is made anew.
const VERSION: &str = "world-2";
/// People simulated between two writes: bounds the sessions held in memory.
const CHUNK: usize = 256;
/// What a person who stopped a simulation is told.
const ADVICE: &str = "a log is written whole or not at all; run the same command again";

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
    /// The store already held this log; nothing was simulated.
    pub reused: bool,
    /// How the people fared; none when the log was reused.
    pub figures: Option<Figures>,
}

impl Summary {
    /// One row.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new("simulate", "", &["log", "sessions", "searches", "docs", "reused"]);
        table.row([
            self.log.as_str().into(),
            self.sessions.into(),
            self.searches.into(),
            self.docs.into(),
            self.reused.into(),
        ]);
        table
    }
}

/// Simulates the weeks of a recipe into the log of its name and builds the index of its documents.
///
/// A log that the same recipe made earlier is kept, unless `fresh`. The same recipe writes the same log, in the same order.
///
/// # Errors
/// A log of that name from another source, a folder that cannot be written, a full disk.
pub fn run(workspace: &Path, recipe: &Recipe, fresh: bool) -> Result<Summary> {
    Journal::record(workspace, "simulate", &recipe.name, &recipe.to_toml(), |journal| {
        simulate(workspace, recipe, fresh, journal)
    })
}

fn simulate(workspace: &Path, recipe: &Recipe, fresh: bool, journal: &Journal) -> Result<Summary> {
    let _alone = Lock::take(workspace, &format!("simulate-{}", recipe.name))?;
    let mut store = Store::open(workspace)?;
    let origin = origin(recipe);
    let earlier = store.find_log(&recipe.name)?;
    if let Some(log) = earlier.as_ref().filter(|log| log.kind != "world") {
        bail!("the log {:?} was read from {}: give the recipe another name, or delete that log", log.name, log.origin);
    }
    let progress = journal.progress("world", recipe.world.videos as u64);
    let world = World::new(recipe)?;
    progress.finish(&format!("{} videos, {} people", world.docs().len(), world.people()));
    let engine = engine(workspace, recipe, &world, fresh, journal)?;
    if let Some(log) = earlier.as_ref().filter(|log| log.origin == origin && !fresh) {
        journal.note(format!("the log {} is already there: {} sessions", log.name, log.sessions))?;
        let (sessions, searches, docs) = (log.sessions, log.searches, log.docs);
        return Ok(Summary { log: log.name.clone(), sessions, searches, docs, reused: true, figures: None });
    }
    if let Some(log) = &earlier {
        journal.note(format!("the log {} and what was mined from it are replaced", log.name))?;
    }
    let (mut spool, figures) = live(workspace, recipe, &world, &engine, journal)?;
    // Nothing is said to the journal while the log is written: both are one file, which has one writer at a time.
    let progress = Progress::on_screen("write", figures.sessions as u64);
    store.write_log(&recipe.name, LogKind::World, &origin, |log| {
        world.docs().iter().try_for_each(|doc| log.doc(doc))?;
        spool.for_each(|session| {
            stop::check(ADVICE)?;
            progress.inc(1);
            log.session(&session)
        })
    })?;
    progress.finish(&format!("log {}", recipe.name));
    let docs = world.docs().len();
    let (sessions, searches) = (figures.sessions, figures.searches);
    Ok(Summary { log: recipe.name.clone(), sessions, searches, docs, reused: false, figures: Some(figures) })
}

/// What a log is made from: equal origins, equal logs.
fn origin(recipe: &Recipe) -> String {
    let parts = Recipe { world: recipe.world.clone(), mine: recipe.mine.clone(), ..Recipe::default() };
    let parts = Recipe { search: recipe.search.clone(), seed: recipe.seed, ..parts };
    let mut f = Fingerprint::default();
    f.add(VERSION.as_bytes());
    f.add(parts.to_toml().as_bytes());
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

/// Lets everybody live through the weeks, person by person, and keeps the sessions on disk.
fn live(
    workspace: &Path,
    recipe: &Recipe,
    world: &World,
    engine: &Engine,
    journal: &Journal,
) -> Result<(Spool, Figures)> {
    let (pages, mut spool, mut figures) =
        (PlainPages::new(engine, &recipe.search), Spool::new(workspace)?, Figures::default());
    let people: Vec<usize> = (0..world.people()).collect();
    let progress = journal.progress("simulate", people.len() as u64);
    for chunk in people.chunks(CHUNK) {
        let one = |person: &usize| {
            stop::check(ADVICE)?;
            let sessions = world.simulate_person(*person, 0..recipe.world.weeks, &|asked| pages.get(asked.query));
            progress.inc(1);
            sessions.with_context(|| format!("person {person}"))
        };
        let lives: Vec<_> = chunk.par_iter().map(one).collect::<Result<_>>()?;
        for session in lives.into_iter().flatten() {
            figures.add(&session);
            spool.add(&session.session)?;
        }
    }
    progress.finish(&format!("{} searches in {} sessions", figures.searches, figures.sessions));
    Ok((spool, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(workspace: &Path, change: impl FnOnce(&mut Recipe)) -> Result<Summary> {
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos) = (30, 800);
        change(&mut recipe);
        run(workspace, &recipe, false)
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
        small(b.path(), |_| ()).unwrap();
        let sessions = everything(a.path());
        assert_eq!(sessions, everything(b.path()));
        assert_eq!((first.sessions, first.docs, first.reused), (sessions.len(), 800, false));
        let again = small(a.path(), |_| ()).unwrap();
        assert_eq!((again.sessions, again.searches, again.reused), (first.sessions, first.searches, true));
        assert!(
            std::fs::read_dir(a.path()).unwrap().flatten().all(|e| !e.file_name().to_string_lossy().contains("spool"))
        );
    }

    #[test]
    fn another_world_replaces_the_log_and_its_index() {
        let dir = tempfile::tempdir().unwrap();
        small(dir.path(), |_| ()).unwrap();
        let other = small(dir.path(), |r| r.world.videos = 700).unwrap();
        assert_eq!((other.docs, other.reused), (700, false));
        assert_eq!(Engine::look(&index_dir(dir.path(), "tiny")).unwrap().0.docs, 700);
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
