//! Completions from outside servers that speak the OpenAI completions API (vLLM), several of them sharing the work.
//!
//! A blocking client: each server is asked by as many threads as it may have prompts in hand. Whatever a server does wrong
//! (no connection, no answer in time, a status of 5xx, an answer that cannot be one) is tried again a few times; then the
//! server is dropped for good, and what it had in hand goes to the others.

mod answer;
mod client;
mod queue;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::Rng;
use serde_json::{Value, json};

use super::decode::{Completion, check_ids};
use super::{Decoding, Policy};
use crate::recipe::stream;
use answer::Asking;
use client::{Client, Failure};
use queue::Queue;

/// The wait before a request is sent again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(250);
/// Most bytes of a list of models, and of a word about an adapter.
const SHORT_BYTES: u64 = 1024 * 1024;

/// How servers are asked.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Prompts that one server has in hand at once; at least 1.
    pub batch: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How often a failed request is sent again before its server is dropped.
    pub retries: u32,
    /// A folder of this machine and what the servers call it; none where paths are the same.
    pub seen_as: Option<(PathBuf, String)>,
}

/// A prompt and how many completions of it are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Token ids; at least one.
    pub prompt: Vec<u32>,
    /// Completions; at least 1.
    pub n: usize,
}

/// A server that is asked no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its address.
    pub url: String,
    /// What it did.
    pub reason: String,
}

/// Servers that share the work.
pub struct Endpoints {
    all: Vec<Endpoint>,
    settings: EndpointSettings,
    dropped: Mutex<Vec<Dropped>>,
}

struct Endpoint {
    url: String,
    client: Client,
    /// Whether it was dropped.
    gone: AtomicBool,
    /// The adapter it holds for us.
    adapter: Mutex<Option<String>>,
}

impl Endpoints {
    /// Of the servers at some addresses that offer the base `model` in their `GET /v1/models`; others are dropped.
    ///
    /// # Errors
    /// No address; no server that answers and offers it.
    pub fn open(urls: &[String], model: &str, settings: EndpointSettings) -> Result<Self> {
        ensure!(!urls.is_empty(), "there is no endpoint to sample from: name one in rollouts.endpoints");
        let endpoint = |url: &String| Endpoint {
            url: url.clone(),
            client: Client::new(url, settings.timeout, settings.batch),
            gone: AtomicBool::new(false),
            adapter: Mutex::new(None),
        };
        let all = urls.iter().map(endpoint).collect();
        let own = Self { all, settings, dropped: Mutex::default() };
        own.each(|endpoint| {
            let Some(offered) = own.insist(endpoint, || models(&endpoint.client)) else { return };
            if !offered.iter().any(|name| name == model) {
                let offered = offered.join(", ");
                own.give_up(endpoint, format!("it does not serve {model:?} (rollouts.model) but {offered}"));
            }
        });
        own.any_left()?;
        Ok(own)
    }

    /// Decodes `n` completions of each question with a model or adapter of a name. Seeds are drawn from `seed` and the
    /// question's place alone, whoever answers it. [`Completion::logprobs`] are the server's, and empty where it tells none or
    /// answers without token ids; then the ids are those of the text encoded again, which need not be the ones it sampled.
    ///
    /// # Errors
    /// What [`Policy::generate`] refuses; a trie; greedy completions of one prompt; no server left.
    pub fn sample(
        &self,
        policy: &Policy,
        model: &str,
        questions: &[Question],
        decoding: &Decoding,
        seed: u64,
    ) -> Result<Vec<Vec<Completion>>> {
        decoding.check()?;
        ensure!(decoding.within.is_none(), "servers decode freely: completions cannot be kept within a trie there");
        for (i, question) in questions.iter().enumerate() {
            check_ids(&policy.config, &question.prompt).with_context(|| format!("prompt {i}"))?;
            let greedy = decoding.temperature == 0.0 && question.n != 1;
            ensure!(question.n > 0 && !greedy, "prompt {i} has {} completions: ask for 1 when greedy", question.n);
            let room = question.prompt.len() < policy.config.max_positions && decoding.max_new_tokens > 0;
            ensure!(room, "prompt {i} leaves no room for a token: shorten the context");
        }
        let (vocab, positions) = (policy.config.vocab, policy.config.max_positions);
        let asking = Asking { model, decoding, tokenizer: &policy.tokenizer, vocab, positions };
        let queue = Queue::new(questions.len());
        std::thread::scope(|scope| {
            // Hand by hand over the servers, so that few questions are shared out, too.
            for _ in 0..self.settings.batch.min(questions.len()) {
                for endpoint in self.left() {
                    let (asking, queue) = (&asking, &queue);
                    scope.spawn(move || self.work(endpoint, asking, questions, seed, queue));
                }
            }
        });
        self.any_left()?;
        queue.answers().context("a prompt was left without an answer")
    }

    /// One of the threads that ask a server, until there is nothing left to ask or the server is dropped.
    fn work(
        &self,
        endpoint: &Endpoint,
        asking: &Asking,
        questions: &[Question],
        seed: u64,
        queue: &Queue<Vec<Completion>>,
    ) {
        while let Some(place) = queue.take(|| endpoint.is_gone()) {
            let question = &questions[place];
            // JSON's numbers are exact up to 53 bits, and a server adds the completion's index.
            let own: u64 = stream(seed, "endpoints", &[place as u64]).random::<u64>() >> 12;
            let body = asking.body(question, own);
            let said = self.insist(endpoint, || {
                let bytes = endpoint.client.post("/v1/completions", &body, asking.limit(question))?;
                asking.read(question, &bytes).map_err(Failure::Passing)
            });
            match said {
                Some(completions) => queue.answer(place, completions),
                None => queue.give_back(place),
            }
        }
    }

