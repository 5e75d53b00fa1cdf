//! A small world of one document: categories, heads, senses and the titles of their videos.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::words::Words;

/// A field: what its titles may say of any of its things.
struct Category {
    name: String,
    facets: Vec<String>,
    fillers: Vec<String>,
}

/// A meaning of a head.
pub(super) struct Sense {
    pub head: usize,
    category: usize,
    /// The word that, beside the head, says which meaning.
    pub gain: String,
    own: Vec<String>,
}

/// The world of one document, and how its titles are written.
pub(super) struct Fresh<'a> {
    pub words: &'a Words,
    pub heads: Vec<String>,
    pub senses: Vec<Sense>,
    categories: Vec<Category>,
    /// How often a title has its head, and its gain term.
    says_head: f64,
    says_gain: f64,
    /// How often the words of a title stand in no order.
    shuffles: f64,
}

impl<'a> Fresh<'a> {
    pub fn new(words: &'a Words, rng: &mut ChaCha8Rng) -> Self {
        let (fields, heads) = (rng.random_range(2..=4), rng.random_range(1..=4));
        let categories = (0..fields).map(|_| Category {
            name: words.word(rng),
            facets: words.distinct(rng.random_range(2..=6), rng),
            fillers: words.distinct(rng.random_range(4..=12), rng),
        });
        let categories: Vec<Category> = categories.collect();
        let heads = words.distinct(heads, rng);
        let mut senses = Vec::new();
        for head in 0..heads.len() {
            let mut fields: Vec<usize> = (0..categories.len()).collect();
            fields.shuffle(rng);
            let most = fields.len().min(3);
            for &category in &fields[..rng.random_range(2..=most)] {
                // Things of one field often go by the field's name.
                let shared = rng.random_bool(0.4);
                let gain = if shared { categories[category].name.clone() } else { words.word(rng) };
                senses.push(Sense { head, category, gain, own: words.distinct(rng.random_range(3..=6), rng) });
            }
        }
        let (says_head, says_gain) = (rng.random_range(0.75..=1.0), rng.random_range(0.35..=0.9));
        let shuffles = *[0.0, 0.3, 1.0].choose(rng).unwrap_or(&0.0);
        Self { words, heads, senses, categories, says_head, says_gain, shuffles }
    }

    /// A title of a video about a sense.
    pub fn title(&self, sense: usize, rng: &mut ChaCha8Rng) -> String {
        let s = &self.senses[sense];
        let category = &self.categories[s.category];
        let mut own = s.own.choose_multiple(rng, 2).cloned();
        let (first, second) = (own.next(), own.next().filter(|_| rng.random_bool(0.5)));
        let has_head = rng.random_bool(self.says_head);
        let gain = (!has_head || rng.random_bool(self.says_gain)).then(|| s.gain.clone());
        let head = has_head.then(|| self.heads[s.head].clone());
        let facet = self.facet(sense, rng);
        let fillers: Vec<Option<String>> =
            (0..rng.random_range(0..=2)).map(|_| category.fillers.choose(rng).cloned()).collect();
        let mut said = match rng.random_bool(0.5) {
            true => vec![head, gain, first, facet, second],
            false => vec![facet, head, first, gain, second],
        };
        said.extend(fillers);
        let mut said: Vec<String> = said.into_iter().flatten().collect();
        if rng.random_bool(self.shuffles) {
            said.shuffle(rng);
        }
        if rng.random_bool(0.2) {
            said.push(rng.random_range(1..=9).to_string());
        }
        let mut unique: Vec<String> = Vec::with_capacity(said.len());
        said.into_iter().for_each(|word| {
            if !unique.contains(&word) {
                unique.push(word);
            }
        });
        self.words.join(&unique)
    }

    /// What a video about a sense is tagged with: some of its head, its gain term, its field, and words of its own.
    pub fn tags(&self, sense: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let s = &self.senses[sense];
        let named = [&self.heads[s.head], &s.gain, &self.categories[s.category].name];
        let mut tags: Vec<String> = named.into_iter().chain(&s.own).cloned().collect();
        tags.shuffle(rng);
        tags.truncate(rng.random_range(1..=4));
        let mut unique: Vec<String> = Vec::with_capacity(tags.len());
        for tag in tags {
            if !unique.contains(&tag) {
                unique.push(tag);
            }
        }
        unique
    }

    /// A kind of video there is of a sense.
    pub fn facet(&self, sense: usize, rng: &mut ChaCha8Rng) -> Option<String> {
        self.categories[self.senses[sense].category].facets.choose(rng).cloned()
    }

    /// Head and gain term, perhaps with a facet: a query that says what it wants.
    pub fn named(&self, sense: usize, facet: Option<&str>) -> String {
        let s = &self.senses[sense];
        self.words.join(&[self.heads[s.head].as_str(), &s.gain, facet.unwrap_or_default()])
    }

    /// Head and a word of its own.
    pub fn by_own_word(&self, sense: usize, rng: &mut ChaCha8Rng) -> String {
        let s = &self.senses[sense];
        self.words.join(&[self.heads[s.head].as_str(), s.own.choose(rng).map_or("", String::as_str)])
    }

    /// Whether a title tells the sense to who reads it: it has the head and any word that goes with this sense alone.
    pub fn tells(&self, sense: usize, title: &str) -> bool {
        let s = &self.senses[sense];
        let has = |word: &String| title.contains(word.as_str());
        has(&self.heads[s.head]) && (has(&s.gain) || s.own.iter().any(has))
    }
}
