//! A sitting: some browsing, then needs, each searched for until it is met or given up.

use std::ops::Range;

use anyhow::{Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draw::{chance, geometric, log_normal, poisson};
use super::look::{Moment, SearchTruth};
use super::needs::{Need, Wishes};
use super::people::{Person, Spell};
use super::phrasing::Phrase;
use super::videos::{DAY_MS, START_MS, WEEK_MS};
use super::{Page, World, phrasing};
use crate::logs::{Context, Search, Session, Watched, context_before};
use crate::recipe::stream;

const HOUR_MS: i64 = 3_600_000;
/// How much less often people try again when they saw an answer on the page and did not take it.
const PROMISING: f64 = 0.15;
/// Median seconds between one need and the next, beside what is watched in between.
const PAUSE_S: f64 = 45.0;
/// Sessions of a week are counted on from here in another life, so that each has numbers, and with them chances, of its own.
const LIFE: u64 = 1 << 32;
/// Searches for one need at most.
const MOST_STEPS: u64 = 3;

/// A session as logged, and what the world knows about each of its searches.
#[derive(Debug, Clone, PartialEq)]
pub struct SimSession {
    /// What a log holds.
    pub session: Session,
    /// One entry per search.
    pub truth: Vec<SearchTruth>,
}

/// What the search path is asked, and why; only an oracle may look at the need.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What a log would hold of the moment before.
    pub context: &'a Context,
    /// What the person typed.
    pub query: &'a str,
    /// What the person wants.
    pub need: &'a Need,
    /// What the query should have been, where a typing error slipped in.
    pub meant: Option<&'a str>,
    /// Up to when the search path knows of videos, Unix milliseconds: its index is brought up to date each night.
    pub indexed_ms: i64,
}

/// The search path as the world's people meet it: a question in, a page out.
pub type SearchFn<'a> = dyn Fn(Asked) -> Result<Page> + 'a;

/// A session under way.
struct Sitting<'a> {
    world: &'a World,
    wishes: Wishes<'a>,
    search: &'a SearchFn<'a>,
    /// `[person, week, session]`.
    key: [u64; 3],
    /// The sense this sitting is mostly about.
    mood: usize,
    now_ms: i64,
    /// Senses watched, newest first.
    senses: Vec<usize>,
    session: Session,
    truth: Vec<SearchTruth>,
}

impl World {
    /// Lets one person live through some weeks (0 is the first logged one) and returns the sessions in time order.
    ///
    /// Every week, session, need and step draws from its own stream, so the same weeks come out whichever people and weeks
    /// are asked for, and two search paths are met by the same people with the same needs.
    ///
    /// # Errors
    /// Those of `search`; weeks for which nothing was published.
    pub fn simulate_person(&self, person: usize, weeks: Range<u32>, search: &SearchFn<'_>) -> Result<Vec<SimSession>> {
        self.simulate_life(person, 0, weeks, search)
    }

    /// The same weeks lived otherwise: who somebody is and what the world is like stay, and when they sit down, what they want,
    /// how they put it and what they look at is drawn anew for each `life`. Life 0 is that of [`World::simulate_person`].
    ///
    /// # Errors
    /// Those of [`World::simulate_person`].
    pub fn simulate_life(
        &self,
        person: usize,
        life: u32,
        weeks: Range<u32>,
        search: &SearchFn<'_>,
    ) -> Result<Vec<SimSession>> {
        let most = self.timeline.weeks();
        ensure!(
            weeks.end <= most,
            "this world ends after {most} weeks: raise world.weeks_after to simulate up to week {}",
            weeks.end
        );
        let mut sessions = Vec::new();
        for week in weeks {
            let who = self.person(person, week);
            let (whose, first) = ([person as u64, u64::from(week), u64::from(life)], u64::from(life) * LIFE);
            let mut rng = stream(self.seed, "world.week", if life == 0 { &whose[..2] } else { &whose });
            for (number, start_ms) in (first..).zip(self.starts(&who, week, &mut rng)) {
                let key = [whose[0], whose[1], number];
                sessions.push(self.sit(&who, key, start_ms, search)?);
            }
        }
        Ok(sessions)
    }

