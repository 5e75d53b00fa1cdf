//! The synthetic world: videos, people and sessions whose intents are known, so that claims can be tested.
//!
//! What a log would hold goes into the log types; the rest ([`SearchTruth`], what a video is about) stays here, and only
//! the simulator, the oracle and the analysis of an experiment may read it.

mod catalogue;
mod draw;
mod hints;
mod lexicon;
mod look;
mod needs;
mod people;
mod phrasing;
mod probing;
mod rules;
mod session;
mod shelf;
#[cfg(test)]
mod tests;
mod timeline;
mod videos;

use anyhow::Result;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::recipe::{Recipe, World as Settings, stream};
use lexicon::Lexicon;
use people::Person;
use shelf::Shelf;
use timeline::Timeline;
use videos::{Hidden, START_MS, Topic, WEEK_MS};

pub use catalogue::Catalogue;
pub use hints::Hints;
pub use look::SearchTruth;
pub use needs::{Need, Want};
pub use phrasing::Phrasing;
pub use probing::Probe;
pub use rules::{Near, Reading, Readings};
pub use session::{Asked, SearchFn, SimSession};

/// A result page as people meet it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Document ids from the top down.
    pub shown: Vec<String>,
    /// The rewrite that was merged in, where there was one.
    pub rewritten: Option<String>,
}

/// A world: the catalogue, and everything its people are drawn from.
pub struct World {
    seed: u64,
    settings: Settings,
    watched_limit: usize,
    queries_limit: usize,
    lexicon: Lexicon,
    docs: Catalogue,
    hidden: Vec<Hidden>,
    /// Videos of each sense.
    of_sense: Vec<Shelf>,
    timeline: Timeline,
    held_back: Vec<bool>,
    held_back_until_ms: i64,
}

impl World {
    /// Makes the world of a recipe: same recipe, same world.
    ///
    /// # Errors
    /// More heads than the lexicon has.
    pub fn new(recipe: &Recipe) -> Result<Self> {
        let (settings, seed) = (recipe.world.clone(), recipe.seed);
        let lexicon = Lexicon::new(&settings)?;
        let timeline = Timeline::new(&lexicon, &settings, settings.weeks + settings.weeks_after, seed);
        let (docs, hidden) = videos::make(&lexicon, &settings, seed, &timeline);
        let docs = Catalogue::new(docs);
        let mut of_sense = vec![Vec::new(); lexicon.senses.len()];
        for (video, h) in hidden.iter().enumerate() {
            if let Topic::Sense(sense) = h.topic {
                of_sense[sense].push((video, docs.published_ms(video), f64::from(docs.popularity(video)).sqrt()));
            }
        }
        let of_sense = of_sense.into_iter().map(|videos| Shelf::new(videos, settings.half_life_days)).collect();
        let held_back = held_back(&lexicon, &timeline.born, seed, settings.new_pair_share);
        let span_ms = i64::from(settings.weeks) * WEEK_MS;
        // A hundredth of the span later than the held-out time begins: the log's own first and last search, from which
        // that time is reckoned, lie some hours inside the span.
        let share = (1.0 - recipe.mine.held_out_time + 0.01).min(1.0);
        Ok(Self {
            seed,
            watched_limit: recipe.mine.watched_limit,
            queries_limit: recipe.mine.queries_limit,
            lexicon,
            hidden,
            of_sense,
            timeline,
            held_back,
            held_back_until_ms: START_MS + (span_ms as f64 * share) as i64,
            docs,
            settings,
        })
    }

    /// The catalogue, by id.
    #[must_use]
    pub fn docs(&self) -> &Catalogue {
        &self.docs
    }

    /// How many people there are.
    #[must_use]
    pub fn people(&self) -> usize {
        self.settings.people
    }

    /// When the first logged week begins, Unix milliseconds.
    #[must_use]
    pub fn begins_ms(&self) -> i64 {
        START_MS
    }

    /// A person's name in the log.
    #[must_use]
    pub fn user_id(&self, person: usize) -> String {
        format!("p{person:06}")
    }

    /// When held-back (head, sense) pairs start to be wanted, Unix milliseconds.
    #[must_use]
    pub fn new_pairs_from_ms(&self) -> i64 {
        self.held_back_until_ms
    }

    /// The ceiling for any rewriter: the query that names sense and facet of the need. None where rewriting is wrong.
    #[must_use]
    pub fn oracle_rewrite(&self, need: &Need) -> Option<String> {
        phrasing::oracle(&self.lexicon, need)
    }

    /// How much a document answers a need, in [0, 1]; 0 for a stranger.
    #[must_use]
    pub fn grade(&self, need: &Need, doc: &str) -> f64 {
        self.video(doc).map_or(0.0, |video| need.grade(&self.hidden, video))
    }

    /// Grades of the `n` documents that answer a need best: what no ranking can exceed.
    #[must_use]
    pub fn best_grades(&self, need: &Need, n: usize) -> Vec<f64> {
        let all = (0..self.hidden.len()).map(|video| need.grade(&self.hidden, video));
        let mut grades: Vec<f64> = all.filter(|g| *g > 0.0).collect();
        grades.sort_by(|a, b| b.total_cmp(a));
        grades.truncate(n);
        grades
    }

    /// Number of a document of this world.
    pub(crate) fn video(&self, id: &str) -> Option<usize> {
        let video: usize = id.strip_prefix('v')?.parse().ok()?;
        (video < self.docs.len() && self.docs.id(video) == id).then_some(video)
    }

    /// A person as they are in a week.
    fn person(&self, index: usize, week: u32) -> Person {
        Person::new(&self.lexicon, &self.settings, &self.timeline, self.seed, index, week)
    }

    /// A video of a sense that is published by then, popular and new ones more often; none for a sense that nobody filmed.
    fn video_about(&self, sense: usize, now_ms: i64, rng: &mut ChaCha8Rng) -> Option<usize> {
        self.of_sense[sense].draw(now_ms, self.settings.evergreen_share, rng)
    }
}

/// Chooses the senses held back from the first weeks, among those that are there from the first; each head keeps at least one.
fn held_back(lexicon: &Lexicon, born: &[u32], seed: u64, share: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..lexicon.senses.len()).collect();
    order.shuffle(&mut stream(seed, "world.held_back", &[]));
    let mut left = (share * order.len() as f64).round() as usize;
    let mut held = vec![false; order.len()];
    for sense in order {
        let head = &lexicon.of_head[lexicon.senses[sense].head];
        if left > 0 && born[sense] == 0 && head.iter().filter(|s| !held[**s] && born[**s] == 0).count() > 1 {
            held[sense] = true;
            left -= 1;
        }
    }
    held
}
