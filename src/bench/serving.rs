//! `core bench serve`: what rewriting adds to the time of a search, over HTTP on loopback.
//!
//! A small world is simulated and mined in a scratch folder; its own queries are then sent, after one of its own videos
//! each, to servers of one index: one without rewriting, one with near-line rewrites fused by search, one with near-line
//! rewrites answered from the fake index. Timed are the queries that get a rewrite from both, since those without one cost
//! a look into the store alone. Each goes to all servers in turn, so that a busy moment is busy for all.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::client::Server;
use super::machine::{Times, percentile};
use super::scratch::Scratch;
use crate::fake::{self, Do};
use crate::journal::{Cell, Progress, Table, stop};
use crate::recipe::{Recall, Recipe, Rewrites};
use crate::store::Store;
use crate::{mine, simulate};

/// The rewriter behind: its rewrites cost nothing, so that the time is that of serving them, and people typed them too.
const REWRITER: &str = "frequent-gain";
/// Distinct questions tried at most; those that get a rewrite are asked again and again.
const QUESTIONS: usize = 1_000;
/// Longest wait for the rewrites to be computed behind.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Documents in the index.
    pub docs: usize,
    /// Distinct questions that were timed.
    pub questions: usize,
    /// Searches each server answered on the clock.
    pub n: usize,
    /// The servers.
    pub servers: Vec<Row>,
    /// Share of the machine's processors that other programs took meanwhile, the servers among them; only where `/proc`
    /// tells.
    pub other_cpu: Option<f64>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// How it rewrites.
    pub server: String,
    /// Milliseconds that half of its answers stay within, as a client sees them.
    pub p50_ms: f64,
    /// Milliseconds that 99 % of its answers stay within.
    pub p99_ms: f64,
    /// Against the server without rewriting.
    pub added_p50_ms: f64,
    /// The same at 99 %.
    pub added_p99_ms: f64,
    /// Share of the answers that a rewrite changed.
    pub hits: f64,
}

impl Report {
    /// One row a server.
    #[must_use]
    pub fn table(&self) -> Table {
        let columns = [
            "server",
            "questions",
            "n",
            "p50_ms",
            "p99_ms",
            "added_p50_ms",
            "added_p99_ms",
            "hits",
            "docs",
            "other_cpu",
        ];
        let mut table = Table::new("bench", "", &columns);
        for row in &self.servers {
            table.row([
                row.server.as_str().into(),
                self.questions.into(),
                self.n.into(),
                row.p50_ms.into(),
                row.p99_ms.into(),
                row.added_p50_ms.into(),
                row.added_p99_ms.into(),
                Cell::shown(row.hits, format!("{:.0}%", 100.0 * row.hits)),
                self.docs.into(),
                self.other_cpu.into(),
            ]);
        }
        table
    }
}