    /// When the person sits down in a week: by day, at least an hour apart, in time order.
    fn starts(&self, who: &Person, week: u32, rng: &mut ChaCha8Rng) -> Vec<i64> {
        let count = poisson(rng, self.settings.sessions_per_week * who.activity);
        let monday = START_MS + i64::from(week) * WEEK_MS;
        let drawn = (0..count).map(|_| {
            let (day, hour): (i64, f64) = (rng.random_range(0..7), rng.random_range(7.0..23.0));
            monday + day * DAY_MS + (hour * HOUR_MS as f64) as i64
        });
        let mut starts: Vec<i64> = drawn.collect();
        starts.sort_unstable();
        starts.dedup_by(|later, earlier| *later - *earlier < HOUR_MS);
        starts
    }

    fn sit(&self, who: &Person, key: [u64; 3], start_ms: i64, search: &SearchFn<'_>) -> Result<SimSession> {
        let mut rng = stream(self.seed, "world.session", &key);
        let user = self.user_id(key[0] as usize);
        let open = start_ms >= self.held_back_until_ms;
        let wishes = Wishes { world: self, person: who, week: key[1] as u32, open };
        let mood = if chance(&mut rng, 0.85) { wishes.interest(&mut rng) } else { wishes.any(&mut rng) };
        let session = Session {
            id: format!("{user}-{}-{}", key[1], key[2]),
            user,
            start_ms,
            place: Some(self.lexicon.places[who.place].clone()),
            ..Session::default()
        };
        let mut sitting = Sitting {
            world: self,
            wishes,
            search,
            key,
            mood,
            now_ms: start_ms,
            senses: Vec::new(),
            session,
            truth: Vec::new(),
        };
        sitting.browse(rng.random_range(2..=5), &mut rng);
        for number in 0..self.needs(&mut rng) {
            sitting.pursue(number)?;
        }
        Ok(SimSession { session: sitting.session, truth: sitting.truth })
    }
}

impl World {
    /// How many needs a session has: one, or for a share of them many, so that most sessions are short and their mean is not.
    fn needs(&self, rng: &mut ChaCha8Rng) -> u64 {
        let (mean, long) = (self.settings.needs_per_session, self.settings.long_session_share);
        let more = geometric(rng, (mean - 1.0) / long - 1.0) as u64;
        if chance(rng, long) { 2 + more } else { 1 }
    }
}

