//! A set of token sequences, one of which a completion must be: walked a token at a time while it is decoded.
//!
//! The sequences lie in an [fst](https://docs.rs/fst), an automaton that shares both their beginnings and their ends;
//! a token is a fixed number of big-endian bytes there. A place in it is the address of a node.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use fst::raw::{Builder, CompiledAddr, Fst, Node};

use crate::recipe::Fingerprint;

/// Whole completions, end tokens included.
pub struct Trie {
    set: Fst<Vec<u8>>,
    /// Bytes a token.
    width: usize,
    /// Every completion begins here, so what can come first is kept.
    first: Vec<Step>,
    longest: usize,
    largest: u32,
}

/// A place between two tokens of some completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub CompiledAddr);

/// A token that can come next, and the place behind it.
pub(super) type Step = (u32, Place);

/// What can follow at a place.
pub(super) enum Next {
    /// Nothing: the completion is whole.
    Over,
    /// One token alone.
    Forced(Step),
    /// More than one.
    Choice,
}

impl Trie {
    /// Of completions in any order, as often as they come. Each must end with an end token and have none before, so that
    /// none is the start of another.
    ///
    /// # Errors
    /// No completion, or an empty one; one that is the start of another.
    pub fn new(mut completions: Vec<Vec<u32>>) -> Result<Self> {
        completions.sort_unstable();
        completions.dedup();
        let largest = completions.iter().flatten().max().copied().context("there is nothing that could be said")?;
        let width = (u32::BITS - largest.leading_zeros()).div_ceil(8).max(1) as usize;
        let mut builder = Builder::memory();
        for pair in completions.windows(2) {
            ensure!(
                !pair[1].starts_with(&pair[0]),
                "{:?} is the start of {:?}: an end token is missing",
                pair[0],
                pair[1]
            );
        }
        let mut key = Vec::new();
        for completion in &completions {
            key.clear();
            key.extend(completion.iter().flat_map(|id| id.to_be_bytes().into_iter().skip(4 - width)));
            builder.add(&key)?;
        }
        let set = Fst::new(builder.into_inner()?)?;
        let longest = completions.iter().map(Vec::len).max().unwrap_or(0);
        let mut trie = Self { set, width, first: Vec::new(), longest, largest };
        trie.first = trie.steps_from(trie.start());
        Ok(trie)
    }

    /// How many completions it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether it holds none, which no trie does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Memory it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.set.as_bytes().len() + std::mem::size_of_val(self.first.as_slice())
    }

    /// Tells its completions from others'.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut print = Fingerprint::default();
        print.add(&[self.width as u8]);
        print.add(self.set.as_bytes());
        print.hex()
    }

    /// Tokens of the longest completion.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether this is a whole completion of it.
    #[must_use]
    pub fn holds(&self, completion: &[u32]) -> bool {
        let mut at = self.start();
        for &id in completion {
            match self.after(at, id) {
                Some(next) => at = next,
                None => return false,
            }
        }
        self.set.node(at.0).is_final()
    }

    /// The largest token id in it.
    pub(super) fn largest(&self) -> u32 {
        self.largest
    }

    /// The place before the first token.
    pub(super) fn start(&self) -> Place {
        Place(self.set.root().addr())
    }

    /// The place behind a token, where it can come next.
    pub(super) fn after(&self, at: Place, id: u32) -> Option<Place> {
        let bytes = id.to_be_bytes();
        let (above, bytes) = bytes.split_at(4 - self.width);
        let mut node = self.set.node(at.0);
        for &byte in bytes {
            node = self.set.node(node.transition_addr(node.find_input(byte)?));
        }
        above.iter().all(|&byte| byte == 0).then(|| Place(node.addr()))
    }

    /// What can follow, without a list of it.
    pub(super) fn next(&self, at: Place) -> Next {
        let (mut node, mut id) = (self.set.node(at.0), 0);
        if node.is_empty() {
            return Next::Over;
        }
        for _ in 0..self.width {
            if node.len() > 1 {
                return Next::Choice;
            }
            let step = node.transition(0);
            id = id << 8 | u32::from(step.inp);
            node = self.set.node(step.addr);
        }
        Next::Forced((id, Place(node.addr())))
    }

    /// The tokens that can come next, ascending.
    pub(super) fn steps(&self, at: Place) -> Cow<'_, [Step]> {
        if at == self.start() { Cow::Borrowed(&self.first) } else { Cow::Owned(self.steps_from(at)) }
    }

    fn steps_from(&self, at: Place) -> Vec<Step> {
        let mut steps = Vec::new();
        self.collect(&self.set.node(at.0), self.width, 0, &mut steps);
        steps
    }

    /// Goes down the bytes that are left of a token.
    fn collect(&self, node: &Node, left: usize, id: u32, steps: &mut Vec<Step>) {
        if left == 0 {
            steps.push((id, Place(node.addr())));
            return;
        }
        for step in node.transitions() {
            self.collect(&self.set.node(step.addr), left - 1, id << 8 | u32::from(step.inp), steps);
        }
    }
}

impl PartialEq for Trie {
    fn eq(&self, other: &Self) -> bool {
        self.width == other.width && self.set.as_bytes() == other.set.as_bytes()
    }
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trie").field("completions", &self.len()).field("bytes", &self.bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const END: u32 = 2;

    fn all(trie: &Trie, at: Place, said: &mut Vec<u32>, found: &mut BTreeSet<Vec<u32>>) {
        let steps = trie.steps(at).into_owned();
        match trie.next(at) {
            Next::Over => assert!(steps.is_empty() && found.insert(said.clone())),
            Next::Forced(step) => assert_eq!(steps, [step]),
            Next::Choice => assert!(steps.len() > 1 && steps.is_sorted_by_key(|(id, _)| *id)),
        }
        for (id, behind) in steps {
            assert_eq!(trie.after(at, id), Some(behind));
            said.push(id);
            all(trie, behind, said, found);
            said.pop();
        }
    }

    #[test]
    fn walking_it_finds_every_completion_and_no_other() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // Ids of one to four bytes.
        for largest in [9, 200, 900, 70_000, 1 << 25] {
            let mut word = || {
                let ids = (0..rng.random_range(1..5)).map(|_| rng.random_range(3..=largest)).collect::<Vec<u32>>();
                [ids, vec![END]].concat()
            };
            let completions: BTreeSet<Vec<u32>> = (0..300).map(|_| word()).collect();
            let trie = Trie::new(completions.iter().rev().chain(&completions).cloned().collect()).unwrap();
            let mut found = BTreeSet::new();
            all(&trie, trie.start(), &mut Vec::new(), &mut found);
            assert_eq!(found, completions);
            assert_eq!((trie.len(), trie.longest()), (completions.len(), 5));
            for completion in &completions {
                assert!(trie.holds(completion) && !trie.holds(&completion[..completion.len() - 1]));
                let mut other = completion.clone();
                other[0] ^= 1 << 30;
                assert!(!trie.holds(&other), "an id that has more bytes is another id");
            }
        }
    }

    #[test]
    fn a_completion_that_starts_another_and_an_empty_set_are_refused() {
        let refused = |completions: &[&[u32]]| {
            Trie::new(completions.iter().map(|c| c.to_vec()).collect()).unwrap_err().to_string()
        };
        assert!(refused(&[&[5, 6], &[5]]).contains("end token is missing"));
        assert!(refused(&[&[], &[5]]).contains("end token is missing"));
        assert!(refused(&[]).contains("nothing"));
        assert!(Trie::new(vec![vec![5, END], vec![5, 6, END]]).is_ok());
    }
}
