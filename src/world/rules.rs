//! The rules of relevance: what a query says by itself, and the label of a document for it (`docs/relevance.md`).
//!
//! A query is read by its words alone, as an annotator would: every wording that people use is written out, and a text that
//! two meanings share is left open. What the person had in mind plays no part.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::World;
use super::lexicon::Lexicon;
use super::phrasing::Phrasing;
use super::videos::{Hidden, Topic};
use crate::recipe::Reason;
use crate::store::Notes;
use crate::task::Label;

/// What a functional need's field is called.
const SERVICE: &str = "service";

/// What a query asks for; indices are the world's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Sense { sense: usize, facet: Option<usize> },
    Functional { entry: usize, place: Option<usize> },
}

/// A query with one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    asks: Asks,
    /// How it says it.
    pub phrasing: Phrasing,
    /// What it is about: the head with all its senses, or the functional query.
    pub subject: String,
}

/// Every wording of every meaning.
pub struct Readings(HashMap<String, Option<Reading>>);

/// How a document lies to what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Near {
    /// It is what was asked for.
    Answer,
    /// The right thing of another facet, or for another place.
    OtherFacet,
    /// Another sense of the same head.
    OtherSense,
    /// The same category; or another functional answer.
    SameField,
    /// None of it.
    Stranger,
}

impl Near {
    /// The label by the rules.
    #[must_use]
    pub fn label(self) -> Label {
        match self {
            Self::Answer => Label::L4,
            Self::OtherFacet => Label::L3,
            Self::OtherSense | Self::SameField => Label::L2,
            Self::Stranger => Label::L1,
        }
    }
}

impl Readings {
    /// What a query says; none where it says nothing that is known, or where two things could be meant.
    #[must_use]
    pub fn of(&self, query: &str) -> Option<&Reading> {
        self.0.get(&normal(query))?.as_ref()
    }

    fn new(lexicon: &Lexicon) -> Self {
        let mut readings = Self(HashMap::new());
        for (sense, s) in lexicon.senses.iter().enumerate() {
            let head = lexicon.head_of(sense);
            for (facet, word) in facets(lexicon, sense) {
                let mut add = |phrasing, words: [&str; 4]| {
                    let reading = Reading { asks: Asks::Sense { sense, facet }, phrasing, subject: head.to_owned() };
                    readings.add(&lexicon.join(&words), reading);
                };
                let more: Vec<&str> = lexicon.category_of(sense).title_words.iter().map(String::as_str).collect();
                for more in [""].into_iter().chain(more) {
                    add(Phrasing::Named, [head, &s.gain, word, more]);
                    s.title_words.iter().for_each(|own| add(Phrasing::TitleWord, [head, own, word, more]));
                }
                // Without a facet this is the bare head, which has several senses and so no reading.
                add(Phrasing::Facet, [head, word, "", ""]);
                for slang in &s.colloquial {
                    add(Phrasing::Colloquial, [slang, word, "", ""]);
                    if word.is_empty() {
                        add(Phrasing::Colloquial, [head, slang, "", ""]);
                    }
                }
            }
        }
        for (entry, functional) in lexicon.functional.iter().enumerate() {
            let places = lexicon.places.iter().enumerate().map(|(place, name)| (Some(place), name.as_str()));
            for (place, name) in [(None, "")].into_iter().chain(places) {
                let asks = Asks::Functional { entry, place };
                let reading = Reading { asks, phrasing: Phrasing::Functional, subject: functional.query.clone() };
                readings.add(&lexicon.join(&[&functional.query, name]), reading);
            }
        }
        readings
    }

    fn add(&mut self, text: &str, reading: Reading) {
        match self.0.entry(normal(text)) {
            Entry::Vacant(place) => _ = place.insert(Some(reading)),
            Entry::Occupied(mut place) if place.get().as_ref().is_some_and(|r| r.asks != reading.asks) => {
                place.insert(None);
            }
            Entry::Occupied(_) => {}
        }
    }
}

impl World {
    /// All queries that can be read.
    #[must_use]
    pub fn readings(&self) -> Readings {
        Readings::new(&self.lexicon)
    }

    /// How a document, by number, lies to a query.
    #[must_use]
    pub fn near(&self, reading: &Reading, video: usize) -> Near {
        near(&self.lexicon, &reading.asks, &self.hidden[video])
    }

