//! The world as a whole: determinism, what is held back, what changes over the weeks.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use rayon::prelude::*;

use super::*;
use crate::recipe::SearchPath;
use crate::search::Engine;

fn tiny() -> Recipe {
    let mut recipe = Recipe::load("tiny").unwrap();
    (recipe.world.videos, recipe.world.people) = (1_500, 60);
    recipe
}

struct Bench {
    world: World,
    engine: Engine,
    settings: SearchPath,
    kept: Mutex<HashMap<(i64, String), Page>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(recipe: &Recipe) -> Self {
        let world = World::new(recipe).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::build(dir.path(), world.docs(), &recipe.search, |_| ()).unwrap();
        Self { world, engine, settings: recipe.search.clone(), kept: Mutex::default(), _dir: dir }
    }

    fn plain(&self, asked: Asked) -> Result<Page> {
        let key = (asked.indexed_ms, asked.query.to_owned());
        if let Some(page) = self.kept.lock().unwrap().get(&key) {
            return Ok(page.clone());
        }
        let page = self.page(asked.indexed_ms, asked.query, None);
        self.kept.lock().unwrap().insert(key, page.clone());
        Ok(page)
    }

    fn page(&self, time_ms: i64, query: &str, rewrite: Option<&str>) -> Page {
        let hits = self.engine.search_as_of(time_ms, query, rewrite, &self.settings).unwrap();
        Page { shown: hits.into_iter().map(|h| h.doc).collect(), rewritten: rewrite.map(str::to_owned) }
    }

    fn live(&self, people: std::ops::Range<usize>, weeks: std::ops::Range<u32>) -> Vec<SimSession> {
        let one = |p: usize| self.world.simulate_person(p, weeks.clone(), &|asked| self.plain(asked)).unwrap();
        people.into_par_iter().map(one).collect::<Vec<_>>().into_iter().flatten().collect()
    }
}

#[test]
fn a_person_and_a_week_are_the_same_whoever_else_is_asked_for() {
    let (a, b) = (Bench::new(&tiny()), Bench::new(&tiny()));
    assert_eq!(a.world.docs(), b.world.docs());
    let all = a.live(0..20, 0..3);
    assert_eq!(all, b.live(0..20, 0..3));
    let later: Vec<SimSession> = all.iter().filter(|s| s.session.id.starts_with("p000007-2-")).cloned().collect();
    assert!(!later.is_empty());
    assert_eq!(b.live(7..8, 2..3), later);
}

#[test]
fn another_life_is_the_same_person_with_other_wishes() {
    let bench = Bench::new(&tiny());
    let live = |person, life| bench.world.simulate_life(person, life, 0..2, &|asked| bench.plain(asked)).unwrap();
    let mut ids = HashSet::new();
    let mut wanted: [Vec<String>; 3] = Default::default();
    for person in 0..40 {
        let lives: Vec<Vec<SimSession>> = (0..3).map(|life| live(person, life)).collect();
        assert_eq!(lives[0], bench.live(person..person + 1, 0..2));
        let all = || lives.iter().flatten();
        assert!(all().all(|one| ids.insert(one.session.id.clone())), "two sessions of one name");
        assert!(all().all(|one| one.session.place == all().next().unwrap().session.place));
        for (wanted, sessions) in wanted.iter_mut().zip(&lives) {
            wanted.extend(sessions.iter().flat_map(|s| &s.truth).map(|t| format!("{person} {:?}", t.need.want)));
        }
    }
    assert!(wanted[0] != wanted[1] && wanted[1] != wanted[2]);
    let counts = wanted.map(|wanted| wanted.len() as f64);
    // As active in each, but for chance: some 250 searches a life.
    let mean = counts.iter().sum::<f64>() / 3.0;
    assert!(counts.iter().all(|n| (n - mean).abs() < 5.0 * mean.sqrt()), "{counts:?}");
}

#[test]
fn another_seed_is_another_world() {
    let mut other = tiny();
    other.seed += 1;
    assert_ne!(World::new(&tiny()).unwrap().docs(), World::new(&other).unwrap().docs());
}

#[test]
fn arms_with_different_pages_have_the_same_first_queries() {
    let bench = Bench::new(&tiny());
    let nothing = |_: Asked| Ok(Page::default());
    let needs = |sessions: &[SimSession]| -> Vec<_> {
        let firsts = sessions.iter().flat_map(|s| s.session.searches.iter().zip(&s.truth).filter(|(_, t)| t.step == 0));
        firsts.map(|(search, t)| (search.query.clone(), t.need)).collect()
    };
    for person in 0..10 {
        let silent = bench.world.simulate_person(person, 0..2, &nothing).unwrap();
        assert_eq!(needs(&silent), needs(&bench.live(person..person + 1, 0..2)));
    }
}

#[test]
fn held_back_pairs_are_wanted_late_and_only_late() {
    let bench = Bench::new(&tiny());
    let sessions = bench.live(0..60, 0..2);
    let from = bench.world.new_pairs_from_ms();
    let times = |new: bool| -> Vec<i64> {
        let of = |s: &SimSession| s.truth.iter().any(|t| t.need.new_pair == new);
        sessions.iter().filter(|s| of(s)).map(|s| s.session.start_ms).collect()
    };
    assert!(times(true).len() > 10, "they do occur: {}", times(true).len());
    assert!(times(true).iter().all(|t| *t >= from));
    assert!(times(false).iter().any(|t| *t < from));
    // The log's own cut, as mining reckons it from the first and the last search, must not lie behind the world's.
    let searches: Vec<i64> = sessions.iter().flat_map(|s| s.session.searches.iter().map(|q| q.time_ms)).collect();
    let (first, last) = (*searches.iter().min().unwrap(), *searches.iter().max().unwrap());
    let cut = first + ((last - first) as f64 * (1.0 - tiny().mine.held_out_time)) as i64;
    assert!(cut <= from, "{cut} {from}");
    // Nor may one slip in through what was watched.
    for s in sessions.iter().filter(|s| s.session.start_ms < from) {
        for watched in &s.session.watched {
            let video = bench.world.video(&watched.doc).unwrap();
            assert!(!matches!(bench.world.hidden[video].topic, Topic::Sense(x) if bench.world.held_back[x]));
        }
    }
}

