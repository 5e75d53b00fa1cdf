//! HTTP: the rewrite path beside the search path. The only room with async code.
//!
//! `POST /v1/rewrite`, `POST /v1/search`, `GET /healthz`, `GET /metrics`. A search never fails because of the
//! model: on an error or past the deadline the answer is the plain one, and the counters say so.

mod api;
mod counters;
mod path;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::journal::{Journal, stop};
use crate::recipe::Recipe;
use crate::rewriter::Rewriter;
use crate::search::{Engine, index_dir};

use path::Paths;

/// Largest request body; a context is a few kilobytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Opens index and rewriter and serves until Ctrl-C, which ends in `Stopped`.
///
/// # Errors
/// No index or model; a port in use.
pub fn run(workspace: &Path, recipe: &Recipe, rewriter: &str, host: IpAddr, port: u16) -> Result<()> {
    Journal::record(workspace, "serve", rewriter, &recipe.to_toml(), |journal| {
        let engine = Engine::open(&index_dir(workspace, &recipe.name))?;
        let rewriter = Rewriter::open(workspace, recipe, rewriter)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        let served = runtime.block_on(serve(Paths::new(engine, rewriter, recipe), (host, port).into(), journal));
        // Rewrites still under way must not hold the exit up.
        runtime.shutdown_background();
        served?;
        stop::check("requests under way were answered; run the same command to serve again")
    })
}

async fn serve(paths: Paths, address: SocketAddr, journal: &Journal) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!(
                "port {} is in use on {}: stop what listens there, or choose another with --port",
                address.port(),
                address.ip()
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("may not listen on port {}: choose one above 1023 with --port", address.port())
        }
        _ => anyhow!("cannot listen on {address}: {e}; give --host an address of this machine, such as 127.0.0.1"),
    })?;
    let bound = listener.local_addr()?;
    eprintln!("  serving {} on http://{bound}  (Ctrl-C stops)", paths.rewriter_name());
    journal.note(format!("listening on {bound}"))?;
    axum::serve(listener, router(Arc::new(paths))).with_graceful_shutdown(stop_signal()).await?;
    Ok(())
}

/// The routes, also used by tests without a socket.
fn router(paths: Arc<Paths>) -> Router {
    Router::new()
        .route("/v1/rewrite", post(api::rewrite))
        .route("/v1/search", post(api::search))
        .route("/healthz", get(api::healthz))
        .route("/metrics", get(api::metrics))
        .fallback(api::unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(paths)
}

/// Resolves when a stop was asked for; the process-wide handler owns the signal itself.
async fn stop_signal() {
    while !stop::requested() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
