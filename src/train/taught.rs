//! Searches that made no example, labelled by a rule: a stand-in for the teacher model of WeWrite §2.2.
//!
//! Few searches of a log say what should have been typed, and hardly any two of them have the same head and sense. All the
//! others have a context as well. What a rule makes of them ([`Association`]) is often right and always reads the context, so a
//! model learns where to look; the people's own rewrites, beside them, tell it what to say. Training people, before training
//! ends, alone. What these people watch is not all there is to watch: most searches are taught in a context in which
//! documents of the catalogue take the place of what was watched, so that words which go together in titles do so for the model.

use std::collections::HashSet;

use anyhow::Result;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::augment::slip;
use crate::logs::{Context, Doc, Seen, Session, context_before, words};
use crate::recipe::{Mine, Recipe, stream};
use crate::rewriter::Association;
use crate::store::{ExampleRow, LogInfo, Split, Store};

/// Most words of a title that somebody types from memory.
const MOST_RECALLED: usize = 4;
/// Share of the searches that are taught in an imagined context.
const IMAGINED: f64 = 0.75;

/// `train.taught` searches for each of the `examples`, as many of them left alone as the recipe keeps of the examples; and
/// `train.recalled` searches for titles from memory.
///
/// # Errors
/// The store's.
pub(super) fn taught(
    store: &Store,
    log: &LogInfo,
    recipe: &Recipe,
    examples: &[ExampleRow],
) -> Result<Vec<ExampleRow>> {
    let times = |share: f64| (examples.len() as f64 * share).round();
    let (wanted, recalled) = (times(recipe.train.taught), times(recipe.train.recalled) as usize);
    if wanted == 0.0 && recalled == 0 {
        return Ok(Vec::new());
    }
    let rejects = recipe.mine.rejects_per_rewrite / (1.0 + recipe.mine.rejects_per_rewrite);
    let (mut left, mut said) = (Sample::of((wanted * rejects) as usize), Sample::of((wanted * (1.0 - rejects)) as usize));
    let mined: HashSet<(&str, i64)> = examples.iter().map(|row| (row.user.as_str(), row.time_ms)).collect();
    let teacher = Teacher::new(store.docs(log)?, recipe);
    let mut rng = stream(recipe.seed, "train taught", &[]);
    store.for_each_training_session(recipe, log, |session| {
        for index in 0..session.searches.len() {
            if mined.contains(&(session.user.as_str(), session.searches[index].time_ms)) {
                continue;
            }
            if let Some(row) = teacher.example(&session, index, &mut rng) {
                let sample = if row.target.is_some() { &mut said } else { &mut left };
                sample.offer(row, &mut rng);
            }
        }
        Ok(())
    })?;
    let mut rng = stream(recipe.seed, "train recalled", &[]);
    let recalled = (0..recalled).filter_map(|_| teacher.recalled(examples.choose(&mut rng)?, &mut rng));
    Ok([said.rows, left.rows, recalled.collect()].concat())
}

/// A rule, and the documents it was fitted on.
struct Teacher<'a> {
    rule: Association,
    docs: Vec<Doc>,
    mine: &'a Mine,
}

impl<'a> Teacher<'a> {
    fn new(docs: Vec<Doc>, recipe: &'a Recipe) -> Self {
        Self { rule: Association::fit(&docs), docs, mine: &recipe.mine }
    }

    /// What the rule says of a search; none where it knows too little, or the person was content with what it would change.
    fn example(&self, session: &Session, index: usize, rng: &mut ChaCha8Rng) -> Option<ExampleRow> {
        let search = &session.searches[index];
        if !self.rule.knows(&search.query) {
            return None;
        }
        let mut context = context_before(session, index, self.mine.watched_limit, self.mine.queries_limit);
        let imagined = rng.random_bool(IMAGINED);
        if imagined {
            self.imagine(&mut context, &search.query, rng);
        }
        let target = self.rule.rewrite(&context, &search.query).rewrite;
        let content = search.longest_dwell_s().is_some_and(|s| f64::from(s) >= self.mine.success_dwell_s);
        (target.is_none() || imagined || !content).then(|| ExampleRow {
            split: Split::Train,
            user: session.user.clone(),
            time_ms: search.time_ms,
            query: search.query.clone(),
            target,
            context,
            satisfied_doc: None,
        })
    }

    /// A search for a document from memory: some words of its title, in the context of an example. With a slip in them they are
    /// to be mended, and else left alone: whoever types a title knows what is wanted.
    fn recalled(&self, example: &ExampleRow, rng: &mut ChaCha8Rng) -> Option<ExampleRow> {
        let title: Vec<String> = words(&self.docs.choose(rng)?.title).collect();
        let most = title.len().min(MOST_RECALLED);
        let long = rng.random_range(1.min(most)..=most);
        let meant = title[rng.random_range(0..=title.len() - long)..][..long].join(" ");
        let wrong = if rng.random_bool(0.7) { Some(slip(&meant, rng)?) } else { None };
        let target = wrong.is_some().then(|| meant.clone());
        Some(ExampleRow { query: wrong.unwrap_or(meant), target, satisfied_doc: None, ..example.clone() })
    }

    /// Puts one or two documents with the query's head in the place of something watched.
    fn imagine(&self, context: &mut Context, query: &str, rng: &mut ChaCha8Rng) {
        let about = self.rule.about(query);
        for _ in 0..rng.random_range(1..=2) {
            let Some(doc) = about.choose(rng).and_then(|number| self.docs.get(*number as usize)) else { return };
            let seen = Seen { title: doc.title.clone(), tags: doc.tags.clone() };
            let place = rng.random_range(0..self.mine.watched_limit.max(1));
            match context.watched.get_mut(place) {
                Some(watched) => *watched = seen,
                None => context.watched.push(seen),
            }
        }
    }
}

/// A uniform sample of a stream of unknown length (reservoir sampling, Vitter 1985, algorithm R).
struct Sample {
    rows: Vec<ExampleRow>,
    size: usize,
    offered: usize,
}

impl Sample {
    fn of(size: usize) -> Self {
        Self { rows: Vec::new(), size, offered: 0 }
    }

    fn offer(&mut self, row: ExampleRow, rng: &mut ChaCha8Rng) {
        self.offered += 1;
        if self.rows.len() < self.size {
            self.rows.push(row);
            return;
        }
        let place = rng.random_range(0..self.offered);
        if let Some(kept) = self.rows.get_mut(place) {
            *kept = row;
        }
    }
}
