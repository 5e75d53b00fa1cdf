//! The routes: what comes in, what goes out.
//!
//! The body of a page holds nothing that changes from one request to the next, so that a page without a rewrite is the
//! same bytes whatever became of rewriting. What does change goes into headers: `x-query-id`, `x-rewriting`,
//! `server-timing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::explain::explanation;
use super::input::{self, Body, Refusal, Request};
use super::path::{Page, Paths, Question};
use crate::journal::now_ms;
use crate::search::fake::Ranked;
use crate::store::Served;

/// Who is meant when a request does not say.
const ANYONE: &str = "anonymous";

#[derive(Serialize)]
struct RewriteResponse {
    query: String,
    rewrite: Option<String>,
    /// How it went: `rewritten`, `rejected`, `unchanged`, `truncated`, `missed`, `late`, `error`, `off`.
    path: &'static str,
    latency_ms: f64,
}

#[derive(Serialize)]
struct SearchResponse {
    query: String,
    rewrite: Option<String>,
    /// `plain`, `fused` or `fake`.
    path: &'static str,
    hits: Vec<Ranked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Value>,
}

/// `POST /v1/rewrite`.
pub(super) async fn rewrite(State(paths): State<Arc<Paths>>, body: Body<Request>) -> Response {
    let started = std::time::Instant::now();
    let request = match input::request(body, &paths.recipe.serve, &paths.recipe.mine) {
        Ok(request) => request,
        Err(refusal) => return refused(&paths, "/v1/rewrite", refusal),
    };
    let (rewrite, fate) = paths.rewrite(question(&request, &paths)).await;
    let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
    paths.counters.rewrite(fate, latency_ms);
    paths.counters.request("/v1/rewrite", 200);
    Json(RewriteResponse { query: request.query, rewrite, path: fate.as_str(), latency_ms }).into_response()
}

/// `POST /v1/search`.
pub(super) async fn search(State(paths): State<Arc<Paths>>, body: Body<Request>) -> Response {
    let request = match input::request(body, &paths.recipe.serve, &paths.recipe.mine) {
        Ok(request) => request,
        Err(refusal) => return refused(&paths, "/v1/search", refusal),
    };
    let page = match paths.search(question(&request, &paths)).await {
        Ok(page) => page,
        Err(e) => {
            paths.complaints.say(&format!("the search failed: {e:#}"));
            let text = "the search index cannot be read; the server's log says why".to_owned();
            return refused(&paths, "/v1/search", (StatusCode::INTERNAL_SERVER_ERROR, text));
        }
    };
    paths.counters.search(page.path, page.fate, page.latency_ms);
    paths.counters.request("/v1/search", 200);
    let query_id = request.query_id.clone().unwrap_or_else(new_id);
    record(&paths, &request, &page, &query_id);
    let explanation = match request.explain {
        true => Some(explanation(&paths, &request.query, &query_id, &page).await),
        false => None,
    };
    let headers = [
        ("x-query-id", HeaderValue::from_str(&query_id)),
        ("x-rewriting", HeaderValue::from_str(page.fate.as_str())),
        ("server-timing", HeaderValue::from_str(&format!("total;dur={:.3}", page.latency_ms))),
    ];
    let Page { hits, path, rewrite, .. } = page;
    let mut response = Json(SearchResponse { query: request.query, rewrite, path, hits, explanation }).into_response();
    // An id of the client's own that no header can carry is known to the client anyway.
    let carried = headers.into_iter().filter_map(|(name, value)| Some((name, value.ok()?)));
    carried.for_each(|(name, value)| _ = response.headers_mut().insert(name, value));
    response
}

fn question(request: &Request, paths: &Paths) -> Question {
    Question {
        query: request.query.clone(),
        context: request.context.clone(),
        size: request.size.unwrap_or(paths.recipe.search.page),
        deadline: paths.deadline(request.deadline_ms),
    }
}

/// Sends a search to the log.
fn record(paths: &Paths, request: &Request, page: &Page, query_id: &str) {
    let Some(recorder) = &paths.recorder else { return };
    let user = request.user.as_ref().or(request.session.as_ref()).map_or(ANYONE, String::as_str);
    // Of someone unknown, one search tells nothing of the next.
    let alone = || request.user.is_none().then(|| query_id.to_owned());
    let served = Served {
        query_id: query_id.to_owned(),
        user: user.to_owned(),
        session: request.session.clone().or_else(alone),
        place: request.context.place.clone(),
        watched: request.context.watched.clone(),
        query: request.query.clone(),
        time_ms: now_ms(),
        shown: page.hits.iter().map(|hit| hit.doc.clone()).collect(),
        path: page.path.to_owned(),
        rewriting: page.fate.as_str().to_owned(),
        rewrite: page.rewrite.clone(),
        latency_ms: page.latency_ms,
    };
    recorder.served(served);
}

/// An id that no other search of this machine has.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}-{:x}", now_ms(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `GET /healthz`.
pub(super) async fn healthz(State(paths): State<Arc<Paths>>) -> Response {
    let fake = paths.fake.current().map(|index| index.info().version);
    let (rewriter, documents) = (&paths.rewriter, paths.engine.len());
    let waiting = paths.source.waiting();
    Json(json!({
        "status": "ok", "rewriter": rewriter, "documents": documents, "fake_version": fake, "nearline_waiting": waiting
    }))
    .into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(State(paths): State<Arc<Paths>>) -> Response {
    let text = paths.counters.render(paths.source.waiting());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Any other path.
pub(super) async fn unknown(uri: Uri) -> Response {
    let message = format!(
        "no route {}: there are POST /v1/search, POST /v1/rewrite, POST /v1/feedback, GET /healthz and GET /metrics",
        uri.path()
    );
    (StatusCode::NOT_FOUND, Json(json!({"error": {"message": message}}))).into_response()
}

/// Counts a refusal and says why.
pub(super) fn refused(paths: &Paths, route: &'static str, (status, message): Refusal) -> Response {
    paths.counters.request(route, status.as_u16());
    (status, Json(json!({"error": {"message": message}}))).into_response()
}
