//! Groups as one rectangle of tokens for candle's path, and the log-probabilities that come back out.
//!
//! A row is a group: its prompt, and behind it its completions, each of which sees the prompt and itself alone.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::Group;
use super::rows::Rows;

/// Right-padded rows of token ids.
pub(super) struct Batch {
    /// Token ids, row by row.
    pub ids_n: Tensor,
    /// Rows.
    pub rows: usize,
    /// Positions of each, padding included.
    pub width: usize,
    /// What is special about the rows; nothing when each is one sequence.
    pub shared: Option<Shared>,
}

/// Rows in which completions share a prompt.
pub(super) struct Shared {
    /// Positions; they start again behind the prompt for each completion.
    pub positions_n: Tensor,
    /// `[b, 1, t, t]`: 0 where a token may look, -∞ elsewhere.
    pub mask: Tensor,
}

/// One row to be.
struct Row {
    ids: Vec<u32>,
    /// Where each completion begins; the prompt ends at the first.
    starts: Vec<usize>,
}

impl Batch {
    /// Pads sequences on the right with token 0, which no real token ever looks at.
    pub fn new(sequences: &[Vec<u32>], device: &Device) -> Result<Self> {
        let width = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(sequences.len() * width);
        for sequence in sequences {
            ids.extend_from_slice(sequence);
            ids.resize(ids.len() + width - sequence.len(), 0);
        }
        let n = ids.len();
        Ok(Self { ids_n: Tensor::from_vec(ids, n, device)?, rows: sequences.len(), width, shared: None })
    }

    fn of_rows(rows: Vec<Row>, device: &Device) -> Result<Self> {
        let alone = rows.iter().all(|row| row.starts.len() == 1);
        let (sequences, starts): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.ids, row.starts)).unzip();
        let batch = Self::new(&sequences, device)?;
        if alone {
            return Ok(batch);
        }
        let t = batch.width;
        let (mut positions, mut mask) =
            (Vec::with_capacity(starts.len() * t), Vec::with_capacity(starts.len() * t * t));
        for starts in starts {
            // 0 is the prompt; padding goes with the last completion, so that a softmax there has something to look at.
            let part = |at: usize| starts.iter().filter(|start| **start <= at).count();
            let parts: Vec<usize> = (0..t).map(part).collect();
            positions.extend((0..t).map(|at| match parts[at] {
                0 => at as u32,
                part => (starts[0] + at - starts[part - 1]) as u32,
            }));
            for i in 0..t {
                let sees = |j: usize| j <= i && (parts[j] == 0 || parts[j] == parts[i]);
                mask.extend((0..t).map(|j| if sees(j) { 0.0f32 } else { f32::NEG_INFINITY }));
            }
        }
        let n = positions.len();
        let shared = Shared {
            positions_n: Tensor::from_vec(positions, n, device)?,
            mask: Tensor::from_vec(mask, (batch.rows, 1, t, t), device)?,
        };
        Ok(Self { shared: Some(shared), ..batch })
    }
}

/// A batch of groups, and which of its states predict a completion's token.
pub(super) struct Wanted {
    pub batch: Batch,
    /// Places among the batch's tokens.
    pub rows: Rows,
    /// The predicted ids.
    pub targets: Tensor,
}

impl Wanted {
    pub fn new(groups: &[Group], device: &Device) -> Result<Self> {
        let (mut rows, mut targets, mut places) = (Vec::<Row>::new(), Vec::new(), Vec::new());
        for group in groups {
            let mut row = Row { ids: group.prompt.clone(), starts: Vec::new() };
            for completion in group.completions.iter().filter(|c| !c.is_empty()) {
                let start = row.ids.len();
                // The last token is predicted, but predicts nothing.
                row.ids.extend_from_slice(&completion[..completion.len() - 1]);
                // The first is predicted by the prompt's end.
                places.push((rows.len(), group.prompt.len() - 1));
                places.extend((start..row.ids.len()).map(|at| (rows.len(), at)));
                row.starts.push(start);
                targets.extend_from_slice(completion);
            }
            if !row.starts.is_empty() {
                rows.push(row);
            }
        }
        let batch = Batch::of_rows(rows, device)?;
        let rows: Vec<u32> = places.into_iter().map(|(row, at)| (row * batch.width + at) as u32).collect();
        let rows = Rows::new(rows, batch.rows * batch.width, device)?;
        Ok(Self { rows, targets: Tensor::new(targets, device)?, batch })
    }
}

/// Place of each completion's last token among all completion tokens, in the order group, completion; none is empty.
pub(super) fn last_places(groups: &[Group]) -> impl Iterator<Item = usize> {
    let completions = groups.iter().flat_map(|group| &group.completions);
    completions.scan(0, |before, completion| {
        *before += completion.len();
        Some(*before - 1)
    })
}
