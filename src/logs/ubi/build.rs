//! From rows to searches: joins queries and events by query id, and finds who and which session each belongs to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::reason;
use super::row::{Body, Object, Row, Who};
use super::sessions;
use crate::logs::{Doc, Session, Skipped};
use crate::recipe;

/// Everything that came of the rows.
pub(super) struct Built {
    pub sessions: Vec<Session>,
    pub docs: Vec<Doc>,
    /// Rows that went into it.
    pub used: usize,
    pub skipped: Vec<Skipped>,
}

/// Where a row stood, for the day it is skipped after all.
pub(super) struct Mark {
    pub line: usize,
    pub excerpt: String,
}

impl Mark {
    pub(super) fn skip(self, why: &str) -> Skipped {
        Skipped { line: self.line, reason: why.into(), excerpt: self.excerpt }
    }
}

/// A search under construction.
pub(super) struct Draft {
    pub id: String,
    pub query: String,
    pub time_ms: i64,
    pub who: Who,
    pub hits: Vec<String>,
    /// `(rank or u32::MAX, time, id)`.
    pub impressions: Vec<(u32, i64, String)>,
    pub visits: Vec<Visit>,
    /// Times of events that are not about a result.
    pub other_ms: Vec<i64>,
    pub rows: Vec<Mark>,
}

/// Something opened.
pub(super) struct Visit {
    pub doc: String,
    /// From 1; 0 = not said.
    pub rank: u32,
    pub time_ms: i64,
    pub dwell_s: Option<f32>,
    pub bought: bool,
}

/// Something opened outside search.
pub(super) struct Loose {
    pub who: Who,
    pub visit: Visit,
    pub row: Mark,
}

