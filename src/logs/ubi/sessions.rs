//! From searches to sessions: who searched in one sitting, what was still being typed, how long results were looked at.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::build::{Built, Draft, Loose, Visit};
use super::reason;
use super::row::Who;
use crate::logs::{Click, Doc, Search, Session, Skipped, Watched};
use crate::recipe;

/// Two queries this close, one the start of the other, are one query being typed.
const TYPING_PAUSE_MS: i64 = 2_000;

/// A sitting: named by the file, or made from a person's rows and the pauses between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Given(String),
    Made(String, i64),
}

#[derive(Default)]
struct Group {
    drafts: Vec<Draft>,
    loose: Vec<Loose>,
}

/// Groups searches and openings into sessions, ordered by person and start.
pub(super) fn gather(
    drafts: Vec<Draft>,
    loose: Vec<Loose>,
    titles: &BTreeMap<String, String>,
    docs: Vec<Doc>,
    mut skipped: Vec<Skipped>,
    settings: &recipe::Mine,
) -> Built {
    let items: Vec<_> =
        drafts.iter().map(|d| (&d.who, d.time_ms)).chain(loose.iter().map(|l| (&l.who, l.visit.time_ms))).collect();
    let keys = keys(&items, gap_ms(settings));
    let (of_drafts, of_loose) = keys.split_at(drafts.len());
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    for (draft, key) in drafts.into_iter().zip(of_drafts) {
        match key {
            Some(key) => groups.entry(key.clone()).or_default().drafts.push(draft),
            None => skipped.extend(draft.rows.into_iter().map(|row| row.skip(reason::NOBODY))),
        }
    }
    for (item, key) in loose.into_iter().zip(of_loose) {
        match key {
            Some(key) => groups.entry(key.clone()).or_default().loose.push(item),
            None => skipped.push(item.row.skip(reason::NOBODY)),
        }
    }
    let (mut used, mut ids) = (0, HashSet::new());
    let given: HashSet<String> =
        groups.keys().filter_map(|k| if let Key::Given(id) = k { Some(id.clone()) } else { None }).collect();
    let mut sessions = Vec::with_capacity(groups.len());
    for (key, mut group) in groups {
        skipped.extend(drop_typing(&mut group.drafts));
        used += group.drafts.iter().map(|d| d.rows.len()).sum::<usize>() + group.loose.len();
        let id = match key {
            Key::Given(id) => id,
            Key::Made(lane, start_ms) => {
                let mut id = format!("{lane}@{start_ms}");
                while given.contains(&id) || !ids.insert(id.clone()) {
                    id.push('+');
                }
                id
            }
        };
        sessions.push(session(id, group, titles, settings));
    }
    sessions.sort_by(|a, b| (&a.user, a.start_ms, &a.id).cmp(&(&b.user, b.start_ms, &b.id)));
    Built { sessions, docs, used, skipped }
}

fn gap_ms(settings: &recipe::Mine) -> i64 {
    (settings.session_gap_s * 1e3) as i64
}

/// The session of each item. One without a session id joins the sitting its client was in, where there is one.
fn keys(items: &[(&Who, i64)], gap_ms: i64) -> Vec<Option<Key>> {
    let mut keys: Vec<_> = items.iter().map(|(who, _)| who.session.clone().map(Key::Given)).collect();
    let mut lanes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (who, _)) in items.iter().enumerate() {
        if let Some(lane) = who.client.as_deref().or(who.user.as_deref()) {
            lanes.entry(lane).or_default().push(i);
        }
    }
    for (lane, mut of_lane) in lanes {
        of_lane.sort_by_key(|&i| items[i].1);
        for sitting in of_lane.chunk_by(|&a, &b| items[b].1 - items[a].1 <= gap_ms) {
            let first_given = sitting.iter().find_map(|&i| keys[i].clone());
            let mut current = first_given.unwrap_or_else(|| Key::Made(lane.to_owned(), items[sitting[0]].1));
            for &i in sitting {
                match &keys[i] {
                    Some(key) => current.clone_from(key),
                    None => keys[i] = Some(current.clone()),
                }
            }
        }
    }
    keys
}

/// Sorts searches by time and takes out those that were still being typed: nothing of theirs was opened, and within
/// 2 s the text grew or shrank at one place (at its end, or where the caret stood), or was sent again.
fn drop_typing(drafts: &mut Vec<Draft>) -> Vec<Skipped> {
    drafts.sort_by(|a, b| (a.time_ms, a.query.len(), &a.id).cmp(&(b.time_ms, b.query.len(), &b.id)));
    let mut skipped = Vec::new();
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    for mut draft in drafts.drain(..) {
        if let Some(last) = kept.pop_if(|last| is_typing(last, &draft)) {
            if last.query == draft.query && draft.hits.is_empty() && draft.impressions.is_empty() {
                draft.hits = last.hits;
                draft.impressions = last.impressions;
            }
            skipped.extend(last.rows.into_iter().map(|row| row.skip(reason::TYPING)));
        }
        kept.push(draft);
    }
    *drafts = kept;
    skipped
}

fn is_typing(before: &Draft, after: &Draft) -> bool {
    before.visits.is_empty()
        && after.time_ms - before.time_ms <= TYPING_PAUSE_MS
        && edited_at_one_place(&before.query.to_lowercase(), &after.query.to_lowercase())
}

