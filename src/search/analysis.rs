//! From text to index terms: English by words and stems, Chinese by jieba, chosen for each run of characters.
//!
//! One analyser serves documents and queries, so that a mixed title ("光良 live") is found by either half. Stop words are
//! kept: BM25 gives them next to nothing, and without them some names ("the who") could not be asked for.

use std::ops::Range;

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, Stemmer, TextAnalyzer, Token, TokenStream, Tokenizer,
};

use crate::logs::{cut_for_search, is_han};

/// Name of the analyser in an index's schema.
pub(super) const NAME: &str = "en_zh";
/// Longer words, in bytes, are no words: addresses, hashes, a key held down.
const LONGEST_WORD: usize = 40;

/// The analyser: runs → words → no long ones → lower case → no accents → English stems (which leave Chinese alone).
pub(super) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(Runs::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// Distinct terms of a text in the order they come, at most `most`.
pub(super) fn terms(analyzer: &TextAnalyzer, text: &str, most: usize) -> Vec<String> {
    let mut analyzer = analyzer.clone();
    let mut stream = analyzer.token_stream(text);
    let mut terms: Vec<String> = Vec::new();
    while terms.len() < most && stream.advance() {
        let term = &stream.token().text;
        if !terms.contains(term) {
            terms.push(term.clone());
        }
    }
    terms
}

/// Cuts a text at everything that is neither letter nor digit and where Chinese begins or ends.
#[derive(Clone, Default)]
struct Runs {
    token: Token,
}

/// The words of one text.
struct RunStream<'a> {
    text: &'a str,
    /// Where the next run is looked for.
    at: usize,
    /// Words of the Chinese run under way, last one first.
    waiting: Vec<Range<usize>>,
    token: &'a mut Token,
}

impl Tokenizer for Runs {
    type TokenStream<'a> = RunStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> RunStream<'a> {
        self.token.reset();
        RunStream { text, at: 0, waiting: Vec::new(), token: &mut self.token }
    }
}

impl RunStream<'_> {
    fn next(&mut self) -> Option<Range<usize>> {
        if let Some(word) = self.waiting.pop() {
            return Some(word);
        }
        let start = self.at + self.text[self.at..].find(char::is_alphanumeric)?;
        let han = self.text[start..].starts_with(is_han);
        let ends = |c: char| !c.is_alphanumeric() || is_han(c) != han;
        let end = self.text[start..].find(ends).map_or(self.text.len(), |length| start + length);
        self.at = end;
        if !han {
            return Some(start..end);
        }
        let run = &self.text[start..end];
        for word in cut_for_search(run).into_iter().rev() {
            let from = start + (word.as_ptr() as usize - run.as_ptr() as usize);
            self.waiting.push(from..from + word.len());
        }
        self.waiting.pop()
    }
}

impl TokenStream for RunStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.next() else { return false };
        self.token.text.clear();
        self.token.text.push_str(&self.text[word.clone()]);
        (self.token.offset_from, self.token.offset_to) = (word.start, word.end);
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        terms(&analyzer(), text, 100)
    }

    #[test]
    fn english_is_cut_lower_cased_and_stemmed() {
        assert_eq!(
            of("Reviews of the F-Type's cafés, 2024!"),
            ["review", "of", "the", "f", "type", "s", "cafe", "2024"]
        );
        assert_eq!(of(&"x".repeat(LONGEST_WORD + 1)), [""; 0]);
    }

    #[test]
    fn chinese_is_cut_as_jieba_s_own_page_shows() {
        assert_eq!(of("我来到北京清华大学"), ["我", "来到", "北京", "清华", "华大", "大学", "清华大学"]);
    }

    #[test]
    fn scripts_are_told_apart_within_one_word() {
        assert_eq!(of("光良live演唱会2024"), ["光良", "live", "演唱", "演唱会", "2024"]);
        assert_eq!(of("😀 \u{0} ()"), [""; 0]);
        assert_eq!(terms(&analyzer(), "a b c a d", 3), ["a", "b", "c"]);
    }

    #[test]
    fn offsets_are_those_of_the_text() {
        let text = "x 北京live";
        let (mut analyzer, mut found) = (analyzer(), Vec::new());
        let mut stream = analyzer.token_stream(text);
        while stream.advance() {
            let token = stream.token();
            assert_eq!(&text[token.offset_from..token.offset_to], token.text);
            found.push(token.position);
        }
        assert_eq!(found, [0, 1, 2]);
    }
}
