//! A stand-in for vLLM's OpenAI-compatible server: the routes, fields and errors that `core` meets, on a port of loopback.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use candle_core::Device;
use core_rewriter::model::{Completion, Decoding, Policy};
use serde_json::{Value, json};

/// Positions of the served model, `--max-model-len`.
const MAX_MODEL_LEN: u64 = 2048;

/// How it behaves on `/v1/completions`.
#[derive(Clone, PartialEq)]
pub enum Mood {
    Good,
    /// Waits before every answer.
    Slow(Duration),
    /// Answers so many requests, then is as a killed process: every connection is cut, none is accepted.
    DiesAfter(usize),
    /// A status and a body in place of an answer.
    Says(u16, &'static str),
    /// One choice fewer than asked for.
    Short,
    /// No `token_ids`, as servers before `return_token_ids`.
    TextOnly,
    /// Fails so many requests with 503 first.
    Hiccups(usize),
}

/// A running stand-in; it is shut with this.
pub struct Endpoint {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    mood: Mutex<Mood>,
    dead: AtomicBool,
    /// Folder of the base; without one, completions are scripted.
    base: Option<PathBuf>,
    adapters: Mutex<HashMap<String, Option<Arc<Policy>>>>,
    /// Path and body of every request in order.
    asked: Mutex<Vec<(String, Value)>>,
    /// Completion requests that were answered with completions.
    answered: Mutex<usize>,
    open: Mutex<Vec<TcpStream>>,
}

impl Endpoint {
    /// Serves a model called `base`: the one in a folder, or scripted completions.
    pub fn start(base: Option<&Path>, mood: Mood) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            port,
            mood: Mutex::new(mood),
            dead: AtomicBool::new(false),
            base: base.map(Path::to_owned),
            adapters: Mutex::default(),
            asked: Mutex::default(),
            answered: Mutex::default(),
            open: Mutex::default(),
        });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if of_thread.dead.load(Ordering::SeqCst) {
                    return;
                }
                let shared = of_thread.clone();
                shared.open.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || shared.talk(stream));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), shared }
    }

    pub fn answered(&self) -> usize {
        *self.shared.answered.lock().unwrap()
    }

    /// Bodies of the requests to a path, in order.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|(of, _)| of == path).map(|(_, body)| body.clone()).collect()
    }

    /// Names of the adapters it holds.
    pub fn adapters(&self) -> Vec<String> {
        self.shared.adapters.lock().unwrap().keys().cloned().collect()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.die();
    }
}

impl Shared {
    /// What is left of a killed process: cut connections, and a port that refuses.
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        // Wakes the listener, which then goes.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }

