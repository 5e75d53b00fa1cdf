//! The engine against candle's graph: values, gradients, decoding; and what holds for any policy.

use super::*;

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

#[test]
fn the_engine_and_the_graph_agree_on_values_and_gradients() {
    for (family, tied) in [(Family::Qwen3, true), (Family::Qwen3, false), (Family::Qwen2, true)] {
        let (policy, groups) = (policy(family, tied), groups());
        for temperature in [1.0, 0.6] {
            // A slope that differs from group to group and from token to token.
            let slope = |group: usize, logprobs: &[f32]| -> Vec<f32> {
                (0..logprobs.len()).map(|i| ((group * 31 + i) as f32 * 0.7).sin()).collect()
            };
            let engine = policy.gradient(&groups, temperature, &slope).unwrap();
            let graph = policy.gradient_in_graph(&groups, temperature, &slope).unwrap();
            let far = engine.logprobs.iter().zip(&graph.logprobs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(engine.logprobs.len() == graph.logprobs.len() && far < 1e-4, "{far}");
            for ((name, _), (ours, theirs)) in policy.vars().iter().zip(engine.grads.iter().zip(&graph.grads)) {
                assert!(distance(ours, theirs) < 1e-4, "{family:?} {name}: {}", distance(ours, theirs));
            }
        }
    }
}

#[test]
fn the_engine_and_candle_decode_the_same() {
    let settings = Decoding { repetition_penalty: 1.2, ..Decoding::sampled(12, 0.9, (0..40).collect()) };
    for family in [Family::Qwen3, Family::Qwen2] {
        let policy = policy(family, true);
        let mut prompts: Vec<Vec<u32>> = groups().into_iter().map(|g| g.prompt).collect();
        prompts.extend_from_within(1..3);
        // More than one turn.
        let prompts = vec![prompts; 12].concat();
        let ours = policy.generate(&prompts, &settings, 3).unwrap();
        let theirs = policy.generate_from_candle(&prompts, &settings, 3).unwrap();
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
