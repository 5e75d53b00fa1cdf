//! GRPO, MPO, advantages and penalties against TRL: values, slopes, statistics, and through a model's gradient.

use super::vectors::{
    compare_gradients, compare_statistics, count, doubles, floats, load, rewards, rollouts, scale, settings, text,
    unmasked,
};
use crate::common::golden::{self, close, ids, list, number, numbers};
use core_rewriter::judge::{repetition, soft_overlong};
use core_rewriter::model::Group;
use core_rewriter::train::advantages::{Aggregation, Scale, advantages};
use core_rewriter::train::grpo::{self, Grpo, Rollout};
use core_rewriter::train::mpo::{self, Mpo, Pairs, RunningMean};
use core_rewriter::train::optim::Gradients;
use serde_json::Value;

/// Of losses, slopes and statistics, from the set's README.
const TOLERANCE: f64 = 1e-5;

fn tokens(rollout: &Rollout) -> usize {
    rollout.lengths.iter().sum()
}

/// Slopes of all groups, each from its own log-probabilities.
fn slopes(objective: &Grpo, rollouts: &[Rollout], logprobs: &[f32]) -> Vec<f64> {
    let (mut all, mut from) = (Vec::new(), 0);
    for (g, rollout) in rollouts.iter().enumerate() {
        let own = &logprobs[from..from + tokens(rollout)];
        all.extend(objective.slopes(g, own).into_iter().map(f64::from));
        from += own.len();
    }
    all
}

#[test]
fn grpo_losses_slopes_and_statistics_are_those_of_trl() {
    let reference = golden::json("objectives/grpo.json");
    for (name, data) in reference["datasets"].as_object().unwrap() {
        for (i, case) in list(&data["cases"]).iter().enumerate() {
            let what = format!("{name} case {i}");
            let advantages = numbers(&data["advantages"][text(&case["scale_rewards"])]);
            let (rollouts, logprobs) = rollouts(data, &advantages, text(&case["old_logps"]) == "given");
            let counts = grpo::Counts::of(&rollouts);
            assert_eq!(counts.tokens, count(&data["num_items_in_batch"]));
            let settings = settings(case, count(&data["max_completion_length"]));
            let objective = Grpo::new(settings, rollouts.clone(), counts).unwrap();
            let tally = objective.tally(&logprobs);
            close(&[tally.loss], &[number(&case["loss"])], TOLERANCE, &format!("{what} loss"));
            let theirs = unmasked(&case["grad_logps"], &data["mask"]).concat();
            let theirs: Vec<f64> = theirs.into_iter().map(f64::from).collect();
            close(&slopes(&objective, &rollouts, &logprobs), &theirs, TOLERANCE, &format!("{what} slopes"));
            compare_statistics(&tally.statistics(), &case["metrics"], TOLERANCE, &what);
        }
    }
}

#[test]
fn dapo_micro_batches_share_the_normaliser_of_the_step() {
    let reference = golden::json("objectives/grpo.json");
    for (name, data) in reference["datasets"].as_object().unwrap() {
        let case = &data["dapo_two_microbatches"];
        let (rollouts, logprobs) = rollouts(data, &numbers(&data["advantages"]["group"]), true);
        let counts = grpo::Counts::of(&rollouts);
        // The halves are halves of the rows: a group may be cut.
        let rows: Vec<Rollout> = rollouts.iter().flat_map(rows_of).collect();
        let (mut total, mut from) = (None::<grpo::Tally>, 0);
        for (half, theirs) in rows.chunks(rows.len() / 2).zip(numbers(&case["losses"])) {
            let n: usize = half.iter().map(tokens).sum();
            let objective = Grpo::new(settings(case, 1), half.to_vec(), counts).unwrap();
            let tally = objective.tally(&logprobs[from..from + n]);
            from += n;
            close(&[tally.loss], &[theirs], TOLERANCE, name);
            match &mut total {
                Some(total) => total.add(&tally),
                None => total = Some(tally),
            }
        }
        close(&[total.unwrap().loss], &[number(&case["total"])], TOLERANCE, name);
    }
}

/// Every completion as a group of its own.
fn rows_of(rollout: &Rollout) -> Vec<Rollout> {
    let mut from = 0;
    let cut = |(n, advantage): (&usize, &f64)| {
        let at = from..from + n;
        from += n;
        let part = |list: &Option<Vec<f32>>| list.as_ref().map(|l| l[at.clone()].to_vec());
        let (old, reference) = (part(&rollout.old), part(&rollout.reference));
        Rollout { lengths: vec![*n], advantages: vec![*advantage], old, reference }
    };
    rollout.lengths.iter().zip(&rollout.advantages).map(cut).collect()
}

