//! The CPU engine against the plain candle model: same log-probabilities, same gradients, whatever the groups.

use candle_core::Device;
use core_rewriter::model::{Config, Decoding, Group, LoraSettings, Policy, Tokenizer};
use core_rewriter::recipe::{ModelShape, Precision, stream};
use rand::Rng;

fn tokenizer() -> Tokenizer {
    let texts = ["the quick brown fox jumps over the lazy dog again and again", "pack my box with five dozen jugs"];
    Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).unwrap()
}

fn policy(shape: &ModelShape) -> Policy {
    let tokenizer = tokenizer();
    let config = Config::scratch(shape, tokenizer.size() + 7);
    Policy::from_scratch(config, tokenizer, 11, &Device::Cpu).unwrap()
}

fn shape(heads: usize, kv_heads: usize) -> ModelShape {
    ModelShape { vocab: 300, hidden: 48, layers: 3, heads, kv_heads, head_dim: 14, ffn: 70 }
}

/// Groups with the given prompt lengths and completion lengths.
fn groups(lengths: &[(usize, &[usize])]) -> Vec<Group> {
    let mut rng = stream(5, "test groups", &[]);
    let mut ids = |n: usize| (0..n).map(|_| rng.random_range(0..250)).collect::<Vec<u32>>();
    let group = |(prompt, completions): &(usize, &[usize])| Group {
        prompt: ids(*prompt),
        completions: completions.iter().map(|&n| ids(n)).collect(),
    };
    lengths.iter().map(group).collect()
}

/// Each completion as a group of its own: the computation without sharing.
fn unshared(groups: &[Group]) -> Vec<Group> {
    let each = |g: &Group| {
        let alone = |c: &Vec<u32>| Group { prompt: g.prompt.clone(), completions: vec![c.clone()] };
        g.completions.iter().map(alone).collect::<Vec<_>>()
    };
    groups.iter().flat_map(each).collect()
}

/// A slope that differs from token to token and depends on the log-probability.
fn slope(_: usize, logprobs: &[f32]) -> Vec<f32> {
    logprobs.iter().enumerate().map(|(i, lp)| 0.3 - 0.1 * i as f32 + 0.05 * lp).collect()
}

fn same(policy: &Policy, groups: &[Group], temperature: f64) {
    let ours = policy.gradient(groups, temperature, &slope).unwrap();
    let reference = policy.gradient_in_graph(groups, temperature, &slope).unwrap();
    assert_eq!(ours.logprobs.len(), reference.logprobs.len());
    for (a, b) in ours.logprobs.iter().zip(&reference.logprobs) {
        assert!((a - b).abs() < 2e-5, "logprob {a} against {b}");
    }
    assert_eq!(policy.score(groups, temperature).unwrap(), ours.logprobs);
    for ((a, b), (name, _)) in ours.grads.iter().zip(&reference.grads).zip(policy.vars()) {
        let norm = |t: &candle_core::Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let (difference, size) = (norm(&(a - b).unwrap()), norm(b));
        assert!(size > 0.0, "{name} has no gradient");
        assert!(difference <= 2e-5 * size, "{name}: off by {difference} of {size}");
    }
}

#[test]
fn groups_of_every_shape_give_the_reference_numbers() {
    for (heads, kv_heads) in [(4, 2), (3, 3), (4, 1)] {
        let policy = policy(&shape(heads, kv_heads));
        same(&policy, &groups(&[(9, &[4])]), 1.0);
        same(&policy, &groups(&[(1, &[1]), (70, &[3, 5, 1])]), 1.0);
        same(&policy, &groups(&[(130, &[0, 7, 0, 2]), (3, &[20, 1]), (5, &[]), (64, &[2]), (65, &[2])]), 0.7);
    }
}

#[test]
fn sharing_a_prompt_changes_nothing() {
    let policy = policy(&shape(4, 2));
    let shared = groups(&[(33, &[6, 3, 1, 8]), (12, &[2, 2])]);
    // A constant slope a token, since a slope may look at its own group only.
    let constant = |_: usize, logprobs: &[f32]| vec![-0.1; logprobs.len()];
    let (a, b) = (
        policy.gradient(&shared, 1.0, &constant).unwrap(),
        policy.gradient(&unshared(&shared), 1.0, &constant).unwrap(),
    );
    for (a, b) in a.logprobs.iter().zip(&b.logprobs) {
        assert!((a - b).abs() < 2e-5, "{a} against {b}");
    }
    for (a, b) in a.grads.iter().zip(&b.grads) {
        let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        let largest = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference <= 2e-5 * largest.max(1e-3), "{difference} of {largest}");
    }
}

#[test]
fn the_same_batch_gives_the_same_bits() {
    let policy = policy(&shape(4, 2));
    let batch = groups(&[(400, &[6, 3]), (300, &[5]), (500, &[2, 2]), (20, &[1])]);
    let bits = || {
        let pass = policy.gradient(&batch, 1.0, &slope).unwrap();
        let grads = pass.grads.iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        (pass.logprobs, grads.collect::<Vec<_>>())
    };
    assert!(bits() == bits());
}

