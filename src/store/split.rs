//! What may be trained on: people, by a seeded hash, and the time before a cut; decided before anything trains.

use anyhow::Result;

use super::{Doc, LogInfo, Session, Split, Store};
use crate::recipe::Recipe;

/// Side of the split a person is on, whatever the log; half of the held-out people are for validation.
#[must_use]
pub fn person_split(recipe: &Recipe, user: &str) -> Split {
    match place(recipe.seed, user) / recipe.mine.held_out_people {
        x if x < 0.5 => Split::Validation,
        x if x < 1.0 => Split::Test,
        _ => Split::Train,
    }
}

/// Side of the split of everything that is asked about one subject (a head with all its senses, a functional need), whatever
/// the log; a third of what is held out is for validation.
#[must_use]
pub fn subject_split(recipe: &Recipe, subject: &str) -> Split {
    // A person of the same name lies somewhere else.
    match place(recipe.seed, &format!("subject {subject}")) / recipe.relevance.held_out {
        x if x < 1.0 / 3.0 => Split::Validation,
        x if x < 1.0 => Split::Test,
        _ => Split::Train,
    }
}

/// A uniform number in [0, 1) that belongs to a name.
fn place(seed: u64, name: &str) -> f64 {
    // 53 bits make one.
    (fnv1a(seed, name.as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
}

/// When training ends (inclusive), Unix milliseconds, for a log whose first and last search are at `span`.
#[must_use]
pub fn training_ends_ms(recipe: &Recipe, span: Option<(i64, i64)>) -> i64 {
    let (first, last) = span.unwrap_or_default();
    last - (last.saturating_sub(first) as f64 * recipe.mine.held_out_time) as i64
}

impl Store {
    /// Passes on what may be learnt from a log: sessions of training people, in the order of [`Store::for_each_session`],
    /// up to the first search whose outcome was not known when training ended.
    ///
    /// # Errors
    /// SQLite's, and those of `visit`.
    pub fn for_each_training_session(
        &self,
        recipe: &Recipe,
        log: &LogInfo,
        mut visit: impl FnMut(Session) -> Result<()>,
    ) -> Result<()> {
        let end_ms = training_ends_ms(recipe, self.time_span(log)?);
        self.for_each_session(log, |session| match person_split(recipe, &session.user) {
            Split::Train => until(session, end_ms).map_or(Ok(()), &mut visit),
            _ => Ok(()),
        })
    }

    /// Documents of a log that may be learnt from: those that were published when training ended. Later ones tell of what nobody
    /// could know yet.
    ///
    /// # Errors
    /// SQLite's.
    pub fn training_docs(&self, recipe: &Recipe, log: &LogInfo) -> Result<Vec<Doc>> {
        let end_ms = training_ends_ms(recipe, self.time_span(log)?);
        let mut docs = self.docs(log)?;
        docs.retain(|doc| doc.published_ms <= end_ms);
        Ok(docs)
    }
}

/// What was over and done by `end_ms`; none when no search was.
fn until(mut session: Session, end_ms: i64) -> Option<Session> {
    let known_ms = |s: &super::Search| {
        let ends = s.clicks.iter().map(|c| c.time_ms.saturating_add((c.dwell_s.unwrap_or(0.0) * 1e3) as i64));
        ends.fold(s.time_ms, i64::max)
    };
    let known = session.searches.iter().take_while(|s| known_ms(s) <= end_ms).count();
    session.searches.truncate(known);
    session.watched.retain(|w| w.time_ms <= end_ms);
    (known > 0).then_some(session)
}

/// FNV-1a with a seed and a final mix: the same on every machine and in every version, unlike std's hashers.
fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = bytes.iter().fold(start, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::super::{Click, LogKind, Search, Watched};
    use super::*;

    #[test]
    fn only_training_people_and_what_was_over_before_the_cut_may_be_learnt_from() {
        let recipe = Recipe::default();
        let side = |held_out: bool| {
            (0..).map(|i| format!("u{i}")).find(|u| (person_split(&recipe, u) != Split::Train) == held_out).unwrap()
        };
        let search = |query: &str, time_ms, dwell_s| {
            let click = Click { doc: "d".into(), rank: 1, time_ms, dwell_s: Some(dwell_s), bought: false };
            Search { id: query.into(), query: query.into(), time_ms, clicks: vec![click], ..Search::default() }
        };
        // First and last search at 0 and 1,000,000: training ends at 750,000.
        let session = |id: &str, user: String| Session {
            id: id.into(),
            user,
            watched: [0, 800_000].map(|time_ms| Watched { time_ms, ..Watched::default() }).to_vec(),
            searches: vec![
                search("early", 0, 5.0),
                search("at the cut", 740_000, 10.0),
                search("known after the cut", 740_000, 10.1),
                search("late", 1_000_000, 1.0),
            ],
            ..Session::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let sessions = [session("a", side(false)), session("b", side(true))];
        let docs = [("old", 0), ("in time", 750_000), ("too late", 750_001)].map(|(id, published_ms)| Doc {
            id: id.into(),
            published_ms,
            ..Doc::default()
        });
        let write = |w: &mut super::super::LogWriter| {
            docs.iter().try_for_each(|doc| w.doc(doc))?;
            sessions.iter().try_for_each(|s| w.session(s))
        };
        store.write_log("l", LogKind::World, "x", write).unwrap();
        let known = store.training_docs(&recipe, &store.log("l").unwrap()).unwrap();
        assert_eq!(known.iter().map(|doc| doc.id.as_str()).collect::<Vec<_>>(), ["in time", "old"]);
        let mut seen = Vec::new();
        let keep = |s: Session| {
            seen.push((s.id.clone(), s.searches.iter().map(|s| s.query.clone()).collect::<Vec<_>>(), s.watched.len()));
            Ok(())
        };
        store.for_each_training_session(&recipe, &store.log("l").unwrap(), keep).unwrap();
        assert_eq!(seen, [("a".to_owned(), vec!["early".to_owned(), "at the cut".to_owned()], 1)]);
    }

    #[test]
    fn people_fall_in_the_shares_asked_for_and_stay_there() {
        let recipe = Recipe::default();
        let sides: Vec<_> = (0..10_000).map(|i| person_split(&recipe, &format!("u{i}"))).collect();
        let count = |side| sides.iter().filter(|&&s| s == side).count() as f64 / 10_000.0;
        // Four standard errors of a share of 0.1 in 10,000 draws are 0.012.
        assert!((count(Split::Validation) - 0.1).abs() < 0.012, "{}", count(Split::Validation));
        assert!((count(Split::Test) - 0.1).abs() < 0.012, "{}", count(Split::Test));
        assert_eq!(person_split(&recipe, "u17"), sides[17]);
        let nobody_held_out =
            Recipe { mine: crate::recipe::Mine { held_out_people: 0.0, ..recipe.mine.clone() }, ..recipe };
        assert!((0..100).all(|i| person_split(&nobody_held_out, &format!("u{i}")) == Split::Train));
    }

    #[test]
    fn subjects_fall_in_the_shares_asked_for() {
        let recipe = Recipe::default();
        let sides: Vec<_> = (0..10_000).map(|i| subject_split(&recipe, &format!("head {i}"))).collect();
        let count = |side| sides.iter().filter(|&&s| s == side).count() as f64 / 10_000.0;
        // Four standard errors of a share of 0.4 in 10,000 draws are 0.02.
        let held_out = recipe.relevance.held_out;
        assert!((count(Split::Validation) - held_out / 3.0).abs() < 0.02, "{}", count(Split::Validation));
        assert!((count(Split::Test) - held_out * 2.0 / 3.0).abs() < 0.02, "{}", count(Split::Test));
        assert_eq!(subject_split(&recipe, "head 17"), sides[17]);
    }
}
