//! The rewriting task as text: context and query in, rewrite or `<reject>` out.
//!
//! Two templates over one model class. A model trained from nothing gets short markers of its own; a chat
//! checkpoint gets the instruction printed in WeWrite §2.3.1. How they become tokens is `model`'s business.

use serde::{Deserialize, Serialize};

use super::Target;
use crate::logs::{Context, Seen};

/// Ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Ends a turn, and so every completion.
pub const IM_END: &str = "<|im_end|>";
/// Begins a turn of a chat.
pub const IM_START: &str = "<|im_start|>";
/// Begins the title of something watched.
pub const WATCHED: &str = "<|watched|>";
/// Begins an earlier query.
pub const SEARCHED: &str = "<|searched|>";
/// Begins a place.
pub const PLACE: &str = "<|place|>";
/// Begins the query.
pub(super) const QUERY: &str = "<|query|>";
/// Begins the answer.
pub(super) const REWRITE: &str = "<|rewrite|>";
/// The plain template's `<reject>`, one token.
pub const REJECT: &str = "<|reject|>";

/// Special tokens of a tokenizer trained for the plain template.
pub const SPECIAL_TOKENS: [&str; 9] = [END_OF_TEXT, IM_START, IM_END, WATCHED, SEARCHED, PLACE, QUERY, REWRITE, REJECT];

/// WeWrite §2.3.1, printed there in full.
const INSTRUCTION: &str = "Based on user features such as recently watched videos, gender, and historical search queries, \
    determine whether the current query needs to be refined, rewritten, or corrected. If necessary, directly output the \
    rewritten or corrected query; otherwise, output <reject>.";

/// How prompts and targets are written for one tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Our own markers; for models trained from nothing.
    Plain,
    /// The checkpoint's chat template around WeWrite's instruction.
    Chat,
}

/// A part of a text: a marker is one special token, a text is people's words and never special.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One special token.
    Marker(&'static str),
    /// Plain text.
    Text(String),
}

/// A turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A prompt before it becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// For [`Template::Plain`].
    Pieces(Vec<Piece>),
    /// For [`Template::Chat`].
    Messages(Vec<Message>),
}

impl Template {
    /// The prompt: oldest context first and the query last, since what is nearest to the answer matters most.
    #[must_use]
    pub fn prompt(self, context: &Context, query: &str) -> Prompt {
        match self {
            Self::Plain => Prompt::Pieces(pieces(context, query)),
            Self::Chat => Prompt::Messages(vec![
                Message { role: "system".into(), content: INSTRUCTION.into() },
                Message { role: "user".into(), content: user_turn(context, query) },
            ]),
        }
    }

    /// The completion a model is taught, its end token included.
    #[must_use]
    pub fn completion(self, target: &Target) -> [Piece; 2] {
        let said = match (self, target) {
            (Self::Plain, Target::Reject) => Piece::Marker(REJECT),
            (Self::Chat, Target::Reject) => Piece::Text("<reject>".into()),
            (Self::Plain, Target::Rewrite(text)) => Piece::Text(spaced(text)),
            (Self::Chat, Target::Rewrite(text)) => Piece::Text(text.clone()),
        };
        [said, Piece::Marker(IM_END)]
    }

    /// What a model's text says; special tokens already left out.
    #[must_use]
    pub fn read(self, text: &str) -> Target {
        // A thinking checkpoint may put an empty thought first.
        let text = text.rsplit("</think>").next().unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || text == "<reject>" { Target::Reject } else { Target::Rewrite(text) }
    }
}

/// A leading space and small letters, so that a word has the same tokens wherever it stands.
#[must_use]
pub fn spaced(text: &str) -> String {
    text.split_whitespace().fold(String::new(), |line, word| line + " " + &word.to_lowercase())
}

/// Takes the oldest, least useful thing out of a context; false when nothing is left.
pub fn drop_oldest(context: &mut Context) -> bool {
    if context.watched.len() > 1 {
        context.watched.pop();
        return true;
    }
    context.queries.pop().is_some() || context.place.take().is_some() || context.watched.pop().is_some()
}

fn pieces(context: &Context, query: &str) -> Vec<Piece> {
    let mut parts: Vec<(&'static str, String)> = Vec::new();
    parts.extend(context.place.iter().map(|place| (PLACE, place.clone())));
    parts.extend(context.queries.iter().rev().map(|earlier| (SEARCHED, earlier.clone())));
    parts.extend(context.watched.iter().rev().map(|seen| (WATCHED, shown(seen))));
    parts.push((QUERY, query.to_owned()));
    let pieces = parts.into_iter().flat_map(|(marker, text)| [Piece::Marker(marker), Piece::Text(spaced(&text))]);
    pieces.chain([Piece::Marker(REWRITE)]).collect()
}

/// A title, and behind it those of its tags that say something new.
fn shown(seen: &Seen) -> String {
    let title = seen.title.to_lowercase();
    let new = seen.tags.iter().filter(|tag| !title.contains(&tag.to_lowercase()));
    new.fold(seen.title.clone(), |text, tag| text + " " + tag)
}

fn user_turn(context: &Context, query: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, values: Vec<&str>| {
        if !values.is_empty() {
            text += &format!("{name}: {}\n", values.join(" | "));
        }
    };
    line("Location", context.place.iter().map(String::as_str).collect());
    line("Historical queries, newest first", context.queries.iter().map(String::as_str).collect());
    let watched: Vec<String> = context.watched.iter().map(shown).collect();
    line("Watched videos, newest first", watched.iter().map(String::as_str).collect());
    text + &format!("Current query: {query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let seen = |title: &str, tags: &[&str]| Seen {
            title: title.into(),
            tags: tags.iter().map(|t| t.to_string()).collect(),
        };
        Context {
            watched: vec![seen("New video", &["Video", "cars"]), seen("old video", &[])],
            queries: vec!["cars".into()],
            place: Some("paris".into()),
        }
    }

    #[test]
    fn the_query_stands_last_and_the_newest_context_next_to_it() {
        let Prompt::Pieces(pieces) = Template::Plain.prompt(&context(), "jaguar  x") else { panic!("plain pieces") };
        let text = |t: &str| Piece::Text(t.into());
        let wanted = [
            Piece::Marker(PLACE),
            text(" paris"),
            Piece::Marker(SEARCHED),
            text(" cars"),
            Piece::Marker(WATCHED),
            text(" old video"),
            Piece::Marker(WATCHED),
            text(" new video cars"),
            Piece::Marker(QUERY),
            text(" jaguar x"),
            Piece::Marker(REWRITE),
        ];
        assert_eq!(pieces, wanted);
    }

    #[test]
    fn the_oldest_context_goes_first_and_the_last_watched_video_last() {
        let mut context = context();
        let mut left = Vec::new();
        while drop_oldest(&mut context) {
            left.push((context.watched.len(), context.queries.len(), context.place.is_some()));
        }
        assert_eq!(left, [(1, 1, true), (1, 0, true), (1, 0, false), (0, 0, false)]);
    }

    #[test]
    fn answers_are_read_with_and_without_a_thought() {
        for said in ["<reject>", " <reject> ", "", "<think>\n\n</think>\n\n<reject>"] {
            assert_eq!(Template::Chat.read(said), Target::Reject, "{said:?}");
        }
        assert_eq!(Template::Chat.read("<think>x</think> jaguar  car"), Target::Rewrite("jaguar car".into()));
    }
}
