//! What a log says, read once from person to person: sessions, reformulations, repeats, clicks, dwell.

use std::collections::HashSet;

use super::dwell::Dwells;
use crate::logs::{Search, Session, words};

/// A sitting ends with five minutes without a query (Silverstein et al. 1999): one rule for every log.
const GAP_MS: i64 = 300_000;
/// Places of a page that are told apart.
pub(super) const RANKS: usize = 10;
/// Lengths of a sitting that are told apart; the last one stands for all longer ones.
pub(super) const LENGTHS: usize = 10;
const DAY_MS: i64 = 86_400_000;
/// Two typing errors are the most that a mended query may differ by.
const MENDED: usize = 2;

/// Counts over a log. Sessions must come in person by person, each person's in time order.
#[derive(Debug, Default)]
pub(super) struct People {
    pub people: u64,
    pub sessions: u64,
    pub searches: u64,
    /// Sittings by their number of queries: index 0 is one query.
    pub sittings: [u64; LENGTHS],
    pub sittings_reformulated: u64,
    pub sittings_bought: u64,
    /// A query follows another one in the same sitting, and is another query.
    pub changed: u64,
    pub reformulated: u64,
    /// Longest dwell on searches that were reformulated.
    pub before_reformulation: Dwells,
    /// Of these, those below the time at which mining calls a search failed.
    pub failed: u64,
    pub repeated_queries: u64,
    pub clicks: u64,
    pub repeated_clicks: u64,
    pub searches_clicked: u64,
    pub searches_refinding: u64,
    pub no_click: u64,
    /// Searches that are known to have shown something, or nothing.
    pub pages_told: u64,
    pub shown_by_rank: [u64; RANKS],
    pub clicks_by_rank: [u64; RANKS],
    pub dwells: Dwells,
    pub valid_plays: u64,
    pub long_plays: u64,
    /// Searches of each week, by half of the people.
    pub weeks: Vec<[u64; 2]>,
    from_ms: i64,
    fail_dwell_s: f64,
    now: Now,
}

/// The person that is being read, and the sitting.
#[derive(Debug, Default)]
struct Now {
    user: Option<String>,
    queries: HashSet<String>,
    docs: HashSet<String>,
    last: Option<Search>,
    length: usize,
    reformulated: bool,
    bought: bool,
}

impl People {
    pub fn new(from_ms: i64, fail_dwell_s: f64) -> Self {
        Self { from_ms, fail_dwell_s, ..Self::default() }
    }

    pub fn add(&mut self, session: &Session) {
        if self.now.user.as_deref() != Some(&session.user) {
            self.close();
            self.people += 1;
            self.now = Now { user: Some(session.user.clone()), ..Now::default() };
        }
        self.sessions += 1;
        session.searches.iter().for_each(|search| self.search(search, &session.user));
    }

    /// Ends the last person's sitting; to be called once all is added.
    pub fn close(&mut self) {
        if self.now.length > 0 {
            self.sittings[self.now.length.min(LENGTHS) - 1] += 1;
            self.sittings_reformulated += u64::from(self.now.reformulated);
            self.sittings_bought += u64::from(self.now.bought);
        }
        (self.now.length, self.now.reformulated, self.now.bought, self.now.last) = (0, false, false, None);
    }

    fn search(&mut self, search: &Search, user: &str) {
        self.searches += 1;
        self.week(search.time_ms, user);
        if let Some(last) = &self.now.last {
            if (search.time_ms - last.time_ms).abs() > GAP_MS {
                self.close();
            } else if normal(&last.query) != normal(&search.query) {
                self.changed += 1;
                if reformulates(&last.query, &search.query) {
                    self.reformulated += 1;
                    self.now.reformulated = true;
                    if let Some(dwell_s) = last.longest_dwell_s() {
                        self.before_reformulation.add(f64::from(dwell_s));
                        self.failed += u64::from(f64::from(dwell_s) < self.fail_dwell_s);
                    }
                }
            }
        }
        self.now.length += 1;
        self.repeated_queries += u64::from(!self.now.queries.insert(normal(&search.query)));
        self.page(search);
        self.now.last = Some(search.clone());
    }

    fn week(&mut self, time_ms: i64, user: &str) {
        let week = ((time_ms - self.from_ms).max(0) / (7 * DAY_MS)) as usize;
        if self.weeks.len() <= week {
            self.weeks.resize(week + 1, [0; 2]);
        }
        self.weeks[week][half(user)] += 1;
    }

