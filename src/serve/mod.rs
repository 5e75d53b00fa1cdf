//! HTTP: the rewrite path beside the search path. The only room with async code.
//!
//! `POST /v1/search`, `POST /v1/rewrite`, `POST /v1/feedback`, `GET /healthz`, `GET /metrics`. A search never fails because
//! of the model: without one, on an error or past the deadline the answer is the plain one, and the counters say so.

mod api;
mod complaints;
mod counters;
mod explain;
mod fate;
mod feedback;
mod input;
mod nearline;
mod path;
mod record;
mod source;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::journal::{Journal, stop};
use crate::model::Cancel;
use crate::recipe::{Recipe, Rewrites};
use crate::rewriter::{Rewriter, in_use_or_newest};
use crate::search::fake::{Live as LiveIndex, fake_path};
use crate::search::{Engine, index_dir};

use complaints::Complaints;
use counters::Counters;
use nearline::Nearline;
use path::Paths;
use record::Recorder;
use source::{Live, Source, answer_of};

/// Largest request body; a context is a few kilobytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How often the journal hears what was served.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How often a new fake index is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opens index and rewriter and serves until Ctrl-C, which ends in `Stopped`. Without a name the release in use rewrites, or else
/// the newest run; what was opened is kept until the server ends, whatever is released meanwhile.
///
/// A rewriter that does not open is told, and the plain path answers alone. What is served is appended to the log
/// `<recipe>-served`.
///
/// # Errors
/// No index; a store that cannot be written; a port in use.
pub fn run(workspace: &Path, recipe: &Recipe, rewriter: Option<&str>, host: IpAddr, port: u16) -> Result<()> {
    // Before anything is made: an empty workspace is told what to run.
    let dir = index_dir(workspace, &recipe.name);
    let engine = Engine::of_log(workspace, recipe, &recipe.name).map_err(|error| match dir.exists() {
        true => error,
        false => error.context("there is no search to serve yet: run `core demo` first"),
    })?;
    let opened = rewriter.map_or_else(|| in_use_or_newest(workspace, &recipe.name), |name| Ok(name.to_owned()));
    let name = opened.as_ref().map_or_else(|_| "none".to_owned(), Clone::clone);
    Journal::record(workspace, "serve", &name, &recipe.to_toml(), |journal| {
        let opened = opened.and_then(|name| Rewriter::open(workspace, recipe, &name));
        let (complaints, cancel) = (Arc::new(Complaints::default()), Cancel::default());
        let (name, source) = source(workspace, recipe, opened, &cancel, &complaints, journal)?;
        let counters = Arc::new(Counters::default());
        let recorder = Recorder::start(
            workspace,
            &format!("{}-served", recipe.name),
            &format!("core serve, {}", recipe.name),
            recipe.mine.session_gap_s,
            counters.clone(),
            complaints.clone(),
        )?;
        let paths = Arc::new(Paths {
            engine: Arc::new(engine),
            source,
            rewriter: name,
            fake: Arc::new(LiveIndex::new(&fake_path(workspace, &recipe.name))),
            recipe: recipe.clone(),
            recorder: Some(recorder),
            counters,
            complaints,
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        let served = runtime.block_on(serve(paths.clone(), (host, port).into(), journal));
        cancel.set();
        // Rewrites still under way must not hold the exit up; what was served must be in the log.
        runtime.shutdown_background();
        paths.recorder.iter().for_each(Recorder::end);
        served?;
        stop::check("requests under way were answered; run the same command to serve again")
    })
}

/// Where rewrites come from, and what people call it.
fn source(
    workspace: &Path,
    recipe: &Recipe,
    opened: Result<Rewriter>,
    cancel: &Cancel,
    complaints: &Arc<Complaints>,
    journal: &Journal,
) -> Result<(String, Source)> {
    let rewriter = match opened {
        Ok(Rewriter::Never) => return Ok((Rewriter::Never.name().to_owned(), Source::Off)),
        Ok(rewriter) => rewriter,
        Err(error) => {
            let why = format!("there is no rewriter, and searches are answered plainly: {error:#}");
            eprintln!("  {why}");
            journal.note(&why)?;
            return Ok(("none".into(), Source::Broken(why)));
        }
    };
    let (name, identity) = (rewriter.name().to_owned(), rewriter.identity().to_owned());
    let answer = answer_of(rewriter);
    let source = match recipe.serve.rewrites {
        Rewrites::Live => Source::Live(Live::new(answer, recipe.serve.concurrency)),
        Rewrites::Nearline => {
            Source::Nearline(Nearline::start(workspace, &identity, answer, cancel.clone(), complaints.clone())?)
        }
    };
    Ok((name, source))
}

async fn serve(paths: Arc<Paths>, address: SocketAddr, journal: &Journal) -> Result<()> {
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
    look_for_index(&paths, journal);
    eprintln!("  serving {} on http://{bound}  (Ctrl-C stops)", paths.rewriter);
    journal.note(format!("listening on {bound}"))?;
    let behind = tokio::spawn(behind(paths.clone(), journal.clone()));
    let served = axum::serve(listener, router(paths.clone())).with_graceful_shutdown(stop_signal()).await;
    behind.abort();
    tell(&paths, journal);
    Ok(served?)
}

/// The routes, also used by tests without a socket.
fn router(paths: Arc<Paths>) -> Router {
    Router::new()
        .route("/v1/search", post(api::search))
        .route("/v1/rewrite", post(api::rewrite))
        .route("/v1/feedback", post(feedback::feedback))
        .route("/healthz", get(api::healthz))
        .route("/metrics", get(api::metrics))
        .fallback(api::unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(paths)
}

/// What goes on beside the requests: telling the journal, and taking up a new fake index.
async fn behind(paths: Arc<Paths>, journal: Journal) {
    let (mut tell_next, mut look_next) = (tokio::time::interval(TELL_EVERY), tokio::time::interval(LOOK_EVERY));
    loop {
        let (paths, journal) = (paths.clone(), journal.clone());
        // Both read or write files, and must not hold up who answers requests.
        let done = tokio::select! {
            _ = tell_next.tick() => tokio::task::spawn_blocking(move || tell(&paths, &journal)),
            _ = look_next.tick() => tokio::task::spawn_blocking(move || look_for_index(&paths, &journal)),
        };
        // A look that failed is followed by another.
        let _ = done.await;
    }
}

fn tell(paths: &Paths, journal: &Journal) {
    if let Some(event) = paths.counters.stretch()
        && let Err(error) = journal.emit(&event)
    {
        paths.complaints.say(&format!("the journal is not told what is served: {error:#}"));
    }
}

fn look_for_index(paths: &Paths, journal: &Journal) {
    let said = match paths.fake.refresh() {
        Ok(None) => return,
        Ok(Some(version)) => format!("fake index version {version} is in use"),
        Err(error) => format!("the fake index is left as it was: {error:#}"),
    };
    eprintln!("  {said}");
    // A note that cannot be written must not stop the server.
    let _ = journal.note(said);
}

/// Resolves when a stop was asked for; the process-wide handler owns the signal itself.
async fn stop_signal() {
    while !stop::requested() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
