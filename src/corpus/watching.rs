//! People of a fresh world, who watch and then search: the rewriting task itself, on words that never come again.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::fresh::Fresh;
use super::page::{Kind, Page};
use super::slips::slip;
use super::words::Words;
use crate::logs::Seen;
use crate::task::{IM_END, IM_START, SEARCHED, Target, WATCHED};

/// Most people of a document.
const PEOPLE: usize = 6;
/// Share of the videos that have tags.
const TAGGED: f64 = 0.6;
/// Share of the documents that tell of their world first.
const TOLD: f64 = 0.7;

/// A video that one person watched.
struct Video {
    sense: usize,
    shown: Seen,
}

impl Video {
    /// Title and tags.
    fn text(&self) -> String {
        [std::slice::from_ref(&self.shown.title), &self.shown.tags].concat().join(" ")
    }
}

/// What one person saw before the query.
struct Before {
    /// Oldest first.
    watched: Vec<Video>,
    queries: Vec<String>,
    place: Option<String>,
}

/// Some of the world first, then people one after another.
pub(super) fn write(words: &Words, page: &mut Page, rng: &mut ChaCha8Rng) {
    let fresh = Fresh::new(words, rng);
    if rng.random_bool(TOLD) {
        tell(&fresh, page, rng);
    }
    let people = rng.random_range(1..=PEOPLE);
    for _ in 0..people {
        if page.asks() > 0 && !page.has_room(200) {
            break;
        }
        person(&fresh, page, rng);
    }
}

/// What others searched for and what there is: from this alone one can know which word goes with which sense. It is set apart,
/// so that nobody's own context seems to begin in it.
fn tell(fresh: &Fresh, page: &mut Page, rng: &mut ChaCha8Rng) {
    page.marker(IM_START);
    let mut senses: Vec<usize> = (0..fresh.senses.len()).collect();
    senses.shuffle(rng);
    for sense in senses {
        if rng.random_bool(0.6) {
            let facet = fresh.facet(sense, rng).filter(|_| rng.random_bool(0.2));
            page.line(SEARCHED, &fresh.named(sense, facet.as_deref()));
        }
        if rng.random_bool(0.4) {
            page.line(WATCHED, &fresh.title(sense, rng));
        }
    }
    page.marker(IM_END);
}

fn person(fresh: &Fresh, page: &mut Page, rng: &mut ChaCha8Rng) {
    let mood = rng.random_range(0..fresh.senses.len());
    let before = before(fresh, mood, rng);
    // A query's words count as known when they stand in the document, this person's context included.
    let (kind, query, target) = question(fresh, page, &before, mood, rng);
    let watched: Vec<Seen> = before.watched.into_iter().map(|video| video.shown).collect();
    page.ask_after(kind, &watched, &before.queries, before.place, &query, target);
}

fn before(fresh: &Fresh, mood: usize, rng: &mut ChaCha8Rng) -> Before {
    let any = |rng: &mut ChaCha8Rng| rng.random_range(0..fresh.senses.len());
    let watched = (0..rng.random_range(1..=4)).map(|_| {
        let sense = if rng.random_bool(0.75) { mood } else { any(rng) };
        let title = fresh.title(sense, rng);
        let tags = if rng.random_bool(TAGGED) { fresh.tags(sense, rng) } else { Vec::new() };
        Video { sense, shown: Seen { title, tags } }
    });
    let watched = watched.collect();
    let earlier = *[0, 0, 1, 2].choose(rng).unwrap_or(&0);
    let queries = (0..earlier).map(|_| match rng.random_bool(0.5) {
        true => fresh.named(any(rng), None),
        false => fresh.words.join(&fresh.words.distinct(2, rng)),
    });
    let queries = queries.collect();
    Before { watched, queries, place: rng.random_bool(0.15).then(|| fresh.words.word(rng)) }
}

/// A query and what should be made of it.
fn question(fresh: &Fresh, page: &Page, before: &Before, mood: usize, rng: &mut ChaCha8Rng) -> (Kind, String, Target) {
    match rng.random_range(0..100) {
        0..40 => open(fresh, page, before, fresh.senses[mood].head, rng),
        40..60 => open(fresh, page, before, rng.random_range(0..fresh.heads.len()), rng),
        60..70 => (Kind::Plain, clear(fresh, mood, rng), Target::Reject),
        70..75 => {
            // About nothing here at all.
            let query = fresh.words.join(&fresh.words.distinct(rng.random_range(1..=3), rng));
            let kind = if query.contains(' ') { Kind::Plain } else { Kind::Unsupported };
            (kind, query, Target::Reject)
        }
        _ => mistyped(fresh, page, before, mood, rng)
            .unwrap_or_else(|| (Kind::Plain, clear(fresh, mood, rng), Target::Reject)),
    }
}

/// A query that says what it wants.
fn clear(fresh: &Fresh, sense: usize, rng: &mut ChaCha8Rng) -> String {
    let facet = fresh.facet(sense, rng).filter(|_| rng.random_bool(0.3));
    match rng.random_bool(0.7) {
        true => fresh.named(sense, facet.as_deref()),
        false => fresh.by_own_word(sense, rng),
    }
}

/// A bare head, perhaps with a facet. The newest video that tells a sense of it decides; where none does, or where nothing says
/// by which word the sense goes, the query is left alone.
fn open(fresh: &Fresh, page: &Page, before: &Before, head: usize, rng: &mut ChaCha8Rng) -> (Kind, String, Target) {
    let of_head = |sense: usize| fresh.senses[sense].head == head;
    let told =
        before.watched.iter().rev().find(|video| of_head(video.sense) && fresh.tells(video.sense, &video.text()));
    let sense = told.map(|video| video.sense);
    let any = fresh.senses.iter().position(|s| s.head == head).unwrap_or(0);
    let facet = fresh.facet(sense.unwrap_or(any), rng).filter(|_| rng.random_bool(0.2)).unwrap_or_default();
    let query = fresh.words.join(&[fresh.heads[head].as_str(), &facet]);
    let known = sense.filter(|sense| {
        let gain = &fresh.senses[*sense].gain;
        page.shows(gain) || before.watched.iter().any(|video| video.text().contains(gain.as_str()))
    });
    match known {
        Some(sense) => {
            let rewrite = fresh.named(sense, Some(&facet));
            if rewrite == query {
                return (Kind::Plain, query, Target::Reject);
            }
            (Kind::Rewrite, query, Target::Rewrite(rewrite))
        }
        None => (Kind::Unsupported, query, Target::Reject),
    }
}

/// A query with a slip in it, whose right words all stand before; none where that is not to be had.
fn mistyped(
    fresh: &Fresh,
    page: &Page,
    before: &Before,
    mood: usize,
    rng: &mut ChaCha8Rng,
) -> Option<(Kind, String, Target)> {
    let head = fresh.heads[fresh.senses[mood].head].clone();
    let facet = fresh.facet(mood, rng).unwrap_or_default();
    let meant = match rng.random_range(0..4) {
        0 => head,
        1 => fresh.words.join(&[head, facet]),
        2 => fresh.named(mood, None),
        _ => fresh.by_own_word(mood, rng),
    };
    let query = slip(fresh.words, &meant, rng)?;
    let stands = |word: &str| page.shows(word) || before.watched.iter().any(|video| video.text().contains(word));
    let words: Vec<&str> = if fresh.words.glue.is_empty() { vec![&meant] } else { meant.split(' ').collect() };
    words.into_iter().all(stands).then_some((Kind::Mend, query, Target::Rewrite(meant)))
}