/// Builds sessions from rows in any order.
pub(super) fn build(rows: Vec<Row>, settings: &recipe::Mine) -> Built {
    let titles = titles(&rows);
    let from_zero: HashSet<String> = rows
        .iter()
        .filter(|r| object(r).is_some_and(|o| o.ordinal == Some(0)))
        .map(|r| r.application.clone())
        .collect();
    let mut drafts = Drafts::default();
    let (mut skipped, mut loose, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    // Query rows name searches best, then search events, then any event that quotes the query.
    let mut passes: [Vec<Row>; 3] = Default::default();
    for row in rows {
        let pass = match row.body {
            Body::Query { .. } => 0,
            Body::Search => 1,
            _ => 2,
        };
        passes[pass].push(row);
    }
    for row in passes.into_iter().flatten() {
        let rank = |o: &Object| o.ordinal.map_or(0, |n| n + u32::from(from_zero.contains(&row.application)));
        let mark = Mark { line: row.line, excerpt: row.excerpt.clone() };
        if let Body::Other(why) = row.body {
            drafts.note_time(&row);
            skipped.push(mark.skip(why));
            continue;
        }
        if !seen.insert(row.fingerprint()) {
            skipped.push(mark.skip(reason::DUPLICATE));
            continue;
        }
        let visit = match &row.body {
            Body::Visit { object, dwell_s, bought } => Some(Visit {
                doc: object.id.clone(),
                rank: rank(object),
                time_ms: row.time_ms,
                dwell_s: *dwell_s,
                bought: *bought,
            }),
            _ => None,
        };
        if row.query_id.is_none() {
            match visit {
                Some(visit) if titles.contains_key(&visit.doc) => loose.push(Loose { who: row.who, visit, row: mark }),
                _ => skipped.push(mark.skip(reason::NO_QUERY_ID)),
            }
            continue;
        }
        let Some(draft) = drafts.of(&row) else {
            skipped.push(mark.skip(reason::NO_QUERY));
            continue;
        };
        draft.add(&row, visit, rank);
        draft.rows.push(mark);
    }
    let popularity = popularity(&drafts, &loose);
    let docs = titles.iter().map(|(id, title)| Doc {
        id: id.clone(),
        title: title.clone(),
        popularity: popularity(id),
        ..Doc::default()
    });
    let docs = docs.collect();
    sessions::gather(drafts.all, loose, &titles, docs, skipped, settings)
}

fn object(row: &Row) -> Option<&Object> {
    match &row.body {
        Body::Impression(object) | Body::Visit { object, .. } => Some(object),
        _ => None,
    }
}

/// The first description of every object a person saw or opened.
fn titles(rows: &[Row]) -> BTreeMap<String, String> {
    let mut titles = BTreeMap::new();
    for object in rows.iter().filter_map(object) {
        if let Some(title) = &object.title {
            titles.entry(object.id.clone()).or_insert_with(|| title.clone());
        }
    }
    titles
}

/// Openings relative to the most opened document, one added to each so that none is at 0.
fn popularity(drafts: &Drafts, loose: &[Loose]) -> impl Fn(&str) -> f32 + use<> {
    let mut opened: HashMap<String, u32> = HashMap::new();
    for visit in drafts.all.iter().flat_map(|d| &d.visits).chain(loose.iter().map(|l| &l.visit)) {
        *opened.entry(visit.doc.clone()).or_default() += 1;
    }
    let most = opened.values().max().copied().unwrap_or(0);
    move |id| (opened.get(id).copied().unwrap_or(0) + 1) as f32 / (most + 1) as f32
}

/// Searches by query id; several when one id was used for several texts.
#[derive(Default)]
struct Drafts {
    all: Vec<Draft>,
    of_id: HashMap<String, Vec<usize>>,
}

impl Drafts {
    /// The search a row with a query id belongs to, made where the row is the first to name it.
    fn of(&mut self, row: &Row) -> Option<&mut Draft> {
        let id = row.query_id.as_ref()?;
        let known = self.of_id.get(id).map(Vec::as_slice).unwrap_or_default();
        let quoted = row.text.as_ref().and_then(|text| known.iter().find(|&&i| self.all[i].query == *text));
        let names_queries = matches!(row.body, Body::Query { .. } | Body::Search);
        let found = match (&row.text, quoted) {
            (_, Some(&i)) => Some(i),
            (Some(_), None) if names_queries || known.is_empty() => None,
            // The last text typed under this id by then; the first where clocks disagree.
            _ => {
                let earlier = known.iter().filter(|&&i| self.all[i].time_ms <= row.time_ms);
                Some(*earlier.max_by_key(|&&i| self.all[i].time_ms).or(known.first())?)
            }
        };
        let index = match found {
            Some(index) => index,
            None => self.make(id.clone(), row.text.clone()?, row.time_ms, known.len()),
        };
        self.all.get_mut(index)
    }

    fn make(&mut self, id: String, query: String, time_ms: i64, earlier_texts: usize) -> usize {
        let index = self.all.len();
        let unique = if earlier_texts == 0 { id.clone() } else { format!("{id}#{}", earlier_texts + 1) };
        self.of_id.entry(id).or_default().push(index);
        self.all.push(Draft {
            id: unique,
            query,
            time_ms,
            who: Who::default(),
            hits: Vec::new(),
            impressions: Vec::new(),
            visits: Vec::new(),
            other_ms: Vec::new(),
            rows: Vec::new(),
        });
        index
    }

    /// An event that is not about a result still says that the person was doing something.
    fn note_time(&mut self, row: &Row) {
        let known = row.query_id.as_ref().and_then(|id| self.of_id.get(id));
        if let Some(&first) = known.and_then(|k| k.first()) {
            self.all[first].other_ms.push(row.time_ms);
        }
    }
}

impl Draft {
    fn add(&mut self, row: &Row, visit: Option<Visit>, rank: impl Fn(&Object) -> u32) {
        for (mine, new) in [
            (&mut self.who.session, &row.who.session),
            (&mut self.who.user, &row.who.user),
            (&mut self.who.client, &row.who.client),
        ] {
            if mine.is_none() {
                mine.clone_from(new);
            }
        }
        match &row.body {
            Body::Query { hits } => {
                self.time_ms = self.time_ms.min(row.time_ms);
                if self.hits.is_empty() {
                    self.hits.clone_from(hits);
                }
            }
            Body::Search => self.time_ms = self.time_ms.min(row.time_ms),
            Body::Impression(object) => {
                let place = match rank(object) {
                    0 => u32::MAX,
                    rank => rank,
                };
                self.impressions.push((place, row.time_ms, object.id.clone()));
            }
            Body::Visit { .. } | Body::Other(_) => self.visits.extend(visit),
        }
    }
}
