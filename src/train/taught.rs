//! Searches that made no example, labelled by a rule: a stand-in for the teacher model of WeWrite §2.2.
//!
//! Few searches of a log say what should have been typed, and hardly any two of them have the same head and sense. All the
//! others have a context as well. What a rule makes of them ([`Association`]) is often right and always reads the context, so a
//! model learns where to look; the people's own rewrites, beside them, tell it what to say. Training people, before training
//! ends, alone. What these people watch is not all there is to watch: every second search is taught in a context in which
//! documents of the catalogue take the place of what was watched, so that words which go together in titles do so for the model.
//! And in each of these contexts `train.asked` other queries are answered too ([`Pool`]).

use std::collections::HashSet;

use anyhow::Result;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::asked::Pool;
use super::sample::Sample;
use super::unheard::{unheard, vocabulary};
use crate::logs::{Context, Doc, Seen, Session, context_before, words};
use crate::recipe::{Mine, Recipe, stream};
use crate::rewriter::{Association, Typed};
use crate::store::{ExampleRow, LogInfo, Split, Store};

/// Share of the searches that are taught in an imagined context.
const IMAGINED: f64 = 0.5;
/// Share of the imagined documents that do not name the head: a sense is told by its own words too.
const UNNAMED: f64 = 0.3;
/// Sessions labelled at once.
const SESSIONS: usize = 4_096;
/// Draws of a second document that tells the same.
const TRIES: usize = 8;

/// `train.taught` searches for each of the `examples`, as many of them left alone as the recipe keeps of the examples.
///
/// # Errors
/// The store's.
pub(super) fn taught(
    store: &Store,
    log: &LogInfo,
    recipe: &Recipe,
    examples: &[ExampleRow],
) -> Result<Vec<ExampleRow>> {
    let wanted = (examples.len() as f64 * recipe.train.taught).round();
    if wanted == 0.0 {
        return Ok(Vec::new());
    }
    let rejects = recipe.mine.rejects_per_rewrite / (1.0 + recipe.mine.rejects_per_rewrite);
    let of_them = (wanted * rejects).round();
    let (mut left, mut said) = (Sample::of(of_them as usize), Sample::of((wanted - of_them) as usize));
    let mined: HashSet<(&str, i64)> = examples.iter().map(|row| (row.user.as_str(), row.time_ms)).collect();
    let teacher = Teacher::new(store, log, recipe)?;
    let mut rng = stream(recipe.seed, "train taught", &[]);
    let (mut waiting, mut before) = (Vec::with_capacity(SESSIONS), 0);
    let mut label = |sessions: &mut Vec<Session>| {
        let labelled: Vec<Vec<ExampleRow>> = sessions
            .par_iter()
            .enumerate()
            .map(|(at, session)| {
                teacher.examples(session, &mined, &mut stream(recipe.seed, "train label", &[before + at as u64]))
            })
            .collect();
        before += sessions.len() as u64;
        sessions.clear();
        for row in labelled.into_iter().flatten() {
            let sample = if row.target.is_some() { &mut said } else { &mut left };
            sample.offer(row, &mut rng);
        }
    };
    store.for_each_training_session(recipe, log, |session| {
        waiting.push(session);
        if waiting.len() == SESSIONS {
            label(&mut waiting);
        }
        Ok(())
    })?;
    label(&mut waiting);
    let rows = [said.kept, left.kept].concat();
    let vocabulary = vocabulary(&teacher.docs);
    let with_others = |(number, row)| {
        let mut rng = stream(recipe.seed, "train asked", &[number as u64]);
        let rows = teacher.and_others(row, recipe.train.asked, &mut rng);
        if rng.random_bool(recipe.train.unheard) {
            return unheard(rows, &teacher.rule, &vocabulary, &mut rng);
        }
        rows
    };
    let rows: Vec<Vec<ExampleRow>> = rows.into_par_iter().enumerate().map(with_others).collect();
    Ok(rows.concat())
}

/// A rule, what it was fitted on, and what can be asked.
struct Teacher<'a> {
    rule: Association,
    docs: Vec<Doc>,
    pool: Pool,
    mine: &'a Mine,
}

impl<'a> Teacher<'a> {
    fn new(store: &Store, log: &LogInfo, recipe: &'a Recipe) -> Result<Self> {
        let typed = Typed::read(store, recipe, log)?;
        let mut pool = Pool::sample();
        let mut rng = stream(recipe.seed, "train asked pool", &[]);
        store.for_each_training_session(recipe, log, |session| {
            session.searches.into_iter().for_each(|search| pool.offer(search.query, &mut rng));
            Ok(())
        })?;
        Ok(Self::of(store.training_docs(recipe, log)?, typed, Pool::new(pool.kept), recipe))
    }

    fn of(docs: Vec<Doc>, typed: Typed, pool: Pool, recipe: &'a Recipe) -> Self {
        Self { rule: Association::fit(&docs, typed), docs, pool, mine: &recipe.mine }
    }

