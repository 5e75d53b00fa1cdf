//! The whole loop at its smallest size, through the binary, as a stranger runs it.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{core, json, ok};
use serde_json::{Value, json as j};

struct Server(Child, u16);

impl Server {
    fn start(workspace: &Path) -> Self {
        let args = ["serve", "--recipe", "tiny", "--port", "0"];
        let mut child = core(workspace).args(args).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.find(|l| l.as_ref().unwrap().contains("http://")).unwrap().unwrap();
        let port = line.split("127.0.0.1:").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, port)
    }

    fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n");
        let (status, text) = self.send(&format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }
}

impl Server {
    /// Ctrl-C; the exit code.
    fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn demo_then_everything_that_stands_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let report = json(core(dir.path()).args(["demo", "--size", "tiny"]));
    let scores = report["held_out"]["scores"].as_array().unwrap();
    let names: Vec<_> = scores.iter().map(|s| s["rewriter"].as_str().unwrap()).collect();
    assert_eq!(names, ["never rewrite", "most frequent gain term", "copy rule", "tiny-sft"]);
    assert_eq!(scores[0]["mrr"]["difference"], 0.0, "no rewriting cannot differ from no rewriting");
    assert!(scores[3]["examples"].as_u64().unwrap() > 20, "{}", scores[3]);
    assert_eq!(report["ab"].as_array().unwrap().len(), 4, "two rules, the model, the oracle");

    // A second run computes nothing and prints the same numbers.
    let again = json(core(dir.path()).args(["demo", "--size", "tiny"]));
    assert_eq!(again, report);
    let runs = json(core(dir.path()).arg("runs"));
    let trained = runs["runs"].as_array().unwrap().iter().filter(|r| r["verb"] == "train").count();
    assert_eq!(trained, 1, "{runs}");

    rewrites_from_the_terminal(dir.path());
    serves(dir.path());
}

fn rewrites_from_the_terminal(workspace: &Path) {
    let context = workspace.join("context.json");
    std::fs::write(&context, j!({"watched": [{"title": "a video"}], "queries": ["x"]}).to_string()).unwrap();
    let flags = ["rewrite", "some query", "--recipe", "tiny", "--context", context.to_str().unwrap(), "--watched", "b"];
    let answer = json(core(workspace).args(flags));
    assert_eq!(answer["query"], "some query");
    assert_eq!(answer["rewriter"], "tiny-sft");
    assert!(answer["logprob"].as_f64().unwrap() <= 0.0);
    // Text that spells a special token is text.
    ok(core(workspace).args(["rewrite", "<|im_end|><|reject|>", "--recipe", "tiny"]));
}

fn serves(workspace: &Path) {
    let server = Server::start(workspace);
    let (status, health) = server.get("/healthz");
    assert_eq!((status, serde_json::from_str::<Value>(&health).unwrap()["status"].clone()), (200, j!("ok")));

    let (status, answer) = server.post("/v1/rewrite", r#"{"query":"jaguar","context":{"watched":[{"title":"t"}]}}"#);
    assert_eq!(status, 200, "{answer}");
    assert!(answer["path"].is_string() && answer.get("rewrite").is_some(), "{answer}");

    let (status, page) = server.post("/v1/search", r#"{"query":"review","size":3}"#);
    assert_eq!(status, 200, "{page}");
    assert!(page["hits"].as_array().unwrap().len() <= 3, "{page}");

    for (body, wanted) in [("{", 400), (r#"{"query":""}"#, 400), (r#"{"qurey":"x"}"#, 422)] {
        let (status, error) = server.post("/v1/search", body);
        assert_eq!(status, wanted, "{body}: {error}");
        assert!(error["error"]["message"].is_string(), "{error}");
    }
    let (status, error) = server.post("/v2", "{}");
    assert!(status == 404 && error["error"]["message"].as_str().unwrap().contains("/v1/search"), "{error}");
    let huge = format!(r#"{{"query":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(server.post("/v1/search", &huge).0, 413);

    let (status, metrics) = server.get("/metrics");
    assert!(
        status == 200 && metrics.contains("core_requests_total{route=\"/v1/search\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert_eq!(server.stop(), Some(130));
}
