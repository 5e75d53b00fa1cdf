//! The engine against candle's graph: values, gradients, decoding; and what holds for any policy.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::scratch::normal;
use super::*;

mod within;

fn policy(family: Family, tied: bool) -> Policy {
    let shape =
        crate::recipe::ModelShape { vocab: 300, hidden: 24, layers: 3, heads: 4, kv_heads: 2, head_dim: 10, ffn: 28 };
    let tokenizer = Tokenizer::train(["a b"].iter(), 300, &["<|endoftext|>"]).unwrap();
    let mut config = Config::scratch(&shape, 300);
    (config.family, config.tied) = (family, tied);
    let policy = Policy::from_scratch(config, tokenizer, 5, &Device::Cpu).unwrap();
    // Larger weights than at the start, and biases that are not 0, so that a wrong gradient shows.
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (_, var) in policy.vars() {
        let noise: Vec<f32> = (0..var.elem_count()).map(|_| normal(&mut rng) as f32 * 0.2).collect();
        let noise = Tensor::from_vec(noise, var.dims(), &Device::Cpu).unwrap();
        var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
    }
    policy
}

fn groups() -> Vec<Group> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut ids = |n: usize| (0..n).map(|_| rng.random_range(0..300u32)).collect::<Vec<_>>();
    let mut group = |prompt: usize, lengths: &[usize]| Group {
        prompt: ids(prompt),
        completions: lengths.iter().map(|n| ids(*n)).collect(),
    };
    vec![group(1, &[1]), group(9, &[3, 0, 5, 1]), group(4, &[0]), group(17, &[2, 2]), group(2, &[12, 7, 1])]
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    norm((a - b).unwrap()) / norm(b.clone()).max(1e-12)
}

/// The policies that both ways must agree on: whole ones, and adapters of every kind on both families.
fn policies() -> Vec<Policy> {
    let mut all = vec![policy(Family::Qwen3, true), policy(Family::Qwen3, false), policy(Family::Qwen2, true)];
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"];
    for (family, tied) in [(Family::Qwen3, true), (Family::Qwen2, false)] {
        for (rslora, targets) in
            [(false, attention.as_slice()), (true, &[ALL_LINEAR]), (false, &["layers.1.mlp.up_proj"])]
        {
            let targets = targets.iter().map(|&t| t.to_owned()).collect();
            all.push(adapted(policy(family, tied), LoraSettings { rank: 3, alpha: 5.0, rslora, targets }));
        }
    }
    all
}

