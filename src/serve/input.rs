//! What a client may send: the body of a request, checked and cleaned before anything is done with it.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::logs::Context;
use crate::recipe::{Mine, Serve};

/// Most results a page may ask for.
const MAX_PAGE: usize = 100;
/// Longest id of a query, a session or a person, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Longest title, tag or place taken from a context, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Most tags taken from a watched video.
const MAX_TAGS: usize = 16;

/// Why a request is not answered: status and a sentence.
pub(super) type Refusal = (StatusCode, String);

/// A body as axum read it.
pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

/// Body of `/v1/search` and `/v1/rewrite`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// As the person typed it.
    pub query: String,
    #[serde(default)]
    pub context: Context,
    /// Results wanted.
    pub size: Option<usize>,
    /// Whether to say how the page came about.
    #[serde(default)]
    pub explain: bool,
    /// Less than the recipe's deadline, if the client cannot wait as long.
    pub deadline_ms: Option<u64>,
    /// The client's own id of this search, for its feedback; made by the server otherwise.
    pub query_id: Option<String>,
    /// The sitting.
    pub session: Option<String>,
    /// The person, or what stands for one.
    pub user: Option<String>,
}

/// The body, or why it cannot be taken.
pub(super) fn body<T>(body: Body<T>) -> Result<T, Refusal> {
    body.map(|Json(inner)| inner).map_err(|e| (e.status(), e.body_text()))
}

/// Checks a request and brings it into the form that everything behind relies on.
pub(super) fn request(body: Body<Request>, serve: &Serve, mine: &Mine) -> Result<Request, Refusal> {
    let mut request = self::body(body)?;
    let bad = |text: String| Err((StatusCode::BAD_REQUEST, text));
    let (bytes, longest) = (request.query.len(), serve.max_query_bytes);
    if bytes > longest {
        return bad(format!("query has {bytes} bytes, at most {longest} are taken (serve.max_query_bytes)"));
    }
    request.query = clean(&request.query);
    if request.query.is_empty() {
        return bad("query is empty".into());
    }
    for (name, id) in [("query_id", &request.query_id), ("session", &request.session), ("user", &request.user)] {
        check_id(name, id.as_deref())?;
    }
    request.size = request.size.map(|size| size.clamp(1, MAX_PAGE));
    // What a rewriter was never trained to look at is not worth reading, and a long history not worth its time.
    let context = &mut request.context;
    context.watched.truncate(mine.watched_limit);
    context.queries.truncate(mine.queries_limit);
    for seen in &mut context.watched {
        seen.tags.truncate(MAX_TAGS);
        std::iter::once(&mut seen.title).chain(&mut seen.tags).for_each(shorten);
    }
    context.queries.iter_mut().chain(&mut context.place).for_each(shorten);
    Ok(request)
}

/// An id that is given must be one.
pub(super) fn check_id(name: &str, id: Option<&str>) -> Result<(), Refusal> {
    match id {
        Some(id) if id.trim().is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) => Err((
            StatusCode::BAD_REQUEST,
            format!(
                "{name} must have 1 to {MAX_ID_BYTES} bytes and no control characters; leave it out if there is none"
            ),
        )),
        _ => Ok(()),
    }
}

/// Text as a person sees it: what has no width is taken out, what only steers a terminal or a layout becomes a space.
pub(super) fn clean(text: &str) -> String {
    let seen = text.chars().filter(|c| !without_width(*c)).map(|c| if steers(c) { ' ' } else { c });
    seen.collect::<String>().trim().to_owned()
}

/// Soft hyphen, zero-width space, joiners and word joiners, byte order mark.
fn without_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Control characters, line and paragraph separators, marks that turn the direction of writing.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shorten(text: &mut String) {
    *text = clean(text);
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;

    fn checked(json: &str) -> Result<Request, Refusal> {
        request(Ok(Json(serde_json::from_str(json).unwrap())), &Serve::default(), &Mine::default())
    }

    #[test]
    fn what_a_person_cannot_see_is_no_part_of_a_query() {
        let of = |query: &str| checked(&serde_json::json!({ "query": query }).to_string()).map(|r| r.query);
        assert_eq!(of("\u{feff} jag\u{200b}uar\u{0}car\u{202e} ").unwrap(), "jaguar car");
        assert_eq!(of("title:x AND (y*~2 \"").unwrap(), "title:x AND (y*~2 \"");
        for empty in ["", " \t\n", "\u{200b}\u{feff}", "\u{1b}\u{7}\u{0}"] {
            assert_eq!(of(empty).unwrap_err(), (StatusCode::BAD_REQUEST, "query is empty".into()), "{empty:?}");
        }
        assert_eq!(of(&"x".repeat(513)).unwrap_err().0, StatusCode::BAD_REQUEST);
        assert_eq!(of(&"猫".repeat(170)).unwrap().chars().count(), 170);
    }

    #[test]
    fn a_context_is_cut_to_what_a_rewriter_may_read() {
        let seen = Seen { title: "猫".repeat(400), tags: vec!["t".into(); 90] };
        let context = Context { watched: vec![seen; 50], queries: vec!["q".into(); 50], place: Some("x\u{0}y".into()) };
        let request = checked(&serde_json::json!({"query": "q", "context": context}).to_string()).unwrap();
        let context = request.context;
        assert_eq!((context.watched.len(), context.queries.len()), (4, 3));
        assert_eq!((context.watched[0].title.len(), context.watched[0].tags.len()), (510, MAX_TAGS));
        assert_eq!(context.place.as_deref(), Some("x y"));
    }

    #[test]
    fn ids_are_short_and_printable() {
        let of = |id: &str| checked(&serde_json::json!({"query": "q", "session": id}).to_string()).map(|r| r.session);
        assert_eq!(of("s 1").unwrap().as_deref(), Some("s 1"));
        for bad in ["", " ", "a\u{0}b", &"x".repeat(129)] {
            assert!(of(bad).unwrap_err().1.contains("session must have"), "{bad:?}");
        }
    }
}
