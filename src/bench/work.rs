//! The fixed work: random models and ids, and the steps that training would take on them.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Case, Layout, Shape, Work};
use crate::model::{ALL_LINEAR, Config, Decoding, Group, LoraSettings, Pass, Policy, Tokenizer, device};
use crate::recipe::{ModelShape, Precision};
use crate::task::SPECIAL_TOKENS;
use crate::train::advantages::{Aggregation, Scale, advantages};
use crate::train::grpo::{self, Grpo, Rollout};
use crate::train::likelihood;
use crate::train::mpo::{self, Mpo, Pairs};
use crate::train::optim::{AdamW, AdamWSettings, Gradients};

const PROMPT: usize = 200;
const COMPLETION: usize = 8;
/// Completions of a prompt, when sampling.
const SAMPLES: usize = 8;
/// Ids are drawn below this for both shapes.
const IDS: u32 = 4096;
/// Seed of weights and ids.
const SEED: u64 = 0;

/// One case, ready to be run again and again.
pub(super) struct Fixed {
    /// Work and shape.
    pub case: String,
    /// Tokens of a step; see `Report::tokens_per_s`.
    pub tokens: usize,
    /// Parameters of the model, an adapter's included.
    pub parameters: usize,
    /// Parameters that a step changes.
    pub trained: usize,
    /// How matrices are multiplied.
    pub precision: Precision,
    /// Does the work once, each time on other ids.
    pub step: Step,
}

type Step = Box<dyn FnMut() -> Result<()>>;

impl Fixed {
    pub fn new(case: Case) -> Result<Self> {
        let (size, batch, prompts, pairs) = match case.shape {
            Shape::Tiny => ("tiny", 16, 4, 16_usize),
            Shape::Small => ("small", 2, 1, 1),
            Shape::Qwen3_4b => ("qwen3-4b", 16, 4, 16),
        };
        let policy = policy(case)?;
        let (parameters, precision) = (policy.parameters(), policy.precision());
        let trained: usize = policy.vars().iter().map(|(_, var)| var.elem_count()).sum();
        let whole = PROMPT + COMPLETION;
        let (name, tokens, step) = match case.work {
            Work::Sft => (format!("sft-{size}"), batch * whole, supervised(policy, batch)?),
            Work::Grpo => (format!("grpo-{size}"), prompts * SAMPLES * whole, group_relative(policy, case, prompts)?),
            Work::Mpo(Layout::Pairs) => {
                (format!("mpo-{size}-pairs"), 2 * pairs * whole, paired(policy, case, pairs, 1)?)
            }
            Work::Mpo(Layout::Shared) => {
                let prompts = pairs.div_ceil(4);
                (format!("mpo-{size}-shared"), 8 * prompts * whole, paired(policy, case, prompts, 2)?)
            }
            Work::Sample => {
                (format!("sample-{size}"), prompts * SAMPLES * COMPLETION, sampled(policy.frozen(), prompts))
            }
            Work::Rewrite => (format!("rewrite-{size}"), COMPLETION, rewritten(policy.frozen())),
        };
        Ok(Self { case: name, tokens, parameters, trained, precision, step })
    }
}

