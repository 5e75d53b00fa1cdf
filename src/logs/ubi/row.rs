//! One line of a UBI file as a row: what it says, whichever version and spelling it uses.

use std::hash::{Hash, Hasher};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::lines::{Line, excerpt};
use super::{reason, time};

/// A dwell above this many seconds is no dwell of a person: the field means something else there.
const LONGEST_DWELL_S: f64 = 86_400.0;

/// What a line turned out to be.
pub(super) enum Parsed {
    /// A blank line, or a bulk file's action line: framing, not a row.
    Frame,
    /// A row that says something.
    Row(Box<Row>),
    /// A row that cannot be used.
    Skip(&'static str),
}

/// A query or an event.
pub(super) struct Row {
    pub line: usize,
    pub excerpt: String,
    pub time_ms: i64,
    pub who: Who,
    pub application: String,
    pub query_id: Option<String>,
    /// The query's words, where the row has them; never blank.
    pub text: Option<String>,
    pub body: Body,
}

/// Whose row it is, as far as it says.
#[derive(Clone, Default, Hash)]
pub(super) struct Who {
    pub session: Option<String>,
    pub user: Option<String>,
    pub client: Option<String>,
}

/// What a row is about.
pub(super) enum Body {
    /// A row of `ubi_queries`, with the ids of its results.
    Query { hits: Vec<String> },
    /// A query as the client saw it.
    Search,
    /// A result was on the screen.
    Impression(Object),
    /// A result was opened, put in the cart or bought.
    Visit { object: Object, dwell_s: Option<f32>, bought: bool },
    /// Anything else a client logs, and result actions that do not name a result.
    Other(&'static str),
}

/// The object of an event.
#[derive(Hash)]
pub(super) struct Object {
    pub id: String,
    pub title: Option<String>,
    /// As the file counts it, from 0 or 1.
    pub ordinal: Option<u32>,
}

impl Row {
    /// The same for two rows that say the same: line and excerpt left out.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut h = std::hash::DefaultHasher::new();
        (self.time_ms, &self.who, &self.application, &self.query_id, &self.text).hash(&mut h);
        match &self.body {
            Body::Query { hits } => (0, hits).hash(&mut h),
            Body::Search => 1.hash(&mut h),
            Body::Impression(object) => (2, object).hash(&mut h),
            Body::Visit { object, dwell_s, bought } => (3, object, dwell_s.map(f32::to_bits), bought).hash(&mut h),
            Body::Other(reason) => (4, reason).hash(&mut h),
        }
        h.finish()
    }
}

/// The fields looked at; everything else in a document is passed over unread.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    action_name: Value,
    application: Value,
    query_id: Value,
    session_id: Value,
    client_id: Value,
    user_id: Value,
    timestamp: Value,
    message_type: Value,
    message: Value,
    user_query: Value,
    event_attributes: Value,
    query_response_hit_ids: Value,
    query_response_object_ids: Value,
    // Framing: bulk actions, and the wrapper that index dumps put around a document.
    index: Option<IgnoredAny>,
    create: Option<IgnoredAny>,
    delete: Option<IgnoredAny>,
    update: Option<IgnoredAny>,
    #[serde(rename = "_source")]
    source: Option<Box<Raw>>,
}

/// Reads one line.
pub(super) fn parse(line: &Line) -> Parsed {
    if line.too_long {
        return Parsed::Skip(reason::TOO_LONG);
    }
    let Ok(text) = std::str::from_utf8(line.bytes) else {
        return Parsed::Skip(reason::NOT_UTF8);
    };
    let text = text.trim();
    // Older exports put the index name and a tab before the document.
    let text = match text.split_once('\t') {
        Some((index, json)) if !index.contains(['{', '[', '"']) => json.trim(),
        _ => text,
    };
    if text.is_empty() {
        return Parsed::Frame;
    }
    // serde would take an array for a struct.
    if !text.starts_with('{') {
        return Parsed::Skip(reason::NOT_JSON);
    }
    match serde_json::from_str::<Raw>(text) {
        Ok(raw) => read(raw.source.map_or_else(|| Raw { source: None, ..raw }, |source| *source), line),
        Err(e) if e.is_eof() && !line.ended => Parsed::Skip(reason::TRUNCATED),
        Err(_) => Parsed::Skip(reason::NOT_JSON),
    }
}