impl Sitting<'_> {
    /// Watches some videos, most of them in the sitting's mood.
    fn browse(&mut self, count: usize, rng: &mut ChaCha8Rng) {
        for _ in 0..count {
            let sense = match rng.random::<f64>() {
                u if u < 0.6 => self.mood,
                u if u < 0.85 => self.wishes.interest(rng),
                _ => self.wishes.any(rng),
            };
            let Some(video) = self.unwatched(sense, rng) else { continue };
            let doc = self.world.docs.get(video);
            let dwell_s = log_normal(rng, 40.0, 0.8).clamp(3.0, f64::from(doc.duration_s).max(3.0));
            self.session.watched.push(Watched {
                doc: doc.id,
                title: doc.title,
                tags: doc.tags,
                time_ms: self.now_ms,
                dwell_s: dwell_s as f32,
            });
            self.senses.insert(0, sense);
            self.now_ms += (1_000.0 * (dwell_s + rng.random_range(1.0..6.0))) as i64;
        }
    }

    /// A video of a sense that this sitting has not seen yet; after some tries, one that it has.
    fn unwatched(&self, sense: usize, rng: &mut ChaCha8Rng) -> Option<usize> {
        let mut video = None;
        for _ in 0..5 {
            video = self.world.video_about(sense, self.now_ms, rng);
            let id = video.map(|v| self.world.docs.id(v));
            if self.session.watched.iter().all(|w| Some(w.doc.as_str()) != id) {
                break;
            }
        }
        video
    }

    /// Has a need, searches until it is met or given up, and perhaps watches something before the next one.
    fn pursue(&mut self, number: u64) -> Result<()> {
        let [person, week, session] = self.key;
        let mut rng = stream(self.world.seed, "world.need", &[person, week, session, number]);
        let recent = &self.senses[..self.senses.len().min(self.world.watched_limit)];
        let (need, habit) = self.wishes.need(&mut rng, recent, self.now_ms);
        let who = self.wishes.person;
        let first = self.first(&need, habit, &mut rng);
        let between = if chance(&mut rng, 0.5) { rng.random_range(1..=3) } else { 0 };
        let pause_s = log_normal(&mut rng, PAUSE_S, 1.0).min(1_200.0);
        let mut tried = vec![first];
        for step in 0..MOST_STEPS {
            let moment: Moment = [person, week, session, number, step];
            let (satisfied, promising) = self.ask(&need, &tried, moment)?;
            if satisfied {
                break;
            }
            let mut rng = stream(self.world.seed, "world.again", &moment);
            let goes_on = chance(&mut rng, who.persistence * if promising { PROMISING } else { 1.0 });
            let titles = |video: usize| self.world.docs.title(video);
            let next = phrasing::again(&self.world.lexicon, titles, &need, &tried, &mut rng);
            let Some(next) = next.filter(|_| goes_on) else { break };
            tried.push(next);
            self.now_ms += rng.random_range(2_000..9_000);
        }
        self.now_ms += (1_000.0 * pause_s) as i64;
        self.browse(between, &mut rng);
        Ok(())
    }

    /// What the person types first. A habit has words of its own, plain ones; a slip of the finger may come into any words.
    fn first(&self, need: &Need, habit: Option<Spell>, rng: &mut ChaCha8Rng) -> Phrase {
        let (lexicon, settings) = (&self.world.lexicon, &self.world.settings);
        let titles = |video: usize| self.world.docs.title(video);
        let phrase = match habit {
            Some(spell) => {
                let mut rng = stream(self.world.seed, "world.habit.words", &spell.key);
                phrasing::first(lexicon, settings, titles, 0.0, need, &mut rng)
            }
            None => phrasing::first(lexicon, settings, titles, self.wishes.person.terseness, need, rng),
        };
        if chance(rng, settings.typo_share) { phrase.mistyped(lexicon, rng) } else { phrase }
    }

    /// Types the last phrase and looks at the page; whether that met the need, and whether an answer was at least seen.
    fn ask(&mut self, need: &Need, tried: &[Phrase], moment: Moment) -> Result<(bool, bool)> {
        let Some(phrase) = tried.last() else { return Ok((true, true)) };
        let (world, index) = (self.world, self.session.searches.len());
        let id = format!("{}-{}", self.session.id, index);
        let query = phrase.text.clone();
        self.session.searches.push(Search { id, query, time_ms: self.now_ms, ..Search::default() });
        let context = context_before(&self.session, index, world.watched_limit, world.queries_limit);
        // The night before, reckoned from the first day.
        let indexed_ms = START_MS + (self.now_ms - START_MS).div_euclid(DAY_MS) * DAY_MS;
        let page = (self.search)(Asked {
            context: &context,
            query: &phrase.text,
            need,
            meant: phrase.meant.as_deref(),
            indexed_ms,
        })?;
        let hints = world.hints(need, &self.session.watched);
        let looked = world.look(self.wishes.person, need, &page.shown, moment, self.now_ms);
        self.now_ms = looked.end_ms;
        let grade = |id: &String| world.grade(need, id);
        self.truth.push(SearchTruth {
            need: *need,
            phrasing: phrase.kind,
            typo: phrase.meant.is_some(),
            step: moment[4] as u32,
            rewritten: page.rewritten,
            grades: page.shown.iter().map(grade).collect(),
            satisfied: looked.satisfied,
            seen: looked.seen,
            hints,
        });
        let search = &mut self.session.searches[index];
        (search.shown, search.clicks) = (page.shown, looked.clicks);
        Ok((looked.satisfied, looked.promising))
    }
}
