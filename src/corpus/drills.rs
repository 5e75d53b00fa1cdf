//! The parts of reading a context, each by itself: looking up, saying again, mending, finding the words.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::page::{Kind, Page};
use super::slips::slip;
use super::words::Words;
use crate::task::{IM_START, PLACE, SEARCHED, Target, WATCHED};

/// Pairs of words, then heads whose word is asked for; some were never shown.
pub(super) fn recall(words: &Words, page: &mut Page, rng: &mut ChaCha8Rng) {
    let mut pairs = pairs(words, rng.random_range(1..=14), page, rng);
    pairs.shuffle(rng);
    let mut pairs = pairs.iter();
    for _ in 0..rng.random_range(1..=6) {
        if page.asks() > 0 && !page.has_room(40) {
            break;
        }
        match if rng.random_bool(0.85) { pairs.next() } else { None } {
            Some([head, word]) => page.ask(Kind::Recall, head, Target::Rewrite(words.join(&[head, word]))),
            None => page.ask(Kind::Unknown, &words.word(rng), Target::Reject),
        }
    }
}

/// One question about pairs, of which the one asked for stands `distance` pairs before the last.
pub(super) fn recall_at(words: &Words, n: usize, distance: usize, page: &mut Page, rng: &mut ChaCha8Rng) {
    let pairs = pairs(words, n, page, rng);
    if let Some([head, word]) = pairs.len().checked_sub(distance + 1).and_then(|at| pairs.get(at)) {
        page.ask(Kind::Recall, head, Target::Rewrite(words.join(&[head, word])));
    }
}

fn pairs(words: &Words, n: usize, page: &mut Page, rng: &mut ChaCha8Rng) -> Vec<[String; 2]> {
    let heads = words.distinct(n, rng);
    let marker = *[SEARCHED, WATCHED].choose(rng).unwrap_or(&SEARCHED);
    let pairs: Vec<[String; 2]> = heads.into_iter().map(|head| [head, words.word(rng)]).collect();
    for pair in &pairs {
        if page.has_room(60) {
            page.line(marker, &words.join(pair));
        }
    }
    let shown = pairs.into_iter().filter(|pair| page.shows(&words.join(pair)));
    shown.collect()
}

/// Lines, and the same lines again.
pub(super) fn repeat(words: &Words, page: &mut Page, rng: &mut ChaCha8Rng) {
    let lines: Vec<String> = (0..rng.random_range(1..=4))
        .map(|_| {
            let n = rng.random_range(2..=7);
            words.join(&words.distinct(n, rng))
        })
        .collect();
    lines.iter().for_each(|line| page.line(WATCHED, line));
    for _ in 0..rng.random_range(1..=3) {
        if !page.has_room(120) {
            break;
        }
        for line in &lines {
            page.marker(WATCHED);
            page.asked(Kind::Repeat, line);
            page.follows(line);
        }
    }
}

/// Phrases, then the same with slips, to be mended, or without, to be left alone.
pub(super) fn typos(words: &Words, page: &mut Page, rng: &mut ChaCha8Rng) {
    let phrases: Vec<String> = (0..rng.random_range(1..=6))
        .map(|_| {
            let n = rng.random_range(1..=3);
            words.join(&words.distinct(n, rng))
        })
        .collect();
    let marker = *[SEARCHED, WATCHED, PLACE].choose(rng).unwrap_or(&SEARCHED);
    phrases.iter().for_each(|phrase| page.line(marker, phrase));
    for _ in 0..rng.random_range(2..=6) {
        if page.asks() > 0 && !page.has_room(60) {
            break;
        }
        let Some(phrase) = phrases.choose(rng) else { continue };
        match slip(words, phrase, rng).filter(|_| rng.random_bool(0.75)) {
            Some(wrong) => page.ask(Kind::Mend, &wrong, Target::Rewrite(phrase.clone())),
            None => page.ask(Kind::Plain, phrase, Target::Reject),
        }
    }
}

/// Words run together, and apart again.
pub(super) fn split(words: &Words, page: &mut Page, rng: &mut ChaCha8Rng) {
    page.marker(IM_START);
    for _ in 0..rng.random_range(2..=6) {
        if page.asks() > 0 && !page.has_room(60) {
            break;
        }
        let n = rng.random_range(2..=3);
        let some = words.distinct(n, rng);
        page.ask(Kind::Split, &some.concat(), Target::Rewrite(some.join(" ")));
    }
}
