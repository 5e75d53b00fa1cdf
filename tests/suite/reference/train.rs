//! Three steps of supervised fine-tuning, of all weights and of an adapter alone, against transformers' loss, PEFT,
//! and PyTorch's AdamW and clipping.

use std::collections::HashMap;

use crate::common::golden::{self, close_relative, flat, ids, list, number, numbers, relative_l2};
use candle_core::Device;
use core_rewriter::model::{Group, Pass, Policy, Slope};
use core_rewriter::train::optim::{AdamW, AdamWSettings, Decay, Gradients};
use serde_json::Value;

fn batch(value: &Value) -> Vec<Group> {
    let group = |row: &Value| Group { prompt: ids(&row["prompt_ids"]), completions: vec![ids(&row["completion_ids"])] };
    list(value).iter().map(group).collect()
}

/// How log-probabilities and gradients are computed; every golden holds for each way.
type Way = fn(&Policy, &[Group], f64, &Slope) -> anyhow::Result<Pass>;
const WAYS: [(&str, Way); 3] =
    [("engine", Policy::gradient), ("graph", Policy::gradient_in_graph), ("by layer", Policy::gradient_by_layer)];

/// Mean negative log-likelihood over all completion tokens of the batch, and its gradient.
fn step(way: Way, policy: &Policy, groups: &[Group]) -> (f64, Gradients) {
    let tokens: usize = groups.iter().flat_map(|g| &g.completions).map(Vec::len).sum();
    let pass = way(policy, groups, 1.0, &|_, logprobs| vec![-1.0 / tokens as f32; logprobs.len()]).unwrap();
    let loss = -pass.logprobs.iter().map(|&lp| f64::from(lp)).sum::<f64>() / tokens as f64;
    (loss, Gradients::new(pass.grads))
}

/// Full fine-tuning, and an adapter on a frozen base.
const SETS: [&str; 2] = ["sft_full", "sft_lora"];

fn reference(set: &str) -> Value {
    golden::json(&format!("train/{set}.json"))
}

fn load(reference: &Value) -> Policy {
    let policy = Policy::load(&golden::path(reference["model"].as_str().unwrap()), &Device::Cpu).unwrap();
    match reference["adapter"].as_str() {
        Some(adapter) => policy.load_adapter(&golden::path(adapter)).unwrap(),
        None => policy,
    }
}

/// What the set calls a parameter: PEFT's names in memory have the adapter's in them.
fn theirs(name: &str) -> String {
    if name.contains(".lora_") { name.replace(".weight", ".default.weight") } else { name.to_owned() }
}

fn snapshot(policy: &Policy) -> HashMap<String, Vec<f64>> {
    policy.vars().iter().map(|(name, var)| (name.clone(), flat(var))).collect()
}

fn compare_changes(policy: &Policy, start: &HashMap<String, Vec<f64>>, reference: &Value, what: &str) {
    let reference = reference.as_object().unwrap();
    assert_eq!(reference.len(), policy.vars().len(), "other parameters");
    for (name, now) in snapshot(policy) {
        let change: f64 = now.iter().zip(&start[&name]).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        close_relative(change, number(&reference[&theirs(&name)]["delta_l2"]), 1e-3, &format!("{what} {name}"));
    }
}

#[test]
fn the_first_gradient_is_that_of_transformers() {
    for (set, (path, way)) in SETS.into_iter().flat_map(|set| WAYS.map(|way| (set, way))) {
        let (reference, tensors) = (reference(set), golden::tensors(&format!("train/{set}.safetensors")));
        let policy = load(&reference);
        let (_, grads) = step(way, &policy, &batch(&reference["batches"][0]));
        close_relative(grads.norm().unwrap(), number(&reference["grad_global_norm_step1"]), 1e-4, "global norm");
        assert_eq!(grads.tensors().len(), reference["grad_l2_step1"].as_object().unwrap().len(), "{set}");
        for ((name, _), grad) in policy.vars().iter().zip(grads.tensors()) {
            let far = relative_l2(&flat(grad), &flat(&tensors[&format!("grad_step1.{}", theirs(name))]));
            assert!(far <= 1e-4, "{set} {name} by the {path}: {far:e}");
        }
    }
}

#[test]
fn three_steps_follow_pytorch_with_and_without_clipping_and_decay_groups() {
    SETS.into_iter().for_each(three_steps);
}

fn three_steps(set: &str) {
    let reference = reference(set);
    let o = &reference["optimizer"];
    let betas = numbers(&o["betas"]);
    let runs = reference["runs"].as_object().unwrap().iter();
    for ((run, expected), (_, way)) in runs.flat_map(|run| WAYS.map(|way| (run, way))) {
        let policy = load(&reference);
        let (clip, decay) = run.strip_prefix("clip_").and_then(|r| r.split_once("_decay_")).unwrap();
        let max_norm = clip.parse().unwrap_or(0.0);
        let settings = AdamWSettings {
            beta1: betas[0],
            beta2: betas[1],
            eps: number(&o["eps"]),
            weight_decay: number(&o["weight_decay"]),
            decay: if decay == "all" { Decay::All } else { Decay::ExceptNormsAndBiases },
        };
        let mut adam = AdamW::new(policy.vars(), settings).unwrap();
        let start = snapshot(&policy);
        for (k, groups) in list(&reference["batches"]).iter().enumerate() {
            let (loss, grads) = step(way, &policy, &batch(groups));
            close_relative(loss, number(&expected["loss"][k]), 1e-5, &format!("{run} loss {k}"));
            let norm = adam.step(&grads, number(&o["lr"]), max_norm).unwrap();
            close_relative(norm, number(&expected["grad_norm"][k]), 1e-4, &format!("{run} norm {k}"));
            if let Some(after) = expected.get(format!("after_step_{}", k + 1)) {
                compare_changes(&policy, &start, after, &format!("{run} step {}", k + 1));
            }
        }
        if run == "clip_None_decay_all" {
            compare_parameters(set, &policy, number(&o["lr"]));
        }
    }
}

/// 1e-5 for most and never more than the learning rate: where a gradient is nearly zero Adam amplifies its rounding.
fn compare_parameters(set: &str, policy: &Policy, lr: f64) {
    let tensors = golden::tensors(&format!("train/{set}.safetensors"));
    for (name, var) in policy.vars() {
        let (ours, expected) = (flat(var), flat(&tensors[&format!("param_after_3_steps.{}", theirs(name))]));
        assert!(golden::distance(&ours, &expected) <= lr, "{set} {name}");
        let near = ours.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() <= 1e-5).count();
        assert!(near * 100 >= ours.len() * 99, "{name}: {near} of {} within 1e-5", ours.len());
    }
}
