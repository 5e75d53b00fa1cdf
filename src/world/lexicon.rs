//! The words the world is made of: `datasets/world-en/*.tsv` or `datasets/world-zh/*.tsv`, embedded.
//!
//! Each file has a header line; columns are separated by tabs, lists by commas.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

use crate::recipe::{Kind, Language, World as Settings};

/// The files of one language.
struct Files {
    categories: &'static str,
    senses: &'static str,
    functional: &'static str,
    places: &'static str,
    products: &'static str,
    /// Characters that sound or look alike, one group a row; none for letters.
    homophones: &'static str,
    /// What stands between words.
    glue: &'static str,
    currency: &'static str,
    /// What stands around the number of a part.
    part: [&'static str; 2],
}

const ENGLISH: Files = Files {
    categories: include_str!("../../datasets/world-en/categories.tsv"),
    senses: include_str!("../../datasets/world-en/senses.tsv"),
    functional: include_str!("../../datasets/world-en/functional.tsv"),
    places: include_str!("../../datasets/world-en/places.tsv"),
    products: include_str!("../../datasets/world-en/products.tsv"),
    homophones: "",
    glue: " ",
    currency: "$",
    part: ["part ", ""],
};

const CHINESE: Files = Files {
    categories: include_str!("../../datasets/world-zh/categories.tsv"),
    senses: include_str!("../../datasets/world-zh/senses.tsv"),
    functional: include_str!("../../datasets/world-zh/functional.tsv"),
    places: include_str!("../../datasets/world-zh/places.tsv"),
    products: include_str!("../../datasets/world-zh/products.tsv"),
    homophones: include_str!("../../datasets/world-zh/homophones.tsv"),
    glue: "",
    currency: "¥",
    part: ["第", "集"],
};

/// A field of interest.
#[derive(Debug, Clone)]
pub(super) struct Category {
    pub name: String,
    /// Kinds of video: review, recipe, …; in a shop the kinds of product.
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

/// A kind of product: what there is of every sense in a shop.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub name: String,
    pub title_words: Vec<String>,
    /// What such a thing usually costs.
    pub price: f64,
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
    /// Kinds of product; empty where videos are searched for.
    pub products: Vec<Product>,
    pub homophones: Vec<Vec<char>>,
    /// What stands between the words of a title or a query.
    pub glue: &'static str,
    currency: &'static str,
    part: [&'static str; 2],
}

impl Lexicon {
    /// Reads the embedded words that a world needs.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let files = match settings.language {
            Language::En => &ENGLISH,
            Language::Zh => &CHINESE,
        };
        let mut lexicon = Self::parse(settings.heads, files)?;
        match settings.kind {
            Kind::Video => lexicon.products.clear(),
            Kind::Shop => {
                let products: Vec<String> = lexicon.products.iter().map(|p| p.name.clone()).collect();
                lexicon.categories.iter_mut().for_each(|category| category.facets.clone_from(&products));
            }
        }
        Ok(lexicon)
    }

