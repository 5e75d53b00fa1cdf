//! Models by id against a small server that speaks the hub's protocol. Each question is asked in a process of its
//! own, because the hub's settings are environment variables.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::golden;
use candle_core::Device;
use core_rewriter::model::{Policy, hub};
use core_rewriter::recipe::SearchPath;
use core_rewriter::search::Encoder;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a repository of the test server does.
#[derive(Clone)]
enum Answer {
    Files(PathBuf),
    OnlyPickles,
    Status(u16),
}

struct Server {
    endpoint: String,
    /// Request lines with the `authorization` header, in order.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves repositories by `owner/name`; anything else is 404.
    fn start(repos: Vec<(&'static str, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, host) = (seen.clone(), endpoint.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, host, repos) = (log.clone(), host.clone(), repos.clone());
                std::thread::spawn(move || answer(stream, &repos, &host, &log));
            }
        });
        Self { endpoint, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(stream: TcpStream, repos: &[(&str, Answer)], host: &str, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut lines, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        lines.push(line.trim().to_owned());
        line.clear();
    }
    let Some(path) = lines.first().and_then(|l| l.split(' ').nth(1)) else { return };
    let header = |name: &str| {
        lines
            .iter()
            .filter_map(|l| l.split_once(':'))
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    log.lock().unwrap().push(format!("{path} {}", header("authorization").unwrap_or("-")));
    let from = header("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'));
    let (status, headers, body) = respond(path, from, repos, host);
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).ok();
}

fn respond(path: &str, range: Option<(&str, &str)>, repos: &[(&str, Answer)], host: &str) -> (u16, String, Vec<u8>) {
    let none = |status| (status, String::new(), Vec::new());
    let trimmed = path.trim_start_matches("/cdn/").trim_start_matches("/api/models/").trim_start_matches('/');
    let Some((id, answer)) = repos.iter().find(|(id, _)| trimmed.starts_with(&format!("{id}/"))) else {
        return none(404);
    };
    let folder = match answer {
        Answer::Status(status) => return none(*status),
        Answer::Files(folder) => Some(folder),
        Answer::OnlyPickles => None,
    };
    if path.starts_with("/api/models/") {
        let mut names: Vec<String> =
            folder.map_or_else(|| ["config.json", "tokenizer.json"].map(str::to_owned).to_vec(), |f| files(f, ""));
        names.push("pytorch_model.bin".into());
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "siblings": siblings, "sha": COMMIT });
        return (200, "content-type: application/json\r\n".into(), info.to_string().into_bytes());
    }
    // `owner/name/resolve/revision/file`, and the file may lie in a folder.
    let file = trimmed.splitn(5, '/').nth(4).unwrap_or_default();
    let Some(body) = folder.and_then(|f| std::fs::read(f.join(file)).ok()) else { return none(404) };
    let mut headers = format!("x-repo-commit: {COMMIT}\r\netag: \"{id}-{file}\"\r\n").replacen('/', "-", 1);
    // Large files live elsewhere on the real hub, behind a redirection that carries the etag.
    if file.ends_with(".safetensors") && !path.starts_with("/cdn/") {
        headers += &format!("x-linked-etag: \"{}\"\r\nlocation: {host}/cdn/{trimmed}\r\n", file.replace('.', "-"));
        return (302, headers, Vec::new());
    }
    let Some((from, to)) = range else { return (200, headers, body) };
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(body.len(), |to: usize| to + 1).min(body.len());
    headers += &format!("content-range: bytes {from}-{}/{}\r\n", to - 1, body.len());
    (206, headers, body[from..to].to_vec())
}

/// Names of all files under a folder.
fn files(folder: &Path, before: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let named = entries.map(|e| (e.path(), format!("{before}{}", e.file_name().into_string().unwrap())));
    named.flat_map(|(path, name)| if path.is_dir() { files(&path, &format!("{name}/")) } else { vec![name] }).collect()
}

