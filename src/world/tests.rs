//! The world as a whole: determinism, what is held back, and (ignored, for people) its figures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use rayon::prelude::*;

use super::*;
use crate::logs::{Session, context_before, words};
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
    kept: Mutex<HashMap<String, Page>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(recipe: &Recipe) -> Self {
        let world = World::new(recipe).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::build(dir.path(), world.docs(), &recipe.search, |_| ()).unwrap();
        Self { world, engine, settings: recipe.search.clone(), kept: Mutex::default(), _dir: dir }
    }

    fn plain(&self, query: &str) -> Result<Page> {
        if let Some(page) = self.kept.lock().unwrap().get(query) {
            return Ok(page.clone());
        }
        let page = self.page(query, None);
        self.kept.lock().unwrap().insert(query.to_owned(), page.clone());
        Ok(page)
    }

    fn page(&self, query: &str, rewrite: Option<&str>) -> Page {
        let hits = self.engine.search(query, rewrite, &self.settings).unwrap();
        Page { shown: hits.into_iter().map(|h| h.doc).collect(), rewritten: rewrite.map(str::to_owned) }
    }

    fn live(&self, people: std::ops::Range<usize>, weeks: std::ops::Range<u32>) -> Vec<SimSession> {
        let one = |p: usize| self.world.simulate_person(p, weeks.clone(), &|asked| self.plain(asked.query)).unwrap();
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

/// WeWrite's reading of a log, roughly: what mining will find.
fn mined(recipe: &Recipe, session: &Session) -> [usize; 4] {
    let (mut pairs, mut in_context, mut at_once) = (0, 0, 0);
    let m = &recipe.mine;
    for (i, search) in session.searches.iter().enumerate() {
        let dwell = f64::from(search.longest_dwell_s().unwrap_or_default());
        let soon =
            search.clicks.first().is_some_and(|c| (c.time_ms - search.time_ms) as f64 / 1e3 < m.reject_click_within_s);
        at_once += usize::from(dwell >= m.success_dwell_s && soon && (i == 0 || session.searches.len() == 1));
        let Some(next) = session.searches.get(i + 1) else { continue };
        let met = f64::from(next.longest_dwell_s().unwrap_or_default()) >= m.success_dwell_s;
        let gap_s = (next.time_ms - search.time_ms) as f64 / 1e3;
        if dwell < m.fail_dwell_s && met && gap_s < m.reformulation_gap_s {
            pairs += 1;
            let context = context_before(session, i, m.watched_limit, m.queries_limit);
            let known: Vec<String> = context
                .watched
                .iter()
                .flat_map(|w| words(&w.title).chain(w.tags.iter().flat_map(|t| words(t))))
                .collect();
            let old: Vec<String> = words(&search.query).collect();
            let mut gain = words(&next.query).filter(|w| !old.contains(w)).peekable();
            in_context += usize::from(gain.peek().is_some() && gain.any(|w| known.contains(&w)));
        }
    }
    [pairs, in_context, at_once, session.searches.len()]
}

#[test]
#[ignore = "prints figures for people: cargo test --release figures_of -- --ignored --nocapture"]
fn figures_of_a_world() {
    let recipe = Recipe::load(&std::env::var("CORE_RECIPE").unwrap_or_else(|_| "demo".into())).unwrap();
    let started = std::time::Instant::now();
    let bench = Bench::new(&recipe);
    println!("world and index {:.1} s", started.elapsed().as_secs_f64());
    let sessions = bench.live(0..bench.world.people(), 0..recipe.world.weeks);
    println!(
        "lived {:.1} s, {} sessions, {} pages",
        started.elapsed().as_secs_f64(),
        sessions.len(),
        bench.kept.lock().unwrap().len()
    );
    let sums = sessions.iter().map(|s| mined(&recipe, &s.session)).reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]));
    let [pairs, in_context, at_once, searches] = sums.unwrap();
    println!("searches {searches}, failure→success pairs {pairs}, gain in context {in_context}, at once {at_once}");
    let one = sessions.iter().filter(|s| s.session.searches.len() == 1).count();
    println!(
        "queries per session {:.2}, sessions of one query {:.2}",
        ratio(searches, sessions.len()),
        ratio(one, sessions.len())
    );
    let all = || sessions.iter().flat_map(|s| s.session.searches.iter().zip(&s.truth));
    println!(
        "no click {:.3}, nothing found {:.3}",
        ratio(all().filter(|(s, _)| s.clicks.is_empty()).count(), searches),
        ratio(all().filter(|(s, _)| s.shown.is_empty()).count(), searches)
    );
    let share = |f: &dyn Fn(&SearchTruth) -> bool| ratio(all().filter(|(_, t)| t.step == 0 && f(t)).count(), searches);
    println!(
        "of searches: against the history {:.3}, new pairs {:.3}",
        share(&|t| t.need.against_history),
        share(&|t| t.need.new_pair)
    );
    let late = sessions.iter().filter(|s| s.truth.iter().any(|t| t.need.new_pair));
    println!(
        "pairs with the gain in context in sessions with new pairs: {}",
        late.map(|s| mined(&recipe, &s.session)[1]).sum::<usize>()
    );
    println!("by phrasing: n, satisfied, mean on-need results");
    let mut by: BTreeMap<String, Vec<&SearchTruth>> = BTreeMap::new();
    all().for_each(|(_, t)| {
        by.entry(format!("{:?} {}{}", t.phrasing, t.step, if t.typo { " typo" } else { "" })).or_default().push(t)
    });
    for (name, of) in by {
        let met = of.iter().filter(|t| t.satisfied).count();
        let shown: usize = of.iter().map(|t| t.grades.iter().filter(|g| **g > 0.0).count()).sum();
        println!("  {name:20} {:7} {:.3} {:.2}", of.len(), ratio(met, of.len()), ratio(shown, of.len()));
    }
    ceiling(&recipe, &bench);
}

