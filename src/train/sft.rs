//! Supervised fine-tuning: groups of one target, every token of it counting alike (WeWrite eq. 3).

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::objective::Lessons;
use crate::model::{Group, Tokenizer};
use crate::recipe::{Recipe, Train};
use crate::store::ExampleRow;
use crate::task::Target;

/// The encoded examples, and the order they come in.
pub(super) struct Sft {
    groups: Vec<Group>,
    seed: u64,
}

impl Sft {
    /// Encodes every example once.
    pub fn new(tokenizer: &Tokenizer, rows: &[ExampleRow], recipe: &Recipe) -> Result<Self> {
        let limit = recipe.train.max_prompt_tokens;
        let groups = rows
            .iter()
            .map(|row| {
                let target = Target::from_option(row.target.as_deref());
                Ok(Group {
                    prompt: tokenizer.prompt(&row.context, &row.query, limit)?,
                    completions: vec![tokenizer.completion(&target)?],
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { groups, seed: recipe.seed })
    }

    /// Training examples.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// The examples with most tokens, as many as a micro-batch holds.
    pub fn largest_batch(&self, train: &Train) -> Vec<Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.tokens()));
        groups.into_iter().take(train.batch).cloned().collect()
    }

    /// How often the data has been seen after so many steps.
    pub fn epoch(&self, step: u64, train: &Train) -> f64 {
        (step as usize * train.batch * train.accumulate) as f64 / self.groups.len() as f64
    }

    /// The micro-batches of a step (from 0).
    pub fn next_batch(&self, step: u64, train: &Train) -> Vec<Lessons> {
        let per_step = train.batch * train.accumulate;
        let first = step as usize * per_step;
        let mut epoch = usize::MAX;
        let mut order = Vec::new();
        let groups = (first..first + per_step).map(|place| {
            if place / self.groups.len() != epoch {
                epoch = place / self.groups.len();
                order = self.order(epoch);
            }
            self.groups[order[place % self.groups.len()]].clone()
        });
        let groups: Vec<Group> = groups.collect();
        let batches = groups.chunks(train.batch).map(|part| Lessons {
            weights: part.iter().map(|group| vec![1.0; group.completions.iter().map(Vec::len).sum()]).collect(),
            groups: part.to_vec(),
        });
        batches.collect()
    }

    /// A fresh shuffle for each pass over the data.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch as u64);
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.shuffle(&mut rng);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_comes_once_a_pass_and_a_step_can_be_asked_for_alone() {
        let groups = (0..10).map(|i| Group { prompt: vec![i], completions: vec![vec![i]] }).collect();
        let sft = Sft { groups, seed: 5 };
        let train = Train { batch: 2, accumulate: 1, ..Train::default() };
        let groups = |step| sft.next_batch(step, &train).into_iter().flat_map(|lessons| lessons.groups);
        let prompts = |step| groups(step).map(|g| g.prompt[0]).collect::<Vec<_>>();
        let mut first_pass: Vec<_> = (0..5).flat_map(prompts).collect();
        let second_pass: Vec<_> = (5..10).flat_map(prompts).collect();
        assert_ne!(first_pass, second_pass);
        first_pass.sort_unstable();
        assert_eq!(first_pass, (0..10).collect::<Vec<_>>());
        assert_eq!(prompts(7), prompts(7));
    }
}