/// Random weights, the same at every call; with an adapter where the shape is trained by one.
fn policy(case: Case) -> Result<Policy> {
    let (shape, dtype) = match case.shape {
        Shape::Tiny => (
            ModelShape { vocab: 4096, hidden: 256, layers: 4, heads: 4, kv_heads: 2, head_dim: 64, ffn: 768 },
            DType::F32,
        ),
        Shape::Small => (
            ModelShape { vocab: 151_936, hidden: 1024, layers: 28, heads: 16, kv_heads: 8, head_dim: 128, ffn: 3072 },
            DType::BF16,
        ),
        Shape::Qwen3_4b => (
            ModelShape { vocab: 151_936, hidden: 2560, layers: 36, heads: 32, kv_heads: 8, head_dim: 128, ffn: 9728 },
            DType::BF16,
        ),
    };
    let device = device::open()?;
    let fits = case.shape != Shape::Qwen3_4b || !device.is_cpu();
    ensure!(fits, "the shape qwen3-4b is timed on a card alone: scripts/build-cuda.sh makes a build that can use one");
    // Nothing is spelled out: bytes alone will do.
    let tokenizer = Tokenizer::train(std::iter::empty::<&str>(), 256 + SPECIAL_TOKENS.len(), &SPECIAL_TOKENS)?;
    let config = Config::scratch(&shape, shape.vocab);
    let policy = Policy::from_scratch_in(config, tokenizer, SEED, dtype, &device)?
        .with_precision(case.precision)
        .recomputing(case.recompute);
    let trains = !matches!(case.work, Work::Sample | Work::Rewrite);
    if case.shape == Shape::Tiny || !trains {
        return Ok(policy);
    }
    let targets = vec![ALL_LINEAR.to_owned()];
    policy.with_lora(LoraSettings { rank: 16, alpha: 32.0, rslora: false, targets }, SEED)
}

/// What a policy is held against: itself without its adapter, or a second model.
struct Reference(Option<Policy>);

impl Reference {
    fn of(policy: &Policy, case: Case) -> Result<Self> {
        Ok(Self(if policy.lora().is_some() { None } else { Some(self::policy(case)?.frozen()) }))
    }

    fn score(&self, policy: &Policy, groups: &[Group]) -> Result<Vec<f32>> {
        self.0.as_ref().map_or_else(|| policy.score_base(groups, 1.0), |reference| reference.score(groups, 1.0))
    }
}

/// Random ids.
struct Ids(ChaCha8Rng);

impl Ids {
    fn new() -> Self {
        Self(ChaCha8Rng::seed_from_u64(SEED))
    }

    fn draw(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.0.random_range(3..IDS)).collect()
    }

    fn group(&mut self, completions: usize) -> Group {
        Group { prompt: self.draw(PROMPT), completions: (0..completions).map(|_| self.draw(COMPLETION)).collect() }
    }
}

/// A policy and what updates it.
struct Learner {
    policy: Policy,
    optimizer: AdamW,
}

impl Learner {
    fn new(policy: Policy) -> Result<Self> {
        let optimizer = AdamW::new(policy.vars(), AdamWSettings::default())?;
        Ok(Self { policy, optimizer })
    }

    fn update(&mut self, pass: Pass) -> Result<()> {
        self.optimizer.step(&Gradients::new(pass.grads), 1e-5, 1.0)?;
        Ok(())
    }
}

fn supervised(policy: Policy, batch: usize) -> Result<Step> {
    let (mut learner, mut ids) = (Learner::new(policy)?, Ids::new());
    Ok(Box::new(move || {
        let groups: Vec<Group> = (0..batch).map(|_| ids.group(1)).collect();
        let weights = vec![1.0; COMPLETION];
        let total = (batch * COMPLETION) as f64;
        let pass = learner.policy.gradient(&groups, 1.0, &|_, _| likelihood::slope(&weights, total))?;
        learner.update(pass)
    }))
}

fn group_relative(policy: Policy, case: Case, prompts: usize) -> Result<Step> {
    let (reference, mut learner, mut ids) = (Reference::of(&policy, case)?, Learner::new(policy)?, Ids::new());
    let settings = grpo::Settings { beta: 0.04, max_completion_length: COMPLETION, ..grpo::Settings::default() };
    let mut seed = SEED;
    Ok(Box::new(move || {
        seed += 1;
        let prompts: Vec<Vec<u32>> = (0..prompts).map(|_| ids.draw(PROMPT)).collect();
        let groups = sample(&learner.policy, &prompts, seed)?;
        let completions = groups.iter().flat_map(|g| &g.completions);
        let rewards: Vec<_> = completions.map(|c| vec![Some(reward(c))]).collect();
        let advantages = advantages(&rewards, &[1.0], SAMPLES, Scale::Group, Aggregation::SumThenNormalize)?.values;
        let scored = reference.score(&learner.policy, &groups)?;
        let rollouts: Vec<Rollout> = groups
            .iter()
            .zip(advantages.chunks(SAMPLES).zip(by_group(&groups, &scored)))
            .map(|(group, (advantages, reference))| Rollout {
                lengths: lengths(group),
                advantages: advantages.to_vec(),
                old: None,
                reference: Some(reference.to_vec()),
            })
            .collect();
        let counts = grpo::Counts::of(&rollouts);
        let objective = Grpo::new(settings, rollouts, counts)?;
        let pass = learner.policy.gradient(&groups, 1.0, &|g, logprobs| objective.slopes(g, logprobs))?;
        learner.update(pass)
    }))
}

