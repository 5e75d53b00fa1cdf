//! Groups laid out as rows: every prompt once, its completions behind it, positions restarting after the prompt.
//!
//! A completion attends to its prompt and to itself (prefix sharing, arXiv 2506.05433), so a group of G completions
//! costs about `Lp + G·Lr` tokens instead of `G·(Lp + Lr)`, with the same result. The last token of a completion is
//! predicted and predicts nothing, so it takes no row at all.

use std::ops::Range;

use crate::model::Group;

/// A group's rows in a pack.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub prompt: Range<usize>,
    pub completions: Vec<Range<usize>>,
}

/// Some rows of a group that ask (the queries of attention), as rows of their own buffer.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// Prompt rows that ask, and the place in the prompt of the first of them.
    pub prompt: Range<usize>,
    pub prompt_from: usize,
    /// Completion rows that ask, and the place in the completion of the first of them.
    pub completions: Vec<(usize, Range<usize>)>,
}

/// A completion token that is predicted: its place among all completion tokens, the asking row of the last layer that
/// predicts it, and which token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub place: usize,
    pub row: usize,
    pub token: u32,
}

/// Some groups computed together.
#[derive(Default)]
pub(super) struct Pack {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub spans: Vec<Span>,
    /// Every row asks: all layers but the last.
    pub all: Vec<Asking>,
    /// Only rows that predict a completion token ask: the last layer.
    pub last: Vec<Asking>,
    /// The rows behind `last`, in order.
    pub needed: Vec<u32>,
    /// In the order group, completion, token.
    pub targets: Vec<Target>,
    /// Completion tokens, predicted or only read.
    pub completion_tokens: usize,
}

impl Pack {
    /// Lays groups out; every completion token is predicted. Prompts must not be empty; completions may be.
    pub fn new(groups: &[Group]) -> Self {
        let mut pack = Self::default();
        groups.iter().for_each(|group| pack.add(group, |_| 0));
        pack
    }

    /// [`Pack::new`], but of each completion only the tokens from its first weight other than 0 on are predicted; those before
    /// are read. `weights` has one a completion token, group by group.
    pub fn weighted(groups: &[Group], weights: &[Vec<f32>]) -> Self {
        let mut pack = Self::default();
        for (group, mut weights) in groups.iter().zip(weights.iter().map(Vec::as_slice)) {
            pack.add(group, |completion| {
                let (own, others) = weights.split_at(completion.len());
                weights = others;
                own.iter().take_while(|weight| **weight == 0.0).count()
            });
        }
        pack
    }

    /// Single tokens, each at a position of its own; they see what the caller lets them see.
    pub fn of_tokens(tokens: &[u32], positions: &[usize]) -> Self {
        let positions = positions.iter().map(|&p| p as u32).collect();
        Self { tokens: tokens.to_vec(), positions, ..Self::default() }
    }

    /// `given` tells how many tokens at a completion's start are only read.
    fn add(&mut self, group: &Group, given: impl FnMut(&Vec<u32>) -> usize) {
        let prompt = self.rows(&group.prompt, 0);
        let given: Vec<usize> = group.completions.iter().map(given).collect();
        let prompt_row = self.needed.len();
        // The prompt's last token predicts every completion's first.
        if given.iter().zip(&group.completions).any(|(given, completion)| *given == 0 && !completion.is_empty()) {
            self.needed.push(prompt.end as u32 - 1);
        }
        let prompt_asks = prompt_row..self.needed.len();
        let mut asking = Vec::with_capacity(group.completions.len());
        let mut completions = Vec::with_capacity(group.completions.len());
        for (completion, given) in group.completions.iter().zip(given) {
            let read = &completion[..completion.len().saturating_sub(1)];
            let rows = self.rows(read, group.prompt.len() as u32);
            // A token is predicted by the one before it.
            let first = given.saturating_sub(1).min(rows.len());
            let from = self.needed.len();
            self.needed.extend(rows.clone().skip(first).map(|row| row as u32));
            for (i, &token) in completion.iter().enumerate().skip(given) {
                let row = if i == 0 { prompt_row } else { from + i - 1 - first };
                self.targets.push(Target { place: self.completion_tokens + i, row, token });
            }
            self.completion_tokens += completion.len();
            asking.push((first, from..self.needed.len()));
            completions.push(rows);
        }
        let whole = completions.iter().map(|rows| (0, rows.clone())).collect();
        self.all.push(Asking { prompt: prompt.clone(), prompt_from: 0, completions: whole });
        let prompt_from = prompt.len() - 1;
        self.last.push(Asking { prompt: prompt_asks, prompt_from, completions: asking });
        self.spans.push(Span { prompt, completions });
    }

