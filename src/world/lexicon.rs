//! The words the world is made of: `datasets/world-en/*.tsv`, embedded.
//!
//! Each file has a header line; columns are separated by tabs, lists by commas.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

const CATEGORIES: &str = include_str!("../../datasets/world-en/categories.tsv");
const SENSES: &str = include_str!("../../datasets/world-en/senses.tsv");
const FUNCTIONAL: &str = include_str!("../../datasets/world-en/functional.tsv");
const PLACES: &str = include_str!("../../datasets/world-en/places.tsv");

/// A field of interest.
#[derive(Debug, Clone)]
pub(super) struct Category {
    pub name: String,
    /// Kinds of video: review, recipe, …
    pub facets: Vec<String>,
    /// Words that any title of the category may have.
    pub title_words: Vec<String>,
    pub creators: Vec<String>,
}

/// One meaning of a head: the jaguar that is a car.
#[derive(Debug, Clone)]
pub(super) struct Sense {
    /// Index into [`Lexicon::heads`].
    pub head: usize,
    /// Index into [`Lexicon::categories`].
    pub category: usize,
    /// The word that, beside the head, names this sense: what a good rewrite adds.
    pub gain: String,
    pub title_words: Vec<String>,
    /// Words people say that no title of this sense has.
    pub colloquial: Vec<String>,
    /// Objects and scenes seen in its videos.
    pub visual: Vec<String>,
}

/// A query that wants the same thing whoever asks.
#[derive(Debug, Clone)]
pub(super) struct Functional {
    pub query: String,
    pub title_words: Vec<String>,
}

/// All words, with the first `heads` heads of the file.
#[derive(Debug, Clone)]
pub(super) struct Lexicon {
    pub categories: Vec<Category>,
    pub heads: Vec<String>,
    pub senses: Vec<Sense>,
    /// Senses of each head.
    pub of_head: Vec<Vec<usize>>,
    /// Senses of each category.
    pub of_category: Vec<Vec<usize>>,
    pub functional: Vec<Functional>,
    pub places: Vec<String>,
}

impl Lexicon {
    /// Reads the embedded English words.
    pub(super) fn english(heads: usize) -> Result<Self> {
        Self::parse(heads, CATEGORIES, SENSES, FUNCTIONAL, PLACES)
    }

    fn parse(heads: usize, categories: &str, senses: &str, functional: &str, places: &str) -> Result<Self> {
        let categories = rows(categories, "categories.tsv", |[name, facets, title_words, creators]| {
            let (facets, title_words, creators) = (list(facets), list(title_words), list(creators));
            ensure!(!facets.is_empty() && !title_words.is_empty() && !creators.is_empty(), "a list is empty");
            Ok(Category { name: name.into(), facets, title_words, creators })
        })?;
        let functional = rows(functional, "functional.tsv", |[query, title_words]| {
            Ok(Functional { query: query.into(), title_words: list(title_words) })
        })?;
        let places = rows(places, "places.tsv", |[place]| Ok(place.to_owned()))?;
        ensure!(!functional.is_empty() && !places.is_empty(), "functional.tsv and places.tsv must hold rows");
        let category_index: HashMap<_, _> =
            categories.iter().enumerate().map(|(i, c): (usize, &Category)| (c.name.as_str(), i)).collect();
        let mut names: Vec<String> = Vec::new();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        let mut of_head: Vec<Vec<usize>> = Vec::new();
        let all = rows(senses, "senses.tsv", |[head, _, category, gain, title_words, colloquial, visual]| {
            let head = *by_name.entry(head.to_owned()).or_insert_with(|| {
                names.push(head.to_owned());
                names.len() - 1
            });
            let category = *category_index.get(category).with_context(|| format!("unknown category {category:?}"))?;
            let (title_words, colloquial, visual) = (list(title_words), list(colloquial), list(visual));
            ensure!(!title_words.is_empty() && !colloquial.is_empty() && !visual.is_empty(), "a list is empty");
            Ok(Sense { head, category, gain: gain.into(), title_words, colloquial, visual })
        })?;
        if heads > names.len() {
            bail!(
                "world.heads is {heads}, but the lexicon has {} ambiguous heads: ask for at most that many",
                names.len()
            );
        }
        names.truncate(heads);
        let senses: Vec<Sense> = all.into_iter().filter(|s| s.head < heads).collect();
        of_head.resize(heads, Vec::new());
        let mut of_category = vec![Vec::new(); categories.len()];
        for (i, sense) in senses.iter().enumerate() {
            of_head[sense.head].push(i);
            of_category[sense.category].push(i);
        }
        Ok(Self { categories, heads: names, senses, of_head, of_category, functional, places })
    }

    pub(super) fn head_of(&self, sense: usize) -> &str {
        &self.heads[self.senses[sense].head]
    }

    pub(super) fn category_of(&self, sense: usize) -> &Category {
        &self.categories[self.senses[sense].category]
    }
}

fn list(cell: &str) -> Vec<String> {
    cell.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// Parses the rows below the header line.
fn rows<const N: usize, T>(text: &str, file: &str, mut row: impl FnMut([&str; N]) -> Result<T>) -> Result<Vec<T>> {
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
            let found = cells.len();
            let cells: [&str; N] =
                cells.try_into().ok().with_context(|| format!("{file}:{}: {found} columns instead of {N}", i + 1))?;
            row(cells).with_context(|| format!("{file}:{}", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_is_ambiguous_and_its_senses_have_gain_terms_of_their_own() {
        let lexicon = Lexicon::english(300).unwrap();
        assert!(lexicon.categories.len() >= 24);
        for (head, senses) in lexicon.of_head.iter().enumerate() {
            assert!((2..=4).contains(&senses.len()), "{}", lexicon.heads[head]);
            let mut gains: Vec<_> = senses.iter().map(|s| &lexicon.senses[*s].gain).collect();
            gains.dedup();
            assert_eq!(gains.len(), senses.len(), "{}", lexicon.heads[head]);
        }
    }

    #[test]
    fn colloquial_words_are_never_title_words_of_their_sense() {
        for sense in Lexicon::english(300).unwrap().senses {
            assert!(sense.colloquial.iter().all(|c| !sense.title_words.contains(c)), "{sense:?}");
        }
    }

    #[test]
    fn more_heads_than_there_are_and_a_broken_row_are_named() {
        let error = Lexicon::english(100_000).err().unwrap().to_string();
        assert!(error.contains("world.heads is 100000"), "{error}");
        let error = rows("a\tb\nonly\n", "x.tsv", |[_, _]: [&str; 2]| Ok(())).unwrap_err().to_string();
        assert_eq!(error, "x.tsv:2: 1 columns instead of 2");
    }
}
