//! What people did about the results of a search, and of the one typed in its place: CoRe's positives and negatives.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use rand::Rng;

use crate::logs::{Click, Search, Session};
use crate::recipe::{Mine, Ratio, Recipe, stream};
use crate::store::{ExampleRow, Split, Store, person_split, training_ends_ms};

/// Documents of one search by what people did about them, each with its weight; by number in the index.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// Stayed with; weighted by the document's rate of strict clicks (clicks with a long dwell).
    pub positives: Vec<(u32, f64)>,
    /// Shown and passed over; weighted by the document's rate of no action.
    pub negatives: Vec<(u32, f64)>,
    /// Any documents.
    pub random: Vec<u32>,
    /// Whether the person had to type anew to get what they stayed with.
    pub mended: bool,
}

impl Evidence {
    /// Whether a ratio can be taken.
    #[must_use]
    pub fn speaks(&self) -> bool {
        !self.positives.is_empty() && !self.negatives.is_empty() && !self.random.is_empty()
    }

    /// Every document in it, once.
    pub(super) fn documents(&self) -> BTreeSet<u32> {
        let weighted = self.positives.iter().chain(&self.negatives).map(|(number, _)| *number);
        weighted.chain(self.random.iter().copied()).collect()
    }

    /// The evidence of every row, in their order: one pass over the log. Rates of documents come from what training may see
    /// alone; documents that are not in the index say nothing.
    ///
    /// # Errors
    /// No such log; SQLite's.
    pub fn gather(
        store: &Store,
        recipe: &Recipe,
        rows: &[ExampleRow],
        numbers: &HashMap<String, u32>,
    ) -> Result<Vec<Self>> {
        let log = store.log(&recipe.name)?;
        let ends_ms = training_ends_ms(recipe, store.time_span(&log)?);
        let wanted: HashMap<(&str, i64), usize> =
            rows.iter().enumerate().map(|(place, row)| ((row.user.as_str(), row.time_ms), place)).collect();
        let mut found: Vec<Seen> = vec![Seen::default(); rows.len()];
        let mut fates = Fates::new(numbers.len());
        store.for_each_session(&log, |session| {
            let learns = person_split(recipe, &session.user) == Split::Train;
            for (index, search) in session.searches.iter().enumerate() {
                if learns && search.time_ms <= ends_ms {
                    fates.add(search, &recipe.mine, numbers);
                }
                if let Some(place) = wanted.get(&(session.user.as_str(), search.time_ms)) {
                    found[*place] = Seen::of(&session, index, rows[*place].target.is_some(), &recipe.mine, numbers);
                }
            }
            Ok(())
        })?;
        let weighted = found
            .into_iter()
            .zip(rows)
            .map(|(seen, row)| fates.weigh(seen, random(recipe, row.time_ms, numbers.len()), &recipe.ratio));
        Ok(weighted.collect())
    }
}

/// Any documents of an index, the same for the same search.
pub(super) fn random(recipe: &Recipe, time_ms: i64, documents: usize) -> Vec<u32> {
    let mut rng = stream(recipe.seed, "ratio random", &[time_ms as u64]);
    let any = |_| rng.random_range(0..documents) as u32;
    if documents == 0 { Vec::new() } else { (0..recipe.ratio.random).map(any).collect() }
}

/// Documents of a search, and of the one that took its place, without weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    mended: bool,
    pub stayed: BTreeSet<u32>,
    pub passed: BTreeSet<u32>,
}

impl Seen {
    pub(super) fn of(
        session: &Session,
        index: usize,
        rewrote: bool,
        mine: &Mine,
        numbers: &HashMap<String, u32>,
    ) -> Self {
        let searches = &session.searches[index..(index + 1 + usize::from(rewrote)).min(session.searches.len())];
        let number = |doc: &String| numbers.get(doc).copied();
        let clicks = || searches.iter().flat_map(|search| &search.clicks);
        let stayed: BTreeSet<u32> =
            clicks().filter(|click| strict(click, mine)).filter_map(|click| number(&click.doc)).collect();
        let acted: BTreeSet<u32> = clicks().filter_map(|click| number(&click.doc)).collect();
        let shown = searches.iter().flat_map(|search| &search.shown).filter_map(number);
        Self { mended: rewrote, stayed, passed: shown.filter(|doc| !acted.contains(doc)).collect() }
    }
}

pub(super) fn strict(click: &Click, mine: &Mine) -> bool {
    click.dwell_s.is_some_and(|s| f64::from(s) >= mine.success_dwell_s)
}

/// How often a document was shown, stayed with, and passed over.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    shown: f64,
    stayed: f64,
    passed: f64,
}

