//! Lessons that nobody annotated: which words of a catalogue go with which pictures (LORE's knowledge and multimodal stages).
//!
//! Annotations name few of the things people ask for. The catalogue names all of them: a word that people type alone stands in
//! titles whose pictures differ, and a second word that hardly ever comes without it picks out some of those pictures. The two
//! words are then a query whose answers are known by their pictures, those among them that the second word is missing from.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::logs::{Doc, words};
use crate::recipe::{Recipe, stream};
use crate::store::{LogInfo, Store};
use crate::task::Label;

/// People who must have typed a word alone.
const PEOPLE: usize = 3;
/// Documents that must hold both words.
const TOGETHER: usize = 3;
/// Share of the second word's documents that must hold the first one too.
const BOUND: f64 = 0.5;
/// Share of the documents with both words that a code must be seen in to be what they show.
const SHOWN: f64 = 0.4;
/// Documents of a lesson: what is meant, another meaning of the first word, the same field, and anything else.
const MEANT: usize = 4;
const OTHER: usize = 4;
const FIELD: usize = 1;
const STRANGERS: usize = 2;

/// Share of the documents of which nothing is left in words but the first word, where pictures are seen.
const BARE: f64 = 0.5;

/// A query and documents with their labels.
pub(super) type Distant = (String, Vec<(Doc, Label)>);

/// Words that several training people typed alone.
pub(super) fn typed_alone(store: &Store, log: &LogInfo, recipe: &Recipe) -> Result<Vec<String>> {
    let mut people: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    store.for_each_training_session(recipe, log, |session| {
        for search in &session.searches {
            let mut words = words(&search.query);
            if let (Some(word), None) = (words.next(), words.next()) {
                people.entry(word).or_default().insert(session.user.clone());
            }
        }
        Ok(())
    })?;
    Ok(people.into_iter().filter(|(_, who)| who.len() >= PEOPLE).map(|(word, _)| word).collect())
}

/// So many lessons, about pairs of words drawn anew each time; none where no pair will do. For a model with eyes some documents
/// are cut down to the first word, so that nothing but the picture tells their label.
pub(super) fn lessons(docs: &[Doc], alone: &[String], wanted: usize, visual: bool, seed: u64) -> Vec<Distant> {
    let catalogue = Catalogue::new(docs);
    let themes: Vec<Theme> = alone.iter().flat_map(|word| catalogue.themes(word)).collect();
    let mut rng = stream(seed, "relevance distant", &[]);
    let drawn = (0..wanted).filter_map(|_| themes.choose(&mut rng).cloned()).collect::<Vec<_>>();
    drawn.iter().map(|theme| catalogue.lesson(theme, if visual { BARE } else { 0.0 }, &mut rng)).collect()
}

/// Two words, and what is seen where both stand.
#[derive(Debug, Clone)]
struct Theme<'a> {
    words: [&'a str; 2],
    shown: HashSet<&'a str>,
}

struct Catalogue<'a> {
    docs: &'a [Doc],
    words: Vec<HashSet<String>>,
    having: HashMap<String, Vec<usize>>,
}