/// `prompts` with `each` chosen against `each` rejected.
fn paired(policy: Policy, case: Case, prompts: usize, each: usize) -> Result<Step> {
    let (reference, mut learner, mut ids) = (Reference::of(&policy, case)?, Learner::new(policy)?, Ids::new());
    Ok(Box::new(move || {
        let groups: Vec<Group> = (0..prompts).map(|_| ids.group(2 * each)).collect();
        let scored = reference.score(&learner.policy, &groups)?;
        let of_groups = groups.iter().zip(by_group(&groups, &scored));
        let pairs: Vec<Pairs> = of_groups.map(|(g, own)| Pairs::crossed(lengths(g), each, own.to_vec())).collect();
        let counts = mpo::Counts::of(&pairs);
        let objective = Mpo::new(mpo::Settings::default(), pairs, counts)?;
        let pass = learner.policy.gradient(&groups, 1.0, &|g, logprobs| objective.slopes(g, logprobs))?;
        learner.update(pass)
    }))
}

fn sampled(policy: Policy, prompts: usize) -> Step {
    let (mut ids, mut seed) = (Ids::new(), SEED);
    Box::new(move || {
        seed += 1;
        let prompts: Vec<Vec<u32>> = (0..prompts).map(|_| ids.draw(PROMPT)).collect();
        sample(&policy, &prompts, seed)?;
        Ok(())
    })
}

fn rewritten(policy: Policy) -> Step {
    let (mut ids, settings) = (Ids::new(), Decoding::greedy(COMPLETION, vec![]));
    Box::new(move || {
        policy.generate(&[ids.draw(PROMPT)], &settings, SEED)?.pop().context("a prompt has a completion")?;
        Ok(())
    })
}

/// Completions of full length: no token ends one, so that every step is the same work.
fn sample(policy: &Policy, prompts: &[Vec<u32>], seed: u64) -> Result<Vec<Group>> {
    let repeated: Vec<Vec<u32>> = prompts.iter().flat_map(|p| std::iter::repeat_n(p.clone(), SAMPLES)).collect();
    let completions = policy.generate(&repeated, &Decoding::sampled(COMPLETION, 1.0, vec![]), seed)?;
    let mut completions = completions.into_iter().map(|c| c.ids);
    let group =
        |prompt: &Vec<u32>| Group { prompt: prompt.clone(), completions: completions.by_ref().take(SAMPLES).collect() };
    Ok(prompts.iter().map(group).collect())
}

/// Something cheap that differs between completions: distinct ids, and a little for those that end in 7.
fn reward(completion: &[u32]) -> f64 {
    let distinct: HashSet<_> = completion.iter().collect();
    distinct.len() as f64 + 0.1 * completion.iter().filter(|id| *id % 10 == 7).count() as f64
}

fn lengths(group: &Group) -> Vec<usize> {
    group.completions.iter().map(Vec::len).collect()
}

/// Cuts a line of log-probabilities into those of each group.
fn by_group<'a>(groups: &'a [Group], mut logprobs: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
    groups.iter().map(move |group| {
        let (own, rest) = logprobs.split_at(lengths(group).iter().sum());
        logprobs = rest;
        own
    })
}
