//! Completions made of some words, in any order and as many as one likes: walked a token at a time while one is decoded.

use std::borrow::Cow;

use anyhow::{Result, ensure};

use super::trie::{Next, Place, Step};

/// Words by their tokens, and whole completions beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct WordTrie {
    nodes: Vec<Node>,
    end: u32,
}

/// A place between two tokens.
#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    /// Ascending by token.
    steps: Vec<Step>,
    /// Whether a word ends here: another may follow, or the end.
    word: bool,
}

/// Before the first token.
const START: usize = 0;
/// Where a further word begins.
const FURTHER: usize = 1;
/// Behind the end.
const OVER: usize = 2;

impl WordTrie {
    /// Of the spellings of words, each with what separates it from the word before it, and perhaps one other completion; all of
    /// them end with `end`.
    ///
    /// # Errors
    /// No word and no other completion; an empty spelling; one with the end token in it; another completion without it.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a [u32]>, other: Option<&[u32]>, end: u32) -> Result<Self> {
        let mut trie = Self { nodes: vec![Node::default(); 3], end };
        for word in words {
            ensure!(!word.is_empty() && !word.contains(&end), "{word:?} is no spelling of a word");
            let last = trie.path(FURTHER, word);
            trie.nodes[last].word = true;
        }
        trie.nodes[START] = trie.nodes[FURTHER].clone();
        if let Some(other) = other {
            ensure!(other.ends_with(&[end]), "{other:?} does not end");
            let before = trie.path(START, &other[..other.len() - 1]);
            trie.step(before, end, OVER);
        }
        ensure!(!trie.nodes[START].steps.is_empty(), "there is nothing that could be said");
        Ok(trie)
    }

    /// Goes along some tokens, making places that are missing; the last place.
    fn path(&mut self, from: usize, tokens: &[u32]) -> usize {
        tokens.iter().fold(from, |at, &token| match self.own(at, token) {
            Some(Place(next)) => next,
            None => {
                self.nodes.push(Node::default());
                self.step(at, token, self.nodes.len() - 1)
            }
        })
    }

    fn step(&mut self, at: usize, token: u32, to: usize) -> usize {
        let steps = &mut self.nodes[at].steps;
        let place = steps.partition_point(|(other, _)| *other < token);
        steps.insert(place, (token, Place(to)));
        to
    }

    fn own(&self, at: usize, token: u32) -> Option<Place> {
        let steps = &self.nodes[at].steps;
        steps.binary_search_by_key(&token, |(id, _)| *id).ok().map(|found| steps[found].1)
    }

    pub(super) fn largest(&self) -> u32 {
        let all = self.nodes.iter().flat_map(|node| &node.steps).map(|(id, _)| *id);
        all.chain([self.end]).max().unwrap_or(0)
    }

    pub(super) fn start() -> Place {
        Place(START)
    }

    /// The place behind a token, where it can come next. A longer word goes before a word and another.
    pub(super) fn after(&self, at: Place, id: u32) -> Option<Place> {
        let longer = self.own(at.0, id);
        let further = || match (self.nodes[at.0].word, id == self.end) {
            (true, true) => Some(Place(OVER)),
            (true, false) => self.own(FURTHER, id),
            (false, _) => None,
        };
        longer.or_else(further)
    }

    pub(super) fn next(&self, at: Place) -> Next {
        match &*self.steps(at) {
            [] => Next::Over,
            [step] => Next::Forced(*step),
            _ => Next::Choice,
        }
    }

    /// The tokens that can come next, ascending.
    pub(super) fn steps(&self, at: Place) -> Cow<'_, [Step]> {
        let node = &self.nodes[at.0];
        if !node.word {
            return Cow::Borrowed(&node.steps);
        }
        let mut steps = node.steps.clone();
        let further = self.nodes[FURTHER].steps.iter().copied().chain([(self.end, Place(OVER))]);
        steps.extend(further.filter(|(id, _)| self.own(at.0, *id).is_none()));
        steps.sort_unstable_by_key(|(id, _)| *id);
        Cow::Owned(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 2;
    const REJECT: [u32; 2] = [9, END];

    /// One begins another.
    fn words() -> [&'static [u32]; 3] {
        [&[10], &[10, 4], &[11, 5, 6]]
    }

    fn holds(trie: &WordTrie, completion: &[u32]) -> bool {
        let mut at = WordTrie::start();
        for &id in completion {
            match trie.after(at, id) {
                Some(next) => at = next,
                None => return false,
            }
            assert!(trie.steps(at).is_sorted_by_key(|(id, _)| *id));
        }
        matches!(trie.next(at), Next::Over)
    }

    #[test]
    fn words_come_in_any_order_and_the_other_completion_alone() {
        let trie = WordTrie::new(words(), Some(&REJECT), END).unwrap();
        for said in [&[10, END][..], &[10, 4, END], &[11, 5, 6, 10, END], &[10, 10, 4, 10, END], &REJECT] {
            assert!(holds(&trie, said), "{said:?}");
        }
        for said in [&[END][..], &[11, END], &[11, 5, END], &[4, END], &[9, 10, END], &[10, 9, END], &[10]] {
            assert!(!holds(&trie, said), "{said:?}");
        }
        assert_eq!(trie.largest(), 11);
        let inside = trie.after(WordTrie::start(), 11).unwrap();
        assert!(matches!(trie.next(inside), Next::Forced((5, _))));
        assert!(matches!(trie.next(WordTrie::start()), Next::Choice));
    }

    #[test]
    fn without_words_the_other_completion_is_left_and_broken_words_are_refused() {
        let none: [&[u32]; 0] = [];
        let trie = WordTrie::new(none, Some(&REJECT), END).unwrap();
        assert!(holds(&trie, &REJECT) && matches!(trie.next(WordTrie::start()), Next::Forced((9, _))));
        for bad in [&[][..], &[3, END]] {
            assert!(WordTrie::new([bad], Some(&REJECT), END).is_err());
        }
        assert!(WordTrie::new(none, None, END).is_err() && WordTrie::new(none, Some(&[9]), END).is_err());
        assert!(!holds(&WordTrie::new(words(), None, END).unwrap(), &REJECT));
    }
}
