//! A document as it is written: pieces, which of them are answers, and the questions in it.

use crate::logs::{Context, Seen};
use crate::task::{END_OF_TEXT, Piece, Prompt, Target, Template, spaced};

/// What a question tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A head whose sense what was watched tells.
    Rewrite,
    /// A head about which nothing was watched: to be left alone.
    Unsupported,
    /// A query that says what it wants: to be left alone.
    Plain,
    /// A typing error in a word that stands before.
    Mend,
    /// The word that went with another.
    Recall,
    /// The word that went with one that was never shown: to be left alone.
    Unknown,
    /// A line said again.
    Repeat,
    /// Words run together.
    Split,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rewrite,
        Self::Unsupported,
        Self::Plain,
        Self::Mend,
        Self::Recall,
        Self::Unknown,
        Self::Repeat,
        Self::Split,
    ];

    /// As metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::Unsupported => "unsupported",
            Self::Plain => "plain",
            Self::Mend => "mend",
            Self::Recall => "recall",
            Self::Unknown => "unknown",
            Self::Repeat => "repeat",
            Self::Split => "split",
        }
    }
}

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Marker or words.
    pub piece: Piece,
    /// Whether it follows from what stands before it.
    pub answer: bool,
}

impl Part {
    /// Its words; none of a marker.
    #[must_use]
    pub fn words(&self) -> &str {
        match &self.piece {
            Piece::Marker(_) => "",
            Piece::Text(text) => text,
        }
    }
}

/// A question and what should be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What it tries.
    pub kind: Kind,
    /// The part at which the answer begins.
    pub answer_at: usize,
    /// The answer.
    pub target: Target,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// All of it, in order.
    pub parts: Vec<Part>,
    /// Its questions, in order.
    pub asks: Vec<Ask>,
}

/// A document being written.
pub(super) struct Page {
    parts: Vec<Part>,
    asks: Vec<Ask>,
    chars: usize,
    max_chars: usize,
}

impl Page {
    pub fn new(max_chars: usize) -> Self {
        Self { parts: Vec::new(), asks: Vec::new(), chars: 0, max_chars }
    }

    /// Whether there is room for something of so many characters.
    pub fn has_room(&self, chars: usize) -> bool {
        self.chars + chars <= self.max_chars
    }

    pub fn asks(&self) -> usize {
        self.asks.len()
    }

    /// Whether a word stands somewhere.
    pub fn shows(&self, word: &str) -> bool {
        self.parts.iter().any(|part| part.words().contains(word))
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(Part::words).filter(|text| !text.is_empty())
    }

    /// A line of a kind that a prompt has: something watched, searched, …
    pub fn line(&mut self, marker: &'static str, text: &str) {
        self.piece(Piece::Marker(marker), false);
        self.piece(Piece::Text(spaced(text)), false);
    }

    /// A marker alone.
    pub fn marker(&mut self, marker: &'static str) {
        self.piece(Piece::Marker(marker), false);
    }

    /// A piece that follows from what stands before.
    pub fn follows(&mut self, text: &str) {
        self.piece(Piece::Text(spaced(text)), true);
    }

    /// A question without a context of its own.
    pub fn ask(&mut self, kind: Kind, query: &str, target: Target) {
        self.ask_after(kind, &[], &[], None, query, target);
    }

    /// A question in the form of a rewriting prompt, and its answer; videos and queries oldest first.
    pub fn ask_after(
        &mut self,
        kind: Kind,
        watched: &[Seen],
        queries: &[String],
        place: Option<String>,
        query: &str,
        target: Target,
    ) {
        let context = Context {
            watched: watched.iter().rev().cloned().collect(),
            queries: queries.iter().rev().cloned().collect(),
            place,
        };
        let template = Template::Plain;
        let Prompt::Pieces(prompt) = template.prompt(&context, query) else { return };
        prompt.into_iter().for_each(|piece| self.piece(piece, false));
        let answer_at = self.parts.len();
        template.completion(&target).into_iter().for_each(|piece| self.piece(piece, true));
        self.asks.push(Ask { kind, answer_at, target });
    }

    /// Notes that the part to come is the answer to a question of a kind of its own form.
    pub fn asked(&mut self, kind: Kind, answer: &str) {
        self.asks.push(Ask { kind, answer_at: self.parts.len(), target: Target::Rewrite(answer.to_owned()) });
    }

    fn piece(&mut self, piece: Piece, answer: bool) {
        let part = Part { piece, answer };
        self.chars += part.words().chars().count() + 1;
        self.parts.push(part);
    }

    pub fn finish(mut self) -> Document {
        self.piece(Piece::Marker(END_OF_TEXT), false);
        Document { parts: self.parts, asks: self.asks }
    }
}