    fn rows(&mut self, tokens: &[u32], first_position: u32) -> Range<usize> {
        let from = self.tokens.len();
        self.tokens.extend(tokens);
        self.positions.extend(first_position..first_position + tokens.len() as u32);
        from..self.tokens.len()
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// Cuts a list of groups into packs of about `budget` tokens, in order; a group is never split.
pub(super) fn cut(groups: &[Group], budget: usize) -> Vec<Range<usize>> {
    let mut packs = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (i, group) in groups.iter().enumerate() {
        if i > from && tokens + group.tokens() > budget {
            packs.push(from..i);
            (from, tokens) = (i, 0);
        }
        tokens += group.tokens();
    }
    if from < groups.len() {
        packs.push(from..groups.len());
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_stands_once_and_its_last_row_predicts_every_first_token() {
        let group = Group { prompt: vec![1, 2, 3], completions: vec![vec![4, 5, 6], vec![], vec![7]] };
        let pack = Pack::new(&[group.clone(), group]);
        assert_eq!(pack.tokens, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
        assert_eq!(pack.positions[..5], [0, 1, 2, 3, 4]);
        assert_eq!(pack.needed, [2, 3, 4, 7, 8, 9]);
        let targets: Vec<_> = pack.targets.iter().map(|t| (t.row, t.token)).collect();
        assert_eq!(targets, [(0, 4), (1, 5), (2, 6), (0, 7), (3, 4), (4, 5), (5, 6), (3, 7)]);
        assert_eq!(pack.spans[1].completions, [8..10, 10..10, 10..10]);
    }

    #[test]
    fn what_only_is_read_asks_for_nothing() {
        let group = Group { prompt: vec![1, 2, 3], completions: vec![vec![4, 5, 6], vec![7, 8], vec![9]] };
        let weights = vec![vec![0.0, 0.0, 1.0, 0.5, 0.0, 1.0], vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0]];
        let pack = Pack::weighted(&[group.clone(), group], &weights);
        // The first group: 5 predicts 6; the prompt 7 and 9, and 7, whose weight is 0, predicts 8. The second: 7 predicts 8.
        assert_eq!(pack.needed, [2, 4, 5, 11]);
        let target = |place, row, token| Target { place, row, token };
        let targets = [target(2, 1, 6), target(3, 0, 7), target(4, 2, 8), target(5, 0, 9), target(10, 3, 8)];
        assert_eq!(pack.targets, targets);
        assert_eq!(pack.completion_tokens, 12);
        let asked = |group: usize| (pack.last[group].prompt.clone(), pack.last[group].completions.clone());
        assert_eq!(asked(0), (0..1, vec![(1, 1..2), (0, 2..3), (0, 3..3)]));
        assert_eq!(asked(1), (3..3, vec![(2, 3..3), (0, 3..4), (0, 4..4)]));
    }

    #[test]
    fn packs_hold_whole_groups_within_the_budget_where_they_can() {
        let group = |n| Group { prompt: vec![0; n], completions: vec![] };
        let groups = [group(4), group(4), group(20), group(1), group(1)];
        assert_eq!(cut(&groups, 10), [0..2, 2..3, 3..5]);
        assert!(cut(&[], 10).is_empty());
    }
}
