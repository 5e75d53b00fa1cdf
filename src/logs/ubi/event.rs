//! One event of the standard as a server hears it, outside any file.

use super::lines::Line;
use super::reason;
use super::row::{self, Body, Parsed};

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A result was opened, or is said more of.
    Opened {
        /// The search.
        query_id: String,
        /// The document.
        doc: String,
        /// Unix milliseconds, by the client's clock.
        time_ms: i64,
        /// Seconds.
        dwell_s: Option<f32>,
        /// Whether it was bought.
        bought: bool,
    },
    /// Queries and impressions: what a server knows already.
    Known,
}

/// Reads an event by the rules of the reader of files.
///
/// # Errors
/// One of the words in [`reason`].
pub fn hear(json: &str) -> Result<Heard, &'static str> {
    let line = Line { number: 1, bytes: json.as_bytes(), ended: true, too_long: false, read: json.len() as u64 };
    let row = match row::parse(&line) {
        Parsed::Frame => return Err(reason::NEITHER),
        Parsed::Skip(why) => return Err(why),
        Parsed::Row(row) => row,
    };
    match row.body {
        Body::Other(why) => Err(why),
        Body::Query { .. } | Body::Search | Body::Impression(_) => Ok(Heard::Known),
        Body::Visit { object, dwell_s, bought } => {
            let query_id = row.query_id.ok_or(reason::NO_QUERY_ID)?;
            Ok(Heard::Opened { query_id, doc: object.id, time_ms: row.time_ms, dwell_s, bought })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_say_what_was_opened_and_the_rest_is_known_or_refused() {
        let event = |action: &str, attributes: &str| {
            hear(&format!(
                r#"{{"action_name":"{action}","query_id":"q","timestamp":"1970-01-01T00:00:01Z","event_attributes":{attributes}}}"#
            ))
        };
        let object = r#"{"object":{"object_id":7},"position":{"ordinal":2},"dwell_time":12.5}"#;
        let opened = |bought| Heard::Opened {
            query_id: "q".into(),
            doc: "7".into(),
            time_ms: 1_000,
            dwell_s: Some(12.5),
            bought,
        };
        assert_eq!(event("click", object), Ok(opened(false)));
        assert_eq!(event("purchase", object), Ok(opened(true)));
        assert_eq!(event("impression", object), Ok(Heard::Known));
        assert_eq!(event("click", "{}"), Err(reason::NO_OBJECT));
        assert_eq!(event("page_exit", "{}"), Err(reason::OTHER_ACTION));
        assert_eq!(hear(r#"{"action_name":"click"}"#), Err(reason::NO_TIME));
        assert_eq!(hear("[1]"), Err(reason::NOT_JSON));
    }
}
