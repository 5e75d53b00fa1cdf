//! First queries of held-out people in the weeks after the log, with what should be made of them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;

use crate::journal::{Journal, stop};
use crate::logs::{Context, words};
use crate::recipe::Recipe;
use crate::search::{Engine, index_dir};
use crate::store::{Split, Store, person_split};
use crate::world::{Page, Probe, World};

/// A search and its right answer.
pub(super) struct Question {
    /// The person's number.
    pub person: usize,
    /// What stood before it.
    pub context: Context,
    /// What was typed.
    pub query: String,
    /// What is asked.
    pub probe: Probe,
    /// Whether a training example has this head with this gain term.
    pub seen: bool,
}

/// All questions, in the order of people and time; people meet the plain path.
pub(super) fn ask(workspace: &Path, recipe: &Recipe, journal: &Journal) -> Result<Vec<Question>> {
    let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?;
    let world = World::new(recipe)?;
    let trained = trained_pairs(workspace, recipe)?;
    let held_out = |p: &usize| person_split(recipe, &world.user_id(*p)) != Split::Train;
    let people: Vec<usize> = (0..world.people()).filter(held_out).collect();
    let progress = journal.progress("ask", people.len() as u64);
    let of_person = |person: &usize| -> Result<Vec<Question>> {
        stop::check("probes are not resumable; run the same command again")?;
        let questions = live(&world, &engine, recipe, *person, &trained);
        progress.inc(1);
        questions
    };
    let questions: Vec<Vec<Question>> = people.par_iter().map(of_person).collect::<Result<_>>()?;
    let questions: Vec<Question> = questions.into_iter().flatten().collect();
    progress.finish(&format!("{} questions", questions.len()));
    Ok(questions)
}

/// Words that stand together in a rewrite that was trained on.
fn trained_pairs(workspace: &Path, recipe: &Recipe) -> Result<HashSet<(String, String)>> {
    let store = Store::open_existing(workspace)?;
    let rows = store.examples(&store.log(&recipe.name)?, Split::Train)?;
    let mut pairs = HashSet::new();
    for target in rows.iter().filter_map(|row| row.target.as_deref()) {
        let said: Vec<String> = words(target).collect();
        for a in &said {
            pairs.extend(said.iter().filter(|b| *b != a).map(|b| (a.clone(), b.clone())));
        }
    }
    Ok(pairs)
}

fn live(
    world: &World,
    engine: &Engine,
    recipe: &Recipe,
    person: usize,
    trained: &HashSet<(String, String)>,
) -> Result<Vec<Question>> {
    let weeks = recipe.world.weeks..recipe.world.weeks + recipe.world.weeks_after;
    // What the world says of a search beyond its log is known when it is typed; the rest comes with the session.
    let typed: RefCell<Vec<(Context, Option<String>)>> = RefCell::default();
    let sessions = world.simulate_person(person, weeks, &|asked| {
        typed.borrow_mut().push((asked.context.clone(), asked.meant.map(str::to_owned)));
        let hits = engine.search_as_of(asked.indexed_ms, asked.query, None, &recipe.search)?;
        Ok(Page { shown: hits.into_iter().map(|hit| hit.doc).collect(), rewritten: None })
    })?;
    let searches = sessions.into_iter().flat_map(|s| s.session.searches.into_iter().zip(s.truth));
    let questions = searches.zip(typed.into_inner()).filter_map(|((search, truth), (context, meant))| {
        if truth.step > 0 {
            return None;
        }
        let probe = world.probe(&truth.need, truth.phrasing, &context, &search.query, meant.as_deref())?;
        let seen = match &probe {
            Probe::Supported { head, gain, .. } => known(trained, head, gain),
            _ => true,
        };
        Some(Question { person, context, query: search.query, probe, seen })
    });
    Ok(questions.collect())
}

fn known(trained: &HashSet<(String, String)>, head: &str, gain: &str) -> bool {
    let gain: Vec<String> = words(gain).collect();
    words(head).all(|a| gain.iter().all(|b| trained.contains(&(a.clone(), b.clone()))))
}
