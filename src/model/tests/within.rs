//! Decoding within a trie: nothing else is said, the model is asked only where there is a choice, and its odds are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

const END: u32 = 299;

fn trie(completions: &[&[u32]]) -> Arc<Trie> {
    Arc::new(Trie::new(completions.iter().map(|c| [c, [END].as_slice()].concat()).collect()).unwrap())
}

/// Completions that branch early and run on for some tokens.
fn random_trie(rng: &mut ChaCha8Rng) -> Arc<Trie> {
    let completions = (0..40).map(|_| {
        let early = (0..2).map(|_| rng.random_range(0..4)).collect::<Vec<u32>>();
        let late = (0..rng.random_range(0..6)).map(|_| rng.random_range(0..END)).collect();
        [early, late, vec![END]].concat()
    });
    Arc::new(Trie::new(completions.collect()).unwrap())
}

fn logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let all = policy.logits(ids).unwrap().to_vec2::<f32>().unwrap();
    all.last().unwrap().clone()
}

/// The most probable token at every place where there are several, the model asked for each token anew.
fn step_by_step(policy: &Policy, prompt: &[u32], trie: &Trie) -> Vec<u32> {
    let (mut ids, mut at) = (prompt.to_vec(), trie.start());
    loop {
        let logits = logits(policy, &ids);
        let best = trie
            .steps(at)
            .iter()
            .copied()
            .reduce(|best, step| if logits[step.0 as usize] > logits[best.0 as usize] { step } else { best });
        let Some((id, behind)) = best else { return ids[prompt.len()..].to_vec() };
        ids.push(id);
        at = behind;
    }
}

#[test]
fn only_what_a_trie_holds_is_said_at_any_temperature_and_both_decoders_say_the_same() {
    let (policy, mut rng) = (policy(Family::Qwen3, true), ChaCha8Rng::seed_from_u64(3));
    let prompts: Vec<Vec<u32>> = groups().into_iter().map(|g| g.prompt).cycle().take(70).collect();
    for (seed, temperature) in [0.0, 0.3, 1.0, 5.0].into_iter().cycle().take(12).enumerate() {
        let trie = random_trie(&mut rng);
        let filters = match seed % 3 {
            0 => Decoding::sampled(20, temperature, vec![END]),
            1 => Decoding { top_k: 3, top_p: 0.9, ..Decoding::sampled(20, temperature, vec![END]) },
            _ => Decoding { repetition_penalty: 1.3, ..Decoding::sampled(20, temperature, vec![END]) },
        };
        let settings = filters.within(trie.clone());
        let ours = policy.generate(&prompts, &settings, seed as u64).unwrap();
        for completion in &ours {
            assert!(completion.finished && trie.holds(&completion.ids), "{completion:?}");
            assert!(completion.logprobs.is_empty(), "forced tokens have none");
        }
        let theirs = policy.generate_from_candle(&prompts, &settings, seed as u64, &Cancel::default()).unwrap();
        assert_eq!(ours, theirs);
        // Who shares the batch changes nothing.
        assert_eq!(policy.generate(&prompts[..1], &settings, seed as u64).unwrap()[0], ours[0]);
        if temperature == 5.0 {
            let different: std::collections::BTreeSet<_> = ours.iter().map(|c| &c.ids).collect();
            assert!(different.len() > 10, "{}", different.len());
        }
    }
}

