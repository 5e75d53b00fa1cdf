//! A list from the fake index on its way into the page: filtered against the person's own query, then merged.

use serde::Serialize;

use super::super::{Hit, Signals};
use super::{Card, Listed};
use crate::logs::words;
use crate::recipe;

/// What a document that only the list knows is worth beside an equal one of the plain page: the same half as in the
/// fusion of searches, so that the list's best stands level with the page's best.
const FOUND_BY_LIST_ONLY: f64 = 0.5;
/// Two words count as the same with a typing error between them from this similarity on: one error in four letters.
const SAME_WORD: f64 = 0.75;

/// A place on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    /// Document id.
    pub doc: String,
    /// Its title.
    pub title: String,
    /// What the page is ordered by; comparable within one page only.
    pub score: f64,
    /// What its score in the search was made of; none when the search did not bring it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Signals>,
    /// What the fake index added; none when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fake: Option<Fake>,
}

/// What the fake index says of a document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fake {
    /// Worth in the rewrite's list, in (0, 1].
    pub weight: f64,
    /// How well it matches the person's own query, in [0, 1].
    pub relevance: f64,
    /// What the weight multiplies.
    pub base: f64,
}

impl Ranked {
    /// How relevant it is to the person's own query, in [0, 1]: by the search path, or where that did not bring it by the list's
    /// filter.
    #[must_use]
    pub fn relevance(&self) -> f64 {
        let by_path = self.signals.map(|signals| signals.relevance);
        by_path.or(self.fake.map(|fake| fake.relevance)).unwrap_or(0.0)
    }
}

impl From<Hit> for Ranked {
    fn from(hit: Hit) -> Self {
        Self { doc: hit.doc, title: hit.title, score: hit.score, signals: Some(hit.signals), fake: None }
    }
}

/// Merges the list of a rewrite into the plain page of `query`, and keeps `size` places; none when no document of the list
/// passes the filter.
///
/// `score = base · (1 + weight)^fake.weight`, where `base` is the plain score of a document that the plain page has, and
/// `½ · best plain score · relevance · weight` of one that it has not. A document passes the filter when the plain page has
/// it or its relevance is at least `fake.min_relevance`. Documents that the list does not name keep their score.
#[must_use]
pub fn merge(query: &str, plain: &[Hit], list: &[Listed], settings: &recipe::Fake, size: usize) -> Option<Vec<Ranked>> {
    let best = plain.iter().map(|hit| hit.score).fold(0.0, f64::max);
    let best = if best > 0.0 { best } else { 1.0 };
    let mut page: Vec<Ranked> = plain.iter().cloned().map(Ranked::from).collect();
    let mut passed = false;
    for Listed { card, weight } in list {
        let relevance = relevance(query, card);
        let known = page.iter().position(|place| place.doc == card.doc);
        if known.is_none() && relevance < settings.min_relevance {
            continue;
        }
        passed = true;
        let base = known.map_or(FOUND_BY_LIST_ONLY * best * relevance * weight, |at| page[at].score);
        let score = base * (1.0 + weight).powf(settings.weight);
        let fake = Some(Fake { weight: *weight, relevance, base });
        match known {
            Some(at) => (page[at].score, page[at].fake) = (score, fake),
            None => {
                let (doc, title) = (card.doc.clone(), card.title.clone());
                page.push(Ranked { doc, title, score, signals: None, fake });
            }
        }
    }
    // Stable: equal scores keep the order of the plain page, then that of the list.
    page.sort_by(|a, b| b.score.total_cmp(&a.score));
    page.truncate(size);
    passed.then_some(page)
}

/// How well a document matches a query: the mean over the query's pieces of the best match among the document's, in [0, 1].
///
/// Light on purpose: it keeps out what has nothing to do with the query, and must cost microseconds. A typing error is
/// no reason to be kept out, since mending it is what a rewrite may be for.
#[must_use]
pub fn relevance(query: &str, card: &Card) -> f64 {
    let asked = pieces(query);
    let has: Vec<String> = std::iter::once(&card.title).chain(&card.tags).flat_map(|text| pieces(text)).collect();
    if asked.is_empty() {
        return 0.0;
    }
    let best = |piece: &String| has.iter().map(|word| alike(piece, word)).fold(0.0, f64::max);
    asked.iter().map(best).sum::<f64>() / asked.len() as f64
}

/// Words; where a script has no spaces between them, pairs of neighbouring characters.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for word in words(text) {
        let chars: Vec<char> = word.chars().collect();
        if chars.len() > 2 && chars.iter().all(|c| unspaced(*c)) {
            pieces.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
        } else {
            pieces.push(word);
        }
    }
    pieces
}

