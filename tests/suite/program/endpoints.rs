//! Sampling by outside servers, against stand-ins for vLLM's: shared work, what becomes of slow, dead and wrong ones, adapters,
//! and a whole training run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::endpoint::{Endpoint, Mood, scripted};
use crate::common::{fails, ok, small};
use candle_core::Device;
use core_rewriter::journal::Event;
use core_rewriter::model::endpoints::{EndpointSettings, Endpoints, Question};
use core_rewriter::model::{Completion, Config, Decoding, LoraSettings, Policy, Tokenizer, runs};
use core_rewriter::recipe::{ModelShape, stream};
use rand::Rng;

const EOS: u32 = 0;

fn policy() -> Policy {
    let shape = ModelShape { vocab: 300, hidden: 16, layers: 1, heads: 2, kv_heads: 1, head_dim: 8, ffn: 16 };
    let tokenizer = Tokenizer::train(["a b"].iter(), 300, &["<|endoftext|>"]).unwrap();
    Policy::from_scratch(Config::scratch(&shape, 300), tokenizer, 5, &Device::Cpu).unwrap()
}

fn settings() -> EndpointSettings {
    EndpointSettings { batch: 3, timeout: Duration::from_secs(20), retries: 1, seen_as: None }
}

fn open(servers: &[&Endpoint], settings: EndpointSettings) -> Endpoints {
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    Endpoints::open(&urls, "base", settings).unwrap()
}

fn questions() -> Vec<Question> {
    (0..40).map(|i| Question { prompt: vec![i + 1, 7], n: 1 + i as usize % 3 }).collect()
}

fn decoding() -> Decoding {
    Decoding { top_k: 5, ..Decoding::sampled(8, 0.9, vec![EOS]) }
}

fn sample(endpoints: &Endpoints) -> anyhow::Result<Vec<Vec<Completion>>> {
    endpoints.sample(&policy(), "base", &questions(), &decoding(), 11)
}

/// What stand-ins script for every question, whoever answers it.
fn expected() -> Vec<Vec<Completion>> {
    let of = |(place, question): (usize, Question)| {
        let seed: u64 = stream(11, "endpoints", &[place as u64]).random::<u64>() >> 12;
        (0..question.n as u64).map(|i| scripted(&question.prompt, seed + i, &[EOS])).collect()
    };
    questions().into_iter().enumerate().map(of).collect()
}

#[test]
fn servers_share_the_work_and_who_answers_changes_nothing() {
    let slowly = || Mood::Slow(Duration::from_millis(5));
    let (a, b) = (Endpoint::start(None, slowly()), Endpoint::start(None, slowly()));
    let endpoints = open(&[&a, &b], settings());
    assert_eq!(sample(&endpoints).unwrap(), expected());
    assert!(a.answered() >= 8 && b.answered() >= 8, "{} and {}", a.answered(), b.answered());
    assert_eq!(a.answered() + b.answered(), 40, "each prompt is asked for once");
    assert_eq!(endpoints.dropped(), []);
    let alone = Endpoint::start(None, Mood::Good);
    assert_eq!(sample(&open(&[&alone], settings())).unwrap(), expected());

    // Nothing is left to a server's own defaults.
    let body = alone.asked("/v1/completions").into_iter().find(|body| body["prompt"][0] == 3).unwrap();
    for (key, value) in [("top_k", 5.0), ("top_p", 1.0), ("min_p", 0.0), ("repetition_penalty", 1.0), ("n", 3.0)] {
        assert_eq!(body[key].as_f64(), Some(value), "{key}: {body}");
    }
    assert_eq!((body["max_tokens"].as_u64(), body["temperature"].as_f64()), (Some(8), Some(0.9)));
    assert_eq!((body["model"].as_str(), &body["stop_token_ids"]), (Some("base"), &serde_json::json!([EOS])));
    let seeds: HashSet<_> = alone.asked("/v1/completions").iter().map(|body| body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 40, "prompts that shared a seed would be drawn alike");
}

