//! Searches of a log that a ratio can be taken of: those after which people stayed with something, at once or after typing anew.
//!
//! No mined example is needed: CoRe learns from what people did, and nobody says what the rewrite should have been.

use std::collections::HashMap;

use anyhow::Result;
use rand::Rng;
use rand::seq::SliceRandom;

use super::evidence::{Evidence, Fates, Seen, random, strict};
use crate::logs::{Search, Session, context_before, words};
use crate::recipe::{Mine, Recipe, stream};
use crate::store::{ExampleRow, Split, Store, person_split, training_ends_ms};

/// A search with what people did about its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// The search; its target is what the person typed in its place, where that is what succeeded.
    pub row: ExampleRow,
    /// Documents of which a ratio can be taken.
    pub evidence: Evidence,
}

/// Which searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those of training people, with all that followed over before training ends.
    Training,
    /// Those of held-out people after it.
    HeldOut,
}

impl Searched {
    /// At most `most` of them in the order of time, a share of `mended` mended by typing anew: where the log has few of
    /// those, fewer of the others are drawn. Within both kinds chances are equal.
    ///
    /// # Errors
    /// No such log; SQLite's.
    pub fn draw(
        store: &Store,
        recipe: &Recipe,
        side: Side,
        most: usize,
        mended: f64,
        numbers: &HashMap<String, u32>,
    ) -> Result<Vec<Self>> {
        let log = store.log(&recipe.name)?;
        let ends_ms = training_ends_ms(recipe, store.time_span(&log)?);
        let mut fates = Fates::new(numbers.len());
        let typed_anew = (most as f64 * mended).round() as usize;
        let mut drawn = [Reservoir::new(recipe, side, most - typed_anew), Reservoir::new(recipe, side, typed_anew)];
        store.for_each_training_session(recipe, &log, |session| {
            session.searches.iter().for_each(|search| fates.add(search, &recipe.mine, numbers));
            if side == Side::Training {
                add(&mut drawn, &session, |_| true, numbers);
            }
            Ok(())
        })?;
        if side == Side::HeldOut {
            store.for_each_session(&log, |session| {
                if person_split(recipe, &session.user) != Split::Train {
                    add(&mut drawn, &session, |time_ms| time_ms > ends_ms, numbers);
                }
                Ok(())
            })?;
        }
        let [at_once, typed_anew] = &mut drawn;
        at_once.keep_beside(typed_anew.kept.len(), mended);
        let weighed = drawn.into_iter().flat_map(|drawn| drawn.kept).map(|(row, seen)| {
            let random = random(recipe, row.time_ms, numbers.len());
            Self { evidence: fates.weigh(seen, random, &recipe.ratio), row }
        });
        let mut all: Vec<Self> = weighed.filter(|searched| searched.evidence.speaks()).collect();
        all.sort_by(|a, b| (a.row.time_ms, &a.row.user).cmp(&(b.row.time_ms, &b.row.user)));
        Ok(all)
    }
}

/// Puts the searches of a session that count where they belong: those answered at once, those mended.
fn add(drawn: &mut [Reservoir; 2], session: &Session, counts: impl Fn(i64) -> bool, numbers: &HashMap<String, u32>) {
    for index in (0..session.searches.len()).filter(|index| counts(session.searches[*index].time_ms)) {
        if let Some(success) = Success::of(session, index, drawn[0].mine) {
            drawn[usize::from(success.target.is_some())].add(session, index, success, numbers);
        }
    }
}

/// Every search has the same chance, however many there are.
struct Reservoir<'a> {
    mine: &'a Mine,
    recipe: &'a Recipe,
    side: Side,
    most: usize,
    seen: u64,
    rng: rand_chacha::ChaCha8Rng,
    kept: Vec<(ExampleRow, Seen)>,
}

impl<'a> Reservoir<'a> {
    fn new(recipe: &'a Recipe, side: Side, most: usize) -> Self {
        let rng = stream(recipe.seed, "searched", &[side as u64]);
        Self { mine: &recipe.mine, recipe, side, most, seen: 0, rng, kept: Vec::new() }
    }

    fn add(&mut self, session: &Session, index: usize, success: Success, numbers: &HashMap<String, u32>) {
        let seen = Seen::of(session, index, success.target.is_some(), self.mine, numbers);
        if seen.stayed.is_empty() || seen.passed.is_empty() {
            return;
        }
        self.seen += 1;
        let place = match self.kept.len() < self.most {
            true => self.kept.len(),
            false => self.rng.random_range(0..self.seen) as usize,
        };
        if place < self.most {
            let found = (self.row(session, index, success), seen);
            if place == self.kept.len() { self.kept.push(found) } else { self.kept[place] = found }
        }
    }

    /// Drops some so that `mended` others beside them are a share of all; all are kept beside none.
    fn keep_beside(&mut self, mended: usize, share: f64) {
        if mended > 0 && share > 0.0 {
            // Not those of the first people: a reservoir that never ran over holds its searches in the log's order.
            self.kept.shuffle(&mut self.rng);
            self.kept.truncate((mended as f64 * (1.0 - share) / share).round() as usize);
        }
    }

