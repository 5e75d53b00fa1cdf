//! Requests and responses.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::path::Paths;
use crate::logs::Context;
use crate::search::Hit;

/// Most results a page may ask for.
const MAX_PAGE: usize = 100;

/// Body of both routes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    query: String,
    #[serde(default)]
    context: Context,
    /// `/v1/search`: results wanted.
    size: Option<usize>,
}

#[derive(Serialize)]
struct RewriteResponse {
    query: String,
    rewrite: Option<String>,
    path: &'static str,
    latency_ms: f64,
}

#[derive(Serialize)]
struct SearchResponse {
    query: String,
    rewrite: Option<String>,
    /// `fused`, or `plain`.
    path: &'static str,
    /// How the rewriting went: `rewritten`, `rejected`, `unchanged`, `truncated`, `late`, `error`.
    rewriting: &'static str,
    latency_ms: f64,
    hits: Vec<Hit>,
}

type Body = Result<Json<Request>, JsonRejection>;

/// `POST /v1/rewrite`.
pub(super) async fn rewrite(State(paths): State<Arc<Paths>>, body: Body) -> Response {
    let request = match checked(body, &paths) {
        Ok(request) => request,
        Err(refusal) => return refused(&paths, "/v1/rewrite", refusal),
    };
    let rewriting = paths.rewrite(request.context, request.query.clone()).await;
    paths.counters.request("/v1/rewrite", 200);
    let (rewrite, path, latency_ms) = (rewriting.rewrite, rewriting.path, rewriting.latency_ms);
    Json(RewriteResponse { query: request.query, rewrite, path, latency_ms }).into_response()
}

/// `POST /v1/search`.
pub(super) async fn search(State(paths): State<Arc<Paths>>, body: Body) -> Response {
    let started = Instant::now();
    let request = match checked(body, &paths) {
        Ok(request) => request,
        Err(refusal) => return refused(&paths, "/v1/search", refusal),
    };
    let page = request.size.unwrap_or(paths.page()).clamp(1, MAX_PAGE);
    // The plain answer is worked out beside the rewrite, so that falling back costs no time.
    let (plain, rewriting) = tokio::join!(
        paths.search(request.query.clone(), None, page),
        paths.rewrite(request.context, request.query.clone())
    );
    let fused = match &rewriting.rewrite {
        Some(rewrite) => paths.search(request.query.clone(), Some(rewrite.clone()), page).await.ok(),
        None => None,
    };
    let (hits, path) = match (fused, plain) {
        (Some(hits), _) => (hits, "fused"),
        (None, Ok(hits)) => (hits, "plain"),
        (None, Err(e)) => {
            let refusal = (StatusCode::INTERNAL_SERVER_ERROR, format!("the search index failed: {e:#}"));
            return refused(&paths, "/v1/search", refusal);
        }
    };
    let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
    paths.counters.search(path, latency_ms);
    paths.counters.request("/v1/search", 200);
    let rewrite = rewriting.rewrite.filter(|_| path == "fused");
    Json(SearchResponse { query: request.query, rewrite, path, rewriting: rewriting.path, latency_ms, hits })
        .into_response()
}

/// `GET /healthz`.
pub(super) async fn healthz(State(paths): State<Arc<Paths>>) -> Response {
    Json(json!({"status": "ok", "rewriter": paths.rewriter_name(), "documents": paths.documents()})).into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(State(paths): State<Arc<Paths>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], paths.counters.render()).into_response()
}

/// Any other path.
pub(super) async fn unknown(uri: Uri) -> Response {
    let message =
        format!("no route {}: there are POST /v1/rewrite, POST /v1/search, GET /healthz and GET /metrics", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({"error": {"message": message}}))).into_response()
}

type Refusal = (StatusCode, String);

fn checked(body: Body, paths: &Paths) -> Result<Request, Refusal> {
    let Json(request) = body.map_err(|e| (e.status(), e.body_text()))?;
    let longest = paths.limits().max_query_bytes;
    if request.query.trim().is_empty() {
        return Err((StatusCode::BAD_REQUEST, "query is empty".into()));
    }
    if request.query.len() > longest {
        let text =
            format!("query has {} bytes, at most {longest} are taken (serve.max_query_bytes)", request.query.len());
        return Err((StatusCode::BAD_REQUEST, text));
    }
    Ok(request)
}

fn refused(paths: &Paths, route: &'static str, (status, message): Refusal) -> Response {
    paths.counters.request(route, status.as_u16());
    (status, Json(json!({"error": {"message": message}}))).into_response()
}
