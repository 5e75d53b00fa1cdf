//! A server under measurement: a process of its own on loopback, and one connection to it that is kept open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `core serve`; it ends with this.
pub(super) struct Server {
    child: Child,
    stream: BufReader<TcpStream>,
}

/// What came back.
pub(super) struct Reply {
    /// The `x-rewriting` header, where there is one.
    pub rewriting: String,
    pub body: Vec<u8>,
    /// From the first byte sent to the last byte read, milliseconds.
    pub took_ms: f64,
}

impl Server {
    /// Starts a server on a free port of loopback and connects to it.
    pub(super) fn start(program: &Path, workspace: &Path, recipe: &Path, model: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--port", "0", "--model", model, "--recipe"]).arg(recipe);
        let mut child = command.arg("--workspace").arg(workspace).stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take().context("the server's standard error is piped")?;
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut last = String::new();
        let port = lines.find_map(|line| {
            let port =
                line.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            last = line;
            port
        });
        let connected = port
            .ok_or_else(|| anyhow!("the server did not start: {last}"))
            .and_then(|port: u16| Ok(TcpStream::connect(("127.0.0.1", port))?));
        let stream = connected.inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        // A pipe that nobody empties would hold the server up.
        std::thread::spawn(move || lines.for_each(drop));
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { child, stream: BufReader::new(stream) })
    }

    /// `POST`s a JSON body.
    pub(super) fn post(&mut self, route: &str, body: &str) -> Result<Reply> {
        let head = format!("POST {route} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n");
        self.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// `GET`s a text.
    pub(super) fn get(&mut self, route: &str) -> Result<String> {
        let reply = self.send(&format!("GET {route} HTTP/1.1\r\nHost: bench\r\n\r\n"))?;
        Ok(String::from_utf8(reply.body)?)
    }

    fn send(&mut self, request: &str) -> Result<Reply> {
        let started = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut rewriting, mut length) = (String::new(), String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "x-rewriting" => rewriting = value.trim().to_owned(),
                _ => (),
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        ensure!(status.contains(" 200 "), "{}: {}", status.trim(), String::from_utf8_lossy(&body));
        Ok(Reply { rewriting, body, took_ms })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
