//! Which search becomes an example, one rule at a time (WeWrite §2.2).

use std::collections::HashSet;

use crate::logs::context_before;
use crate::logs::{Click, Context, Search, Session, words};
use crate::recipe::Mine;
use crate::store::{ExampleRow, Split};

/// Why a search made no example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    OriginDidNotFail,
    NextDidNotSucceed,
    NoGainTerm,
    GainNotInContext,
    ReformulatedLater,
    DwellUnknown,
    NothingOpened,
    NotSatisfied,
    SatisfiedLate,
    OverCap,
}

impl Why {
    /// The words counts are grouped by.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::OriginDidNotFail => "reformulated, but the first query had not failed",
            Self::NextDidNotSucceed => "reformulated without success",
            Self::NoGainTerm => "reformulated without a new word",
            Self::GainNotInContext => "reformulated with new words the context does not have",
            Self::ReformulatedLater => "sent again, then reformulated",
            Self::DwellUnknown => "dwell not known",
            Self::NothingOpened => "left without opening anything",
            Self::NotSatisfied => "left without a long dwell",
            Self::SatisfiedLate => "satisfied, but not at once",
            Self::OverCap => "reject over the cap",
        }
    }
}

/// An example before it is put on a side of the split.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub query: String,
    pub target: Option<String>,
    pub context: Context,
    pub satisfied_doc: Option<String>,
    /// When the query was typed, Unix milliseconds.
    pub time_ms: i64,
    /// When all that this example tells had happened: the end of the satisfying dwell.
    pub known_ms: i64,
}

impl Found {
    pub(super) fn row(self, split: Split, user: &str) -> ExampleRow {
        ExampleRow {
            split,
            user: user.to_owned(),
            time_ms: self.time_ms,
            query: self.query,
            target: self.target,
            context: self.context,
            satisfied_doc: self.satisfied_doc,
        }
    }
}

/// What the rules say about one search.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Kept(Found),
    Dropped(Why),
}

/// Whether a search is followed by a different query within the gap: `(q, q')` is a candidate pair.
pub(super) fn is_candidate(session: &Session, index: usize, mine: &Mine) -> bool {
    let next = session.searches.get(index + 1);
    next.is_some_and(|next| reformulates(&session.searches[index], next, mine))
}

/// Applies the rules to search `index` of a session.
pub(super) fn judge(session: &Session, index: usize, mine: &Mine) -> Outcome {
    let outcome =
        if is_candidate(session, index, mine) { rewrite(session, index, mine) } else { reject(session, index, mine) };
    outcome.map_or_else(Outcome::Dropped, Outcome::Kept)
}

/// Failed, then mended in the next query, with a word from the context.
fn rewrite(session: &Session, index: usize, mine: &Mine) -> Result<Found, Why> {
    let (origin, next) = (&session.searches[index], &session.searches[index + 1]);
    let dwell_s = |s: &Search| s.longest_dwell_s().map(f64::from).ok_or(Why::DwellUnknown);
    if dwell_s(origin)? >= mine.fail_dwell_s {
        return Err(Why::OriginDidNotFail);
    }
    if dwell_s(next)? < mine.success_dwell_s {
        return Err(Why::NextDidNotSucceed);
    }
    let had: HashSet<_> = words(&origin.query).collect();
    let gain: HashSet<_> = words(&next.query).filter(|w| !had.contains(w)).collect();
    if gain.is_empty() {
        return Err(Why::NoGainTerm);
    }
    let context = context_before(session, index, mine.watched_limit, mine.queries_limit);
    if !holds_any(&context, &gain) {
        return Err(Why::GainNotInContext);
    }
    Ok(found(origin, Some(next.query.clone()), context, longest(next)))
}

/// Answered at once, and not touched again.
fn reject(session: &Session, index: usize, mine: &Mine) -> Result<Found, Why> {
    let search = &session.searches[index];
    // The same query sent again is no reformulation, but what comes after it may be one.
    if session.searches[index + 1..].iter().any(|later| reformulates(search, later, mine)) {
        return Err(Why::ReformulatedLater);
    }
    if search.clicks.is_empty() {
        return Err(Why::NothingOpened);
    }
    if search.longest_dwell_s().is_none() {
        return Err(Why::DwellUnknown);
    }
    let satisfies = |c: &&Click| c.dwell_s.is_some_and(|s| f64::from(s) >= mine.success_dwell_s);
    let at_once = |c: &Click| (c.time_ms - search.time_ms) as f64 / 1e3 <= mine.reject_click_within_s;
    let mut satisfying = search.clicks.iter().filter(satisfies).peekable();
    if satisfying.peek().is_none() {
        return Err(Why::NotSatisfied);
    }
    if !satisfying.any(at_once) {
        return Err(Why::SatisfiedLate);
    }
    let context = context_before(session, index, mine.watched_limit, mine.queries_limit);
    Ok(found(search, None, context, longest(search)))
}

