//! The catalogue: what is shown of a video (a [`Doc`]), and what it is about, which nothing but the world knows.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::draw::{Weighted, chance, log_normal, pick};
use super::lexicon::Lexicon;
use super::timeline::Timeline;
use crate::logs::Doc;
use crate::recipe::{Kind, World as Settings, stream};

/// Monday 5 January 2026, 00:00 UTC: when the world's first week starts.
pub(super) const START_MS: i64 = 1_767_571_200_000;
pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const WEEK_MS: i64 = 7 * DAY_MS;

/// Share of videos that no sense of the lexicon claims.
const OTHER_SHARE: f64 = 0.08;
/// Share of videos for functional queries.
const FUNCTIONAL_SHARE: f64 = 0.02;
/// Share of videos whose sense only the picture tells.
const PICTURE_ONLY_SHARE: f64 = 0.15;
/// Exponent of the popularity of rank r.
const ZIPF: f64 = 0.8;
/// Mean age of the videos that were there when the log began, in days.
const MEAN_AGE_DAYS: f64 = 200.0;
/// Share of visual codes that are wrong, and that are missing.
const VISUAL_NOISE: f64 = 0.1;

/// What a video is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// A sense of the lexicon.
    Sense(usize),
    /// An answer to a functional query, for one place when the title names one.
    Functional { entry: usize, place: Option<usize> },
    /// Something else in a category.
    Other(usize),
}

/// What only the world knows about a video.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hidden {
    pub topic: Topic,
    /// Index into the category's facets.
    pub facet: usize,
    /// Whether title or tags tell the sense; otherwise only the picture does.
    pub told: bool,
    /// Multiplies the time people stay; 1 is usual.
    pub quality: f64,
    /// In shops: the price over what such a thing usually costs.
    pub price: f64,
}

/// Makes the catalogue: what was there when the log began, then the births of each week, in the order of their numbers.
/// Each video has its own random stream.
pub(super) fn make(lexicon: &Lexicon, settings: &Settings, seed: u64, timeline: &Timeline) -> (Vec<Doc>, Vec<Hidden>) {
    let mut ranks: Vec<u32> = (0..settings.videos as u32).collect();
    ranks.shuffle(&mut stream(seed, "world.popularity", &[]));
    let births = Births::new(settings, timeline.weeks());
    let one = |i: usize| {
        let mut rng = stream(seed, "world.video", &[i as u64]);
        let (week, published_ms) = births.of(i, &mut rng);
        let hidden = hidden(lexicon, timeline.filmed(week), &mut rng);
        let (title, tags) = text(lexicon, &hidden, &mut rng);
        let doc = Doc {
            id: format!("v{i:07}"),
            title,
            tags,
            creator: creator(lexicon, &hidden, &mut rng),
            duration_s: duration_s(settings, &mut rng),
            published_ms,
            popularity: (1.0 + f64::from(ranks[i])).powf(-ZIPF) as f32,
            visual: visual(lexicon, &hidden, &mut rng),
        };
        (doc, hidden)
    };
    (0..settings.videos).into_par_iter().map(one).unzip()
}

/// Which videos were there from the start, and in which week each other one is published.
struct Births {
    old: usize,
    per_week: f64,
    weeks: u32,
}

impl Births {
    fn new(settings: &Settings, weeks: u32) -> Self {
        let old = settings.videos as f64 / (1.0 + settings.births_per_week * f64::from(weeks));
        let old = old.ceil() as usize;
        Self { old, per_week: (settings.videos - old) as f64 / f64::from(weeks.max(1)), weeks }
    }

    /// The week whose senses a video is about, and when it is published, Unix milliseconds.
    fn of(&self, video: usize, rng: &mut ChaCha8Rng) -> (u32, i64) {
        let u: f64 = rng.random();
        let Some(later) = video.checked_sub(self.old) else {
            let age_days = -MEAN_AGE_DAYS * (1.0 - u).ln();
            return (0, START_MS - (age_days * DAY_MS as f64) as i64);
        };
        let week = ((later as f64 / self.per_week) as u32).min(self.weeks.saturating_sub(1));
        (week, START_MS + i64::from(week) * WEEK_MS + (u * WEEK_MS as f64) as i64)
    }
}

/// Seconds; 0 for products, which have no length.
fn duration_s(settings: &Settings, rng: &mut ChaCha8Rng) -> f32 {
    let drawn = log_normal(rng, 240.0, 0.8).clamp(15.0, 7_200.0).round();
    if settings.kind == Kind::Video { drawn as f32 } else { 0.0 }
}

fn hidden(lexicon: &Lexicon, senses: &Weighted, rng: &mut ChaCha8Rng) -> Hidden {
    let kind: f64 = rng.random();
    let topic = if kind < FUNCTIONAL_SHARE {
        let entry = rng.random_range(0..lexicon.functional.len());
        let place = chance(rng, 0.5).then(|| rng.random_range(0..lexicon.places.len()));
        Topic::Functional { entry, place }
    } else if kind < FUNCTIONAL_SHARE + OTHER_SHARE {
        Topic::Other(rng.random_range(0..lexicon.categories.len()))
    } else {
        Topic::Sense(senses.draw(rng))
    };
    // Answers to functional queries have no kind.
    let facets = category(lexicon, topic).map_or(1, |c| lexicon.categories[c].facets.len());
    Hidden {
        topic,
        facet: rng.random_range(0..facets),
        told: !chance(rng, PICTURE_ONLY_SHARE),
        quality: log_normal(rng, 1.0, 0.25),
        price: log_normal(rng, 1.0, 0.4),
    }
}

