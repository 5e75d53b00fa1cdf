//! Supervised fine-tuning: groups of one target, every token of it counting alike (WeWrite eq. 3).

use std::collections::HashMap;

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::objective::Lessons;
use super::pretrain::Stream;
use crate::logs::Context;
use crate::model::{Group, Tokenizer};
use crate::recipe::{Recipe, Train};
use crate::store::ExampleRow;
use crate::task::Target;

/// Most examples of a group; a context that more have in common makes several.
const MOST: usize = 16;

/// The encoded examples, and the order they come in.
pub(super) struct Sft {
    groups: Vec<Group>,
    /// Of each completion token.
    weights: Vec<Vec<f32>>,
    examples: usize,
    seed: u64,
    /// What is read along, and how many documents a micro-batch.
    replay: Option<(Stream, usize)>,
}

impl Sft {
    /// Encodes every example once. Where prompts are not learnt, examples in one context are a group: what their prompts have in
    /// common is read once for all of them.
    pub fn of_rows(tokenizer: &Tokenizer, rows: &[ExampleRow], recipe: &Recipe) -> Result<Self> {
        let train = &recipe.train;
        let encode = |row: &ExampleRow| -> Result<(Vec<u32>, Vec<u32>)> {
            let target = Target::from_option(row.target.as_deref());
            let prompt = tokenizer.prompt(&row.context, &row.query, train.max_prompt_tokens)?;
            Ok((prompt, tokenizer.completion(&target)?))
        };
        let encoded = rows.par_iter().map(encode).collect::<Result<Vec<_>>>()?;
        let examples = rows.len();
        let read_whole = train.prompt_weight > 0.0;
        let together = if read_whole { (0..examples).map(|i| vec![i]).collect() } else { in_one_context(rows) };
        let (mut groups, mut weights) = (Vec::with_capacity(together.len()), Vec::with_capacity(together.len()));
        for places in together {
            let of_group: Vec<&(Vec<u32>, Vec<u32>)> = places.iter().map(|place| &encoded[*place]).collect();
            // What is learnt of the prompt is a completion of its first token.
            let common = if read_whole { 1 } else { shared_start(&of_group) };
            let mut group = Group { prompt: of_group[0].0[..common].to_vec(), completions: Vec::new() };
            let mut of_tokens = Vec::new();
            for (prompt, answer) in of_group {
                of_tokens.resize(of_tokens.len() + prompt.len() - common, train.prompt_weight as f32);
                of_tokens.resize(of_tokens.len() + answer.len(), 1.0);
                group.completions.push([&prompt[common..], answer].concat());
            }
            groups.push(group);
            weights.push(of_tokens);
        }
        let documents = (train.replay * train.batch as f64).round() as usize;
        let replay = (documents > 0).then(|| (Stream::new(tokenizer, recipe), documents));
        Ok(Self { groups, weights, examples, seed: recipe.seed, replay })
    }

    /// What is encoded already.
    pub fn of(lessons: Lessons, seed: u64) -> Self {
        let examples = lessons.groups.iter().map(|group| group.completions.len()).sum();
        Self { groups: lessons.groups, weights: lessons.weights, examples, seed, replay: None }
    }

    /// The encoded examples, each with the weights of its tokens.
    pub fn into_lessons(self) -> Vec<(Group, Vec<f32>)> {
        self.groups.into_iter().zip(self.weights).collect()
    }

