//! The path of cards against the goldens: candle's operations, in float32 and in bfloat16.
//!
//! It is run on the CPU unless `CORE_TEST_DEVICE=cuda` names the first card (of a build with the feature `cuda`).
//! `--nocapture` prints how far bfloat16 is from the float32 references.

use std::collections::HashMap;

use crate::common::golden::{self, close_relative, distance, flat, ids, list, number, numbers, relative_l2};
use candle_core::{DType, Device, Tensor};
use core_rewriter::model::device::{self, Wish};
use core_rewriter::model::{Cancel, Decoding, Group, Pass, Policy, Slope};
use core_rewriter::train::optim::{AdamW, AdamWSettings, Decay, Gradients};
use serde_json::Value;

/// What a number format may be off by, from the float32 references.
struct Bounds {
    dtype: DType,
    /// Of logits, hidden states and log-probabilities: what the set's README allows either format.
    forward: f64,
    /// Of the log-probabilities of sampled tokens, from those that training computes in the same format.
    sampling: f64,
    /// Of a loss, as a share of it.
    loss: f64,
    /// Of a parameter's gradient, as a share of its norm.
    gradient: f64,
}

/// bfloat16 rounds by up to 2⁻⁸ at each product; a gradient has gone through every layer twice.
const FORMATS: [Bounds; 2] = [
    Bounds { dtype: DType::F32, forward: 1e-4, sampling: 1e-4, loss: 1e-5, gradient: 1e-4 },
    Bounds { dtype: DType::BF16, forward: 0.25, sampling: 0.05, loss: 5e-3, gradient: 0.1 },
];

fn place() -> Device {
    let wish = match std::env::var("CORE_TEST_DEVICE").as_deref() {
        Ok("cuda") => Wish::Cuda,
        _ => Wish::Cpu,
    };
    device::choose(wish).unwrap();
    device::open().unwrap()
}

fn load(folder: &str, bounds: &Bounds) -> Policy {
    Policy::load(&golden::path(folder), &place()).unwrap().compute_in(bounds.dtype)
}

/// Fails past the bound, and keeps the largest distance.
fn within(far: f64, bound: f64, largest: &mut f64, what: &str) {
    assert!(far <= bound, "{what}: {far:e} apart, allowed {bound:e}");
    *largest = largest.max(far);
}

