//! What a prompt and its target look like: rewriting a query, tagging a document's relevance.

mod rewriting;
mod tagging;

use serde::{Deserialize, Serialize};

use crate::logs::Context;

pub use rewriting::{
    END_OF_TEXT, IM_END, IM_START, Message, PLACE, Piece, Prompt, REJECT, SEARCHED, SPECIAL_TOKENS, Template, WATCHED,
    drop_oldest, spaced,
};
pub use tagging::Label;

/// What should be done about a query: `<reject>` leaves it alone (WeWrite §2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Search for this instead, beside the original.
    Rewrite(String),
    /// The query is best left as it is.
    Reject,
}

impl Target {
    /// From a row of the store, where none means reject.
    #[must_use]
    pub fn from_option(text: Option<&str>) -> Self {
        text.map_or(Self::Reject, |text| Self::Rewrite(text.to_owned()))
    }

    /// The rewrite, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Rewrite(text) => Some(text),
            Self::Reject => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.text().unwrap_or("<reject>"))
    }
}

/// A context in one line, for a table or a screen.
#[must_use]
pub fn context_line(context: &Context) -> String {
    let mut parts: Vec<String> = context.watched.iter().map(|seen| format!("▶ {}", seen.title)).collect();
    parts.extend(context.queries.iter().map(|query| format!("? {query}")));
    parts.extend(context.place.iter().map(|place| format!("@ {place}")));
    parts.join(" · ")
}