#[test]
fn one_of_two_killed_midway_leaves_every_prompt_answered_once() {
    let slowly = Mood::Slow(Duration::from_millis(5));
    let (a, b) = (Endpoint::start(None, Mood::DiesAfter(7)), Endpoint::start(None, slowly));
    let endpoints = open(&[&a, &b], settings());
    assert_eq!(sample(&endpoints).unwrap(), expected());
    assert!(b.answered() >= 33, "{}", b.answered());
    let dropped = endpoints.dropped();
    assert!(dropped.len() == 1 && dropped[0].url == a.url && dropped[0].reason.contains("2 tries"), "{dropped:?}");
    // It stays dropped: nothing more is lost on it.
    assert_eq!(sample(&endpoints).unwrap(), expected());
    assert_eq!(endpoints.dropped().len(), 1);
}

#[test]
fn servers_that_are_slow_or_wrong_are_dropped_and_their_prompts_asked_again() {
    for (mood, reason) in [
        (Mood::Slow(Duration::from_secs(30)), "no answer within rollouts.timeout_s (2 tries)"),
        (Mood::Says(200, "{\"choices\": [{\"ind"), "cannot be read"),
        (Mood::Says(200, "<html>busy</html>"), "cannot be read"),
        (
            Mood::Says(500, "{\"error\": {\"message\": \"out of\\n memory\"}}"),
            "it answered 500: out of memory (2 tries)",
        ),
        (Mood::Says(400, "{\"error\": {\"message\": \"no\"}}"), "it answered 400: no"),
        (Mood::Says(302, ""), "it answered 302"),
        (Mood::Short, "choices where"),
    ] {
        let (a, b) = (Endpoint::start(None, mood), Endpoint::start(None, Mood::Slow(Duration::from_millis(20))));
        let endpoints = open(&[&a, &b], EndpointSettings { timeout: Duration::from_millis(500), ..settings() });
        let started = Instant::now();
        assert_eq!(sample(&endpoints).unwrap(), expected(), "{reason}");
        assert!(started.elapsed() < Duration::from_secs(15), "{reason}: {:?}", started.elapsed());
        let dropped = endpoints.dropped();
        assert!(dropped.len() == 1 && dropped[0].url == a.url, "{dropped:?}");
        assert!(dropped[0].reason.contains(reason), "{:?} is not {reason}", dropped[0].reason);
    }
}

#[test]
fn an_answer_is_read_no_further_than_it_can_be_long() {
    let (flood, good) = (Endpoint::start(None, Mood::Says(200, FLOOD.as_str())), Endpoint::start(None, Mood::Good));
    let endpoints = open(&[&flood, &good], settings());
    assert_eq!(sample(&endpoints).unwrap(), expected());
    assert!(endpoints.dropped()[0].reason.contains("longer than"), "{:?}", endpoints.dropped());
}

static FLOOD: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| " ".repeat(4 << 20));

#[test]
fn a_hiccup_is_forgiven_and_an_answer_in_text_is_encoded_again() {
    let server = Endpoint::start(None, Mood::Hiccups(1));
    let endpoints = open(&[&server], settings());
    assert_eq!(sample(&endpoints).unwrap(), expected());
    assert_eq!(endpoints.dropped(), []);

    let dir = tempfile::tempdir().unwrap();
    policy().save(dir.path(), None).unwrap();
    let (ids, text) =
        (Endpoint::start(Some(dir.path()), Mood::Good), Endpoint::start(Some(dir.path()), Mood::TextOnly));
    let (ids, text) = (sample(&open(&[&ids], settings())).unwrap(), sample(&open(&[&text], settings())).unwrap());
    let tokenizer = policy().tokenizer;
    for (own, again) in ids.iter().flatten().zip(text.iter().flatten()) {
        assert!(!own.logprobs.is_empty() && again.logprobs.is_empty());
        // Bytes that are no text come back as another text; what is text comes back as itself.
        let spelt = tokenizer.decode(&own.ids, false).unwrap();
        assert!(spelt.contains('\u{FFFD}') || tokenizer.decode(&again.ids, false).unwrap() == spelt);
    }
}