#[test]
fn states_logits_and_logprobs_are_those_of_transformers() {
    for (bounds, model) in FORMATS.iter().flat_map(|b| golden::models().into_iter().map(move |m| (b, m))) {
        let policy = load(&format!("models/{model}"), bounds);
        let (cases, tensors) =
            (golden::json(&format!("forward/{model}.json")), golden::tensors(&format!("forward/{model}.safetensors")));
        let (mut states, mut chosen) = (0.0, 0.0);
        for case in list(&cases["cases"]) {
            let (key, prompt) = (case["key"].as_str().unwrap(), ids(&case["input_ids"]));
            let hidden = policy.hidden_states(&prompt).unwrap();
            for (name, ours) in [
                ("logits", &policy.logits(&prompt).unwrap()),
                ("hidden_last_prenorm", hidden.layers.last().unwrap()),
                ("hidden_final_norm", &hidden.normed),
            ] {
                assert_eq!(ours.dtype(), DType::F32, "{name}");
                let far = distance(&flat(ours), &flat(&tensors[&format!("{key}.{name}")]));
                within(far, bounds.forward, &mut states, &format!("{model} {key} {name} in {:?}", bounds.dtype));
            }
        }
        // Each completion behind a prompt of its own, and all that share one behind the same.
        let (mut alone, mut shared, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for case in list(&cases["cases"]) {
            let (prompt, all) = (ids(&case["input_ids"]), list(&case["completions"]));
            let completions: Vec<Vec<u32>> = all.iter().map(|c| ids(&c["completion_ids"])).collect();
            theirs.extend(all.iter().flat_map(|c| numbers(&c["logps"])));
            alone.extend(completions.iter().map(|c| Group { prompt: prompt.clone(), completions: vec![c.clone()] }));
            shared.push(Group { prompt, completions });
        }
        assert!(shared.iter().any(|group| group.completions.len() > 1));
        for groups in [alone, shared] {
            let far = distance(&flat(&policy.logprobs(&groups, 1.0).unwrap()), &theirs);
            within(far, bounds.forward, &mut chosen, &format!("{model} logps in {:?}", bounds.dtype));
        }
        if bounds.dtype == DType::BF16 && tensors.contains_key("p0.logits_bf16_native") {
            no_worse_than_transformers(&policy, list(&cases["cases"]), &tensors);
        }
        println!("{model} {:?}: states and logits {states:.1e}, log-probabilities {chosen:.1e}", bounds.dtype);
    }
}

/// Logits in bfloat16 are about as far from float32 as those that transformers computes in bfloat16, or nearer.
fn no_worse_than_transformers(policy: &Policy, cases: &[Value], tensors: &HashMap<String, Tensor>) {
    let (mut ours, mut theirs) = (0.0f64, 0.0f64);
    for case in cases {
        let key = case["key"].as_str().unwrap();
        let exact = flat(&tensors[&format!("{key}.logits")]);
        ours = ours.max(distance(&flat(&policy.logits(&ids(&case["input_ids"])).unwrap()), &exact));
        theirs = theirs.max(distance(&flat(&tensors[&format!("{key}.logits_bf16_native")]), &exact));
    }
    println!("logits in bfloat16: ours {ours:.1e}, those of transformers {theirs:.1e}");
    assert!(ours <= 1.5 * theirs, "{ours} against {theirs}");
}

#[test]
fn decoding_follows_transformers_and_agrees_with_training() {
    for (bounds, model) in FORMATS.iter().flat_map(|b| golden::models().into_iter().map(move |m| (b, m))) {
        let policy = load(&format!("models/{model}"), bounds);
        let cases = golden::json(&format!("forward/{model}.json"));
        let cases = list(&cases["cases"]);
        let mut prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
        let greedy =
            policy.generate_from_candle(&prompts, &Decoding::greedy(12, vec![]), 0, &Cancel::default()).unwrap();
        for (case, ours) in cases.iter().zip(&greedy) {
            // The best two tokens are nearer to each other in these cases than bfloat16 rounds.
            if bounds.dtype == DType::F32 {
                assert_eq!(ours.ids, ids(&case["greedy_12"]), "{model} in {:?}", bounds.dtype);
            }
        }
        prompts.extend(prompts.clone());
        let sampled = policy
            .generate_from_candle(&prompts, &Decoding::sampled(9, 1.0, (1..8).collect()), 11, &Cancel::default())
            .unwrap();
        let group = |(p, c): (&Vec<u32>, &core_rewriter::model::Completion)| Group {
            prompt: p.clone(),
            completions: vec![c.ids.clone()],
        };
        let groups: Vec<Group> = prompts.iter().zip(&sampled).map(group).collect();
        let said: Vec<f64> = sampled.iter().flat_map(|c| c.logprobs.iter().map(|x| f64::from(*x))).collect();
        let mut largest = 0.0;
        let far = distance(&said, &flat(&policy.logprobs(&groups, 1.0).unwrap()));
        within(far, bounds.sampling, &mut largest, &format!("{model} sampling against training in {:?}", bounds.dtype));
        println!("{model} {:?}: sampling against training {largest:.1e}", bounds.dtype);
    }
}

/// Whole, and a layer at a time.
type Way = fn(&Policy, &[Group], f64, &Slope) -> anyhow::Result<Pass>;
const WAYS: [(&str, Way); 2] = [("graph", Policy::gradient_in_graph), ("by layer", Policy::gradient_by_layer)];

/// Full fine-tuning, and an adapter on a frozen base.
const SETS: [&str; 2] = ["sft_full", "sft_lora"];

fn trained(reference: &Value, bounds: &Bounds) -> Policy {
    let policy = load(reference["model"].as_str().unwrap(), bounds);
    match reference["adapter"].as_str() {
        Some(adapter) => policy.load_adapter(&golden::path(adapter)).unwrap(),
        None => policy,
    }
}

fn step(way: Way, policy: &Policy, batch: &Value) -> (f64, Gradients) {
    let group = |row: &Value| Group { prompt: ids(&row["prompt_ids"]), completions: vec![ids(&row["completion_ids"])] };
    let groups: Vec<Group> = list(batch).iter().map(group).collect();
    let tokens: usize = groups.iter().flat_map(|g| &g.completions).map(Vec::len).sum();
    let pass = way(policy, &groups, 1.0, &|_, logprobs| vec![-1.0 / tokens as f32; logprobs.len()]).unwrap();
    (-pass.logprobs.iter().map(|&lp| f64::from(lp)).sum::<f64>() / tokens as f64, Gradients::new(pass.grads))
}

#[test]
fn every_parameter_gets_the_gradient_of_transformers_and_peft() {
    for (bounds, set) in FORMATS.iter().flat_map(|b| SETS.map(|set| (b, set))) {
        let reference = golden::json(&format!("train/{set}.json"));
        let tensors = golden::tensors(&format!("train/{set}.safetensors"));
        let policy = trained(&reference, bounds);
        for (path, way) in WAYS {
            let (_, grads) = step(way, &policy, &reference["batches"][0]);
            assert_eq!(grads.tensors().len(), reference["grad_l2_step1"].as_object().unwrap().len(), "{set}");
            let mut largest = 0.0;
            for ((name, var), grad) in policy.vars().iter().zip(grads.tensors()) {
                // The format of products is not that of what is trained.
                assert_eq!((var.dtype(), grad.dtype()), (DType::F32, DType::F32), "{name}");
                let theirs = match name.contains(".lora_") {
                    true => name.replace(".weight", ".default.weight"),
                    false => name.clone(),
                };
                let far = relative_l2(&flat(grad), &flat(&tensors[&format!("grad_step1.{theirs}")]));
                within(far, bounds.gradient, &mut largest, &format!("{set} {name} {path} in {:?}", bounds.dtype));
            }
            println!("{set} {path} {:?}: gradients {largest:.1e}", bounds.dtype);
        }
    }
}

#[test]
fn three_steps_of_the_optimizer_follow_pytorch() {
    for (bounds, set) in FORMATS.iter().flat_map(|b| SETS.map(|set| (b, set))) {
        let reference = golden::json(&format!("train/{set}.json"));
        let (o, run) = (&reference["optimizer"], &reference["runs"]["clip_1.0_decay_all"]);
        let betas = numbers(&o["betas"]);
        let settings = AdamWSettings {
            beta1: betas[0],
            beta2: betas[1],
            eps: number(&o["eps"]),
            weight_decay: number(&o["weight_decay"]),
            decay: Decay::All,
        };
        let policy = trained(&reference, bounds);
        let mut adam = AdamW::new(policy.vars(), settings).unwrap();
        for (k, batch) in list(&reference["batches"]).iter().enumerate() {
            let (loss, grads) = step(Policy::gradient_by_layer, &policy, batch);
            close_relative(loss, number(&run["loss"][k]), bounds.loss, &format!("{set} loss {k} {:?}", bounds.dtype));
            let norm = adam.step(&grads, number(&o["lr"]), 1.0).unwrap();
            close_relative(norm, number(&run["grad_norm"][k]), bounds.gradient, &format!("{set} norm {k}"));
        }
    }
}