#[test]
fn advantages_are_those_of_trl() {
    let reference = golden::json("objectives/advantages.json");
    for case in list(&reference["cases"]) {
        let name = text(&case["name"]);
        let rewards = rewards(&case["rewards"]);
        let weights =
            case["weights"].as_array().map_or_else(|| vec![1.0; rewards[0].len()], |_| numbers(&case["weights"]));
        let aggregation = match text(&case["aggregation"]) {
            "sum_then_normalize" => Aggregation::SumThenNormalize,
            "normalize_then_sum" => Aggregation::NormalizeThenSum,
            other => panic!("aggregation {other}"),
        };
        let size = count(&case["group_size"]);
        let ours = advantages(&rewards, &weights, size, scale(&case["scale_rewards"]), aggregation).unwrap();
        close(&ours.values, &numbers(&case["advantages"]), 1e-4, name);
        let zero: Vec<bool> = list(&case["is_std_zero"]).iter().map(|z| z.as_bool().unwrap()).collect();
        assert_eq!(ours.zero_spread, zero, "{name}");
    }
    let reference = golden::json("objectives/grpo.json");
    for (name, data) in reference["datasets"].as_object().unwrap() {
        for (scaling, theirs) in data["advantages"].as_object().unwrap() {
            let scale = scale(&Value::from(scaling.as_str()));
            let size = count(&data["group_size"]);
            let rewards = rewards(&data["rewards"]);
            let ours = advantages(&rewards, &[1.0], size, scale, Aggregation::SumThenNormalize).unwrap();
            close(&ours.values, &numbers(theirs), 1e-4, &format!("{name} {scaling}"));
        }
    }
}

#[test]
fn penalties_are_those_of_trl() {
    let reference = golden::json("objectives/rewards.json");
    for case in list(&reference["soft_overlong"]) {
        let (longest, margin) = (count(&case["max_completion_len"]), count(&case["soft_punish_cache"]));
        let ours: Vec<f64> =
            ids(&case["lengths"]).iter().map(|n| soft_overlong(*n as usize, longest, margin)).collect();
        close(&ours, &numbers(&case["penalty"]), 1e-9, "overlong");
    }
    let completions: Vec<Vec<u32>> = list(&reference["repetition"]["completions"]).iter().map(ids).collect();
    for case in list(&reference["repetition"]["cases"]) {
        let (n, most) = (count(&case["ngram_size"]), number(&case["max_penalty"]));
        let ours: Vec<f64> = completions.iter().map(|ids| repetition(ids, n, most)).collect();
        close(&ours, &numbers(&case["penalty"]), 1e-9, "repetition");
    }
}

/// A sequence's log-probability spread evenly over its tokens.
fn spread(sum: f64, tokens: usize) -> Vec<f32> {
    vec![(sum / tokens as f64) as f32; tokens]
}

/// One group a pair, and the policy's log-probabilities.
fn pairs(batch: &Value) -> (Vec<Pairs>, Vec<f32>) {
    let column = |key: &str| numbers(&batch[key]);
    let (chosen, rejected) = (column("policy_chosen"), column("policy_rejected"));
    let (ref_chosen, ref_rejected) = (column("ref_chosen"), column("ref_rejected"));
    let (w, l) = (ids(&batch["chosen_tokens"]), ids(&batch["rejected_tokens"]));
    let both = |i: usize, a: &[f64], b: &[f64]| [spread(a[i], w[i] as usize), spread(b[i], l[i] as usize)].concat();
    let group = |i: usize| Pairs::crossed(vec![w[i] as usize, l[i] as usize], 1, both(i, &ref_chosen, &ref_rejected));
    let logprobs = (0..chosen.len()).flat_map(|i| both(i, &chosen, &rejected)).collect();
    ((0..chosen.len()).map(group).collect(), logprobs)
}

/// Slopes of the two sequences of every pair: those of their first tokens, which all of their tokens share.
fn pair_slopes(objective: &Mpo, groups: &[Pairs], logprobs: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let mut from = 0;
    let of_group = |(g, group): (usize, &Pairs)| {
        let n: usize = group.lengths.iter().sum();
        let slopes = objective.slopes(g, &logprobs[from..from + n]);
        from += n;
        (f64::from(slopes[0]), f64::from(slopes[group.lengths[0]]))
    };
    groups.iter().enumerate().map(of_group).unzip()
}