    fn row(&self, session: &Session, index: usize, success: Success) -> ExampleRow {
        let (search, mine) = (&session.searches[index], self.mine);
        ExampleRow {
            split: match self.side {
                Side::Training => Split::Train,
                Side::HeldOut => person_split(self.recipe, &session.user),
            },
            user: session.user.clone(),
            time_ms: search.time_ms,
            query: search.query.clone(),
            target: success.target,
            context: context_before(session, index, mine.watched_limit, mine.queries_limit),
            satisfied_doc: Some(success.doc),
        }
    }
}

/// How a search came to something that was stayed with.
struct Success {
    /// The query typed in its place; none where nothing had to be.
    target: Option<String>,
    /// The document stayed with the longest.
    doc: String,
}

impl Success {
    /// At once, or after the query typed next; none where it did not.
    fn of(session: &Session, index: usize, mine: &Mine) -> Option<Self> {
        let stayed = |search: &Search| {
            let strict = search.clicks.iter().filter(|click| strict(click, mine));
            Some(strict.reduce(|best, click| if click.dwell_s > best.dwell_s { click } else { best })?.doc.clone())
        };
        let search = &session.searches[index];
        words(&search.query).next()?;
        if let Some(doc) = stayed(search) {
            return Some(Self { target: None, doc });
        }
        let next = session.searches.get(index + 1)?;
        let pause_s = (next.time_ms - search.time_ms) as f64 / 1e3;
        let anew = pause_s <= mine.reformulation_gap_s && !words(&next.query).eq(words(&search.query));
        stayed(next).filter(|_| anew).map(|doc| Self { target: Some(next.query.clone()), doc })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Click;
    use crate::store::LogKind;

    fn search(query: &str, time_ms: i64, dwell: Option<f32>) -> Search {
        let click =
            |dwell| Click { doc: "a".into(), rank: 1, time_ms: time_ms + 1, dwell_s: Some(dwell), bought: false };
        let shown = vec!["a".to_owned(), "b".to_owned()];
        let clicks = dwell.map(click).into_iter().collect();
        Search { id: format!("{query}{time_ms}"), query: query.into(), time_ms, shown, clicks }
    }

    fn log(dir: &std::path::Path, searches: Vec<Search>) -> Store {
        let session = Session { id: "s".into(), user: "u".into(), searches, ..Session::default() };
        let mut store = Store::open(dir).unwrap();
        store.write_log("demo", LogKind::World, "x", |w| w.session(&session)).unwrap();
        store
    }

    fn numbers() -> HashMap<String, u32> {
        [("a".to_owned(), 0), ("b".to_owned(), 1)].into()
    }

    #[test]
    fn few_mended_searches_leave_room_for_few_others() {
        let recipe = Recipe::default();
        let mut drawn = Reservoir::new(&recipe, Side::Training, 100);
        let found = || {
            let session = Session { user: "u".into(), searches: vec![search("q", 1, None)], ..Session::default() };
            (drawn_row(&recipe, &session), Seen::default())
        };
        drawn.kept = (0..90).map(|_| found()).collect();
        drawn.keep_beside(0, 0.5);
        assert_eq!(drawn.kept.len(), 90);
        drawn.keep_beside(30, 0.5);
        assert_eq!(drawn.kept.len(), 30);
        drawn.keep_beside(60, 0.8);
        assert_eq!(drawn.kept.len(), 15);
    }

    fn drawn_row(recipe: &Recipe, session: &Session) -> ExampleRow {
        let success = Success { target: None, doc: "a".into() };
        Reservoir::new(recipe, Side::Training, 1).row(session, 0, success)
    }

    #[test]
    fn searches_count_that_were_answered_or_mended_in_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let searches = vec![
            search("jaguar", 1_000, None),
            search("jaguar car", 5_000, Some(60.0)),
            search("left", 900_000, Some(1.0)),
            search("too late", 9_000_000, Some(60.0)),
        ];
        let store = log(dir.path(), searches);
        let mut recipe = Recipe::default();
        (recipe.mine.held_out_people, recipe.mine.held_out_time) = (0.0, 0.0);
        let found = |most| {
            let drawn = Searched::draw(&store, &recipe, Side::Training, most, 0.5, &numbers()).unwrap();
            drawn.into_iter().map(|s| (s.row.query, s.row.target)).collect::<Vec<_>>()
        };
        let answered = |query: &str, target: Option<&str>| (query.to_owned(), target.map(str::to_owned));
        let all = [answered("jaguar", Some("jaguar car")), answered("jaguar car", None)];
        let drawn = Searched::draw(&store, &recipe, Side::Training, 9, 0.5, &numbers()).unwrap();
        assert!(drawn.iter().all(|searched| searched.row.satisfied_doc.as_deref() == Some("a")));
        // What was satisfied after training ended (the last search ends it) is not known yet.
        assert_eq!(found(9), all);
        assert_eq!(found(2), all, "half of them mended, half answered at once");
        assert!(Searched::draw(&store, &recipe, Side::HeldOut, 9, 0.5, &numbers()).unwrap().is_empty());
        (recipe.mine.held_out_people, recipe.mine.held_out_time) = (1.0, 0.5);
        let held = Searched::draw(&store, &recipe, Side::HeldOut, 9, 0.5, &numbers()).unwrap();
        assert_eq!(held.iter().map(|s| s.row.query.as_str()).collect::<Vec<_>>(), ["too late"]);
        assert!(held[0].row.split != Split::Train && held[0].evidence.speaks());
    }
}
