//! HTTP to one server: bounded in time and in size, and every failure a sentence.

use std::time::Duration;

use serde_json::Value;

/// Most bytes of an error's body that are read, and of its message that are shown.
const ERROR_BYTES: u64 = 64 * 1024;
const ERROR_CHARS: usize = 300;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server will not do it, however often it is asked.
    Refused(String),
    /// It may work the next time.
    Passing(String),
}

impl Failure {
    pub fn reason(self) -> String {
        match self {
            Self::Refused(reason) | Self::Passing(reason) => reason,
        }
    }
}

/// One server. Connections are kept and shared by the threads that ask it.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// Of the server at an address; a path of `/v1` at its end is the API's own and is left out.
    pub fn new(url: &str, timeout: Duration, at_once: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections_per_host(at_once);
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned();
        Self { agent: config.build().new_agent(), base }
    }

    /// The body of a good answer to `GET path`, of at most `limit` bytes.
    pub fn get(&self, path: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        body(self.agent.get(format!("{}{path}", self.base)).call(), limit)
    }

    /// The body of a good answer to `POST path` with JSON, of at most `limit` bytes.
    pub fn post(&self, path: &str, json: &Value, limit: u64) -> Result<Vec<u8>, Failure> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        body(request.send(json.to_string().as_bytes()), limit)
    }
}

fn body(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut answer = answer.map_err(|e| Failure::Passing(explain(&e)))?;
    let status = answer.status().as_u16();
    let good = (200..300).contains(&status);
    let read = answer.body_mut().with_config().limit(if good { limit } else { ERROR_BYTES }).read_to_vec();
    if good {
        return read.map_err(|e| Failure::Passing(explain(&e)));
    }
    let said = format!("it answered {status}{}", message(&read.unwrap_or_default()));
    // Overload and a wait that was too long pass; what else is the request's fault stays so.
    let passing = status >= 500 || [408, 425, 429].contains(&status);
    Err(if passing { Failure::Passing(said) } else { Failure::Refused(said) })
}

fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer within rollouts.timeout_s".into(),
        ureq::Error::BodyExceedsLimit(limit) => format!("its answer is longer than {limit} bytes"),
        other => other.to_string(),
    }
}

/// The message in the body of an error: OpenAI's `error.message`, an older `message`, FastAPI's `detail`, or the text.
fn message(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let field = |json: &Value| {
        let found = [json.pointer("/error/message"), json.get("message"), json.get("detail")];
        found.into_iter().flatten().find_map(|value| value.as_str().map(str::to_owned))
    };
    let text = json.as_ref().and_then(field).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(ERROR_CHARS).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_message_is_found_wherever_servers_put_it() {
        assert_eq!(message(br#"{"error": {"message": "no\n such  model", "code": 404}}"#), ": no such model");
        assert_eq!(message(br#"{"object": "error", "message": "old"}"#), ": old");
        assert_eq!(message(br#"{"detail": "Not Found"}"#), ": Not Found");
        assert_eq!(message(b"<html>"), ": <html>");
        assert_eq!(message(b""), "");
        assert_eq!(message("x".repeat(1_000).as_bytes()).len(), ERROR_CHARS + 2);
    }

    #[test]
    fn an_address_may_carry_the_apis_own_path() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(Client::new(url, Duration::from_secs(1), 1).base, "http://h:1");
        }
        assert_eq!(Client::new("https://h/gpu/v1", Duration::from_secs(1), 1).base, "https://h/gpu");
    }
}