/// Asks [`hub::resolve`] in a process with the given environment; the folder, or the error's text.
fn ask(id: &str, home: &Path, env: &[(&str, &str)]) -> Result<PathBuf, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "library::hub::in_a_process_of_its_own", "--ignored", "--nocapture"]);
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    for unset in ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"].iter().chain(&proxies) {
        command.env_remove(unset);
    }
    command.env("HF_HOME", home).env("ASK_THE_HUB", id).envs(env.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |mark: &str| text.lines().find_map(|l| l.split_once(mark)).map(|(_, rest)| rest.to_owned());
    match (after("FOLDER "), after("ERROR ")) {
        (Some(folder), None) => Ok(folder.into()),
        (None, Some(error)) => Err(error),
        _ => panic!("no answer in {text} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
#[ignore = "the other tests run it, with an environment of their own"]
fn in_a_process_of_its_own() {
    let id = std::env::var("ASK_THE_HUB").expect("the other tests set it");
    match hub::resolve(&id, None) {
        Ok(folder) => println!("\nFOLDER {}", folder.display()),
        Err(error) => println!("\nERROR {}", format!("{error:#}").replace('\n', " ")),
    }
}

/// The same model in one file and in shards.
fn folders(tmp: &Path) -> (PathBuf, PathBuf) {
    let policy = Policy::load(&golden::path(&format!("models/{}", golden::models()[0])), &Device::Cpu).unwrap();
    let bytes: usize = policy.vars().iter().map(|(_, var)| 4 * var.elem_count()).sum();
    let save = |name: &str, limit: Option<u64>| {
        let dir = tmp.join(name);
        std::fs::create_dir(&dir).unwrap();
        policy.save(&dir, limit).unwrap();
        dir
    };
    let (single, sharded) = (save("single", None), save("sharded", Some(bytes as u64 / 3)));
    assert!(!sharded.join("model.safetensors").exists());
    (single, sharded)
}

#[test]
fn an_encoder_is_fetched_with_what_says_how_its_states_are_pooled() {
    let server = Server::start(vec![("a/encoder", Answer::Files(golden::kept("encoder/bert")))]);
    let home = tempfile::tempdir().unwrap();
    let folder = ask("a/encoder", home.path(), &[("HF_ENDPOINT", &server.endpoint)]).unwrap();
    assert!(folder.join("1_Pooling/config.json").is_file());
    let settings = SearchPath { encoder: folder.to_str().unwrap().into(), ..SearchPath::default() };
    assert_eq!(Encoder::open(&settings).unwrap().identity().dimension, 32);
    assert!(!server.seen().iter().any(|r| r.contains(".bin")), "{:?}", server.seen());
}

#[test]
fn models_are_fetched_once_whole_and_without_pickles() {
    let tmp = tempfile::tempdir().unwrap();
    let (single, sharded) = folders(tmp.path());
    let server = Server::start(vec![("a/single", Answer::Files(single)), ("a/sharded", Answer::Files(sharded))]);
    let home = tempfile::tempdir().unwrap();
    let endpoint = ("HF_ENDPOINT", server.endpoint.as_str());
    for id in ["a/single", "a/sharded@v1.0"] {
        let folder = ask(id, home.path(), &[endpoint, ("HF_TOKEN", "secret")]).unwrap();
        assert!(folder.starts_with(home.path().join("hub")), "{}", folder.display());
        Policy::load(&folder, &Device::Cpu).unwrap();
        let requests = server.seen();
        assert!(requests.iter().all(|r| r.ends_with("Bearer secret")), "{requests:?}");
        assert!(!requests.iter().any(|r| r.contains(".bin")), "{requests:?}");
        // From the cache now, without a word to the server, offline or not.
        for env in [vec![endpoint], vec![("HF_HUB_OFFLINE", "1")]] {
            assert_eq!(ask(id, home.path(), &env).unwrap(), folder);
        }
        assert_eq!(server.seen().len(), requests.len());
    }
    assert!(server.seen().iter().any(|r| r.contains("/resolve/v1.0/")));
}

#[test]
fn what_goes_wrong_is_said_with_its_remedy() {
    let server = Server::start(vec![
        ("a/private", Answer::Status(401)),
        ("a/gated", Answer::Status(403)),
        ("a/broken", Answer::Status(500)),
        ("a/pickles", Answer::OnlyPickles),
    ]);
    let home = tempfile::tempdir().unwrap();
    let cases = [
        ("a/nothing", "a/nothing was not found on the hub: check the name"),
        ("a/private", "set HF_TOKEN"),
        ("a/gated", "a/gated is gated"),
        ("a/broken", "the hub did not deliver a/broken"),
        ("a/pickles", "a/pickles has no safetensors"),
        ("nothing", "no model folder at nothing"),
    ];
    for (id, sentence) in cases {
        let error = ask(id, home.path(), &[("HF_ENDPOINT", &server.endpoint)]).unwrap_err();
        assert!(error.contains(sentence), "{id}: {error}");
    }
}

#[test]
fn offline_and_without_a_network_the_message_says_so() {
    let home = tempfile::tempdir().unwrap();
    let error = ask("a/b", home.path(), &[("HF_HUB_OFFLINE", "1")]).unwrap_err();
    assert!(error.contains("HF_HUB_OFFLINE is set") && error.contains("a/b"), "{error}");
    // A port that nobody listens on any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let error = ask("a/b", home.path(), &[("HF_ENDPOINT", &endpoint)]).unwrap_err();
    assert!(error.contains("no network on the way to a/b"), "{error}");
}