    /// Number of a document by its id.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<usize> {
        self.video(id)
    }

    /// Whether title or tags of a document tell its sense.
    #[must_use]
    pub fn told(&self, video: usize) -> bool {
        self.hidden[video].told
    }

    /// Whether title and tags of a document leave open which sense of the asked head it is about, and its visual codes tell.
    #[must_use]
    pub fn salient(&self, reading: &Reading, video: usize) -> bool {
        let (hidden, lexicon) = (&self.hidden[video], &self.lexicon);
        let (Asks::Sense { sense: asked, .. }, Topic::Sense(sense)) = (reading.asks, hidden.topic) else {
            return false;
        };
        let head = lexicon.senses[asked].head;
        lexicon.senses[sense].head == head && !hidden.told && self.shown(video, &lexicon.of_head[head]) == Some(sense)
    }

    /// The annotator's reasoning, attribute by attribute.
    #[must_use]
    pub fn reasons(&self, reading: &Reading, video: usize) -> Notes {
        let (hidden, lexicon) = (&self.hidden[video], &self.lexicon);
        let field = |category: Option<usize>| category.map_or(SERVICE, |c| lexicon.categories[c].name.as_str());
        let asked = match reading.asks {
            Asks::Sense { sense, .. } => Some(lexicon.senses[sense].category),
            Asks::Functional { .. } => None,
        };
        let (about, shown) = match hidden.topic {
            Topic::Sense(sense) => {
                let senses = &lexicon.of_head[lexicon.senses[sense].head];
                (Some(lexicon.senses[sense].category), self.shown(video, senses) == Some(sense))
            }
            Topic::Other(category) => (Some(category), !self.docs.get(video).visual.is_empty()),
            Topic::Functional { .. } => (None, false),
        };
        let said = if hidden.told { field(about) } else { "open" };
        let [sense, facet] = match near(lexicon, &reading.asks, hidden) {
            Near::Answer => ["same", "same"],
            Near::OtherFacet => ["same", "other"],
            Near::OtherSense | Near::SameField => ["near", "none"],
            Near::Stranger => ["none", "none"],
        };
        Notes::from([
            (Reason::Knowledge, format!("asks {} says {said}", field(asked))),
            (Reason::Picture, format!("shows {}", if shown { field(about) } else { "nothing" })),
            (Reason::Rules, format!("sense {sense} facet {facet}")),
        ])
    }

    /// The one sense, among several, that the visual codes of a document speak for.
    fn shown(&self, video: usize, senses: &[usize]) -> Option<usize> {
        let codes = self.docs.get(video).visual;
        let speaks = |sense: &&usize| {
            let s = &self.lexicon.senses[**sense];
            let field = format!("cat:{}", self.lexicon.categories[s.category].name);
            codes.iter().any(|code| *code == field || s.visual.iter().any(|seen| *code == format!("see:{seen}")))
        };
        let mut speaking = senses.iter().filter(speaks);
        match (speaking.next(), speaking.next()) {
            (Some(one), None) => Some(*one),
            _ => None,
        }
    }
}

fn near(lexicon: &Lexicon, asks: &Asks, hidden: &Hidden) -> Near {
    let side = |right: bool| if right { Near::Answer } else { Near::OtherFacet };
    match (*asks, hidden.topic) {
        (Asks::Sense { sense, facet }, Topic::Sense(s)) if s == sense => side(facet.is_none_or(|f| f == hidden.facet)),
        (Asks::Sense { sense, .. }, Topic::Sense(s)) if lexicon.senses[s].head == lexicon.senses[sense].head => {
            Near::OtherSense
        }
        (Asks::Sense { sense, .. }, Topic::Sense(s))
            if lexicon.senses[s].category == lexicon.senses[sense].category =>
        {
            Near::SameField
        }
        (Asks::Sense { sense, .. }, Topic::Other(c)) if c == lexicon.senses[sense].category => Near::SameField,
        (Asks::Functional { entry, place }, Topic::Functional { entry: e, place: p }) if e == entry => {
            side(place.is_none() || p.is_none() || p == place)
        }
        (Asks::Functional { .. }, Topic::Functional { .. }) => Near::SameField,
        _ => Near::Stranger,
    }
}

/// No facet, and each one by its word.
fn facets(lexicon: &Lexicon, sense: usize) -> impl Iterator<Item = (Option<usize>, &str)> {
    let named = lexicon.category_of(sense).facets.iter().enumerate().map(|(facet, word)| (Some(facet), word.as_str()));
    [(None, "")].into_iter().chain(named)
}