#[test]
fn jumping_forward_says_what_asking_for_every_token_says_with_fewer_forwards() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for policy in policies() {
        let trie = random_trie(&mut rng);
        let settings = Decoding::greedy(20, vec![END]).within(trie.clone());
        let prompts: Vec<Vec<u32>> = groups().into_iter().map(|g| g.prompt).collect();
        let said = policy.generate(&prompts, &settings, 0).unwrap();
        for (prompt, said) in prompts.iter().zip(&said) {
            assert_eq!(said.ids, step_by_step(&policy, prompt, &trie));
            // One for each place with a choice.
            let choices = (0..said.ids.len()).filter(|n| {
                let at = said.ids[..*n].iter().try_fold(trie.start(), |at, id| trie.after(at, *id));
                trie.steps(at.unwrap()).len() > 1
            });
            assert_eq!(said.forwards, choices.count());
        }
        let (forwards, tokens): (usize, usize) =
            said.iter().fold((0, 0), |(f, t), c| (f + c.forwards, t + c.ids.len()));
        assert!(forwards < tokens, "{forwards} forwards for {tokens} tokens");
        let free = policy.generate(&prompts, &Decoding::greedy(20, vec![END]), 0).unwrap();
        assert!(free.iter().all(|c| c.forwards == c.ids.len()));
    }
}

#[test]
fn several_forced_tokens_before_a_choice_are_fed_at_once() {
    let (policy, prompt) = (policy(Family::Qwen3, false), vec![1, 2, 3]);
    let trie = trie(&[&[10, 11, 12, 13, 20], &[10, 11, 12, 13, 21], &[30]]);
    let settings = Decoding::greedy(20, vec![END]).within(trie.clone());
    let mut lengths = std::collections::BTreeSet::new();
    for first in 0..40 {
        let prompt = [vec![first], prompt.clone()].concat();
        let said = policy.generate(std::slice::from_ref(&prompt), &settings, 0).unwrap().remove(0);
        assert_eq!(said.ids, step_by_step(&policy, &prompt, &trie));
        // The short one is decided by its first token, the long ones by one look more behind four tokens.
        assert_eq!(said.forwards, if said.ids.len() == 2 { 1 } else { 2 });
        lengths.insert(said.ids.len());
    }
    assert_eq!(lengths.len(), 2, "both lengths were said");
}

#[test]
fn samples_follow_the_models_odds_among_what_may_be_said() {
    let (policy, prompt) = (policy(Family::Qwen3, true), vec![7, 8]);
    // One starts another: after 10 comes the end, or more.
    let completions: [&[u32]; 5] = [&[10], &[10, 11], &[10, 11, 12], &[20], &[21, 22]];
    let trie = trie(&completions);
    let draws = 4000;
    let settings = Decoding::sampled(20, 2.0, vec![END]).within(trie.clone());
    let mut counts: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    for said in policy.generate(&vec![prompt.clone(); draws], &settings, 5).unwrap() {
        *counts.entry(said.ids).or_default() += 1;
    }
    let mut total = 0.0;
    for completion in completions {
        let ids = [completion, &[END]].concat();
        let (mut p, mut at) = (1.0f64, trie.start());
        for n in 0..ids.len() {
            let logits = logits(&policy, &[&prompt, &ids[..n]].concat());
            let weight = |id: u32| (f64::from(logits[id as usize]) / 2.0).exp();
            p *= weight(ids[n]) / trie.steps(at).iter().map(|(id, _)| weight(*id)).sum::<f64>();
            at = trie.after(at, ids[n]).unwrap();
        }
        total += p;
        let (expected, spread) = (p * draws as f64, 5.0 * (draws as f64 * p * (1.0 - p)).sqrt());
        let count = counts.get(&ids).copied().unwrap_or(0);
        assert!((count as f64 - expected).abs() <= spread, "{completion:?}: {count}, not {expected}");
        assert!(count > 0, "{completion:?} ends properly");
    }
    assert!((total - 1.0).abs() < 1e-6, "{total}");
}