/// Fates of all documents by number, and their sum.
#[derive(Debug)]
pub(super) struct Fates {
    of: Vec<Fate>,
    sum: Fate,
}

impl Fates {
    pub(super) fn new(documents: usize) -> Self {
        Self { of: vec![Fate::default(); documents], sum: Fate::default() }
    }

    pub(super) fn add(&mut self, search: &Search, mine: &Mine, numbers: &HashMap<String, u32>) {
        for doc in &search.shown {
            let Some(&number) = numbers.get(doc) else { continue };
            let clicks = || search.clicks.iter().filter(|click| click.doc == *doc);
            let count = |is: bool| f64::from(u8::from(is));
            let stayed = count(clicks().any(|click| strict(click, mine)));
            let passed = count(clicks().next().is_none());
            for fate in [&mut self.of[number as usize], &mut self.sum] {
                fate.shown += 1.0;
                fate.stayed += stayed;
                fate.passed += passed;
            }
        }
    }

    pub(super) fn weigh(&self, seen: Seen, random: Vec<u32>, ratio: &Ratio) -> Evidence {
        let weighted = |docs: BTreeSet<u32>, of: fn(&Fate) -> f64| {
            docs.into_iter().map(|number| (number, self.rate(number, ratio.prior_shown, of))).collect()
        };
        Evidence {
            positives: weighted(seen.stayed, |fate| fate.stayed),
            negatives: weighted(seen.passed, |fate| fate.passed),
            random,
            mended: seen.mended,
        }
    }

    /// A rate of a document, drawn towards the mean by `prior` showings at it.
    fn rate(&self, number: u32, prior: f64, of: fn(&Fate) -> f64) -> f64 {
        let mean = of(&self.sum) / self.sum.shown.max(1.0);
        let own = &self.of[number as usize];
        // Never 0: what was seen to happen here can happen, even where training saw nothing of it.
        ((of(own) + prior * mean) / (own.shown + prior).max(f64::MIN_POSITIVE)).max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Context;
    use crate::store::LogKind;

    fn search(query: &str, time_ms: i64, shown: &[&str], clicks: &[(&str, f32)]) -> Search {
        let click = |&(doc, dwell): &(&str, f32)| Click {
            doc: doc.into(),
            rank: 1,
            time_ms: time_ms + 1,
            dwell_s: Some(dwell),
            bought: false,
        };
        let shown = shown.iter().map(|doc| (*doc).to_owned()).collect();
        Search {
            id: format!("s{time_ms}"),
            query: query.into(),
            time_ms,
            shown,
            clicks: clicks.iter().map(click).collect(),
        }
    }

    fn row(user: &str, time_ms: i64, target: Option<&str>) -> ExampleRow {
        ExampleRow {
            split: Split::Train,
            user: user.into(),
            time_ms,
            query: "jaguar".into(),
            target: target.map(str::to_owned),
            context: Context::default(),
            satisfied_doc: None,
        }
    }

    #[test]
    fn what_was_stayed_with_is_liked_and_what_was_shown_without_a_click_was_passed_over() {
        let mut recipe = Recipe::default();
        (recipe.mine.held_out_people, recipe.mine.held_out_time) = (0.0, 0.0);
        recipe.ratio = Ratio { random: 3, prior_shown: 0.0, ..Ratio::default() };
        let searches = vec![
            search("jaguar", 1_000, &["cat", "zoo"], &[("zoo", 1.0)]),
            search("jaguar car", 2_000, &["car", "cat"], &[("car", 60.0)]),
            search("other", 9_000, &["car", "zoo"], &[]),
        ];
        let session = Session { id: "a".into(), user: "u".into(), searches, ..Session::default() };
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.write_log("demo", LogKind::World, "x", |w| w.session(&session)).unwrap();
        let numbers = [("car", 0), ("cat", 1), ("zoo", 2)].map(|(doc, n)| (doc.to_owned(), n)).into();
        let rows = [row("u", 1_000, Some("jaguar car")), row("u", 9_000, None), row("u", 5, None)];
        let found = Evidence::gather(&store, &recipe, &rows, &numbers).unwrap();
        // The car was shown twice and stayed with once, the cat shown twice and passed over twice; a short look at the zoo is
        // neither.
        assert_eq!((&found[0].positives, &found[0].negatives), (&vec![(0, 0.5)], &vec![(1, 1.0)]));
        assert_eq!((found[0].random.len(), found[0].speaks()), (3, true));
        assert_eq!((found[1].negatives.len(), found[1].speaks()), (2, false), "nothing was stayed with");
        assert!(!found[2].speaks(), "no such search");
        assert_eq!(Evidence::gather(&store, &recipe, &rows, &numbers).unwrap(), found);
    }
}