    /// Loads an adapter from a folder in PEFT's layout on every server, under a name that none has had with other weights:
    /// servers keep what they computed of prompts by that name. The one loaded before is unloaded.
    ///
    /// # Errors
    /// A folder outside [`EndpointSettings::seen_as`]; no server left.
    pub fn load_adapter(&self, name: &str, folder: &Path) -> Result<()> {
        let path = self.seen(folder)?;
        let load = json!({ "lora_name": name, "lora_path": path });
        self.each(|endpoint| {
            let post = || endpoint.client.post("/v1/load_lora_adapter", &load, SHORT_BYTES);
            let loaded = self.insist(endpoint, || match post() {
                // It may hold the name from a run that was killed, maybe by a folder that is gone.
                Err(Failure::Refused(first)) => match unload(&endpoint.client, name) {
                    Ok(()) => post(),
                    Err(_) => Err(Failure::Refused(first)),
                },
                other => other,
            });
            if loaded.is_some() {
                self.replace(endpoint, Some(name.to_owned()));
            }
        });
        self.any_left()
    }

    /// Unloads the adapter from every server that holds one.
    pub fn unload_adapter(&self) {
        self.each(|endpoint| self.replace(endpoint, None));
    }

    /// Notes which adapter a server holds now, and unloads the one before.
    fn replace(&self, endpoint: &Endpoint, name: Option<String>) {
        let mut held = lock(&endpoint.adapter);
        let before = std::mem::replace(&mut *held, name);
        if let Some(before) = before.filter(|before| Some(before) != held.as_ref()) {
            self.insist(endpoint, || match unload(&endpoint.client, &before) {
                // A server that was started anew has none to unload.
                Err(Failure::Refused(_)) => Ok(()),
                other => other,
            });
        }
    }

    /// The servers that were dropped so far, and why, in the order in which they were.
    #[must_use]
    pub fn dropped(&self) -> Vec<Dropped> {
        lock(&self.dropped).clone()
    }

    /// Drops a server; the first reason stays.
    fn give_up(&self, endpoint: &Endpoint, reason: String) {
        if !endpoint.gone.swap(true, Ordering::SeqCst) {
            lock(&self.dropped).push(Dropped { url: endpoint.url.clone(), reason });
        }
    }

    fn left(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.iter().filter(|endpoint| !endpoint.is_gone())
    }

    fn any_left(&self) -> Result<()> {
        if self.left().next().is_some() {
            return Ok(());
        }
        let why: Vec<_> = self.dropped().into_iter().map(|gone| format!("{}: {}", gone.url, gone.reason)).collect();
        bail!(
            "no endpoint is left to sample from; put one right and run the same command again\n  {}",
            why.join("\n  ")
        )
    }

    /// Does something with every server that is left, all at the same time.
    fn each(&self, act: impl Fn(&Endpoint) + Sync) {
        std::thread::scope(|scope| {
            for endpoint in self.left() {
                scope.spawn(|| act(endpoint));
            }
        });
    }

    /// Sends a request until it succeeds; none when its server is dropped, for this or by another thread.
    fn insist<T>(&self, endpoint: &Endpoint, request: impl Fn() -> Result<T, Failure>) -> Option<T> {
        for attempt in 0..=self.settings.retries {
            if attempt > 0 {
                std::thread::sleep(PAUSE * 2_u32.pow((attempt - 1).min(6)));
            }
            if endpoint.is_gone() {
                return None;
            }
            match request() {
                Ok(done) => return Some(done),
                Err(Failure::Passing(_)) if attempt < self.settings.retries && !endpoint.is_gone() => {}
                Err(failure) => {
                    let times = if attempt == 0 { String::new() } else { format!(" ({} tries)", attempt + 1) };
                    self.give_up(endpoint, format!("{}{times}", failure.reason()));
                    return None;
                }
            }
        }
        None
    }

    /// The path of a folder as the servers see it.
    fn seen(&self, folder: &Path) -> Result<String> {
        let absolute = |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
        let folder = absolute(folder)?;
        let path = match &self.settings.seen_as {
            None => folder,
            Some((here, there)) => {
                let inside = folder.strip_prefix(absolute(here)?);
                let inside = inside.with_context(|| format!("{} is outside the workspace", folder.display()))?;
                Path::new(there).join(inside)
            }
        };
        let text = path.to_str().with_context(|| format!("{} is not UTF-8: rename it", path.display()))?;
        Ok(text.to_owned())
    }
}

impl Endpoint {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of the models that a server offers, adapters among them.
fn models(client: &Client) -> Result<Vec<String>, Failure> {
    let bytes = client.get("/v1/models", SHORT_BYTES)?;
    let list: Option<Value> = serde_json::from_slice(&bytes).ok();
    let list = list.as_ref().and_then(|list| list.get("data")?.as_array());
    let list = list.ok_or_else(|| Failure::Passing("its list of models cannot be read".into()))?;
    Ok(list.iter().filter_map(|model| Some(model.get("id")?.as_str()?.to_owned())).collect())
}

fn unload(client: &Client, name: &str) -> Result<(), Failure> {
    client.post("/v1/unload_lora_adapter", &json!({ "lora_name": name }), SHORT_BYTES).map(|_| ())
}