#[test]
fn mpo_terms_slopes_and_statistics_are_those_of_trl() {
    let reference = golden::json("objectives/mpo.json");
    let weight = |name: &str| number(&reference["weights"][name]);
    let zero = mpo::Settings { beta: number(&reference["beta"]), sigmoid: 0.0, bco_pair: 0.0, sft: 0.0 };
    let total = mpo::Settings { sigmoid: weight("sigmoid"), bco_pair: weight("bco_pair"), sft: weight("sft"), ..zero };
    let terms = [
        ("sigmoid", mpo::Settings { sigmoid: 1.0, ..zero }),
        ("bco_pair", mpo::Settings { bco_pair: 1.0, ..zero }),
        ("sft", mpo::Settings { sft: 1.0, ..zero }),
        ("total", total),
    ];
    let mut running = RunningMean::default();
    for (b, batch) in list(&reference["batches"]).iter().enumerate() {
        let (groups, logprobs) = pairs(batch);
        let counts = mpo::Counts::of(&groups);
        let objective = |settings| Mpo::new(settings, groups.clone(), counts).unwrap();
        let compare = |objective: &Mpo, theirs: &Value, what: &str| {
            close(&[objective.tally(&logprobs).loss], &[number(&theirs["loss"])], TOLERANCE, what);
            let (chosen, rejected) = pair_slopes(objective, &groups, &logprobs);
            close(&chosen, &numbers(&theirs["grad_policy_chosen"]), TOLERANCE, what);
            close(&rejected, &numbers(&theirs["grad_policy_rejected"]), TOLERANCE, what);
        };
        for (name, settings) in terms {
            compare(&objective(settings), &batch["terms"][name], &format!("batch {b} {name}"));
        }
        let tally = objective(total).tally(&logprobs);
        compare_statistics(&tally.statistics(), &batch["metrics"], TOLERANCE, &format!("batch {b}"));

        let (theirs, what) = (&batch["bco_running_delta"], format!("batch {b} with a running delta"));
        let unshifted = objective(mpo::Settings { bco_pair: 1.0, ..zero });
        let delta = running.update(&unshifted.rewards(&logprobs));
        close(&[delta], &[number(&theirs["delta"])], TOLERANCE, &what);
        compare(&unshifted.with_delta(delta), theirs, &what);
        let whole = objective(total).with_delta(delta);
        close(&[whole.tally(&logprobs).loss], &[number(&theirs["mpo_total"])], TOLERANCE, &what);
    }
}

#[test]
fn grpo_through_the_model_is_that_of_trl() {
    let reference = golden::json("objectives/grpo_e2e.json");
    let (policy, model_ref) = (load(&reference["model"]), load(&reference["ref_model"]));
    let size = count(&reference["group_size"]);
    let advantages =
        advantages(&rewards(&reference["rewards"]), &[1.0], size, Scale::Group, Aggregation::SumThenNormalize);
    let advantages = advantages.unwrap().values;
    close(&advantages, &numbers(&reference["advantages"]), 1e-4, "advantages");
    let prompts: Vec<Vec<u32>> = list(&reference["prompts"]).iter().map(ids).collect();
    let completions: Vec<Vec<u32>> = list(&reference["completions"]).iter().map(ids).collect();
    let starts: Vec<usize> = (0..prompts.len()).step_by(size).collect();
    let group = |&at: &usize| Group { prompt: prompts[at].clone(), completions: completions[at..at + size].to_vec() };
    let groups: Vec<Group> = starts.iter().map(group).collect();
    for (i, case) in list(&reference["cases"]).iter().enumerate() {
        let what = format!("case {i}");
        let temperature = number(&case["temperature"]);
        let scored = model_ref.score(&groups, temperature).unwrap();
        let column = |key: &str| list(&case[key]).iter().flat_map(floats).collect::<Vec<f32>>();
        close(&doubles(&scored), &doubles(&column("ref_logps")), 1e-4, &format!("{what} reference"));
        let old = column("old_logps");
        let mut from = 0;
        let rollout = |(group, &at): (&Group, &usize)| {
            let lengths: Vec<usize> = group.completions.iter().map(Vec::len).collect();
            let own = from..from + lengths.iter().sum::<usize>();
            from = own.end;
            let (old, reference) = (Some(old[own.clone()].to_vec()), Some(scored[own].to_vec()));
            Rollout { lengths, advantages: advantages[at..at + size].to_vec(), old, reference }
        };
        let rollouts: Vec<Rollout> = groups.iter().zip(&starts).map(rollout).collect();
        let counts = grpo::Counts::of(&rollouts);
        let settings = settings(case, count(&case["max_completion_length"]));
        let objective = Grpo::new(settings, rollouts, counts).unwrap();
        let pass = policy.gradient(&groups, temperature, &|g, logprobs| objective.slopes(g, logprobs)).unwrap();
        close(&doubles(&pass.logprobs), &doubles(&column("policy_logps")), 1e-4, &format!("{what} policy"));
        let slopes = |g: usize, logprobs: &[f32]| objective.slopes(g, logprobs);
        let in_graph = policy.gradient_in_graph(&groups, temperature, &slopes).unwrap();
        let by_layer = policy.gradient_by_layer(&groups, temperature, &slopes).unwrap();
        for (way, pass) in [("engine", &pass), ("graph", &in_graph), ("by layer", &by_layer)] {
            let entropies = doubles(&pass.entropies);
            close(&entropies, &doubles(&column("policy_entropy")), 1e-4, &format!("{what} entropies, {way}"));
        }
        let tally = objective.tally(&pass.logprobs);
        close(&[tally.loss], &[number(&case["loss"])], 5e-5, &format!("{what} loss"));
        compare_statistics(&tally.statistics(), &case["metrics"], 1e-4, &what);
        compare_gradients(&policy, &Gradients::new(pass.grads), case, &what);
    }
}