fn read(raw: Raw, line: &Line) -> Parsed {
    let has_hits = raw.query_response_hit_ids.is_array() || raw.query_response_object_ids.is_array();
    let action = name(&raw.action_name);
    if action.is_none() && !raw.user_query.is_string() && !has_hits {
        let frame = raw.index.is_some() || raw.create.is_some() || raw.delete.is_some() || raw.update.is_some();
        return if frame { Parsed::Frame } else { Parsed::Skip(reason::NEITHER) };
    }
    let Some(time_ms) = time::parse(&raw.timestamp) else {
        return Parsed::Skip(reason::NO_TIME);
    };
    let attributes = &raw.event_attributes;
    let mut text = words_of(&raw.user_query);
    let body = match action {
        None => {
            let hits = if raw.query_response_hit_ids.is_array() {
                &raw.query_response_hit_ids
            } else {
                &raw.query_response_object_ids
            };
            Body::Query { hits: hits.as_array().into_iter().flatten().filter_map(id).collect() }
        }
        Some(action) => event(&action, name(&raw.message_type).as_deref(), attributes),
    };
    match body {
        Body::Query { .. } if text.is_none() => return Parsed::Skip(reason::EMPTY_QUERY),
        Body::Search => text = text.or_else(|| words_of(&raw.message)),
        _ => (),
    }
    let who = Who {
        session: id(&raw.session_id).or_else(|| id(&attributes["session_id"])),
        user: id(&raw.user_id).or_else(|| id(&attributes["user_id"])),
        client: id(&raw.client_id),
    };
    let application = id(&raw.application).unwrap_or_default();
    let query_id = id(&raw.query_id);
    let (line, excerpt) = (line.number, excerpt(line.bytes));
    Parsed::Row(Box::new(Row { line, excerpt, time_ms, who, application, query_id, text, body }))
}

fn event(action: &str, message_type: Option<&str>, attributes: &Value) -> Body {
    let bought = action == "purchase";
    let is_visit = bought || matches!(action, "click" | "item_click" | "add_to_cart" | "view" | "watch");
    if !is_visit && (message_type == Some("query") || matches!(action, "search" | "on_search")) {
        return Body::Search;
    }
    if !is_visit && action != "impression" {
        return Body::Other(reason::OTHER_ACTION);
    }
    let Some(object) = object(attributes) else {
        return Body::Other(reason::NO_OBJECT);
    };
    if !is_visit {
        return Body::Impression(object);
    }
    // The standard leaves the unit open; the files that have the field hold seconds.
    let dwell_s = attributes["dwell_time"].as_f64().filter(|s| (0.0..=LONGEST_DWELL_S).contains(s));
    Body::Visit { object, dwell_s: dwell_s.map(|s| s as f32), bought }
}

fn object(attributes: &Value) -> Option<Object> {
    let object = &attributes["object"];
    let place = &attributes["position"]["ordinal"];
    // Schema 1.0.0 has `{"ordinal": {"index": 3}}`.
    let place = if place.is_object() { &place["index"] } else { place };
    Some(Object {
        id: id(&object["object_id"])?,
        title: words_of(&object["description"]).or_else(|| words_of(&object["title"])),
        ordinal: place.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n < u32::MAX),
    })
}

/// An id as text. What a script writes when it has none counts as none.
fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(s) => s.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        _ => return None,
    };
    (!matches!(text.as_str(), "" | "null" | "undefined" | "None" | "NaN")).then_some(text)
}

fn name(value: &Value) -> Option<String> {
    value.as_str().map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty())
}

fn words_of(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned)
}
