//! `POST /v1/feedback`: what people did about the results, in a short form or as User Behavior Insights events.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::refused;
use super::input::{self, Body, Refusal};
use super::path::Paths;
use crate::journal::now_ms;
use crate::logs::ubi::{Heard, hear};
use crate::store::{Feedback, Taken};

const ROUTE: &str = "/v1/feedback";
/// Most events in one request.
const MAX_EVENTS: usize = 256;
/// Longest dwell that is one, seconds: a day.
const LONGEST_DWELL_S: f32 = 86_400.0;

/// The short form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Click {
    query_id: String,
    doc: String,
    time_ms: Option<i64>,
    dwell_s: Option<f32>,
    #[serde(default)]
    bought: bool,
}

/// What became of each event.
#[derive(Debug, Serialize)]
struct Answer {
    /// In the log.
    taken: usize,
    /// Nothing new: queries and impressions, which the server logged itself.
    known: usize,
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    /// Place in what was sent, from 0.
    event: usize,
    reason: String,
}

/// One event, a list of them, or `{"events": […]}`.
pub(super) async fn feedback(State(paths): State<Arc<Paths>>, body: Body<Value>) -> Response {
    match take(&paths, body).await {
        Ok(answer) => {
            paths.counters.feedback(answer.taken, answer.known, answer.refused.len());
            let status = if answer.taken + answer.known == 0 && !answer.refused.is_empty() {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            paths.counters.request(ROUTE, status.as_u16());
            (status, Json(answer)).into_response()
        }
        Err(refusal) => refused(&paths, ROUTE, refusal),
    }
}

async fn take(paths: &Paths, body: Body<Value>) -> Result<Answer, Refusal> {
    let events = match input::body(body)? {
        Value::Object(mut whole) if whole.len() == 1 && whole.contains_key("events") => whole.remove("events"),
        other => Some(other),
    };
    let events = match events {
        Some(Value::Array(list)) => list,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    };
    if events.len() > MAX_EVENTS {
        let text =
            format!("{} events in one request, at most {MAX_EVENTS} are taken: send them in parts", events.len());
        return Err((StatusCode::BAD_REQUEST, text));
    }
    let mut answer = Answer { taken: 0, known: 0, refused: Vec::new() };
    let (mut places, mut feedback) = (Vec::new(), Vec::new());
    for (event, value) in events.iter().enumerate() {
        match read(value, paths) {
            Ok(Some(one)) => {
                places.push(event);
                feedback.push(one);
            }
            Ok(None) => answer.known += 1,
            Err(reason) => answer.refused.push(Refused { event, reason }),
        }
    }
    if feedback.is_empty() {
        return Ok(answer);
    }
    let Some(recorder) = &paths.recorder else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "this server keeps no log".into()));
    };
    let taken = recorder.feedback(feedback).await.map_err(|text| (StatusCode::SERVICE_UNAVAILABLE, text))?;
    for (event, taken) in places.into_iter().zip(taken) {
        let reason = match taken {
            Taken::Yes => {
                answer.taken += 1;
                continue;
            }
            Taken::UnknownSearch => "no search of this query_id was served",
            Taken::NotShown => "the search did not show this document",
        };
        answer.refused.push(Refused { event, reason: reason.into() });
    }
    answer.refused.sort_by_key(|refused| refused.event);
    Ok(answer)
}

/// One event; none when it says nothing new.
fn read(value: &Value, paths: &Paths) -> Result<Option<Feedback>, String> {
    let click = if value.get("action_name").is_some() {
        match hear(&value.to_string())? {
            Heard::Known => return Ok(None),
            Heard::Opened { query_id, doc, time_ms, dwell_s, bought } => {
                Click { query_id, doc, time_ms: Some(time_ms), dwell_s, bought }
            }
        }
    } else {
        Click::deserialize(value).map_err(|error| {
            format!("{error}; an event looks like {{\"query_id\": \"…\", \"doc\": \"…\", \"dwell_s\": 12.5}}")
        })?
    };
    input::check_id("query_id", Some(&click.query_id)).map_err(|(_, text)| text)?;
    if click.dwell_s.is_some_and(|s| !(0.0..=LONGEST_DWELL_S).contains(&s)) {
        return Err(format!("dwell_s must lie between 0 and {LONGEST_DWELL_S}"));
    }
    // A document that the index does not know any more can still have been clicked.
    let seen = paths.engine.doc(&click.doc).ok().flatten();
    Ok(Some(Feedback {
        query_id: click.query_id,
        doc: click.doc,
        time_ms: click.time_ms,
        now_ms: now_ms(),
        dwell_s: click.dwell_s,
        bought: click.bought,
        seen,
        watched_from_s: paths.recipe.mine.fail_dwell_s,
    }))
}
