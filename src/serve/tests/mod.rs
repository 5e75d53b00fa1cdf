//! The server without a socket: nothing that rewriting does reaches the plain answer, and what it brings adds up.

mod helping;
mod identity;
mod input;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::complaints::Complaints;
use super::counters::Counters;
use super::path::Paths;
use super::router;
use super::source::{Answer, Live, Source};
use crate::logs::{Context, Doc};
use crate::model::Cancel;
use crate::recipe::{Recall, Recipe};
use crate::rewriter::{Outcome, Reason};
use crate::search::fake::{Live as LiveIndex, fake_path};
use crate::search::{Engine, index_dir};

fn documents() -> Vec<Doc> {
    let (animals, cars) = (["wild", "jungle", "cat", "zoo"], ["car", "engine", "race", "review"]);
    (0..200)
        .map(|i| {
            let words = if i % 2 == 0 { animals } else { cars };
            let title = format!("{} {} {}", ["jaguar", "puma", "lynx"][i % 3], words[i / 2 % 4], words[i / 8 % 4]);
            Doc { id: format!("v{i:03}"), title, popularity: 1.0 / (i + 1) as f32, ..Doc::default() }
        })
        .collect()
}

fn paths(workspace: &Path, source: Source, change: impl FnOnce(&mut Recipe)) -> Arc<Paths> {
    let mut recipe = Recipe { name: "t".into(), ..Recipe::default() };
    change(&mut recipe);
    let dir = index_dir(workspace, &recipe.name);
    let engine = Engine::open(&dir, &recipe.search)
        .or_else(|_| Engine::build(&dir, &documents(), &recipe.search, |_| ()))
        .unwrap();
    let fake = LiveIndex::new(&fake_path(workspace, &recipe.name));
    fake.refresh().unwrap();
    Arc::new(Paths {
        engine: Arc::new(engine),
        source,
        rewriter: "test".into(),
        fake: Arc::new(fake),
        recipe,
        recorder: None,
        counters: Arc::new(Counters::default()),
        complaints: Arc::new(Complaints::default()),
    })
}

fn live(answer: impl Fn(&Context, &str, &Cancel) -> Result<Outcome> + Send + Sync + 'static) -> Source {
    Source::Live(Live::new(each(answer), 2))
}

/// A rewriter that answers one at a time.
fn each(answer: impl Fn(&Context, &str, &Cancel) -> Result<Outcome> + Send + Sync + 'static) -> Arc<Answer> {
    Arc::new(move |requests, cancel| requests.iter().map(|(context, query)| answer(context, query, cancel)).collect())
}

fn outcome(rewrite: Option<&str>) -> Outcome {
    let reason = if rewrite.is_some() { Reason::Rewritten } else { Reason::Rejected };
    Outcome { rewrite: rewrite.map(str::to_owned), reason, logprob: None, forwards: 0 }
}

fn until_nobody_waits(cancel: &Cancel) {
    while !cancel.is_set() {
        std::thread::sleep(Duration::from_micros(100));
    }
}

struct Reply {
    status: StatusCode,
    rewriting: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn post(paths: &Arc<Paths>, route: &str, body: impl Into<Body>) -> Reply {
    let request = Request::post(route).header("content-type", "application/json").body(body.into()).unwrap();
    let response = router(paths.clone()).oneshot(request).await.unwrap();
    let rewriting = response.headers().get("x-rewriting").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status();
    Reply { status, rewriting, body: to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec() }
}

async fn search(paths: &Arc<Paths>, body: Value) -> Reply {
    post(paths, "/v1/search", body.to_string()).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
