//! The unit that everything computes on.

/// One prompt and its completions: the unit of training, sampling and scoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Token ids; at least one.
    pub prompt: Vec<u32>,
    /// Token ids of each completion; one may be empty.
    pub completions: Vec<Vec<u32>>,
}

impl Group {
    /// Tokens in it.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.tokens_of_completions()
    }

    /// Tokens of its completions alone.
    #[must_use]
    pub fn tokens_of_completions(&self) -> usize {
        self.completions.iter().map(Vec::len).sum()
    }
}
