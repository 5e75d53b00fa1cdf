//! The record of a search session: what every log, synthetic or public, is read into.

mod context;
pub mod ubi;

pub use crate::store::{Click, Context, Doc, Search, Seen, Session, Skipped, Watched};
pub use context::context_before;

/// Words of a text, lower-cased: the unit of gain terms and of the copy rule.
///
/// Splits at everything that is neither letter nor digit.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase)
}

/// What a reader of a log format returns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogFile {
    /// Sessions, ordered by person and start.
    pub sessions: Vec<Session>,
    /// Documents named in the log with a description.
    pub docs: Vec<Doc>,
    /// Rows read, skipped ones included.
    pub rows_read: usize,
    /// Rows not used.
    pub skipped: Vec<Skipped>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_split_at_punctuation() {
        assert_eq!(words("Jaguar F-Type, 2024!").collect::<Vec<_>>(), ["jaguar", "f", "type", "2024"]);
        assert_eq!(words("光良 第一次").collect::<Vec<_>>(), ["光良", "第一次"]);
    }
}
