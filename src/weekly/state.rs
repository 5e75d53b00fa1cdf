//! Where a loop stands: which weeks are done, and which week the log holds. Both are in the store, so a killed loop finds them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::journal::Reader;
use crate::judge::Weeks;
use crate::recipe::{Fingerprint, Recipe};
use crate::store::Store;

/// Changes when the same recipe would give other weeks.
const VERSION: &str = "weekly-1";

/// The newest week in the log, and the release that was in use while it was lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// 0 for the weeks before the first.
    pub week: u32,
    /// The release.
    pub release: i64,
}

/// Everything a loop depends on, hashed.
pub(super) fn fingerprint(recipe: &Recipe) -> String {
    let mut hash = Fingerprint::default();
    hash.add(VERSION.as_bytes());
    hash.add(env!("CARGO_PKG_VERSION").as_bytes());
    hash.add(recipe.to_toml().as_bytes());
    hash.hex()
}

/// What a log says of where it came from.
pub(super) fn origin(fingerprint: &str, week: u32, release: i64, content: &str) -> String {
    let hash = content.rsplit(' ').next().unwrap_or_default();
    format!("world weekly {fingerprint} week {week} release {release} {hash}")
}

fn read(origin: &str, fingerprint: &str) -> Option<UnderWay> {
    let rest = origin.strip_prefix(&format!("world weekly {fingerprint} week "))?;
    let (week, rest) = rest.split_once(" release ")?;
    let (release, _) = rest.split_once(' ')?;
    Some(UnderWay { week: week.parse().ok()?, release: release.parse().ok()? })
}

/// What the log of a loop holds; none where it is not there, or of another loop.
pub(super) fn under_way(workspace: &Path, recipe: &Recipe, fingerprint: &str) -> Result<Option<UnderWay>> {
    let log = Store::open(workspace)?.find_log(&recipe.name)?;
    Ok(log.and_then(|log| read(&log.origin, fingerprint)))
}

/// The weeks that are done.
pub(super) fn earlier(workspace: &Path, fingerprint: &str) -> Result<Option<Weeks>> {
    let body = Reader::open(workspace)?.report("weekly", fingerprint)?;
    body.map(|body| serde_json::from_value(body).context("the journal's weeks are of another version")).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_back_and_another_loops_is_not() {
        let text = origin("0a1b", 7, 12, "world abc 0123456789abcdef");
        assert_eq!(read(&text, "0a1b"), Some(UnderWay { week: 7, release: 12 }));
        assert!(text.ends_with(" 0123456789abcdef"));
        for (text, fingerprint) in [(text.as_str(), "0a1c"), ("world 0a1b 012", "0a1b"), ("", "0a1b")] {
            assert_eq!(read(text, fingerprint), None);
        }
    }
}