    fn parse(heads: usize, files: &Files) -> Result<Self> {
        let categories = rows(files.categories, "categories.tsv", |[name, facets, title_words, creators]| {
            let (facets, title_words, creators) = (list(facets), list(title_words), list(creators));
            ensure!(!facets.is_empty() && !title_words.is_empty() && !creators.is_empty(), "a list is empty");
            Ok(Category { name: name.into(), facets, title_words, creators })
        })?;
        let functional = rows(files.functional, "functional.tsv", |[query, title_words]| {
            Ok(Functional { query: query.into(), title_words: list(title_words) })
        })?;
        let places = rows(files.places, "places.tsv", |[place]| Ok(place.to_owned()))?;
        ensure!(!functional.is_empty() && !places.is_empty(), "functional.tsv and places.tsv must hold rows");
        let products = rows(files.products, "products.tsv", |[name, title_words, price]| {
            let price = price.parse().with_context(|| format!("the price {price:?} is no number"))?;
            Ok(Product { name: name.into(), title_words: list(title_words), price })
        })?;
        let homophones = rows(files.homophones, "homophones.tsv", |[alike]| Ok(alike.chars().collect()))?;
        let category_index: HashMap<_, _> =
            categories.iter().enumerate().map(|(i, c): (usize, &Category)| (c.name.as_str(), i)).collect();
        let mut names: Vec<String> = Vec::new();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        let mut of_head: Vec<Vec<usize>> = Vec::new();
        let all = rows(files.senses, "senses.tsv", |[head, _, category, gain, title_words, colloquial, visual]| {
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
        let (glue, currency, part, heads) = (files.glue, files.currency, files.part, names);
        Ok(Self {
            categories,
            heads,
            senses,
            of_head,
            of_category,
            functional,
            places,
            products,
            homophones,
            glue,
            currency,
            part,
        })
    }

    /// Words put together as the language does; empty ones are left out.
    pub(super) fn join(&self, words: &[&str]) -> String {
        words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(self.glue)
    }

    /// A price as a product's tag says it, in whole units.
    pub(super) fn price(&self, price: f64) -> String {
        format!("{}{:.0}", self.currency, price.max(1.0))
    }

    /// How a title says which part of something it is.
    pub(super) fn part(&self, number: u32) -> String {
        let [before, after] = self.part;
        format!("{before}{number}{after}")
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
    use std::collections::HashSet;

    use super::*;
    use crate::logs::words;

    fn all(language: Language) -> Lexicon {
        let heads = if language == Language::En { 404 } else { 83 };
        Lexicon::new(&Settings { language, heads, ..Settings::default() }).unwrap()
    }

    #[test]
    fn every_head_is_ambiguous_and_its_senses_have_gain_terms_of_their_own() {
        for language in [Language::En, Language::Zh] {
            let lexicon = all(language);
            assert!(lexicon.categories.len() >= 24);
            for (head, senses) in lexicon.of_head.iter().enumerate() {
                assert!((2..=4).contains(&senses.len()), "{}", lexicon.heads[head]);
                let gains: HashSet<_> = senses.iter().map(|s| &lexicon.senses[*s].gain).collect();
                let categories: HashSet<_> = senses.iter().map(|s| lexicon.senses[*s].category).collect();
                assert_eq!((gains.len(), categories.len()), (senses.len(), senses.len()), "{}", lexicon.heads[head]);
            }
        }
    }

    #[test]
    fn colloquial_words_stand_in_no_title_of_their_sense() {
        for language in [Language::En, Language::Zh] {
            let lexicon = all(language);
            for sense in &lexicon.senses {
                let category = &lexicon.categories[sense.category];
                let said: HashSet<&String> =
                    sense.title_words.iter().chain(&category.facets).chain(&category.title_words).collect();
                assert!(sense.colloquial.iter().all(|c| !said.contains(c) && *c != sense.gain), "{sense:?}");
            }
        }
    }

    #[test]
    fn a_shop_sells_every_kind_of_product_in_every_category() {
        let lexicon = Lexicon::new(&Settings { kind: Kind::Shop, ..Settings::default() }).unwrap();
        assert!(lexicon.products.len() >= 5 && lexicon.products.iter().all(|p| p.price > 0.0));
        assert!(lexicon.categories.iter().all(|c| c.facets.len() == lexicon.products.len()));
    }

    #[test]
    fn chinese_heads_are_words_that_the_search_index_cuts_out() {
        let lexicon = all(Language::Zh);
        let cut = |s: &Sense| {
            let text = lexicon.join(&[&lexicon.heads[s.head], &s.gain]);
            words(&text).any(|w| w == lexicon.heads[s.head] || w == text)
        };
        let found = lexicon.senses.iter().filter(|s| cut(s)).count();
        assert!(found * 10 >= lexicon.senses.len() * 9, "{found} of {}", lexicon.senses.len());
    }

    #[test]
    fn more_heads_than_there_are_and_a_broken_row_are_named() {
        let error = Lexicon::new(&Settings { heads: 100_000, ..Settings::default() }).err().unwrap().to_string();
        assert!(error.contains("world.heads is 100000"), "{error}");
        let error = rows("a\tb\nonly\n", "x.tsv", |[_, _]: [&str; 2]| Ok(())).unwrap_err().to_string();
        assert_eq!(error, "x.tsv:2: 1 columns instead of 2");
    }
}