    /// An example, and behind it other queries in its context with what the rule says of them: of each of `others` draws, one
    /// that it knows enough about.
    fn and_others(&self, row: ExampleRow, others: usize, rng: &mut ChaCha8Rng) -> Vec<ExampleRow> {
        let drawn = (0..others).filter_map(|_| self.pool.draw(&self.rule, &row.context, rng));
        let known = drawn.filter(|query| *query != row.query && self.rule.has_heard(query));
        let answered = known.map(|query| ExampleRow {
            query: query.to_owned(),
            target: self.rule.rewrite(&row.context, query).rewrite,
            ..row.clone()
        });
        let answered: Vec<ExampleRow> = answered.collect();
        std::iter::once(row).chain(answered).collect()
    }

    /// What the rule says of a session's searches, those left out that people themselves said something of.
    fn examples(&self, session: &Session, mined: &HashSet<(&str, i64)>, rng: &mut ChaCha8Rng) -> Vec<ExampleRow> {
        let is_mined = |index: &usize| mined.contains(&(session.user.as_str(), session.searches[*index].time_ms));
        let others = (0..session.searches.len()).filter(|index| !is_mined(index));
        others.filter_map(|index| self.example(session, index, rng)).collect()
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

    /// Puts one or two documents with the query's head in the place of all that was watched about it: of all senses alike, and
    /// of one alone, whatever people mostly watch.
    fn imagine(&self, context: &mut Context, query: &str, rng: &mut ChaCha8Rng) {
        let about = self.rule.about(query);
        let Some(mut first) = about.choose(rng).and_then(|number| self.seen(*number)) else { return };
        let asked: Vec<String> = words(query).collect();
        if let Some(head) = self.rule.head(&asked) {
            if rng.random_bool(UNNAMED) {
                unnamed(&mut first, head);
            }
            context.watched.retain(|seen| texts(seen).all(|word| !self.rule.goes_with(head, &word)));
        }
        let alone = Context { watched: vec![first.clone()], ..Context::default() };
        let added = self.rule.rewrite(&alone, query).rewrite;
        let same = |seen: &Seen| added.iter().flat_map(|text| words(text)).all(|word| texts(seen).any(|w| w == word));
        let second = rng.random_bool(0.5).then(|| {
            let mut drawn = (0..TRIES).filter_map(|_| about.choose(rng)).filter_map(|number| self.seen(*number));
            drawn.find(same)
        });
        for seen in [Some(first), second.flatten()].into_iter().flatten() {
            let place = rng.random_range(0..self.mine.watched_limit.max(1));
            match context.watched.get_mut(place) {
                Some(watched) => *watched = seen,
                None => context.watched.push(seen),
            }
        }
    }

    fn seen(&self, number: u32) -> Option<Seen> {
        self.docs.get(number as usize).map(|doc| Seen { title: doc.title.clone(), tags: doc.tags.clone() })
    }
}

/// Takes the head out of a title and its tags.
fn unnamed(seen: &mut Seen, head: &str) {
    let is_head = |word: &str| words(word).eq([head.to_owned()]);
    seen.title = seen.title.split_whitespace().filter(|word| !is_head(word)).collect::<Vec<_>>().join(" ");
    seen.tags.retain(|tag| !is_head(tag));
}

/// Words of a title and its tags.
fn texts(seen: &Seen) -> impl Iterator<Item = String> {
    std::iter::once(&seen.title).chain(&seen.tags).flat_map(|text| words(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Click, Search, Watched};
    use crate::store::{LogKind, person_split};

    fn doc(number: usize, title: &str, tag: &str) -> Doc {
        Doc { id: format!("d{number}"), title: title.into(), tags: vec![tag.into()], ..Doc::default() }
    }

    fn docs() -> Vec<Doc> {
        let of = |n, title: &str, tag: &str| (0..n).map(|_| (title.to_owned(), tag.to_owned())).collect::<Vec<_>>();
        let jaguars = [("drive", "car"), ("engine", "car"), ("jungle", "cat"), ("river", "cat")];
        let jaguars = jaguars.into_iter().flat_map(|(word, tag)| of(3, &format!("jaguar {word}"), tag));
        let all: Vec<_> = jaguars.chain(of(60, "funny dance drive engine", "fun")).collect();
        all.iter().enumerate().map(|(n, (title, tag))| doc(n, title, tag)).collect()
    }

    /// A person's search at a time, with what was watched before and how long the page held them.
    fn session(user: &str, at: i64, query: &str, watched: &str, dwell_s: f32) -> Session {
        let click = Click { doc: "d0".into(), rank: 1, time_ms: at + 1, dwell_s: Some(dwell_s), bought: false };
        let search = Search { query: query.into(), time_ms: at, clicks: vec![click], ..Search::default() };
        let watched = Watched { title: watched.into(), time_ms: at - 1, ..Watched::default() };
        Session {
            id: format!("{user} {at}"),
            user: user.into(),
            watched: vec![watched],
            searches: vec![search],
            ..Session::default()
        }
    }

    #[test]
    fn a_teacher_labels_what_failed_and_leaves_alone_what_it_would_not_change() {
        let recipe = Recipe::default();
        let teacher = Teacher::of(docs(), Typed::default(), Pool::new(Vec::new()), &recipe);
        let said = |session: &Session| {
            let mut rng = stream(1, "test", &[]);
            let rows = (0..40).filter_map(|_| teacher.example(session, 0, &mut rng));
            rows.map(|row| (row.context, row.target)).collect::<Vec<_>>()
        };
        let own = |rows: &[(Context, Option<String>)], title: &str| {
            let own =
                rows.iter().filter(|(context, _)| context.watched.len() == 1 && context.watched[0].title == title);
            own.map(|(_, target)| target.clone()).collect::<Vec<_>>()
        };
        let failed = said(&session("u", 10, "jaguar", "my car", 0.5));
        assert!(own(&failed, "my car").iter().all(|target| target.as_deref() == Some("jaguar car")));
        assert!(own(&failed, "my car").len() > 10);
        // Imagined contexts hold documents with the head, and are labelled by what they hold.
        let cats = failed.iter().filter(|(_, target)| target.as_deref() == Some("jaguar cat"));
        assert!(cats.clone().count() > 2);
        assert!(cats.clone().all(|(context, _)| context.watched.iter().any(|seen| seen.tags == ["cat"])));
        // Whoever was content is not told to say something else in the context they had.
        assert!(own(&said(&session("u", 10, "jaguar", "my car", 30.0)), "my car").is_empty());
        assert!(own(&said(&session("u", 10, "jaguar car", "engine", 30.0)), "engine").iter().all(Option::is_none));
        assert!(said(&session("u", 10, "jaguarr", "my car", 0.5)).is_empty());
    }

    #[test]
    fn other_queries_are_answered_in_the_same_context_and_none_that_nobody_knows() {
        let recipe = Recipe::default();
        let pool = ["jaguar", "jaguar drive", "jagaur", "dance"].map(str::to_owned);
        let teacher = Teacher::of(docs(), Typed::of(&["jaguar"]), Pool::new(pool.into()), &recipe);
        let seen = Seen { title: "jaguar jungle".into(), tags: vec!["cat".into()] };
        let row = ExampleRow {
            split: Split::Train,
            user: "u".into(),
            time_ms: 1,
            query: "dance".into(),
            target: None,
            context: Context { watched: vec![seen], ..Context::default() },
            satisfied_doc: None,
        };
        let rows = teacher.and_others(row.clone(), 40, &mut stream(1, "test", &[]));
        assert_eq!(rows[0], row);
        assert!(rows.iter().all(|other| other.context == row.context));
        let said: HashSet<(&str, Option<&str>)> =
            rows[1..].iter().map(|row| (row.query.as_str(), row.target.as_deref())).collect();
        let cats = [("jaguar", Some("jaguar cat")), ("jaguar drive", Some("jaguar cat drive"))];
        assert_eq!(said, HashSet::from(cats), "neither the query itself nor a slip is asked");
    }

    #[test]
    fn as_many_as_asked_for_come_of_training_people_alone_and_none_is_an_example_too() {
        let mut recipe = Recipe::default();
        recipe.train.taught = 2.0;
        let people =
            |split| (0..).map(|i| format!("u{i}")).filter(move |u| person_split(&Recipe::default(), u) == split);
        let ends = |user: String| session(&user, 1_000_000, "jaguar", "my car", 0.5);
        let early = people(Split::Train).take(30).map(|u| session(&u, 1_000, "jaguar", "my car", 0.5));
        let left = people(Split::Train).take(30).map(|u| session(&u, 2_000, "jaguar drive", "fun", 0.5));
        let held_out = people(Split::Test).take(30).map(|u| session(&u, 1_000, "jaguar", "my cat", 0.5));
        let all = early.chain(left).chain(held_out).chain(people(Split::Train).skip(40).take(1).map(ends));
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store
            .write_log("demo", LogKind::World, "x", |w| {
                docs().iter().try_for_each(|doc| w.doc(doc))?;
                all.clone().try_for_each(|s| w.session(&s))
            })
            .unwrap();
        let log = store.log("demo").unwrap();
        let example = |user: String| ExampleRow {
            split: Split::Train,
            user,
            time_ms: 1_000,
            query: "jaguar".into(),
            target: None,
            context: Context::default(),
            satisfied_doc: None,
        };
        let examples: Vec<ExampleRow> = people(Split::Train).take(8).map(example).collect();
        let rows = taught(&store, &log, &recipe, &examples).unwrap();
        let rewrites = rows.iter().filter(|row| row.target.is_some()).count();
        assert_eq!((rows.len(), rewrites), (16, 10));
        assert!(rows.iter().all(|row| person_split(&recipe, &row.user) == Split::Train && row.time_ms <= 2_000));
        let mined = |row: &&ExampleRow| examples.iter().any(|e| (&e.user, e.time_ms) == (&row.user, row.time_ms));
        assert_eq!(rows.iter().filter(mined).count(), 0);
        assert_eq!(taught(&store, &log, &recipe, &examples).unwrap(), rows);
        recipe.train.taught = 0.0;
        assert_eq!(taught(&store, &log, &recipe, &examples).unwrap(), []);
    }
}