    fn page(&mut self, search: &Search) {
        let told = !search.shown.is_empty();
        self.pages_told += u64::from(told);
        self.no_click += u64::from(search.clicks.is_empty());
        self.searches_clicked += u64::from(!search.clicks.is_empty());
        for rank in 0..RANKS.min(search.shown.len()) {
            self.shown_by_rank[rank] += 1;
            let clicked = search.clicks.iter().any(|c| c.rank as usize == rank + 1);
            self.clicks_by_rank[rank] += u64::from(clicked);
        }
        let mut known = false;
        for click in &search.clicks {
            self.clicks += 1;
            self.now.bought |= click.bought;
            if self.now.docs.contains(&click.doc) {
                self.repeated_clicks += 1;
                known = true;
            }
            if let Some(dwell_s) = click.dwell_s.map(f64::from) {
                self.dwells.add(dwell_s);
                self.valid_plays += u64::from(dwell_s > 7.0);
                self.long_plays += u64::from(dwell_s >= 18.0);
            }
        }
        self.searches_refinding += u64::from(known);
        self.now.docs.extend(search.clicks.iter().map(|click| click.doc.clone()));
    }
}

/// Which half of the people somebody is in, as [`crate::store::QueryDay`] has it.
pub(super) fn half(user: &str) -> usize {
    user.chars().last().map_or(0, |c| c as usize % 2)
}

/// As [`crate::store::QueryDay`] has it.
fn normal(query: &str) -> String {
    query.trim_matches(' ').to_ascii_lowercase()
}

/// Whether a query asks for the same thing in other words: it keeps a word of the one before, or mends its spelling.
fn reformulates(before: &str, after: &str) -> bool {
    let old: HashSet<String> = words(before).collect();
    words(after).any(|word| old.contains(&word)) || strsim::osa_distance(&normal(before), &normal(after)) <= MENDED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Click;

    fn search(query: &str, time_s: i64, clicks: &[(&str, u32, f32)]) -> Search {
        let click = |(doc, rank, dwell_s): &(&str, u32, f32)| Click {
            doc: (*doc).into(),
            rank: *rank,
            dwell_s: Some(*dwell_s),
            ..Click::default()
        };
        Search {
            query: query.into(),
            time_ms: 1_000 * time_s,
            shown: vec!["a".into(), "b".into()],
            clicks: clicks.iter().map(click).collect(),
            ..Search::default()
        }
    }

    fn session(user: &str, searches: Vec<Search>) -> Session {
        Session { user: user.into(), searches, ..Session::default() }
    }

    fn counted(sessions: &[Session]) -> People {
        let mut people = People::new(0, 2.4);
        sessions.iter().for_each(|s| people.add(s));
        people.close();
        people
    }

    #[test]
    fn sittings_are_cut_by_the_gap_whatever_the_log_calls_a_session() {
        let one = session("u1", vec![search("jaguar", 0, &[]), search("weather", 1_000, &[])]);
        let two = session("u1", vec![search("weather leeds", 1_100, &[])]);
        let three = session("u2", vec![search("jaguar", 1_150, &[])]);
        let p = counted(&[one, two, three]);
        assert_eq!((p.people, p.sessions, p.searches), (2, 3, 4));
        assert_eq!(p.sittings[..3], [2, 1, 0]);
        assert_eq!((p.changed, p.reformulated, p.sittings_reformulated), (1, 1, 1));
        assert_eq!(p.weeks, [[1, 3]], "u1 and u2 are in different halves");
    }

    #[test]
    fn reformulations_keep_a_word_or_mend_one() {
        for (before, after) in [("jaguar", "jaguar car"), ("mercruy", "mercury"), ("a b", "b c")] {
            assert!(reformulates(before, after), "{before} {after}");
        }
        assert!(!reformulates("jaguar car", "weather leeds"));
        let p = counted(&[session(
            "u1",
            vec![
                search("jaguar", 0, &[("a", 1, 1.0)]),
                search("jaguar car", 9, &[("b", 2, 30.0)]),
                search("news", 20, &[]),
            ],
        )]);
        assert_eq!((p.changed, p.reformulated, p.failed), (2, 1, 1));
        assert_eq!(p.before_reformulation.len(), 1);
    }

    #[test]
    fn repeats_are_of_one_person_and_clicks_are_counted_by_rank() {
        let again = || search("jaguar", 0, &[("a", 1, 8.0), ("b", 2, 18.0)]);
        let p = counted(&[session("u1", vec![again(), again()]), session("u2", vec![again()])]);
        assert_eq!((p.repeated_queries, p.repeated_clicks, p.searches_refinding), (1, 2, 1));
        assert_eq!((p.clicks, p.valid_plays, p.long_plays, p.no_click), (6, 6, 3, 0));
        assert_eq!((p.shown_by_rank[..3].to_vec(), p.clicks_by_rank[..3].to_vec()), (vec![3, 3, 0], vec![3, 3, 0]));
    }
}
