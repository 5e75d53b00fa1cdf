//! The section `[rollouts]`: servers that sample in place of this machine.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Sampling by outside servers that speak the OpenAI completions API, such as vLLM's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollouts {
    /// Addresses of the servers, as `http://10.0.0.5:8000`; none leaves sampling to this machine. They share the work.
    pub endpoints: Vec<String>,
    /// What the servers call the base model that the adapter is made for; needed with `endpoints`.
    pub model: String,
    /// Prompts that one server works on at once.
    pub batch: usize,
    /// Longest wait for one answer, in seconds; a server that takes longer counts as slow.
    pub timeout_s: usize,
    /// How often a request that failed or took too long is sent again before its server is dropped.
    pub retries: usize,
    /// This workspace's folder as the servers see it; empty where it has the same path there. They read the adapter from it.
    pub workspace: String,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            model: String::new(),
            batch: 8,
            timeout_s: 120,
            retries: 2,
            workspace: String::new(),
        }
    }
}

impl Rollouts {
    /// Refuses the first value that cannot be used.
    pub(super) fn check(&self) -> Result<()> {
        for (i, url) in self.endpoints.iter().enumerate() {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap_or_default();
            let host = rest.split('/').next().unwrap_or_default();
            // A recipe is kept in the journal: no place for a password.
            let plain = !url.contains(|c: char| c.is_whitespace() || "@?#".contains(c));
            ensure!(
                plain && !host.is_empty() && !host.starts_with(':'),
                "rollouts.endpoints names {url:?}: give an address as http://host:8000 or https://host"
            );
            let twice =
                self.endpoints[..i].iter().any(|other| other.trim_end_matches('/') == url.trim_end_matches('/'));
            ensure!(!twice, "rollouts.endpoints names {url} twice: name each server once");
        }
        ensure!(
            self.endpoints.is_empty() || !self.model.trim().is_empty(),
            "rollouts.model is empty: say what the servers of rollouts.endpoints call the base model (GET /v1/models lists it)"
        );
        ensure!(self.batch <= 256, "rollouts.batch is {}: use 256 or less", self.batch);
        ensure!(self.timeout_s <= 86_400, "rollouts.timeout_s is {}: use a day (86400) or less", self.timeout_s);
        ensure!(self.retries <= 16, "rollouts.retries is {}: use 16 or less", self.retries);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;

    #[test]
    fn an_address_that_is_none_is_refused_by_name() {
        let parse = |text: &str| Recipe::parse(&format!("[rollouts]\n{text}"), "my.toml");
        for wrong in ["host:8000", "http://", "ftp://host", "http://a b", "http://me:secret@host", "http://:80"] {
            let error = format!("{:#}", parse(&format!("model = 'm'\nendpoints = ['{wrong}']\n")).unwrap_err());
            assert!(error.contains("rollouts.endpoints") && error.contains(wrong), "{error}");
        }
        for (text, key) in [
            ("endpoints = ['http://a']\n", "rollouts.model"),
            ("model = 'm'\nendpoints = ['http://a', 'http://a/']\n", "twice"),
            ("batch = 0\n", "rollouts.batch"),
            ("timeout_s = 0\n", "rollouts.timeout_s"),
            ("retries = 17\n", "rollouts.retries"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(key), "{error}");
        }
        let good = parse("model = 'm'\nendpoints = ['http://127.0.0.1:8000/v1', 'https://host']\n").unwrap();
        assert_eq!(good.rollouts.endpoints.len(), 2);
    }
}