/// Whether one text becomes the other by letters put in, or taken out, at a single place.
fn edited_at_one_place(a: &str, b: &str) -> bool {
    let same_start = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let same_end = a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).count();
    same_start + same_end >= a.chars().count().min(b.chars().count())
}

fn session(id: String, group: Group, titles: &BTreeMap<String, String>, settings: &recipe::Mine) -> Session {
    let whos = || group.drafts.iter().map(|d| &d.who).chain(group.loose.iter().map(|l| &l.who));
    let user = whos().find_map(|w| w.user.clone()).or_else(|| whos().find_map(|w| w.client.clone()));
    let user = user.unwrap_or_else(|| id.clone());
    let dwells = Dwells::new(&group, gap_ms(settings));
    let watch = |doc: &str, time_ms: i64, dwell_s: Option<f32>| {
        let left_at_once = dwell_s.is_some_and(|s| f64::from(s) < settings.fail_dwell_s);
        let title = titles.get(doc).filter(|_| !left_at_once)?.clone();
        Some(Watched { doc: doc.to_owned(), title, tags: Vec::new(), time_ms, dwell_s: dwell_s.unwrap_or(0.0) })
    };
    let of_loose = group.loose.iter().filter_map(|l| watch(&l.visit.doc, l.visit.time_ms, dwells.of(&l.visit)));
    let mut watched: Vec<_> = of_loose.collect();
    let times = group.drafts.iter().map(|d| d.time_ms).chain(group.loose.iter().map(|l| l.visit.time_ms));
    let start_ms = times.min().unwrap_or(0);
    let searches: Vec<_> = group.drafts.into_iter().map(|draft| search(draft, &dwells)).collect();
    watched.extend(searches.iter().flat_map(|s| &s.clicks).filter_map(|c| watch(&c.doc, c.time_ms, c.dwell_s)));
    watched.sort_by(|a, b| (a.time_ms, &a.doc).cmp(&(b.time_ms, &b.doc)));
    Session { id, user, start_ms, place: None, watched, searches }
}

fn search(mut draft: Draft, dwells: &Dwells) -> Search {
    draft.impressions.sort();
    let mut seen = HashSet::new();
    let mut shown = draft.hits;
    if shown.is_empty() {
        shown = draft.impressions.into_iter().map(|(_, _, id)| id).collect();
    }
    shown.retain(|id| seen.insert(id.clone()));
    draft.visits.sort_by_key(|v| v.time_ms);
    let mut clicks: Vec<Click> = Vec::new();
    let mut of_doc: HashMap<&str, usize> = HashMap::new();
    for visit in &draft.visits {
        // A click, a cart and a purchase of one result are one click that went further.
        let index = *of_doc.entry(&visit.doc).or_insert(clicks.len());
        if index == clicks.len() {
            clicks.push(Click { doc: visit.doc.clone(), time_ms: visit.time_ms, ..Click::default() });
        }
        let click = &mut clicks[index];
        click.rank = if click.rank == 0 { visit.rank } else { click.rank };
        click.bought |= visit.bought;
        click.dwell_s = [click.dwell_s, dwells.of(visit)].into_iter().flatten().reduce(f32::max);
    }
    for click in clicks.iter_mut().filter(|c| c.rank == 0) {
        let place = shown.iter().position(|id| *id == click.doc);
        click.rank = place.map_or(0, |i| u32::try_from(i + 1).unwrap_or(0));
    }
    Search { id: draft.id, query: draft.query, time_ms: draft.time_ms, shown, clicks }
}

/// When each opening of a session ended: at the next thing logged that is not about the same object.
struct Dwells {
    /// `(object, start)` to end.
    ends: HashMap<(String, i64), i64>,
    gap_ms: i64,
}

impl Dwells {
    fn new(group: &Group, gap_ms: i64) -> Self {
        let mut events: Vec<(i64, Option<&str>)> = Vec::new();
        for draft in &group.drafts {
            events.push((draft.time_ms, None));
            events.extend(draft.impressions.iter().map(|i| (i.1, None)));
            events.extend(draft.other_ms.iter().map(|&t| (t, None)));
            events.extend(draft.visits.iter().map(|v| (v.time_ms, Some(v.doc.as_str()))));
        }
        events.extend(group.loose.iter().map(|l| (l.visit.time_ms, Some(l.visit.doc.as_str()))));
        events.sort_unstable();
        let mut ends = HashMap::new();
        // From the end: what comes after a run of events about one object ends all of them.
        let mut after: Option<(i64, Option<&str>)> = None;
        let mut end = None;
        for &(time_ms, doc) in events.iter().rev() {
            if after.is_some_and(|(_, next)| next.is_none() || next != doc) {
                end = after.map(|(t, _)| t);
            }
            if let (Some(doc), Some(end)) = (doc, end) {
                ends.insert((doc.to_owned(), time_ms), end);
            }
            after = Some((time_ms, doc));
        }
        Self { ends, gap_ms }
    }

    /// Seconds; the file's own figure goes first. `None` when nothing came after within the session gap.
    fn of(&self, visit: &Visit) -> Option<f32> {
        visit.dwell_s.or_else(|| {
            let ms = self.ends.get(&(visit.doc.clone(), visit.time_ms))? - visit.time_ms;
            (ms <= self.gap_ms).then_some(ms as f32 / 1e3)
        })
    }
}
