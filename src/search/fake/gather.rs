//! From sessions to lists: which queries are valid, and which documents served them best.
//!
//! Two passes over the log: the first counts people ([`People`]), the second only looks at the queries that enough of
//! them typed ([`Gather`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Card, List, key};
use crate::logs::{Doc, Search, Session};
use crate::recipe;

/// Who typed what, as hashes: 16 bytes a search.
#[derive(Debug, Default)]
pub struct People {
    pairs: Vec<(u64, u64)>,
}

impl People {
    /// Takes in a session. Users are told apart by the id they have in their log.
    pub fn add(&mut self, session: &Session) {
        let person = hash(&session.user);
        let keys = session.searches.iter().filter_map(|search| key(&search.query));
        self.pairs.extend(keys.map(|key| (hash(&key), person)));
    }

    /// The queries that at least `min_people` different people typed.
    #[must_use]
    pub fn valid(mut self, min_people: usize) -> Valid {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        let of_key = self.pairs.chunk_by(|a, b| a.0 == b.0);
        Valid(of_key.filter(|people| people.len() >= min_people).map(|people| people[0].0).collect())
    }
}

/// The queries that may be keys.
#[derive(Debug, Default)]
pub struct Valid(HashSet<u64>);

impl Valid {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no query was typed by enough people.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What people did with one document under one query.
#[derive(Debug, Clone, Copy, Default)]
struct Deeds {
    /// Expected looks: the sum of the examination of the places it was shown at.
    looks: f64,
    clicks: f64,
    /// Sum of dwells relative to a success, each at most 1.
    dwell: f64,
    /// Clicks whose dwell is known.
    timed: f64,
    /// Sum of the discounts of the places it was shown at.
    placed: f64,
}

#[derive(Debug, Default)]
struct Query {
    searches: usize,
    clicks: usize,
    docs: BTreeMap<u32, Deeds>,
}

/// Collects deeds, and orders documents by them.
pub struct Gather<'a> {
    settings: &'a recipe::Fake,
    success_dwell_s: f64,
    valid: Valid,
    cards: Vec<Card>,
    doc_at: HashMap<String, u32>,
    /// Walked in order, so that sums of the same deeds come out the same.
    queries: BTreeMap<String, Query>,
}

impl<'a> Gather<'a> {
    /// For the documents of a catalogue; what is not in it is left out.
    #[must_use]
    pub fn new(settings: &'a recipe::Fake, success_dwell_s: f64, valid: Valid, catalogue: Vec<Doc>) -> Self {
        let cards: Vec<Card> =
            catalogue.into_iter().map(|doc| Card { doc: doc.id, title: doc.title, tags: doc.tags }).collect();
        let doc_at = (0..).zip(&cards).map(|(at, card)| (card.doc.clone(), at)).collect();
        Self { settings, success_dwell_s, valid, cards, doc_at, queries: BTreeMap::new() }
    }

    /// Takes in a session.
    pub fn add(&mut self, session: &Session) {
        for search in &session.searches {
            if let Some(key) = key(&search.query).filter(|key| self.valid.0.contains(&hash(key))) {
                self.search(key, search);
            }
        }
    }

    fn search(&mut self, key: String, search: &Search) {
        let curve = &self.settings.examination;
        let looked_at = |place: usize| curve[place.min(curve.len() - 1)];
        let query = self.queries.entry(key).or_default();
        query.searches += 1;
        for (place, doc) in search.shown.iter().enumerate() {
            let Some(&doc) = self.doc_at.get(doc) else { continue };
            let deeds = query.docs.entry(doc).or_default();
            deeds.looks += looked_at(place);
            deeds.placed += 1.0 / (place as f64 + 2.0).log2();
        }
        for click in &search.clicks {
            let Some(&doc) = self.doc_at.get(&click.doc) else { continue };
            let deeds = query.docs.entry(doc).or_default();
            if !search.shown.contains(&click.doc) {
                // The log does not say what was shown; what was clicked was looked at.
                deeds.looks += 1.0;
            }
            query.clicks += 1;
            deeds.clicks += 1.0;
            if let Some(dwell_s) = click.dwell_s {
                deeds.timed += 1.0;
                deeds.dwell += (f64::from(dwell_s) / self.success_dwell_s.max(1e-9)).clamp(0.0, 1.0);
            }
        }
    }

