//! What was known when a query was typed: the context a rewriter may look at.

use std::collections::HashSet;

use super::{Context, Seen, Session};

/// The context of one search of a session: only what came before its query, newest first.
///
/// Of two equal earlier queries the newer one stays.
///
/// # Panics
/// When `search_index` is not one of the session's searches.
#[must_use]
pub fn context_before(session: &Session, search_index: usize, watched_limit: usize, queries_limit: usize) -> Context {
    let now_ms = session.searches[search_index].time_ms;
    let watched = session.watched.iter().rev().filter(|w| w.time_ms <= now_ms).take(watched_limit);
    let mut seen = HashSet::new();
    let earlier = session.searches[..search_index].iter().rev().filter(|s| s.time_ms <= now_ms);
    let queries = earlier.map(|s| &s.query).filter(|q| seen.insert(*q)).take(queries_limit);
    Context {
        watched: watched.map(|w| Seen { title: w.title.clone(), tags: w.tags.clone() }).collect(),
        queries: queries.cloned().collect(),
        place: session.place.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Search, Watched};

    #[test]
    fn only_what_came_before_newest_first_and_no_query_twice() {
        let search = |query: &str, time_ms| Search { query: query.into(), time_ms, ..Search::default() };
        let watched = |title: &str, time_ms| Watched { title: title.into(), time_ms, ..Watched::default() };
        let session = Session {
            place: Some("Lyon".into()),
            watched: vec![watched("old", 1), watched("mid", 5), watched("just before", 40), watched("after", 41)],
            searches: vec![search("a", 10), search("b", 20), search("a", 30), search("now", 40), search("later", 50)],
            ..Session::default()
        };
        let context = context_before(&session, 3, 2, 5);
        let titles: Vec<_> = context.watched.iter().map(|w| w.title.as_str()).collect();
        assert_eq!(titles, ["just before", "mid"]);
        assert_eq!(context.queries, ["a", "b"]);
        assert_eq!(context.place.as_deref(), Some("Lyon"));
        assert_eq!(context_before(&session, 3, 0, 1).queries, ["a"]);
        assert_eq!(context_before(&session, 0, 2, 5).queries, [] as [&str; 0]);
    }
}