fn found(origin: &Search, target: Option<String>, context: Context, satisfying: Option<&Click>) -> Found {
    let end_ms = |c: &Click| c.time_ms.saturating_add((c.dwell_s.unwrap_or(0.0) * 1e3) as i64);
    Found {
        query: origin.query.clone(),
        target,
        context,
        satisfied_doc: satisfying.map(|c| c.doc.clone()),
        time_ms: origin.time_ms,
        known_ms: satisfying.map_or(origin.time_ms, end_ms),
    }
}

/// The click with the longest dwell, the first of equals.
fn longest(search: &Search) -> Option<&Click> {
    let known = search.clicks.iter().filter(|c| c.dwell_s.is_some());
    known.reduce(|best, c| if c.dwell_s > best.dwell_s { c } else { best })
}

fn reformulates(origin: &Search, next: &Search, mine: &Mine) -> bool {
    let pause_s = (next.time_ms - origin.time_ms) as f64 / 1e3;
    let changed = pause_s <= mine.reformulation_gap_s && !same_query(&origin.query, &next.query);
    changed && (!mine.related || related(&origin.query, &next.query))
}

/// Whether two queries may be about the same: they share a word, or have words that are spelt alike.
fn related(a: &str, b: &str) -> bool {
    let (a, b): (Vec<String>, Vec<String>) = (words(a).collect(), words(b).collect());
    let letters = |word: &str| word.chars().count();
    let alike = |x: &String, y: &String| x == y || strsim::damerau_levenshtein(x, y) <= letters(x).min(letters(y)) / 4;
    a.iter().any(|x| b.iter().any(|y| alike(x, y)))
}

/// Equal but for letter case and punctuation; queries of punctuation alone are compared as they stand.
fn same_query(a: &str, b: &str) -> bool {
    if words(a).next().is_none() { a.trim() == b.trim() } else { words(a).eq(words(b)) }
}

