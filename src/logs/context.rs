//! What a rewriter may look at, cut out of a session: mining and simulation use this one function.

use super::{Context, Seen, Session};

/// The context of a session's search: what the person had watched and asked before it, newest first.
///
/// Watched videos count when they were started before the query (strictly, by time). Earlier queries are those that stand
/// before the search in the session, whatever came of them and whatever they were about; the search itself and later ones
/// never count. Each list keeps its newest `watched_limit` or `queries_limit`. An index beyond the session gives the place
/// alone.
#[must_use]
pub fn context_before(session: &Session, search_index: usize, watched_limit: usize, queries_limit: usize) -> Context {
    let place = session.place.clone();
    let Some(search) = session.searches.get(search_index) else {
        return Context { place, ..Context::default() };
    };
    let mut watched: Vec<_> = session.watched.iter().filter(|w| w.time_ms < search.time_ms).collect();
    // Stable, so that of two with one time the later in the log counts as the newer.
    watched.sort_by_key(|w| w.time_ms);
    let seen = watched.into_iter().rev().map(|w| Seen { title: w.title.clone(), tags: w.tags.clone() });
    let queries = session.searches[..search_index].iter().rev().map(|s| s.query.clone());
    Context { watched: seen.take(watched_limit).collect(), queries: queries.take(queries_limit).collect(), place }
}

#[cfg(test)]
mod tests {
    use super::super::{Search, Watched};
    use super::*;

    fn session() -> Session {
        let watched = |title: &str, time_ms| Watched { title: title.into(), time_ms, ..Watched::default() };
        let search = |query: &str, time_ms| Search { query: query.into(), time_ms, ..Search::default() };
        Session {
            place: Some("Leeds".into()),
            watched: vec![watched("a", 1), watched("b", 2), watched("c", 30), watched("d", 50)],
            searches: vec![search("first", 10), search("second", 20), search("third", 40)],
            ..Session::default()
        }
    }

    fn titles(context: &Context) -> Vec<&str> {
        context.watched.iter().map(|s| s.title.as_str()).collect()
    }

    #[test]
    fn only_what_came_before_counts_newest_first() {
        let first = context_before(&session(), 0, 9, 9);
        assert_eq!((titles(&first), first.queries.len()), (vec!["b", "a"], 0));
        let third = context_before(&session(), 2, 9, 9);
        assert_eq!(titles(&third), ["c", "b", "a"]);
        assert_eq!(third.queries, ["second", "first"]);
        assert_eq!(third.place.as_deref(), Some("Leeds"));
    }

    #[test]
    fn limits_keep_the_newest_and_a_video_started_with_the_query_does_not_count() {
        let third = context_before(&session(), 2, 1, 1);
        assert_eq!(titles(&third), ["c"]);
        assert_eq!(third.queries, ["second"]);
        let mut at_once = session();
        at_once.searches[0].time_ms = 2;
        assert_eq!(titles(&context_before(&at_once, 0, 9, 9)), ["a"]);
    }

    #[test]
    fn an_index_beyond_the_session_gives_the_place_alone() {
        let none = context_before(&session(), 3, 9, 9);
        assert_eq!(none, Context { place: Some("Leeds".into()), ..Context::default() });
    }
}