#[test]
fn without_any_server_left_the_error_names_each_and_why() {
    let quiet = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let error = Endpoints::open(std::slice::from_ref(&quiet), "base", settings()).err().unwrap().to_string();
    assert!(error.contains(&quiet) && error.contains("2 tries") && error.contains("refused"), "{error}");

    let (a, b) = (Endpoint::start(None, Mood::Good), Endpoint::start(None, Mood::Says(500, "")));
    let error = Endpoints::open(std::slice::from_ref(&a.url), "other", settings()).err().unwrap().to_string();
    assert!(error.contains("does not serve \"other\"") && error.contains("base"), "{error}");
    // One that is down at the start is dropped and the rest goes on.
    let one = Endpoints::open(&[quiet.clone(), a.url.clone()], "base", settings()).unwrap();
    assert_eq!(one.dropped()[0].url, quiet);
    assert_eq!(sample(&one).unwrap(), expected());

    let dying = Endpoint::start(None, Mood::DiesAfter(3));
    let endpoints = open(&[&dying, &b], settings());
    let error = sample(&endpoints).unwrap_err().to_string();
    assert!([&dying.url, &b.url].iter().all(|url| error.contains(url.as_str())), "{error}");
    assert!(error.contains("it answered 500 (2 tries)") && error.contains("same command again"), "{error}");
    let error = endpoints.sample(&policy(), "base", &[], &decoding(), 1).unwrap_err().to_string();
    assert!(error.contains("no endpoint is left"), "{error}");
}

#[test]
fn what_servers_cannot_do_is_refused_before_they_are_asked() {
    let server = Endpoint::start(None, Mood::Good);
    let endpoints = open(&[&server], settings());
    let refused = |question: Question, decoding: &Decoding| {
        endpoints.sample(&policy(), "base", &[question], decoding, 1).unwrap_err().to_string()
    };
    let question = |prompt: &[u32], n| Question { prompt: prompt.to_vec(), n };
    assert!(refused(question(&[], 1), &decoding()).contains("prompt 0"));
    assert!(refused(question(&[1], 0), &decoding()).contains("0 completions"));
    assert!(refused(question(&[1], 2), &Decoding::greedy(4, vec![EOS])).contains("1 when greedy"));
    assert!(refused(question(&[1], 1), &Decoding::sampled(0, 1.0, vec![EOS])).contains("no room"));
    assert_eq!(server.asked("/v1/completions").len(), 0);
    let unknown = endpoints.sample(&policy(), "gone", &questions()[..1], &decoding(), 1).unwrap_err().to_string();
    assert!(unknown.contains("The model `gone` does not exist."), "{unknown}");
}

fn adapter(dir: &Path) -> PathBuf {
    let settings = LoraSettings { rank: 2, alpha: 4.0, rslora: false, targets: vec!["q_proj".into()] };
    let folder = dir.join("runs/x/adapter");
    std::fs::create_dir_all(&folder).unwrap();
    policy().with_lora(settings, 1).unwrap().save_adapter(&folder).unwrap();
    folder
}

#[test]
fn adapters_are_loaded_under_new_names_and_the_last_one_is_unloaded() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, seen) = (adapter(here.path()), adapter(there.path()));
    let (a, b) = (Endpoint::start(None, Mood::Good), Endpoint::start(None, Mood::Good));
    let seen_as = Some((here.path().to_owned(), there.path().to_str().unwrap().to_owned()));
    let endpoints = open(&[&a, &b], EndpointSettings { seen_as, ..settings() });
    endpoints.load_adapter("phase-0001", &folder).unwrap();
    endpoints.load_adapter("phase-0002", &folder).unwrap();
    for server in [&a, &b] {
        assert_eq!(server.adapters(), ["phase-0002"]);
        let load = serde_json::json!({ "lora_name": "phase-0001", "lora_path": seen });
        assert_eq!(server.asked("/v1/load_lora_adapter")[0], load);
        assert_eq!(server.asked("/v1/unload_lora_adapter"), [serde_json::json!({ "lora_name": "phase-0001" })]);
    }
    let said = endpoints.sample(&policy(), "phase-0002", &questions(), &decoding(), 11).unwrap();
    assert_eq!(said, expected());

    // A name left over from a run that was killed is taken over.
    open(&[&a], settings()).load_adapter("phase-0009", &folder).unwrap();
    let again = open(&[&a], settings());
    again.load_adapter("phase-0009", &folder).unwrap();
    again.unload_adapter();
    assert_eq!(a.adapters(), ["phase-0002"]);

    // What cannot be seen there cannot be loaded; what is outside the workspace cannot be named.
    std::fs::remove_file(seen.join("adapter_config.json")).unwrap();
    let error = endpoints.load_adapter("phase-0003", &folder).unwrap_err().to_string();
    assert!(error.contains("No adapter found"), "{error}");
    let error = endpoints.load_adapter("phase-0004", there.path()).unwrap_err().to_string();
    assert!(error.contains("outside the workspace"), "{error}");
}