/// Measures `n` searches a server, on a world of `videos`.
///
/// # Errors
/// A server that does not start or answer. `Stopped` after Ctrl-C.
pub fn run(videos: usize, n: usize) -> Result<Report> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let scratch = Scratch::new("serve")?;
    let workspace = scratch.path();
    let recipe = recipe(videos);
    let simulated = simulate::run(workspace, &recipe, simulate::Part::default(), false)?;
    mine::run(workspace, &recipe, &recipe.name, mine::Source::Store)?;
    fake::run(workspace, &recipe, &Do::Build(vec![]))?;
    let mut questions = questions(workspace, &recipe)?;
    let arms = [
        ("no rewriting", "never", Rewrites::Live, Recall::Index),
        ("near-line, fused by search", REWRITER, Rewrites::Nearline, Recall::Index),
        ("near-line, from the fake index", REWRITER, Rewrites::Nearline, Recall::Fake),
    ];
    let mut servers = Vec::new();
    for (at, (_, model, rewrites, recall)) in arms.iter().enumerate() {
        let mut recipe = recipe.clone();
        (recipe.serve.rewrites, recipe.serve.recall) = (*rewrites, *recall);
        let path = workspace.join(format!("{at}.toml"));
        std::fs::write(&path, recipe.to_toml())?;
        servers.push(Server::start(&program, workspace, &path, model)?);
    }
    servers.iter_mut().try_for_each(|server| warm_up(server, &questions))?;
    for server in &mut servers[1..] {
        let mut rewritten = Vec::new();
        for question in questions {
            if server.post("/v1/search", &question)?.rewriting == "rewritten" {
                rewritten.push(question);
            }
        }
        questions = rewritten;
    }
    ensure!(!questions.is_empty(), "no query of the small world has a rewrite in its fake index: use more --videos");
    let mut times: Vec<Vec<f64>> = vec![Vec::with_capacity(n); servers.len()];
    let mut hits = vec![0; servers.len()];
    let (progress, before) = (Progress::on_screen("search", n as u64), Times::now());
    for round in 0..n {
        stop::check("nothing of a benchmark is kept")?;
        for turn in 0..servers.len() {
            // Nobody is always the first, who finds the caches cold.
            let at = (round + turn) % servers.len();
            let reply = servers[at].post("/v1/search", &questions[round % questions.len()])?;
            times[at].push(reply.took_ms);
            hits[at] += usize::from(reply.rewriting == "rewritten");
        }
        progress.inc(1);
    }
    let other_cpu = before.zip(Times::now()).and_then(|(before, now)| before.others_until(&now));
    progress.finish("searches by each server");
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let at = |server: usize, share: f64| percentile(&times[server], share);
    let rows = arms.iter().enumerate().map(|(i, arm)| Row {
        server: arm.0.to_owned(),
        p50_ms: at(i, 0.5),
        p99_ms: at(i, 0.99),
        added_p50_ms: at(i, 0.5) - at(0, 0.5),
        added_p99_ms: at(i, 0.99) - at(0, 0.99),
        hits: hits[i] as f64 / n as f64,
    });
    Ok(Report { docs: simulated.docs, questions: questions.len(), n, servers: rows.collect(), other_cpu })
}

/// A world with few people: what counts is the size of its index.
fn recipe(videos: usize) -> Recipe {
    let mut recipe = Recipe { name: "bench".into(), ..Recipe::default() };
    (recipe.world.videos, recipe.world.people, recipe.world.weeks) = (videos, 600, 1);
    // A small world's queries are typed by few.
    recipe.fake.min_people = 2;
    recipe
}

/// Request bodies: what people of the world typed, each after what they had watched.
fn questions(workspace: &Path, recipe: &Recipe) -> Result<Vec<String>> {
    let store = Store::open_existing(workspace)?;
    let (mut bodies, mut known) = (Vec::new(), HashSet::new());
    store.for_each_session(&store.log(&recipe.name)?, |session| {
        let Some(watched) = session.watched.first() else { return Ok(()) };
        for search in &session.searches {
            let context = json!({"watched": [{"title": watched.title}]});
            let body = json!({"query": search.query, "context": context, "user": session.user}).to_string();
            if bodies.len() < QUESTIONS && known.insert((search.query.clone(), watched.title.clone())) {
                bodies.push(body);
            }
        }
        Ok(())
    })?;
    ensure!(!bodies.is_empty(), "nobody of the small world searched for anything");
    Ok(bodies)
}

/// Sends every question once, and waits until all that is computed behind is done.
fn warm_up(server: &mut Server, questions: &[String]) -> Result<()> {
    for question in questions {
        server.post("/v1/search", question)?;
    }
    let began = Instant::now();
    loop {
        let health: serde_json::Value = serde_json::from_str(&server.get("/healthz")?)?;
        if health["nearline_waiting"] == 0 {
            return Ok(());
        }
        stop::check("nothing of a benchmark is kept")?;
        ensure!(began.elapsed() < PATIENCE, "rewrites are not computed behind: {health}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