fn holds_any(context: &Context, terms: &HashSet<String>) -> bool {
    let watched = context.watched.iter().flat_map(|w| std::iter::once(&w.title).chain(&w.tags));
    let mut texts = watched.chain(&context.queries).chain(&context.place);
    texts.any(|text| words(text).any(|w| terms.contains(&w)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Watched;

    fn search(query: &str, at_s: i64, clicks: &[(&str, i64, Option<f32>)]) -> Search {
        let click = |&(doc, after_s, dwell_s): &(&str, i64, Option<f32>)| Click {
            doc: doc.into(),
            rank: 1,
            time_ms: (at_s + after_s) * 1_000,
            dwell_s,
            bought: false,
        };
        let clicks = clicks.iter().map(click).collect();
        Search { query: query.into(), time_ms: at_s * 1_000, clicks, ..Search::default() }
    }

    /// A person who watched big cats, found a car, and then said which jaguar: every rule holds.
    fn mended() -> Session {
        let title = "Big cats of Brazil".to_owned();
        let searches = vec![
            search("jaguar", 100, &[("car", 2, Some(1.0))]),
            search("jaguar cats", 120, &[("zoo", 3, Some(12.0)), ("wild", 20, Some(60.0)), ("more", 90, None)]),
        ];
        Session { watched: vec![Watched { title, time_ms: 1, ..Watched::default() }], searches, ..Session::default() }
    }

    fn outcome(session: &Session) -> Outcome {
        judge(session, 0, &Mine::default())
    }

    #[test]
    fn a_failed_query_mended_with_a_word_from_the_context_is_a_rewrite() {
        let Outcome::Kept(found) = outcome(&mended()) else { panic!("not kept") };
        assert_eq!((found.query.as_str(), found.target.as_deref()), ("jaguar", Some("jaguar cats")));
        assert_eq!(found.satisfied_doc.as_deref(), Some("wild"));
        // Known when the dwell on `wild` ended: 120 + 20 + 60 s.
        assert_eq!((found.time_ms, found.known_ms), (100_000, 200_000));
        assert_eq!(found.context, context_before(&mended(), 0, 4, 3));
    }

    #[test]
    fn each_rule_for_rewrites_refuses_on_its_own() {
        let refused = |change: fn(&mut Session), why: Why| {
            let mut session = mended();
            change(&mut session);
            assert_eq!(outcome(&session), Outcome::Dropped(why));
        };
        refused(|s| s.searches[0].clicks[0].dwell_s = Some(2.4), Why::OriginDidNotFail);
        refused(|s| s.searches[0].clicks[0].dwell_s = None, Why::DwellUnknown);
        refused(|s| s.searches[1].clicks.truncate(0), Why::NextDidNotSucceed);
        refused(|s| s.searches[1].clicks = search("", 0, &[("zoo", 1, Some(9.9))]).clicks, Why::NextDidNotSucceed);
        refused(|s| s.searches[1].clicks.drain(..2).for_each(drop), Why::DwellUnknown);
        refused(|s| s.searches[0].query = "CATS, jaguar! big".into(), Why::NoGainTerm);
        refused(|s| s.watched.clear(), Why::GainNotInContext);
        // Watched after the query was typed: not a reason the person had.
        refused(|s| s.watched[0].time_ms = 100_001, Why::GainNotInContext);
        // A word of the context that stood in the first query already is no gain.
        let had_it = |s: &mut Session| {
            s.searches[0].query = "jaguar cats".into();
            s.searches[1].query = "jaguar cats zoo".into();
        };
        refused(had_it, Why::GainNotInContext);
    }

    #[test]
    fn the_gain_term_may_be_in_tags_earlier_queries_or_the_place() {
        let mut bare = mended();
        bare.watched.clear();
        let kept = |session: &Session, index| matches!(judge(session, index, &Mine::default()), Outcome::Kept(_));
        assert!(!kept(&bare, 0));
        let mut tagged = bare.clone();
        tagged.watched.push(Watched { tags: vec!["Cats".into()], time_ms: 1, ..Watched::default() });
        assert!(kept(&tagged, 0));
        let mut asked = bare.clone();
        asked.searches.insert(0, search("cats", 90, &[]));
        assert!(kept(&asked, 1));
        let mut placed = bare;
        placed.place = Some("Cats".into());
        assert!(kept(&placed, 0));
    }

    #[test]
    fn a_pair_must_be_close_and_different() {
        let mine = Mine::default();
        assert!(is_candidate(&mended(), 0, &mine) && !is_candidate(&mended(), 1, &mine));
        let mut late = mended();
        late.searches[1].time_ms = late.searches[0].time_ms + 300_001;
        assert!(!is_candidate(&late, 0, &mine));
        let mut same = mended();
        same.searches[1].query = " JAGUAR ".into();
        assert!(!is_candidate(&same, 0, &mine));
        assert!(!same_query("c++", "c#x") && same_query("??", " ??") && !same_query("??", "!!"));
    }

    #[test]
    fn a_query_about_something_else_is_no_reformulation() {
        assert!(
            related("jaguar", "Jaguar cats")
                && related("mercruy", "mercury planet")
                && related("苹果手机", "苹果 水果")
        );
        assert!(!related("jaguar", "weather lyon") && !related("car", "cat"), "short words are not mended into others");
        let mut session = mended();
        session.searches[1].query = "cats".into();
        assert!(!is_candidate(&session, 0, &Mine::default()));
        assert!(is_candidate(&session, 0, &Mine { related: false, ..Mine::default() }));
        // Whoever was satisfied and then wants something else has not reformulated.
        let mut next = satisfied();
        next.searches.push(search("tulips", 150, &[]));
        assert!(matches!(outcome(&next), Outcome::Kept(_)));
    }

    /// Weather, opened after 5 s, read for half a minute, done.
    fn satisfied() -> Session {
        let clicks = [("radar", 1, Some(3.0)), ("today", 5, Some(30.0))];
        Session { searches: vec![search("weather", 100, &clicks)], ..Session::default() }
    }

    #[test]
    fn a_query_answered_at_once_and_left_alone_is_a_reject() {
        let Outcome::Kept(found) = outcome(&satisfied()) else { panic!("not kept") };
        assert_eq!((found.target, found.satisfied_doc.as_deref()), (None, Some("today")));
        assert_eq!((found.time_ms, found.known_ms), (100_000, 135_000));
        // A new need after the gap is no reformulation; nor is the same query again.
        let mut later = satisfied();
        later.searches.push(search("news", 100 + 301, &[]));
        assert!(matches!(outcome(&later), Outcome::Kept(_)));
        let mut again = satisfied();
        again.searches.push(search("Weather", 120, &[]));
        assert!(matches!(outcome(&again), Outcome::Kept(_)));
    }

    #[test]
    fn each_rule_for_rejects_refuses_on_its_own() {
        let refused = |change: fn(&mut Session), why: Why| {
            let mut session = satisfied();
            change(&mut session);
            assert_eq!(outcome(&session), Outcome::Dropped(why));
        };
        refused(|s| s.searches.push(search("weather lyon", 150, &[])), Why::OriginDidNotFail);
        let again_then_more = |s: &mut Session| {
            s.searches.push(search("weather", 120, &[]));
            s.searches.push(search("weather lyon", 150, &[]));
        };
        refused(again_then_more, Why::ReformulatedLater);
        refused(|s| s.searches[0].clicks.clear(), Why::NothingOpened);
        refused(|s| s.searches[0].clicks.iter_mut().for_each(|c| c.dwell_s = None), Why::DwellUnknown);
        refused(|s| s.searches[0].clicks[1].dwell_s = Some(9.9), Why::NotSatisfied);
        refused(|s| s.searches[0].clicks[1].time_ms = 130_001, Why::SatisfiedLate);
    }
}
