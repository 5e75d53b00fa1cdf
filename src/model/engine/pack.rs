//! Groups laid out for one thread: every prompt once, its completions behind it.
//!
//! A completion's tokens see their prompt and themselves, at the positions they would have alone, so a pack computes
//! exactly what separate sequences would.

use super::super::Group;

/// The tokens of some groups, one after the other.
pub struct Pack {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Rotary position of each token.
    pub positions: Vec<usize>,
    /// One per group.
    pub blocks: Vec<Block>,
    /// Tokens whose hidden state predicts a completion token; ascending, each once.
    pub needed: Vec<usize>,
    /// Per completion token: which of `needed` predicts it, and its id.
    pub picks: Vec<(usize, u32)>,
}

/// One group's rows inside a pack.
pub struct Block {
    /// First row.
    pub start: usize,
    /// Rows of the prompt.
    pub prompt: usize,
    /// All rows.
    pub rows: usize,
    /// For each row after the prompt, where its completion starts, counted from `start`.
    own: Vec<usize>,
}

impl Block {
    /// What row `row` of the block may look at: `[0, prefix)` and `[own.0, own.1)`.
    pub fn sees(&self, row: usize) -> (usize, (usize, usize)) {
        if row < self.prompt {
            return (0, (0, row + 1));
        }
        (self.prompt, (self.own[row - self.prompt], row + 1))
    }
}

/// Rows that a group takes: the last token of a completion predicts nothing and is left out.
fn rows(group: &Group) -> usize {
    let own: usize = group.completions.iter().map(|c| c.len().saturating_sub(1)).sum();
    if group.completions.iter().all(Vec::is_empty) { 0 } else { group.prompt.len() + own }
}

/// Splits groups, in order, into at most `parts` packs of about equal size; groups without completion tokens vanish.
pub fn packs(groups: &[Group], parts: usize) -> Vec<Pack> {
    let total: usize = groups.iter().map(rows).sum();
    let mut packs = vec![Pack::empty()];
    let mut done = 0;
    for group in groups.iter().filter(|g| rows(g) > 0) {
        if done * parts >= total * packs.len() {
            packs.push(Pack::empty());
        }
        if let Some(pack) = packs.last_mut() {
            pack.push(group);
        }
        done += rows(group);
    }
    packs
}

impl Pack {
    fn empty() -> Self {
        Self { ids: vec![], positions: vec![], blocks: vec![], needed: vec![], picks: vec![] }
    }

    /// Single tokens, each at a position of its own; they see what the caller lets them see.
    pub fn of_tokens(ids: &[u32], positions: &[usize]) -> Self {
        Self { ids: ids.to_vec(), positions: positions.to_vec(), ..Self::empty() }
    }

    fn push(&mut self, group: &Group) {
        let (start, prompt) = (self.ids.len(), group.prompt.len());
        self.ids.extend_from_slice(&group.prompt);
        self.positions.extend(0..prompt);
        let first = self.needed.len();
        self.needed.push(start + prompt - 1);
        let mut own = Vec::new();
        for completion in group.completions.iter().filter(|c| !c.is_empty()) {
            let inputs = &completion[..completion.len() - 1];
            let (at, from) = (self.ids.len(), self.needed.len());
            own.resize(own.len() + inputs.len(), at - start);
            self.ids.extend_from_slice(inputs);
            self.positions.extend(prompt..prompt + inputs.len());
            self.needed.extend(at..at + inputs.len());
            // The prompt's last token predicts every completion's first.
            self.picks.push((first, completion[0]));
            self.picks.extend(completion[1..].iter().enumerate().map(|(i, id)| (from + i, *id)));
        }
        self.blocks.push(Block { start, prompt, rows: self.ids.len() - start, own });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_stands_once_and_completions_do_not_see_each_other() {
        let group = |completions: &[&[u32]]| Group {
            prompt: vec![10, 11, 12],
            completions: completions.iter().map(|c| c.to_vec()).collect(),
        };
        let groups = [group(&[&[1, 2, 3], &[], &[4]]), group(&[&[]]), group(&[&[5, 6]])];
        let all = packs(&groups, 1);
        assert_eq!(all.len(), 1);
        let pack = &all[0];
        assert_eq!(pack.ids, [10, 11, 12, 1, 2, 10, 11, 12, 5]);
        assert_eq!(pack.positions, [0, 1, 2, 3, 4, 0, 1, 2, 3]);
        assert_eq!(pack.needed, [2, 3, 4, 7, 8]);
        assert_eq!(pack.picks, [(0, 1), (1, 2), (2, 3), (0, 4), (3, 5), (4, 6)]);
        assert_eq!(pack.blocks[0].sees(1), (0, (0, 2)));
        assert_eq!(pack.blocks[0].sees(4), (3, (3, 5)));
        let two = packs(&groups, 2);
        assert_eq!(two.iter().map(|p| p.picks.len()).collect::<Vec<_>>(), [4, 2]);
    }
}