const SECTIONS: &str = "
[train]
steps = 30
lr = 3e-3
batch = 4
eval_every = 10
eval_examples = 8
save_every = 2
taught = 1.0
precision = 'f32'
[reward]
relevance = 0.5
min_people = 1
[grpo]
steps = 6
lr = 3e-3
prompts = 3
num_generations = 4
num_iterations = 2
max_completion_length = 6
";

fn command(workspace: &Path, recipe: &str, args: &[&str]) -> std::process::Command {
    let file = workspace.join("r.toml");
    std::fs::write(&file, recipe).unwrap();
    small::command(workspace, &file, args)
}

#[test]
fn a_run_learns_from_what_servers_sample_with_its_own_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let plain = small::recipe(SECTIONS);
    let file = dir.path().join("r.toml");
    std::fs::write(&file, &plain).unwrap();
    small::teach(dir.path(), &file);
    let base = runs::latest(&dir.path().join("runs/r-sft")).unwrap().unwrap().0;
    let (a, b) = (Endpoint::start(Some(&base), Mood::Good), Endpoint::start(Some(&base), Mood::DiesAfter(1)));
    let on = |urls: &str| format!("[rollouts]\nmodel = 'base'\nretries = 1\nendpoints = [{urls}]\n");
    let rollouts = on(&format!("'{}', '{}/v1'", a.url, b.url));
    let train = ["train", "grpo", "--init", "r-sft"];
    let (_, said) = fails(&mut command(dir.path(), &format!("{plain}{rollouts}"), &train));
    assert!(said.contains("lora.rank is 0"), "{said}");
    let with_lora = plain.replace("[train]", "[lora]\nrank = 4\n[train]");
    let constrained = format!("{with_lora}decoding = 'constrained'\n{rollouts}");
    let (_, said) = fails(&mut command(dir.path(), &constrained, &train));
    assert!(said.contains("grpo.decoding"), "{said}");
    ok(&mut command(dir.path(), &format!("{with_lora}{rollouts}"), &train));

    let events = small::events(dir.path(), "r-grpo");
    let count = events.iter().filter(|event| matches!(event, Event::Rollout { .. })).count();
    assert_eq!(count, 9, "three rollouts of three prompts");
    let told = |event: &&Event| matches!(event, Event::Note { text } if text.contains("samples no more"));
    assert_eq!(events.iter().filter(told).count(), 1, "the death of one is told once");
    // The server computes with the same engine here: with the newest adapter its numbers are the policy's own.
    let differences: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Metrics { values, .. } => values.get("sampling/sampling_logp_difference/mean").copied(),
            _ => None,
        })
        .collect();
    assert!(differences.len() == 3 && differences.iter().all(|far| *far < 1e-4), "{differences:?}");
    let loaded = a.asked("/v1/load_lora_adapter");
    let names: HashSet<_> = loaded.iter().map(|body| body["lora_name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), loaded.len()), (3, 3), "one adapter a rollout: {loaded:?}");
    let models: HashSet<String> =
        a.asked("/v1/completions").iter().map(|body| body["model"].as_str().unwrap().to_owned()).collect();
    assert_eq!(models.iter().map(String::as_str).collect::<HashSet<_>>(), names);
    assert_eq!(a.adapters().len(), 0, "the last one is unloaded");
    let left = std::fs::read_dir(dir.path().join("runs/r-grpo")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.starts_with("step-")), "{left:?}");

    // The only server dies in the last rollout; on another one the run goes on to the numbers of the first.
    let dying = Endpoint::start(Some(&base), Mood::DiesAfter(a.answered() - 1));
    let again = [&train[..], &["--name", "again"]].concat();
    let (_, said) = fails(&mut command(dir.path(), &format!("{with_lora}{}", on(&format!("'{}'", dying.url))), &again));
    assert!(said.contains("no endpoint is left") && said.contains(&dying.url), "{said}");
    let resumed = [&again[..], &["--resume"]].concat();
    ok(&mut command(dir.path(), &format!("{with_lora}{}", on(&format!("'{}'", a.url))), &resumed));
    let weights = |run: &str| {
        std::fs::read(dir.path().join(format!("runs/{run}/step-00000006/adapter_model.safetensors"))).unwrap()
    };
    assert!(weights("again") == weights("r-grpo"), "who samples changes nothing");
}
