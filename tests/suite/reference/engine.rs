//! The CPU engine against the plain candle model: same log-probabilities, same gradients, whatever the groups.

use candle_core::Device;
use core_rewriter::model::{Config, Decoding, Group, Level, LoraSettings, Policy, Tokenizer, simd_level};
use core_rewriter::recipe::{ModelShape, Precision, stream};
use rand::Rng;
use rayon::prelude::*;

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
    assert_eq!(ours.entropies.len(), reference.entropies.len());
    for (a, b) in ours.entropies.iter().zip(&reference.entropies) {
        assert!((a - b).abs() <= 1e-4, "entropy {a} against {b}");
    }
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
    let batch = groups(&[(400, &[6, 3]), (300, &[5]), (500, &[2, 2]), (20, &[1])]);
    let run = || bits(policy(&shape(4, 2)), &batch, false);
    assert!(run() == run());
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

/// Log-probabilities and gradients to the bit, computing activations again or not.
fn bits(policy: Policy, batch: &[Group], again: bool) -> (Vec<f32>, Vec<Vec<f32>>) {
    let pass = policy.recomputing(again).gradient(batch, 1.0, &slope).unwrap();
    let grads = pass.grads.iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    (pass.logprobs, grads.collect())
}

/// More tokens than each thread computes at once.
fn many() -> Vec<Group> {
    let group: (usize, &[usize]) = (300, &[3, 2]);
    groups(&vec![group; 5 * rayon::current_num_threads()])
}

#[test]
fn many_packs_a_thread_give_the_reference_numbers() {
    same(&policy(&shape(4, 2)), &many(), 1.0);
}

/// Where activations are computed again weights are packed at every product, and else once a step.
#[test]
fn weights_packed_once_change_no_bit_and_are_told_beforehand() {
    for precision in [Precision::F32, Precision::Bf16] {
        let of = || policy(&shape(4, 2)).with_precision(precision);
        assert!(bits(of(), &many(), false) == bits(of(), &many(), true), "{precision:?}");
        let packed = |again, batch: &[Group]| of().recomputing(again).training_memory(batch).unwrap().packed;
        assert_eq!((packed(true, &many()), packed(false, &many()[..1])), (0, 0));
        let weights = of().training_memory(&many()).unwrap().weights;
        // Both ways, half as wide in bfloat16; panels are filled up to 32 columns.
        let (from, wanted) = match precision {
            Precision::Bf16 => (Level::Avx512Bf16, weights),
            _ => (Level::Avx512, 2 * weights),
        };
        if simd_level() < from {
            assert_eq!(packed(false, &many()), 0);
            continue;
        }
        let told = packed(false, &many());
        assert!(wanted * 9 / 10 < told && told < wanted * 3 / 2, "{told} for {weights} bytes of weights");
    }
}

#[test]
fn computing_activations_again_changes_no_bit() {
    let batch = groups(&[(130, &[0, 7, 0, 2]), (3, &[20, 1])]);
    let of = |policy: Policy, again: bool| bits(policy, &batch, again);
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

/// An experiment asks for rewrites from inside the thread pool, many at a time.
#[test]
fn decoding_inside_the_thread_pool_gives_the_same() {
    let policy = policy(&shape(4, 2)).frozen();
    let lengths = [(90, &[] as &[usize]); 40];
    let prompts: Vec<Vec<u32>> = groups(&lengths).into_iter().map(|g| g.prompt).collect();
    let decode = |prompt: &Vec<u32>| policy.generate(std::slice::from_ref(prompt), &Decoding::greedy(6, vec![]), 0);
    let outside: Vec<_> = prompts.iter().map(|p| decode(p).unwrap()).collect();
    let inside: Vec<_> = prompts.par_iter().map(|p| decode(p).unwrap()).collect();
    assert_eq!(inside, outside);
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