/// First queries met, with the plain path and with the oracle's rewrite merged in; whole weeks, common random numbers.
fn ceiling(recipe: &Recipe, bench: &Bench) {
    let weeks = recipe.world.weeks..recipe.world.weeks + 1;
    let mut table: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for person in 0..bench.world.people().min(1_000) {
        let plain = bench.world.simulate_person(person, weeks.clone(), &|asked| bench.plain(asked.query)).unwrap();
        for s in &plain {
            for (number, (search, t)) in s.session.searches.iter().zip(&s.truth).enumerate() {
                if t.step > 0 {
                    continue;
                }
                let page = bench.page(&search.query, bench.world.oracle_rewrite(&t.need).as_deref());
                let who = people::Person::new(&bench.world.lexicon, &bench.world.wanted, bench.world.seed, person);
                let at = moment(&s.session, &s.truth, number, person);
                let looked = bench.world.look(&who, &t.need, &page.shown, at, search.time_ms);
                let again = bench.world.look(&who, &t.need, &search.shown, at, search.time_ms);
                assert_eq!(again.satisfied, t.satisfied, "the bench replays the log");
                for name in [format!("{:?}", t.phrasing), "all".into(), format!("against {}", t.need.against_history)] {
                    let row = table.entry(name).or_default();
                    row[0] += 1;
                    row[1] += usize::from(t.satisfied);
                    row[2] += usize::from(looked.satisfied);
                }
            }
        }
    }
    println!("first queries: n, plain, oracle");
    table
        .iter()
        .for_each(|(name, r)| println!("  {name:20} {:7} {:.3} {:.3}", r[0], ratio(r[1], r[0]), ratio(r[2], r[0])));
}

fn moment(session: &Session, truth: &[SearchTruth], number: usize, person: usize) -> look::Moment {
    let need = truth[..=number].iter().filter(|t| t.step == 0).count() as u64 - 1;
    let mut parts = session.id.split('-').skip(1).map(|p| p.parse::<u64>().unwrap());
    [person as u64, parts.next().unwrap(), parts.next().unwrap(), need, 0]
}

fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b.max(1) as f64
}
