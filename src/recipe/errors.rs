//! What a person reads when a recipe cannot be read: file, line, key, nearest known key.

use anyhow::{Error, anyhow};

/// Turns serde's message into one sentence with the place and the remedy.
pub(super) fn explain(error: &toml::de::Error, text: &str, source: &str) -> Error {
    let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let message = error.message();
    let Some(key) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        return anyhow!("recipe {source}:{line}: {}", message.replace('\n', " "));
    };
    // serde lists what it expected between backquotes after the key itself.
    let known = message.split('`').skip(3).step_by(2);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, key)).unwrap_or_default();
    anyhow!("recipe {source}:{line}: unknown key `{key}`; did you mean `{nearest}`?")
}