fn category(lexicon: &Lexicon, topic: Topic) -> Option<usize> {
    match topic {
        Topic::Sense(sense) => Some(lexicon.senses[sense].category),
        Topic::Other(category) => Some(category),
        Topic::Functional { .. } => None,
    }
}

fn creator(lexicon: &Lexicon, hidden: &Hidden, rng: &mut ChaCha8Rng) -> String {
    let of = category(lexicon, hidden.topic).unwrap_or_else(|| rng.random_range(0..lexicon.categories.len()));
    pick(rng, &lexicon.categories[of].creators).cloned().unwrap_or_default()
}

/// Title and tags.
fn text(lexicon: &Lexicon, hidden: &Hidden, rng: &mut ChaCha8Rng) -> (String, Vec<String>) {
    let (mut words, tags) = match hidden.topic {
        Topic::Sense(sense) => sense_text(lexicon, sense, hidden, rng),
        Topic::Functional { entry, place } => {
            let entry = &lexicon.functional[entry];
            let mut words = vec![entry.query.clone()];
            words.extend(pick(rng, &entry.title_words).cloned());
            words.extend(place.map(|p| lexicon.places[p].clone()));
            (words, entry.title_words.clone())
        }
        Topic::Other(category) => {
            let c = &lexicon.categories[category];
            let words =
                vec![c.title_words[rng.random_range(0..c.title_words.len())].clone(), c.facets[hidden.facet].clone()];
            (words, vec![c.name.clone()])
        }
    };
    let mut tags = unique(tags);
    let product = category(lexicon, hidden.topic).and_then(|_| lexicon.products.get(hidden.facet));
    if let Some(category) = category(lexicon, hidden.topic) {
        // Category words tell the sense as well as its own words do, so a picture-only title goes without them. A shop says
        // what the thing is like instead.
        let from = product.map_or(&lexicon.categories[category].title_words, |product| &product.title_words);
        let fillers = if hidden.told || product.is_some() { rng.random_range(0..=2) } else { 0 };
        (0..fillers).for_each(|_| words.extend(pick(rng, from).cloned()));
    }
    match product {
        Some(product) => tags.push(lexicon.price(product.price * hidden.price)),
        None if chance(rng, 0.3) => words.push(lexicon.part(rng.random_range(1..=9))),
        None => (),
    }
    let words = unique(words);
    (capitalised(lexicon.join(&words.iter().map(String::as_str).collect::<Vec<_>>())), tags)
}

/// Head (mostly), gain or title words (unless only the picture tells), facet; in one of two orders.
fn sense_text(lexicon: &Lexicon, sense: usize, hidden: &Hidden, rng: &mut ChaCha8Rng) -> (Vec<String>, Vec<String>) {
    let (s, category) = (&lexicon.senses[sense], lexicon.category_of(sense));
    let (head, facet) = (lexicon.head_of(sense).to_owned(), category.facets[hidden.facet].clone());
    let mut tags = Vec::new();
    let tag = |tags: &mut Vec<String>, rng: &mut ChaCha8Rng, p: f64, word: &String| {
        if chance(rng, p) {
            tags.push(word.clone());
        }
    };
    tag(&mut tags, rng, 0.5, &head);
    tag(&mut tags, rng, 0.5, &facet);
    if !hidden.told {
        return (vec![head, facet], tags);
    }
    tag(&mut tags, rng, 0.55, &s.gain);
    tag(&mut tags, rng, 0.5, &category.name);
    let own = pick(rng, &s.title_words).cloned();
    let more = pick(rng, &s.title_words).cloned().filter(|_| chance(rng, 0.5));
    let gain = chance(rng, 0.45).then(|| s.gain.clone());
    let has_head = chance(rng, 0.88);
    // Without its head a title must still be about something.
    let gain = if has_head { gain } else { Some(s.gain.clone()) };
    let head = has_head.then_some(head);
    tags.extend(more.clone());
    let words =
        if chance(rng, 0.5) { [head, gain, own, Some(facet), more] } else { [Some(facet), head, own, gain, more] };
    (words.into_iter().flatten().collect(), tags)
}

fn visual(lexicon: &Lexicon, hidden: &Hidden, rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut codes = Vec::new();
    if let Some(of) = category(lexicon, hidden.topic) {
        codes.push(format!("cat:{}", lexicon.categories[of].name));
    }
    if let Topic::Sense(sense) = hidden.topic {
        codes.extend(lexicon.senses[sense].visual.iter().map(|v| format!("see:{v}")));
    }
    codes.retain(|_| !chance(rng, VISUAL_NOISE));
    for code in &mut codes {
        let wrong = rng.random_range(0..lexicon.senses.len());
        if chance(rng, VISUAL_NOISE) {
            let seen = pick(rng, &lexicon.senses[wrong].visual);
            *code = format!("see:{}", seen.map_or("", |s| s.as_str()));
        }
    }
    codes
}

/// Keeps the first of equal words.
fn unique(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

fn capitalised(mut title: String) -> String {
    if let Some(first) = title.get(..1) {
        let first = first.to_uppercase();
        title.replace_range(..1, &first);
    }
    title
}