impl<'a> Catalogue<'a> {
    fn new(docs: &'a [Doc]) -> Self {
        let of = |doc: &Doc| std::iter::once(&doc.title).chain(&doc.tags).flat_map(|text| words(text)).collect();
        let words: Vec<HashSet<String>> = docs.iter().map(of).collect();
        let mut having: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, of_doc) in words.iter().enumerate() {
            of_doc.iter().for_each(|word| having.entry(word.clone()).or_default().push(place));
        }
        Self { docs, words, having }
    }

    /// What a word can be made to mean by a second one.
    fn themes<'b>(&'b self, word: &'b str) -> Vec<Theme<'b>> {
        let Some(places) = self.having.get(word) else { return Vec::new() };
        let mut together: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for place in places {
            let others = self.words[*place].iter().filter(|other| *other != word);
            others.for_each(|other| together.entry(other).or_default().push(*place));
        }
        let bound =
            |other: &str, both: usize| both >= TOGETHER && both as f64 >= BOUND * self.having[other].len() as f64;
        let theme = |(other, both): (&'b str, Vec<usize>)| {
            let mut seen: HashMap<&str, usize> = HashMap::new();
            both.iter()
                .flat_map(|place| &self.docs[*place].visual)
                .for_each(|code| *seen.entry(code).or_default() += 1);
            let shown = seen.into_iter().filter(|(_, n)| *n as f64 >= SHOWN * both.len() as f64).map(|(code, _)| code);
            Theme { words: [word, other], shown: shown.collect() }
        };
        let found = together.into_iter().filter(|(other, both)| bound(other, both.len())).map(theme);
        found.filter(|theme| !theme.shown.is_empty()).collect()
    }

    fn lesson(&self, theme: &Theme, bare: f64, rng: &mut ChaCha8Rng) -> Distant {
        let shows = |place: &usize| self.docs[*place].visual.iter().any(|code| theme.shown.contains(code.as_str()));
        let seen = |place: &usize| !self.docs[*place].visual.is_empty();
        let same = &self.having[theme.words[0]];
        let (meant, rest): (Vec<usize>, Vec<usize>) = same.iter().copied().filter(seen).partition(shows);
        let mut docs: Vec<(usize, Label)> = Vec::new();
        let mut take = |from: &[usize], most: usize, label: Label, rng: &mut ChaCha8Rng| {
            docs.extend(from.choose_multiple(rng, most).map(|place| (*place, label)));
        };
        take(&meant, MEANT, Label::L4, rng);
        take(&rest, OTHER, Label::L2, rng);
        let others: Vec<usize> = (0..200).map(|_| rng.random_range(0..self.docs.len())).collect();
        let strange = |place: &usize| seen(place) && !self.words[*place].contains(theme.words[0]);
        let (field, strangers): (Vec<usize>, Vec<usize>) = others.into_iter().filter(strange).partition(shows);
        take(&field, FIELD, Label::L2, rng);
        take(&strangers, STRANGERS, Label::L1, rng);
        docs.shuffle(rng);
        let own = |(place, label): (usize, Label)| {
            let doc = self.docs[place].clone();
            let cut = self.words[place].contains(theme.words[0]) && rng.random_bool(bare);
            let (title, tags) = (theme.words[0].to_owned(), Vec::new());
            (if cut { Doc { title, tags, ..doc } } else { doc }, label)
        };
        (theme.words.join(" "), docs.into_iter().map(own).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(title: &str, visual: &[&str]) -> Doc {
        Doc { title: title.into(), visual: visual.iter().map(|v| (*v).to_owned()).collect(), ..Doc::default() }
    }

    #[test]
    fn pictures_tell_what_two_words_mean_where_the_second_is_missing() {
        let mut docs = Vec::new();
        for _ in 0..4 {
            docs.push(doc("Jaguar xjs review", &["cat:cars", "see:road"]));
            docs.push(doc("Jaguar rosettes facts", &["cat:animals"]));
        }
        docs.push(doc("Jaguar review", &["cat:cars"]));
        docs.push(doc("Jaguar review", &[]));
        docs.extend((0..9).map(|_| doc("Tulips review", &["cat:plants"])));
        docs.push(doc("Volvo", &["cat:cars"]));
        let made = lessons(&docs, &["jaguar".into(), "unknown".into()], 40, false, 3);
        assert_eq!(made.len(), 40);
        // `review` mostly comes without a jaguar, so it picks out nothing.
        assert!(made.iter().all(|(q, _)| ["jaguar xjs", "jaguar rosettes", "jaguar facts"].contains(&q.as_str())));
        let mut of_word_alone = 0;
        for (_, of_lesson) in made.iter().filter(|(query, _)| query == "jaguar xjs") {
            for (doc, label) in of_lesson {
                let (title, car) = (&doc.title, doc.visual.iter().any(|v| v == "cat:cars"));
                let wanted = match (title.contains("Jaguar"), car) {
                    (true, true) => Label::L4,
                    (false, false) => Label::L1,
                    _ => Label::L2,
                };
                assert_eq!(*label, wanted, "{title}");
                assert!(!doc.visual.is_empty(), "nothing is known of what shows nothing");
                of_word_alone += usize::from(title == "Jaguar review");
            }
        }
        assert!(of_word_alone > 0);
        let with_eyes = || lessons(&docs, &["jaguar".into()], 20, true, 9);
        assert_eq!(with_eyes(), with_eyes());
        let (cut, whole): (Vec<Doc>, Vec<Doc>) = with_eyes()
            .into_iter()
            .flat_map(|(_, docs)| docs)
            .map(|(doc, _)| doc)
            .partition(|doc| doc.title == "jaguar");
        assert!(cut.len() > 20 && cut.iter().all(|doc| !doc.visual.is_empty()) && whole.len() > 20);
        assert!(lessons(&docs, &[], 5, true, 1).is_empty() && lessons(&[], &["jaguar".into()], 5, true, 1).is_empty());
    }
}