    /// The lists in the order of their keys, and the cards of the documents named in them.
    #[must_use]
    pub fn finish(self) -> (Vec<Card>, Vec<List>) {
        let sum = |f: fn(&Deeds) -> f64| self.queries.values().flat_map(|q| q.docs.values()).map(f).sum::<f64>();
        let mean = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let mean_ctr = mean(sum(|d| d.clicks), sum(|d| d.looks));
        let mean_dwell = mean(sum(|d| d.dwell), sum(|d| d.timed));
        let (prior_looks, prior_clicks) = (self.settings.prior_looks, self.settings.prior_clicks);
        let worth = |d: &Deeds| {
            let ctr = mean(d.clicks + prior_looks * mean_ctr, d.looks + prior_looks);
            ctr * mean(d.dwell + prior_clicks * mean_dwell, d.timed + prior_clicks)
        };
        let mut new_place: HashMap<u32, u32> = HashMap::new();
        let mut named = Vec::new();
        let mut lists = Vec::with_capacity(self.queries.len());
        for (key, query) in self.queries {
            let head = query.clicks >= self.settings.head_clicks;
            let scored = query
                .docs
                .iter()
                .map(|(&doc, d)| (doc, if head { worth(d) } else { d.placed / query.searches as f64 }));
            let mut scored: Vec<_> = scored.filter(|(_, score)| *score > 0.0).collect();
            let id = |doc: u32| &self.cards[doc as usize].doc;
            scored.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| id(a.0).cmp(id(b.0))));
            scored.truncate(self.settings.top);
            let Some(&(_, best)) = scored.first() else { continue };
            let docs = scored.into_iter().map(|(doc, score)| {
                let place = *new_place.entry(doc).or_insert_with(|| {
                    named.push(self.cards[doc as usize].clone());
                    named.len() as u32 - 1
                });
                (place, (score / best) as f32)
            });
            lists.push(List { key, head, docs: docs.collect() });
        }
        (named, lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Click;

    fn search(query: &str, shown: &[&str], clicks: &[(&str, f32)]) -> Search {
        let click =
            |&(doc, dwell_s): &(&str, f32)| Click { doc: doc.into(), dwell_s: Some(dwell_s), ..Click::default() };
        Search {
            query: query.into(),
            shown: shown.iter().map(|d| (*d).to_owned()).collect(),
            clicks: clicks.iter().map(click).collect(),
            ..Search::default()
        }
    }

    fn session(user: usize, search: Search) -> Session {
        Session { user: format!("u{user}"), searches: vec![search], ..Session::default() }
    }

    fn lists(sessions: &[Session]) -> Vec<(String, bool, Vec<String>)> {
        let settings = recipe::Fake { min_people: 3, head_clicks: 10, ..recipe::Fake::default() };
        let mut people = People::default();
        sessions.iter().for_each(|s| people.add(s));
        let docs = ["a", "b", "c", "d"].map(|id| Doc { id: id.into(), ..Doc::default() });
        let mut gather = Gather::new(&settings, 10.0, people.valid(settings.min_people), docs.to_vec());
        sessions.iter().for_each(|s| gather.add(s));
        let (cards, lists) = gather.finish();
        let names = |l: &List| l.docs.iter().map(|(at, _)| cards[*at as usize].doc.clone()).collect();
        lists.iter().map(|l| (l.key.clone(), l.head, names(l))).collect()
    }

    #[test]
    fn a_query_that_too_few_people_typed_is_no_key_however_often_they_did() {
        let two = (0..50).map(|i| session(i % 2, search("my street 12", &["a"], &[("a", 20.0)])));
        let three = (0..3).map(|i| session(i, search("Jaguar!", &["a"], &[])));
        let found = lists(&two.chain(three).collect::<Vec<_>>());
        assert_eq!(found, [("jaguar".to_owned(), false, vec!["a".to_owned()])]);
    }

    #[test]
    fn a_head_query_is_ordered_by_clicks_per_look_not_by_clicks() {
        // a is clicked more often, since it stands on top; d is clicked more often for each time it is looked at.
        let one = |i: usize| {
            let clicks: &[(&str, f32)] = match i % 10 {
                0..3 => &[("a", 20.0)],
                3..5 => &[("d", 20.0)],
                _ => &[],
            };
            session(i, search("jaguar", &["a", "b", "c", "d"], clicks))
        };
        let found = lists(&(0..100).map(one).collect::<Vec<_>>());
        assert!(found[0].1);
        assert_eq!(found[0].2[..2], ["d", "a"]);
    }

    #[test]
    fn of_documents_clicked_alike_the_one_watched_longer_leads_and_one_lucky_click_does_not() {
        let mut sessions: Vec<_> = (0..40)
            .map(|i| {
                let clicks: &[_] = if i % 2 == 0 { &[("a", 1.0), ("b", 30.0)] } else { &[] };
                session(i, search("jaguar", &["b", "a"], clicks))
            })
            .collect();
        // Shown once, clicked once, watched to the end: a rate of 1 that says little.
        sessions.push(session(41, search("jaguar", &["c"], &[("c", 30.0)])));
        let found = lists(&sessions);
        assert_eq!(found[0].2, ["b", "c", "a"]);
        let swapped = lists(&sessions.iter().rev().cloned().collect::<Vec<_>>());
        assert_eq!(found, swapped, "the order of sessions changes nothing");
    }

    #[test]
    fn a_sparse_query_keeps_what_past_searches_ranked_on_top() {
        let pages = [["a", "b"], ["b", "a"], ["b", "c"]];
        let mut sessions: Vec<_> = (0..3).map(|i| session(i, search("puma", &pages[i], &[]))).collect();
        sessions[0].searches[0].clicks = search("", &[], &[("gone", 99.0)]).clicks;
        sessions[0].searches[0].shown.push("gone".into());
        assert_eq!(lists(&sessions), [("puma".to_owned(), false, ["b", "a", "c"].map(String::from).to_vec())]);
    }
}