    fn talk(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while let Some((path, body)) = read(&mut reader) {
            self.asked.lock().unwrap().push((path.clone(), body.clone()));
            let (status, text) = self.answer(&path, &body);
            if self.dead.load(Ordering::SeqCst) {
                return;
            }
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}", text.len());
            if writer.write_all(format!("{head}\r\n\r\n{text}").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, body: &Value) -> (u16, String) {
        let result = match path {
            "/v1/models" => Ok(self.models()),
            "/v1/completions" => return self.moody(body),
            "/v1/load_lora_adapter" => self.load(body),
            "/v1/unload_lora_adapter" => self.unload(body),
            _ => return (404, json!({ "detail": "Not Found" }).to_string()),
        };
        match result {
            // Words about adapters are plain JSON strings there.
            Ok(value) => (200, value.to_string()),
            Err((status, message)) => (status, error(status, &message)),
        }
    }

    fn models(&self) -> Value {
        let card =
            |id: &str| json!({ "id": id, "object": "model", "owned_by": "vllm", "max_model_len": MAX_MODEL_LEN });
        let adapters = self.adapters.lock().unwrap();
        let all = ["base"].into_iter().chain(adapters.keys().map(String::as_str));
        json!({ "object": "list", "data": all.map(card).collect::<Vec<_>>() })
    }

    fn load(&self, body: &Value) -> Result<Value, (u16, String)> {
        let (Some(name), Some(path)) = (body["lora_name"].as_str(), body["lora_path"].as_str()) else {
            return Err((400, "Both 'lora_name' and 'lora_path' must be provided.".into()));
        };
        let mut adapters = self.adapters.lock().unwrap();
        if adapters.contains_key(name) {
            return Err((400, format!("The lora adapter '{name}' has already been loaded.")));
        }
        let dir = Path::new(path);
        if !["adapter_config.json", "adapter_model.safetensors"].iter().all(|file| dir.join(file).is_file()) {
            return Err((404, format!("Loading lora {name} failed: No adapter found for {path}")));
        }
        let policy = self.base.as_ref().map(|base| {
            let adapted = Policy::load(base, &Device::Cpu).and_then(|base| base.load_adapter(dir));
            adapted.map(Arc::new).map_err(|e| (500, format!("{e:#}")))
        });
        adapters.insert(name.to_owned(), policy.transpose()?);
        Ok(json!(format!("Success: LoRA adapter '{name}' added successfully.")))
    }

    fn unload(&self, body: &Value) -> Result<Value, (u16, String)> {
        let name = body["lora_name"].as_str().unwrap_or_default();
        match self.adapters.lock().unwrap().remove(name) {
            Some(_) => Ok(json!(format!("Success: LoRA adapter '{name}' removed successfully."))),
            None => Err((404, format!("The lora adapter '{name}' cannot be found."))),
        }
    }

    fn moody(&self, body: &Value) -> (u16, String) {
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Says(status, text) => return (status, text.into()),
            Mood::Slow(wait) => std::thread::sleep(wait),
            Mood::Hiccups(left) if left > 0 => {
                *self.mood.lock().unwrap() = Mood::Hiccups(left - 1);
                return (503, error(503, "overloaded"));
            }
            _ => {}
        }
        let choices = match self.choices(body) {
            Ok(choices) => choices,
            Err((status, message)) => return (status, error(status, &message)),
        };
        let mut answered = self.answered.lock().unwrap();
        if mood == Mood::DiesAfter(*answered) {
            drop(answered);
            self.die();
            return (200, String::new());
        }
        *answered += 1;
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
        let response = json!({ "id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"],
            "choices": choices, "usage": usage });
        (200, response.to_string())
    }

    fn choices(&self, body: &Value) -> Result<Vec<Value>, (u16, String)> {
        let model = body["model"].as_str().unwrap_or_default();
        let policy = match (model, self.adapters.lock().unwrap().get(model)) {
            ("base", _) => self.base.as_ref().map(|base| Arc::new(Policy::load(base, &Device::Cpu).unwrap())),
            (_, Some(policy)) => policy.clone(),
            _ => return Err((404, format!("The model `{model}` does not exist."))),
        };
        let number = |key: &str| body[key].as_u64().ok_or((400, format!("{key} is not a number")));
        let ids = |key: &str| {
            body[key].as_array().map(|ids| ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect())
        };
        let none = || (400, "Either prompt or prompt_embeds must be provided and non-empty.".to_owned());
        let prompt: Vec<u32> = ids("prompt").filter(|ids: &Vec<u32>| !ids.is_empty()).ok_or_else(none)?;
        let stop: Vec<u32> = ids("stop_token_ids").unwrap_or_default();
        let (n, most, seed) = (number("n")?, number("max_tokens")?, number("seed")?);
        if prompt.len() as u64 + most > MAX_MODEL_LEN {
            return Err((400, format!("This model's maximum context length is {MAX_MODEL_LEN} tokens.")));
        }
        let temperature = body["temperature"].as_f64().unwrap_or(1.0);
        if temperature == 0.0 && n > 1 {
            return Err((400, "n must be 1 when using greedy sampling".into()));
        }
        let settings = Decoding::sampled(most as usize, temperature, stop.clone());
        // A child of a request has the request's seed and its own index.
        let of = |i: u64| match &policy {
            Some(policy) => policy.generate(std::slice::from_ref(&prompt), &settings, seed + i).unwrap().remove(0),
            None => scripted(&prompt, seed + i, &stop),
        };
        let mood = self.mood.lock().unwrap().clone();
        let n = if mood == Mood::Short { n - 1 } else { n };
        let token_ids = body["return_token_ids"] == true && mood != Mood::TextOnly;
        Ok((0..n).map(|i| choice(i, &of(i), &prompt, token_ids, policy.as_deref())).collect())
    }
}

/// Three tokens that tell prompt and seed, and an end.
pub fn scripted(prompt: &[u32], seed: u64, stop: &[u32]) -> Completion {
    let ids = vec![prompt[0], (seed % 97) as u32 + 100, (seed / 97 % 97) as u32 + 100, stop[0]];
    Completion { logprobs: vec![-1.0; ids.len()], finished: true, forwards: ids.len(), ids }
}

fn choice(index: u64, said: &Completion, prompt: &[u32], token_ids: bool, policy: Option<&Policy>) -> Value {
    // What it stopped at is no part of the text.
    let shown = &said.ids[..said.ids.len() - usize::from(said.finished)];
    let text = policy.map_or(String::new(), |policy| policy.tokenizer.decode(shown, false).unwrap());
    let tokens = vec!["x"; said.ids.len()];
    json!({
        "index": index, "text": text, "stop_reason": said.finished.then(|| said.ids.last()),
        "finish_reason": if said.finished { "stop" } else { "length" }, "prompt_logprobs": null,
        "logprobs": { "token_logprobs": said.logprobs, "tokens": tokens, "text_offset": [], "top_logprobs": [] },
        "token_ids": token_ids.then_some(&said.ids), "prompt_token_ids": token_ids.then_some(prompt),
    })
}

fn error(status: u16, message: &str) -> String {
    json!({ "error": { "message": message, "type": "BadRequestError", "param": null, "code": status } }).to_string()
}

/// The next request on a connection: its path, and its body as JSON.
fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.split_once(':') else { break };
        if key.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}