#[test]
fn mpo_through_the_model_is_that_of_trl() {
    let reference = golden::json("objectives/mpo_e2e.json");
    let (policy, model_ref) = (load(&reference["policy"]), load(&reference["ref_model"]));
    let column = |key: &str| list(&reference[key]).iter().map(ids).collect::<Vec<_>>();
    let (prompts, chosen, rejected) = (column("prompts"), column("chosen"), column("rejected"));
    let group =
        |i: usize| Group { prompt: prompts[i].clone(), completions: vec![chosen[i].clone(), rejected[i].clone()] };
    let groups: Vec<Group> = (0..prompts.len()).map(group).collect();
    let scored = model_ref.score(&groups, 1.0).unwrap();
    let mut from = 0;
    let own = |group: &Group| {
        let lengths: Vec<usize> = group.completions.iter().map(Vec::len).collect();
        let at = from..from + lengths.iter().sum::<usize>();
        from = at.end;
        Pairs::crossed(lengths, 1, scored[at].to_vec())
    };
    let pairs: Vec<Pairs> = groups.iter().map(own).collect();
    compare_sequences(&pairs, &scored, &reference["ref_seq_logps"]);
    let weight = |name: &str| number(&reference["weights"][name]);
    let zero = mpo::Settings { beta: number(&reference["beta"]), sigmoid: 0.0, bco_pair: 0.0, sft: 0.0 };
    let whole = mpo::Settings { sigmoid: weight("sigmoid"), bco_pair: weight("bco_pair"), sft: weight("sft"), ..zero };
    let objective = |settings| Mpo::new(settings, pairs.clone(), mpo::Counts::of(&pairs)).unwrap();
    let rewards = objective(whole).rewards(&policy.score(&groups, 1.0).unwrap());
    let delta = RunningMean::default().update(&rewards);
    let theirs = &reference["results"]["mpo_bco_running_delta_first_batch"]["delta"];
    close(&[delta], &[number(theirs)], 5e-5, "delta");
    let cases = [
        ("sigmoid", objective(mpo::Settings { sigmoid: 1.0, ..zero })),
        ("bco_pair", objective(mpo::Settings { bco_pair: 1.0, ..zero })),
        ("sft", objective(mpo::Settings { sft: 1.0, ..zero })),
        ("mpo", objective(whole)),
        ("mpo_bco_running_delta_first_batch", objective(whole).with_delta(delta)),
    ];
    assert_eq!(reference["results"].as_object().unwrap().len(), cases.len(), "cases that nothing is held against");
    for (name, objective) in cases {
        let theirs = &reference["results"][name];
        let pass = policy.gradient(&groups, 1.0, &|g, logprobs| objective.slopes(g, logprobs)).unwrap();
        compare_sequences(&pairs, &pass.logprobs, &reference["policy_seq_logps"]);
        let tally = objective.tally(&pass.logprobs);
        close(&[tally.loss], &[number(&theirs["loss"])], 5e-5, name);
        compare_gradients(&policy, &Gradients::new(pass.grads), theirs, name);
        if let Some(metrics) = theirs.get("metrics") {
            compare_statistics(&tally.statistics(), metrics, 1e-4, name);
        }
    }
}

/// Sums over the tokens of the chosen and of the rejected. The tolerance is per token.
fn compare_sequences(pairs: &[Pairs], logprobs: &[f32], theirs: &Value) {
    let lengths: Vec<usize> = pairs.iter().flat_map(|p| p.lengths.clone()).collect();
    let mut from = 0;
    let both = numbers(&theirs["chosen"]).into_iter().zip(numbers(&theirs["rejected"])).flat_map(|(w, l)| [w, l]);
    for (n, theirs) in lengths.into_iter().zip(both) {
        let sum: f64 = doubles(&logprobs[from..from + n]).iter().sum();
        from += n;
        close(&[sum], &[theirs], 1e-4 * n as f64, "a sequence's log-probability");
    }
}