/// A policy with an adapter whose B is not 0.
fn adapted(policy: Policy, settings: LoraSettings) -> Policy {
    let policy = policy.with_lora(settings, 9).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    for (_, b) in policy.vars().iter().skip(1).step_by(2) {
        let noise = (0..b.elem_count()).map(|_| normal(&mut rng) as f32 * 0.3).collect();
        b.set(&Tensor::from_vec(noise, b.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    policy
}

#[test]
fn the_engine_and_the_graph_agree_on_values_and_gradients() {
    let recomputing = policies().into_iter().map(|policy| policy.recomputing(true));
    for policy in policies().into_iter().chain(recomputing) {
        let (family, groups) = (policy.config.family, groups());
        for temperature in [1.0, 0.6] {
            // A slope that differs from group to group and from token to token.
            let slope = |group: usize, logprobs: &[f32]| -> Vec<f32> {
                (0..logprobs.len()).map(|i| ((group * 31 + i) as f32 * 0.7).sin()).collect()
            };
            let engine = policy.gradient(&groups, temperature, &slope).unwrap();
            let graph = policy.gradient_in_graph(&groups, temperature, &slope).unwrap();
            let far = engine.logprobs.iter().zip(&graph.logprobs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(engine.logprobs.len() == graph.logprobs.len() && far < 1e-4, "{far}");
            assert!(engine.grads.len() == policy.vars().len() && graph.grads.len() == policy.vars().len());
            let by_layer = policy.gradient_by_layer(&groups, temperature, &slope).unwrap();
            assert_eq!(by_layer.logprobs, graph.logprobs);
            for ((name, _), (ours, theirs)) in policy.vars().iter().zip(by_layer.grads.iter().zip(&graph.grads)) {
                assert!(distance(ours, theirs) < 1e-5, "{family:?} {name} by layer: {}", distance(ours, theirs));
            }
            for ((name, _), (ours, theirs)) in policy.vars().iter().zip(engine.grads.iter().zip(&graph.grads)) {
                assert!(distance(ours, theirs) < 1e-4, "{family:?} {name}: {}", distance(ours, theirs));
            }
        }
    }
}

#[test]
fn what_has_no_weight_is_read_alone_and_changes_nothing_else() {
    for policy in policies() {
        let groups = groups();
        // Nothing, something and everything of a completion counts; of one group nothing at all.
        let weights: Vec<Vec<f32>> = groups
            .iter()
            .enumerate()
            .map(|(g, group)| {
                let of = |(i, completion): (usize, &Vec<u32>)| {
                    let given = if g == 1 { completion.len() } else { (g + i) % 4 };
                    (0..completion.len()).map(move |at| if at < given { 0.0 } else { 0.5 + at as f32 })
                };
                group.completions.iter().enumerate().flat_map(of).collect()
            })
            .collect();
        let slope = |group: usize, _: &[f32]| weights[group].clone();
        let engine = policy.weighted_gradient(&groups, &weights, 0.8, &slope).unwrap();
        let graph = policy.gradient_in_graph(&groups, 0.8, &slope).unwrap();
        let all = weights.concat();
        assert!(all.contains(&0.0) && engine.logprobs.len() == all.len());
        for ((ours, theirs), weight) in engine.logprobs.iter().zip(&graph.logprobs).zip(&all) {
            assert!(
                if *weight == 0.0 { *ours == 0.0 } else { (ours - theirs).abs() < 1e-4 },
                "{ours} {theirs} {weight}"
            );
        }
        for ((name, _), (ours, theirs)) in policy.vars().iter().zip(engine.grads.iter().zip(&graph.grads)) {
            assert!(distance(ours, theirs) < 1e-4, "{name}: {}", distance(ours, theirs));
        }
        assert!(policy.weighted_gradient(&groups, &weights[1..], 1.0, &slope).is_err());
    }
}

#[test]
fn the_engine_and_candle_decode_the_same() {
    let settings = Decoding { repetition_penalty: 1.2, ..Decoding::sampled(12, 0.9, (0..40).collect()) };
    for policy in policies() {
        let family = policy.config.family;
        let mut prompts: Vec<Vec<u32>> = groups().into_iter().map(|g| g.prompt).collect();
        prompts.extend_from_within(1..3);
        // More than one turn.
        let prompts = vec![prompts; 12].concat();
        let ours = policy.generate(&prompts, &settings, 3).unwrap();
        let theirs = policy.generate_from_candle(&prompts, &settings, 3, &Cancel::default()).unwrap();
        assert!(ours.iter().any(|c| c.finished) && ours.iter().any(|c| !c.finished));
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(a.ids, b.ids, "{family:?} prompt {i}");
            let far = a.logprobs.iter().zip(&b.logprobs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{family:?} prompt {i}: {far}");
        }
        assert_ne!(ours[1].ids, ours[5].ids, "equal prompts have streams of their own");
    }
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let (a, b) = (policy(Family::Qwen3, true), policy(Family::Qwen3, true));
    let logits = |p: &Policy| p.logits(&[1, 2, 3]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(logits(&a), logits(&b));
    let tokenizer = a.tokenizer.clone();
    let other = Policy::from_scratch(a.config.clone(), tokenizer, 8, &Device::Cpu).unwrap();
    assert_ne!(logits(&a), logits(&other));
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_is_refused() {
    let policy = policy(Family::Qwen3, true);
    let mut config = policy.config.clone();
    config.vocab = policy.tokenizer.size() - 1;
    let error = Policy::from_scratch(config, policy.tokenizer.clone(), 1, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("do not belong together"), "{error}");
}

#[test]
fn an_adapter_starts_as_nothing_leaves_its_base_alone_and_can_be_merged() {
    let settings = LoraSettings { rank: 4, alpha: 8.0, rslora: false, targets: vec![ALL_LINEAR.into()] };
    let groups = groups();
    for family in [Family::Qwen3, Family::Qwen2] {
        let base = policy(family, true).score(&groups, 1.0).unwrap();
        let fresh = policy(family, true).with_lora(settings.clone(), 1).unwrap();
        assert_eq!(fresh.score(&groups, 1.0).unwrap(), base, "B is zero at the start");
        let trained = adapted(policy(family, true), settings.clone());
        let with = trained.score(&groups, 1.0).unwrap();
        assert_ne!(with, base);
        assert_eq!(trained.score_base(&groups, 1.0).unwrap(), base, "the reference is the base, to the bit");
        let merged = trained.merge().unwrap();
        assert!(merged.lora().is_none());
        for (a, b) in merged.score(&groups, 1.0).unwrap().iter().zip(&with) {
            assert!((a - b).abs() < 1e-4, "{a} against {b}");
        }
    }
}

#[test]
fn adapters_that_fit_no_decoder_are_refused() {
    let refused = |change: &dyn Fn(&mut LoraSettings)| {
        let mut settings = LoraSettings { rank: 4, alpha: 8.0, rslora: false, targets: vec![ALL_LINEAR.into()] };
        change(&mut settings);
        format!("{:#}", policy(Family::Qwen3, true).with_lora(settings, 1).err().expect("it was accepted"))
    };
    assert!(refused(&|s| s.rank = 0).contains("rank"));
    assert!(refused(&|s| s.alpha = f64::NAN).contains("alpha"));
    assert!(refused(&|s| s.targets = vec![]).contains("targets"));
    // PEFT compares whole parts of a name.
    assert!(refused(&|s| s.targets = vec!["q_proj".into(), "proj".into()]).contains("\"proj\" is no projection"));
    assert!(refused(&|s| s.targets = vec!["lm_head".into()]).contains("lm_head"));
}