/// Kana and Han.
fn unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

fn alike(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let (short, long) = (a.len().min(b.len()) as f64, a.len().max(b.len()) as f64);
    // Most pairs end here, before anything is computed.
    if short < SAME_WORD * long || short < 4.0 {
        return 0.0;
    }
    let alike = strsim::normalized_damerau_levenshtein(a, b);
    if alike >= SAME_WORD { alike } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;
    use crate::recipe::SearchPath;
    use crate::search::Engine;

    fn card(doc: &str, title: &str) -> Card {
        Card { doc: doc.into(), title: title.into(), tags: vec![] }
    }

    /// Three documents as a search brings them, with scores that are easy to reckon with.
    fn plain(query: &str) -> Vec<Hit> {
        let dir = tempfile::tempdir().unwrap();
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), popularity: 0.5, ..Doc::default() };
        let docs = [doc("v1", "jaguar"), doc("v2", "jaguar road test"), doc("v3", "jaguar in the wild of the south")];
        let engine = Engine::build(dir.path(), &docs, &SearchPath::default(), |_| ()).unwrap();
        let mut hits = engine.search(query, None, &SearchPath::default()).unwrap();
        hits.sort_by(|a, b| a.doc.cmp(&b.doc));
        hits.iter_mut().zip([3.0, 2.5, 2.0]).for_each(|(hit, score)| hit.score = score);
        hits
    }

    fn ids(page: &[Ranked]) -> Vec<&str> {
        page.iter().map(|place| place.doc.as_str()).collect()
    }

    #[test]
    fn relevance_forgives_a_typing_error_and_reads_scripts_without_spaces() {
        let of = |query: &str, title: &str| relevance(query, &card("v", title));
        assert_eq!(of("jaguar car", "Fast JAGUAR, new car"), 1.0);
        assert_eq!(of("jaguar car", "jaguar in the wild"), 0.5);
        assert!(of("jagaur", "jaguar") >= SAME_WORD);
        assert_eq!([of("cat", "car"), of("jaguar", "puma"), of("", "x"), of("?!", "x")], [0.0; 4]);
        assert_eq!([of("光良第一次", "光良 第一次 现场"), of("光良", "光良第一次")], [1.0, 1.0]);
        assert_eq!(of("光良第二次", "光良 第一次 现场"), 1.0 / 3.0);
    }

    #[test]
    fn the_list_lifts_what_it_names_and_the_filter_keeps_the_rest_out() {
        let page = plain("jaguar");
        assert_eq!(page.len(), 3);
        let settings = recipe::Fake::default();
        let listed = |doc: &str, title: &str, weight| Listed { card: card(doc, title), weight };
        let list = [listed("v3", "jaguar in the wild of the south", 1.0), listed("x", "Bread baking", 0.9)];
        let merged = merge("jaguar", &page, &list, &settings, 10).unwrap();
        assert_eq!(ids(&merged), ["v3", "v1", "v2"]);
        assert_eq!((merged[1].score, merged[1].fake), (page[0].score, None));
        assert_eq!(merge("jaguar", &page, &list[1..], &settings, 10), None);
        let new = [listed("n", "Jaguar, the animal", 1.0)];
        let merged = merge("jaguar", &page, &new, &settings, 2).unwrap();
        assert_eq!(ids(&merged), ["v1", "n"], "level with the best, which was there first");
        // A query that finds nothing is answered by the list alone.
        assert_eq!(ids(&merge("jagaur", &[], &new, &settings, 10).unwrap()), ["n"]);
    }

    #[test]
    fn raising_a_weight_never_lowers_its_rank() {
        let page = plain("jaguar");
        let settings = recipe::Fake::default();
        let docs = [("v1", "jaguar"), ("v3", "jaguar wild"), ("n", "jaguar jungle"), ("m", "jagaur")];
        for raised in 0..docs.len() {
            let rank = |weight: f64| {
                let weights = (0..).zip(docs).map(|(i, (doc, title))| Listed {
                    card: card(doc, title),
                    weight: if i == raised { weight } else { 0.2 + 0.2 * i as f64 },
                });
                let merged = merge("jaguar", &page, &weights.collect::<Vec<_>>(), &settings, 10).unwrap();
                merged.iter().position(|place| place.doc == docs[raised].0).unwrap()
            };
            let ranks: Vec<_> = (1..=20).map(|i| rank(f64::from(i) / 20.0)).collect();
            assert!(ranks.windows(2).all(|pair| pair[1] <= pair[0]), "{}: {ranks:?}", docs[raised].0);
        }
    }
}
