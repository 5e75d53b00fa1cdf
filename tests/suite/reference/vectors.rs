//! Reading the objectives' golden vectors.

use std::collections::BTreeMap;

use candle_core::Device;
use core_rewriter::model::Policy;
use core_rewriter::train::advantages::Scale;
use core_rewriter::train::grpo::{self, Importance, Loss, Rollout};
use core_rewriter::train::optim::Gradients;
use serde_json::Value;

use crate::common::golden::{self, close, close_relative, flat, ids, list, number, numbers};

/// A text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text"))
}

/// A count.
pub fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count")) as usize
}

/// A list of numbers, as float32.
pub fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

/// `scale_rewards`.
pub fn scale(value: &Value) -> Scale {
    match text(value) {
        "group" => Scale::Group,
        "batch" => Scale::Batch,
        "none" => Scale::None,
        other => panic!("scale_rewards {other}"),
    }
}

/// The settings of a case.
pub fn settings(case: &Value, max_completion_length: usize) -> grpo::Settings {
    grpo::Settings {
        loss: match text(&case["loss_type"]) {
            "grpo" => Loss::Grpo,
            "bnpo" => Loss::Bnpo,
            "dapo" => Loss::Dapo,
            "dr_grpo" => Loss::DrGrpo,
            "cispo" => Loss::Cispo,
            other => panic!("loss_type {other}"),
        },
        importance: match case.get("importance_sampling_level").map(text) {
            None | Some("token") => Importance::Token,
            Some("sequence") => Importance::Sequence,
            Some(other) => panic!("importance_sampling_level {other}"),
        },
        beta: number(&case["beta"]),
        epsilon_low: number(&case["epsilon_low"]),
        epsilon_high: number(&case["epsilon_high"]),
        delta: case.get("delta").and_then(Value::as_f64),
        max_completion_length,
    }
}

/// The values of `[B][T]` that count, row by row.
pub fn unmasked(values: &Value, mask: &Value) -> Vec<Vec<f32>> {
    let rows = list(values).iter().zip(list(mask));
    rows.map(|(row, mask)| {
        let kept = floats(row).into_iter().zip(ids(mask)).filter(|(_, m)| *m == 1);
        kept.map(|(x, _)| x).collect()
    })
    .collect()
}

/// The rows of a data set in groups, and their log-probabilities in one line.
pub fn rollouts(data: &Value, advantages: &[f64], with_old: bool) -> (Vec<Rollout>, Vec<f32>) {
    let rows = |key: &str| unmasked(&data[key], &data["mask"]);
    let (now, old, reference) = (rows("logps"), rows("old_logps"), rows("ref_logps"));
    let size = count(&data["group_size"]);
    let group = |first: usize| {
        let rows = first..first + size;
        Rollout {
            lengths: now[rows.clone()].iter().map(Vec::len).collect(),
            advantages: advantages[rows.clone()].to_vec(),
            old: with_old.then(|| old[rows.clone()].concat()),
            reference: Some(reference[rows].concat()),
        }
    };
    ((0..now.len()).step_by(size).map(group).collect(), now.concat())
}

/// Fails unless every statistic of the reference is there and agrees.
pub fn compare_statistics(ours: &BTreeMap<String, f64>, theirs: &Value, tolerance: f64, what: &str) {
    for (name, value) in theirs.as_object().unwrap() {
        let own = ours.get(name).unwrap_or_else(|| panic!("{what}: no statistic {name}"));
        close(&[*own], &[number(value)], tolerance, &format!("{what} {name}"));
    }
}

/// Rewards as rows: one of several a completion, or one alone.
pub fn rewards(value: &Value) -> Vec<Vec<Option<f64>>> {
    let row = |r: &Value| r.as_array().map_or_else(|| vec![r.as_f64()], |r| r.iter().map(Value::as_f64).collect());
    list(value).iter().map(row).collect()
}

/// A model of the set.
pub fn load(model: &Value) -> Policy {
    Policy::load(&golden::path(text(model)), &Device::Cpu).unwrap()
}

/// The same numbers as float64.
pub fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// Global and per-parameter norms within 1e-3.
pub fn compare_gradients(policy: &Policy, gradients: &Gradients, case: &Value, what: &str) {
    close_relative(gradients.norm().unwrap(), number(&case["grad_global_norm"]), 1e-3, &format!("{what} norm"));
    let Some(theirs) = case.get("grad_l2").and_then(Value::as_object) else { return };
    assert_eq!(theirs.len(), policy.vars().len(), "{what}: other parameters");
    for ((name, _), grad) in policy.vars().iter().zip(gradients.tensors()) {
        let norm = flat(grad).iter().map(|x| x * x).sum::<f64>().sqrt();
        close_relative(norm, number(&theirs[name]), 1e-3, &format!("{what} {name}"));
    }
}