/// Rounding to bfloat16 moves a number by up to 2^-9 of it; what comes out of three layers differs by a few of that.
#[test]
fn bfloat16_products_stay_near_the_reference() {
    let policy = policy(&shape(4, 2)).with_precision(Precision::Bf16);
    let batch = groups(&[(130, &[0, 7, 0, 2]), (3, &[20, 1])]);
    let ours = policy.gradient(&batch, 1.0, &slope).unwrap();
    let reference = policy.gradient_in_graph(&batch, 1.0, &slope).unwrap();
    let off = ours.logprobs.iter().zip(&reference.logprobs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off > 1e-6, "nothing was rounded");
    assert!(off < 2e-2, "a logprob is off by {off}");
    for ((a, b), (name, _)) in ours.grads.iter().zip(&reference.grads).zip(policy.vars()) {
        let norm = |t: &candle_core::Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let (difference, size) = (norm(&(a - b).unwrap()), norm(b));
        assert!(size > 0.0 && norm(a) > 0.0, "{name} has no gradient");
        assert!(difference <= 2e-2 * size, "{name}: off by {difference} of {size}");
    }
}

/// What was sampled is scored by the training pass to the same log-probability, whoever shares the batch.
#[test]
fn sampling_and_training_agree() {
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 1e-4)] {
        let policy = policy(&shape(4, 2)).with_precision(precision);
        let prompts = groups(&[(70, &[]), (33, &[]), (1, &[])]);
        let repeated: Vec<Vec<u32>> = prompts.iter().flat_map(|g| vec![g.prompt.clone(); 5]).collect();
        let sampled = policy.generate(&repeated, &Decoding::sampled(40, 1.0, vec![7]), 3).unwrap();
        let completions = |i: usize| sampled[5 * i..5 * (i + 1)].iter().map(|c| c.ids.clone()).collect();
        let groups: Vec<Group> =
            (0..3).map(|i| Group { prompt: prompts[i].prompt.clone(), completions: completions(i) }).collect();
        let scored = policy.score(&groups, 1.0).unwrap();
        let of_sampling: Vec<f32> = sampled.iter().flat_map(|c| c.logprobs.clone()).collect();
        assert_eq!(scored.len(), of_sampling.len());
        for (a, b) in scored.iter().zip(&of_sampling) {
            assert!((a - b).abs() <= tolerance, "{precision:?}: scored {a}, sampled {b}");
        }
        let alone = policy.generate(&repeated[7..8], &Decoding::sampled(40, 0.0, vec![7]), 3).unwrap();
        let together = policy.generate(&repeated, &Decoding::sampled(40, 0.0, vec![7]), 3).unwrap();
        assert_eq!(alone[0].ids, together[7].ids, "{precision:?}: company changes a completion");
        assert_eq!(policy.frozen().generate(&repeated, &Decoding::sampled(40, 1.0, vec![7]), 3).unwrap(), sampled);
    }
}

#[test]
fn computing_activations_again_changes_no_bit() {
    let batch = groups(&[(130, &[0, 7, 0, 2]), (3, &[20, 1])]);
    let of = |policy: Policy, again: bool| {
        let pass = policy.recomputing(again).gradient(&batch, 1.0, &slope).unwrap();
        let grads = pass.grads.iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        (pass.logprobs, grads.collect::<Vec<_>>())
    };
    assert!(of(policy(&shape(4, 2)), false) == of(policy(&shape(4, 2)), true));
    let adapted = || policy(&shape(4, 2)).with_lora(adapter(&["all-linear"]), 3).unwrap();
    assert!(of(adapted(), false) == of(adapted(), true));
    let memory = |again| policy(&shape(4, 2)).recomputing(again).training_memory(&batch).unwrap();
    assert!(memory(true).activations < memory(false).activations);
    assert_eq!(memory(true).weights, memory(false).weights);
}

fn adapter(targets: &[&str]) -> LoraSettings {
    LoraSettings { rank: 3, alpha: 6.0, rslora: false, targets: targets.iter().map(|&t| t.to_owned()).collect() }
}

/// No gradient is carried below the lowest adapter; those above it must not change by that.
#[test]
fn adapters_on_some_layers_get_the_reference_gradients() {
    for targets in
        [&["layers.2.mlp.up_proj"][..], &["layers.1.self_attn.k_proj", "layers.2.self_attn.o_proj"], &["q_proj"]]
    {
        let policy = policy(&shape(4, 2)).with_lora(adapter(targets), 3).unwrap();
        // B starts at zero, and A would have no gradient.
        for (_, b) in policy.vars().iter().skip(1).step_by(2) {
            let values = (0..b.elem_count()).map(|i| (i as f32).sin() * 0.1).collect::<Vec<_>>();
            b.set(&candle_core::Tensor::from_vec(values, b.dims(), &Device::Cpu).unwrap()).unwrap();
        }
        same(&policy, &groups(&[(70, &[3, 5, 1]), (9, &[4])]), 1.0);
    }
}

#[test]
fn a_frozen_policy_has_nothing_to_train() {
    let policy = policy(&shape(4, 2)).frozen();
    assert!(policy.vars().is_empty());
    let error = policy.gradient(&groups(&[(9, &[4])]), 1.0, &slope).err().unwrap();
    assert!(error.to_string().contains("frozen"));
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let policy = policy(&shape(4, 2));
    let fails = |groups: &[Group]| format!("{:#}", policy.gradient(groups, 1.0, &slope).err().unwrap());
    assert!(fails(&[Group { prompt: vec![], completions: vec![vec![1]] }]).contains("empty prompt"));
    assert!(fails(&[Group { prompt: vec![1], completions: vec![vec![9_999]] }]).contains("vocabulary"));
    assert!(fails(&[Group { prompt: vec![1; 4_000], completions: vec![vec![1]] }]).contains("positions"));
}