/// Case and blanks do not count.
fn normal(query: &str) -> String {
    query.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Recipe, World as Settings};

    fn lexicon() -> Lexicon {
        Lexicon::new(&Settings { heads: 20, ..Settings::default() }).unwrap()
    }

    fn sense_of(lexicon: &Lexicon, head: &str, gain: &str) -> usize {
        (0..lexicon.senses.len()).find(|s| lexicon.head_of(*s) == head && lexicon.senses[*s].gain == gain).unwrap()
    }

    #[test]
    fn queries_are_read_by_their_words_and_open_ones_are_not_read() {
        let lexicon = lexicon();
        let readings = Readings::new(&lexicon);
        let car = sense_of(&lexicon, "jaguar", "car");
        let facet = lexicon.category_of(car).facets.iter().position(|f| f == "price");
        let asks = |query: &str| readings.of(query).map(|r| (r.asks, r.phrasing));
        let wants = |facet| Asks::Sense { sense: car, facet };
        assert_eq!(asks("Jaguar  car"), Some((wants(None), Phrasing::Named)));
        assert_eq!(asks("jaguar car price"), Some((wants(facet), Phrasing::Named)));
        assert_eq!(asks("jaguar xjs price garage"), Some((wants(facet), Phrasing::TitleWord)));
        assert_eq!(asks("jaguar whip"), Some((wants(None), Phrasing::Colloquial)));
        // Of the jaguars only cars have a price; mercury and jaguar are both called a whip.
        assert_eq!(asks("jaguar price"), Some((wants(facet), Phrasing::Facet)));
        assert_eq!([asks("jaguar"), asks("whip"), asks("jagaur car"), asks("")], [None; 4]);
        let weather = Asks::Functional { entry: 0, place: Some(0) };
        let query = format!("{} {}", lexicon.functional[0].query, lexicon.places[0]);
        assert_eq!(asks(&query), Some((weather, Phrasing::Functional)));
        assert_eq!(readings.of("jaguar xjs").unwrap().subject, "jaguar");
    }

    #[test]
    fn labels_follow_sense_facet_field_and_place() {
        let lexicon = lexicon();
        let [car, cat] = ["car", "cat"].map(|gain| sense_of(&lexicon, "jaguar", gain));
        let other_car = sense_of(&lexicon, "mercury", "car");
        let label = |asks: Asks, topic, facet| {
            near(&lexicon, &asks, &Hidden { topic, facet, told: true, quality: 1.0, price: 1.0 }).label()
        };
        let price = Asks::Sense { sense: car, facet: Some(1) };
        assert_eq!(label(price, Topic::Sense(car), 1), Label::L4);
        assert_eq!(label(price, Topic::Sense(car), 2), Label::L3);
        assert_eq!(label(Asks::Sense { sense: car, facet: None }, Topic::Sense(car), 2), Label::L4);
        assert_eq!(label(price, Topic::Sense(cat), 1), Label::L2);
        assert_eq!(label(price, Topic::Sense(other_car), 1), Label::L2);
        assert_eq!(label(price, Topic::Other(lexicon.senses[car].category), 1), Label::L2);
        assert_eq!(label(price, Topic::Other(lexicon.senses[cat].category), 1), Label::L1);
        assert_eq!(label(price, Topic::Functional { entry: 0, place: None }, 0), Label::L1);
        let here = Asks::Functional { entry: 0, place: Some(5) };
        let answer = |entry, place| Topic::Functional { entry, place };
        let labels =
            [answer(0, Some(5)), answer(0, None), answer(0, Some(6)), answer(1, Some(5))].map(|t| label(here, t, 0));
        assert_eq!(labels, [Label::L4, Label::L4, Label::L3, Label::L2]);
        assert_eq!(label(Asks::Functional { entry: 0, place: None }, answer(0, Some(6)), 0), Label::L4);
    }

    #[test]
    fn salient_pairs_share_the_head_hide_the_sense_in_words_and_show_it() {
        let mut recipe = Recipe::load("tiny").unwrap();
        recipe.world.videos = 1_500;
        let world = World::new(&recipe).unwrap();
        let readings = world.readings();
        let reading = readings.of("mercury planet").unwrap();
        let salient: Vec<usize> = (0..world.docs.len()).filter(|v| world.salient(reading, *v)).collect();
        let nears: Vec<Near> = salient.iter().map(|v| world.near(reading, *v)).collect();
        assert!(nears.contains(&Near::Answer) && nears.contains(&Near::OtherSense), "{nears:?}");
        for video in salient {
            let (doc, Topic::Sense(sense)) = (world.docs.get(video), world.hidden[video].topic) else {
                panic!("sense")
            };
            let s = &world.lexicon.senses[sense];
            let words: Vec<String> = doc.title.to_lowercase().split(' ').map(str::to_owned).chain(doc.tags).collect();
            assert!(words.contains(&"mercury".to_owned()), "{words:?}");
            assert!(!words.contains(&s.gain) && s.title_words.iter().all(|w| !words.contains(w)), "{words:?}");
            let field = format!("shows {}", world.lexicon.categories[s.category].name);
            assert_eq!(world.reasons(reading, video)[&Reason::Picture], field);
        }
    }
}