#[test]
fn sessions_are_whole_and_in_time_order() {
    let bench = Bench::new(&tiny());
    for s in bench.live(0..20, 0..2) {
        assert_eq!(s.session.searches.len(), s.truth.len());
        assert!(s.session.watched.len() >= 2 && !s.session.searches.is_empty());
        assert!(s.session.searches.is_sorted_by_key(|q| q.time_ms));
        assert!(s.session.watched.is_sorted_by_key(|w| w.time_ms));
        for (search, truth) in s.session.searches.iter().zip(&s.truth) {
            assert_eq!(search.shown.len(), truth.grades.len());
            assert!(
                search.clicks.iter().all(|c| search.shown[c.rank as usize - 1] == c.doc && c.time_ms > search.time_ms)
            );
        }
    }
}

#[test]
fn grades_of_pages_are_those_of_the_log_and_none_exceeds_the_best() {
    let bench = Bench::new(&tiny());
    for s in bench.live(0..10, 0..1) {
        for (search, truth) in s.session.searches.iter().zip(&s.truth) {
            let grades: Vec<f64> = search.shown.iter().map(|doc| bench.world.grade(&truth.need, doc)).collect();
            assert_eq!(grades, truth.grades);
            let best = bench.world.best_grades(&truth.need, 10);
            let sum = |grades: &[f64]| grades.iter().sum::<f64>();
            assert!(best.is_sorted_by(|a, b| a >= b) && sum(&best) + 1e-9 >= sum(&grades), "{best:?} {grades:?}");
        }
    }
}

#[test]
fn ids_of_other_logs_are_strangers_not_errors() {
    let bench = Bench::new(&tiny());
    for id in ["", "v", "v99999999", "vv1", "1", "v-1", "v1"] {
        assert_eq!(bench.world.video(id), None, "{id:?}");
    }
    assert_eq!(bench.world.video("v0000001"), Some(1));
    let strange = |_: Asked| Ok(Page { shown: vec!["sku-1".into(); 30], rewritten: None });
    assert!(!bench.world.simulate_person(0, 0..2, &strange).unwrap().is_empty());
}

#[test]
fn nothing_is_shown_watched_or_known_before_it_is_published() {
    let bench = Bench::new(&tiny());
    let published = |id: &str| bench.world.docs.published_ms(bench.world.video(id).unwrap());
    let mut newborn = 0;
    for s in bench.live(0..60, 0..3) {
        assert!(s.session.watched.iter().all(|w| published(&w.doc) <= w.time_ms));
        newborn += s.session.watched.iter().filter(|w| published(&w.doc) > START_MS).count();
        for (search, truth) in s.session.searches.iter().zip(&s.truth) {
            assert!(search.shown.iter().all(|doc| published(doc) <= search.time_ms));
            newborn += search.shown.iter().filter(|doc| published(doc) > START_MS).count();
            if let Want::Video { video } = truth.need.want {
                assert!(bench.world.docs.published_ms(video) <= search.time_ms);
            }
        }
    }
    assert!(newborn > 100, "and then it is: {newborn}");
}

#[test]
fn later_weeks_want_what_the_first_had_not_heard_of() {
    let bench = Bench::new(&tiny());
    let wanted = |week: u32| -> Vec<usize> {
        let needs = bench.live(0..60, week..week + 1).into_iter().flat_map(|s| s.truth).filter(|t| t.step == 0);
        needs.filter_map(|t| if let Want::Sense { sense, .. } = t.need.want { Some(sense) } else { None }).collect()
    };
    let first = wanted(0);
    let born = &bench.world.timeline.born;
    assert!(first.iter().all(|sense| born[*sense] == 0));
    let new = |week: u32| {
        let all = wanted(week);
        all.iter().filter(|sense| born[**sense] > 0).count() as f64 / all.len() as f64
    };
    assert!(new(1) > 0.02 && new(2) > new(1), "{} {}", new(1), new(2));
}

#[test]
fn a_habit_is_asked_for_in_the_same_words() {
    let bench = Bench::new(&tiny());
    let mut words: HashMap<(usize, String), Vec<String>> = HashMap::new();
    for person in 0..30 {
        for s in bench.live(person..person + 1, 0..2) {
            for (search, t) in
                s.session.searches.iter().zip(&s.truth).filter(|(_, t)| t.need.habit && t.step == 0 && !t.typo)
            {
                words.entry((person, format!("{:?}", t.need.want))).or_default().push(search.query.clone());
            }
        }
    }
    let again: Vec<_> = words.values().filter(|queries| queries.len() > 1).collect();
    let same = again.iter().filter(|queries| queries.iter().all(|q| *q == queries[0])).count();
    // Two habits may be for the same thing.
    assert!(again.len() > 30 && same as f64 > 0.9 * again.len() as f64, "{same} of {}", again.len());
}

#[test]
fn weeks_beyond_the_world_are_refused() {
    let bench = Bench::new(&tiny());
    let error = bench.world.simulate_person(0, 2..4, &|_| Ok(Page::default())).unwrap_err().to_string();
    assert!(error.contains("ends after 3 weeks") && error.contains("world.weeks"), "{error}");
}