#[test]
fn what_is_decided_is_said_without_the_model_and_limits_hold() {
    let policy = policy(Family::Qwen3, true);
    let only = trie(&[&[10, 11]]);
    let settings = |limit| Decoding::greedy(limit, vec![END]).within(only.clone());
    let decoders: [fn(&Policy, &Decoding) -> Completion; 2] = [
        |policy, settings| policy.generate(&[vec![1]], settings, 0).unwrap().remove(0),
        |policy, settings| policy.generate_from_candle(&[vec![1]], settings, 0, &Cancel::default()).unwrap().remove(0),
    ];
    for decode in decoders {
        let said = decode(&policy, &settings(20));
        assert_eq!((said.ids, said.finished, said.forwards), (vec![10, 11, END], true, 0));
        let cut = decode(&policy, &settings(2));
        assert_eq!((cut.ids, cut.finished, cut.forwards), (vec![10, 11], false, 0));
        let long = trie(&[&[10, 11, 12], &[20, 21, 22]]);
        let cut = decode(&policy, &Decoding::greedy(3, vec![END]).within(long));
        assert_eq!((cut.ids.len(), cut.finished), (3, false));
    }
    let foreign = trie(&[&[10], &[300]]);
    let error = policy.generate(&[vec![1]], &Decoding::greedy(9, vec![END]).within(foreign), 0).unwrap_err();
    assert!(error.to_string().contains("another tokenizer"), "{error}");
}

#[test]
fn a_reluctant_completion_is_said_only_with_its_share_or_alone() {
    let (policy, prompt) = (policy(Family::Qwen3, true), vec![7, 8]);
    // Log-probability of what the model was asked for: tokens behind a prefix, without any filter.
    let asked = |said: &[u32], choices: &[usize]| -> f64 {
        let of = |n: &usize| {
            let logits = logits(&policy, &[&prompt, &said[..*n]].concat());
            let all: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            f64::from(logits[said[*n] as usize]) - all.ln()
        };
        choices.iter().map(of).sum()
    };
    let decode = |settings: Decoding, least: Option<(u32, f64)>| {
        let reluctant = least.map(|(id, least)| Reluctant { ids: vec![id, END], least });
        let settings = Decoding { reluctant, ..settings };
        let ours = policy.generate(std::slice::from_ref(&prompt), &settings, 0).unwrap().remove(0);
        let prompts = std::slice::from_ref(&prompt);
        let candle = policy.generate_from_candle(prompts, &settings, 0, &Cancel::default()).unwrap().remove(0);
        assert_eq!((&ours.ids, ours.forwards), (&candle.ids, candle.forwards));
        ours
    };
    let free = || Decoding::greedy(4, vec![END]);
    // The tokens behind the first are forced where three completions may be said.
    let within = || Decoding::greedy(4, vec![END]).within(trie(&[&[10, 11], &[20, 21], &[30, 31]]));
    let likeliest = decode(free(), None).ids[0];
    for (settings, id, choices) in [(&free as &dyn Fn() -> Decoding, likeliest, &[0, 1, 2, 3][..]), (&within, 20, &[0])]
    {
        let without = decode(settings(), Some((id, 1.0)));
        assert_ne!(without.ids[0], id);
        let choices = &choices[..choices.len().min(without.ids.len())];
        let (own, other) = (asked(&[id], &[0]), asked(&without.ids, choices));
        let share = 1.0 / (1.0 + (other - own).exp());
        assert_eq!(decode(settings(), Some((id, share + 1e-4))).ids, without.ids);
        let said = decode(settings(), Some((id, share - 1e-4)));
        assert_eq!((said.ids, said.finished), (vec![id, END], true));
        // What prevails over the first token already waits for no other.
        assert_eq!(decode(settings(), Some((id, 1e-6))).forwards, 1);
    }
    // Nothing else may be said, or it may not.
    let decoded =
        |first: &[u32]| decode(Decoding::greedy(4, vec![END]).within(trie(&[first, &[10, 12]])), Some((10, 1.0)));
    assert_eq!(decoded(&[10, 11]).ids[0], 10);
    let absent = decode(within(), Some((40, 1e-6)));
    assert_eq!(absent.ids, decode(within(), None).ids);
    for least in [f64::NAN, 0.0, 1.1] {
        let settings = Decoding { reluctant: Some(Reluctant { ids: vec![10], least }), ..free() };
        let error = policy.generate(std::slice::from_ref(&prompt), &settings, 0).unwrap_err();
        assert!(error.to_string().contains("least share"), "{error}");
    }
}