    /// Training examples.
    pub fn len(&self) -> usize {
        self.examples
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
    pub fn next_batch(&self, step: u64, train: &Train) -> Result<Vec<Lessons>> {
        let per_step = train.batch * train.accumulate;
        let first = step as usize * per_step;
        let mut epoch = usize::MAX;
        let mut order = Vec::new();
        let places = (first..first + per_step).map(|place| {
            if place / self.groups.len() != epoch {
                epoch = place / self.groups.len();
                order = self.order(epoch);
            }
            order[place % self.groups.len()]
        });
        let places: Vec<usize> = places.collect();
        let batches = places.chunks(train.batch).zip(0..).map(|(part, batch)| {
            let mut lessons = Lessons {
                groups: part.iter().map(|place| self.groups[*place].clone()).collect(),
                weights: part.iter().map(|place| self.weights[*place].clone()).collect(),
            };
            if let Some((stream, documents)) = &self.replay {
                let number = step * train.accumulate as u64 + batch;
                lessons.extend(stream.lessons(number * *documents as u64, *documents)?);
            }
            Ok(lessons)
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

/// Places of the examples of each context, in the order of the first of each.
fn in_one_context(rows: &[ExampleRow]) -> Vec<Vec<usize>> {
    let (mut groups, mut known): (Vec<Vec<usize>>, HashMap<&Context, usize>) = (Vec::new(), HashMap::new());
    for (place, row) in rows.iter().enumerate() {
        let group = *known.entry(&row.context).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(places) if places.len() < MOST => places.push(place),
            _ => {
                known.insert(&row.context, groups.len());
                groups.push(vec![place]);
            }
        }
    }
    groups
}

/// Tokens that all prompts begin with.
fn shared_start(encoded: &[&(Vec<u32>, Vec<u32>)]) -> usize {
    let first = &encoded[0].0;
    let common = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    encoded.iter().map(|(prompt, _)| common(prompt)).min().unwrap_or(first.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;
    use crate::store::Split;
    use crate::task::SPECIAL_TOKENS;

    #[test]
    fn every_example_comes_once_a_pass_and_a_step_can_be_asked_for_alone() {
        let groups = (0..10).map(|i| Group { prompt: vec![i], completions: vec![vec![i]] }).collect();
        let sft = Sft { groups, weights: vec![vec![1.0]; 10], examples: 10, seed: 5, replay: None };
        let train = Train { batch: 2, accumulate: 1, ..Train::default() };
        let groups = |step| sft.next_batch(step, &train).unwrap().into_iter().flat_map(|lessons| lessons.groups);
        let prompts = |step| groups(step).map(|g| g.prompt[0]).collect::<Vec<_>>();
        let mut first_pass: Vec<_> = (0..5).flat_map(prompts).collect();
        let second_pass: Vec<_> = (5..10).flat_map(prompts).collect();
        assert_ne!(first_pass, second_pass);
        first_pass.sort_unstable();
        assert_eq!(first_pass, (0..10).collect::<Vec<_>>());
        assert_eq!(prompts(7), prompts(7));
    }

    #[test]
    fn examples_in_one_context_share_what_their_prompts_begin_with() {
        let tokenizer = Tokenizer::train([" jaguar car review"].iter(), 300, &SPECIAL_TOKENS).unwrap();
        let context = |title: &str| Context {
            watched: vec![Seen { title: title.into(), tags: Vec::new() }],
            ..Context::default()
        };
        let row = |title, query: &str, target: Option<&str>| ExampleRow {
            split: Split::Train,
            user: "u".into(),
            time_ms: 0,
            query: query.into(),
            target: target.map(str::to_owned),
            context: context(title),
            satisfied_doc: None,
        };
        let rows = [row("car", "jaguar", Some("jaguar car")), row("cat", "jaguar", None), row("car", "review", None)];
        let sft = Sft::of_rows(&tokenizer, &rows, &Recipe::default()).unwrap();
        assert_eq!((sft.len(), sft.groups.len()), (3, 2));
        for (group, of_tokens, places) in
            [(&sft.groups[0], &sft.weights[0], vec![0, 2]), (&sft.groups[1], &sft.weights[1], vec![1])]
        {
            let mut weights = Vec::new();
            for (completion, place) in group.completions.iter().zip(places) {
                let row: &ExampleRow = &rows[place];
                let answer = tokenizer.completion(&Target::from_option(row.target.as_deref())).unwrap();
                let prompt = tokenizer.prompt(&row.context, &row.query, 400).unwrap();
                assert_eq!([group.prompt.as_slice(), completion].concat(), [prompt.as_slice(), &answer].concat());
                weights.extend(vec![0.0; completion.len() - answer.len()]);
                weights.extend(vec![1.0; answer.len()]);
            }
            assert_eq!(*of_tokens, weights);
        }
        let learnt = Recipe { train: Train { prompt_weight: 0.1, ..Train::default() }, ..Recipe::default() };
        assert_eq!(
            Sft::of_rows(&tokenizer, &rows, &learnt).unwrap().groups.len(),
            3,
            "a prompt that is learnt is not shared"
        );
    }
}
