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
    /// Completion rows that ask: all of them, in every layer.
    pub completions: Vec<Range<usize>>,
}

/// A completion token: the asking row of the last layer that predicts it, and which token it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
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
}

impl Pack {
    /// Lays groups out. Their prompts must not be empty; completions may be.
    pub fn new(groups: &[Group]) -> Self {
        let mut pack = Self::default();
        groups.iter().for_each(|group| pack.add(group));
        pack
    }

    /// Single tokens, each at a position of its own; they see what the caller lets them see.
    pub fn of_tokens(tokens: &[u32], positions: &[usize]) -> Self {
        let positions = positions.iter().map(|&p| p as u32).collect();
        Self { tokens: tokens.to_vec(), positions, ..Self::default() }
    }

    fn add(&mut self, group: &Group) {
        let prompt = self.rows(&group.prompt, 0);
        let prompt_row = self.needed.len();
        self.needed.push(prompt.end as u32 - 1);
        let mut asking = Vec::with_capacity(group.completions.len());
        let mut completions = Vec::with_capacity(group.completions.len());
        for completion in &group.completions {
            let read = &completion[..completion.len().saturating_sub(1)];
            let rows = self.rows(read, group.prompt.len() as u32);
            let from = self.needed.len();
            self.needed.extend(rows.clone().map(|row| row as u32));
            for (i, &token) in completion.iter().enumerate() {
                // The prompt's last token predicts every completion's first.
                self.targets.push(Target { row: if i == 0 { prompt_row } else { from + i - 1 }, token });
            }
            asking.push(from..self.needed.len());
            completions.push(rows);
        }
        self.all.push(Asking { prompt: prompt.clone(), prompt_from: 0, completions: completions.clone() });
        let prompt_from = prompt.len() - 1;
        self.last.push(Asking { prompt: prompt_row..prompt_row + 1, prompt_from, completions: asking });
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
    fn packs_hold_whole_groups_within_the_budget_where_they_can() {
        let group = |n| Group { prompt: vec![0; n], completions: vec![] };
        let groups = [group(4), group(4), group(20), group(1), group(1)];
        assert_eq!(cut(&groups, 10), [0..2, 2..3, 3..5]);
        assert!(cut(&[], 10).is_empty());
    }
}
