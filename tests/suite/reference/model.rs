//! The decoder against transformers: forward pass, log-probabilities, decoding, sampling, folders in and out.

use crate::common::golden::{self, close, flat, ids, list, number, numbers};
use candle_core::{D, DType, Device, Tensor};
use core_rewriter::model::{Decoding, Group, Policy, distribution};
use core_rewriter::task::Message;
use serde_json::Value;

/// Of logits, hidden states, log-probabilities and entropies, from the set's README.
const TOLERANCE: f64 = 1e-4;

fn load(model: &str) -> Policy {
    Policy::load(&golden::path(&format!("models/{model}")), &Device::Cpu).unwrap()
}

/// Every model of the set with the cases of its forward pass.
fn each_model(check: impl Fn(&str, &Policy, &[Value])) {
    for model in golden::models() {
        let reference = golden::json(&format!("forward/{model}.json"));
        check(&model, &load(&model), list(&reference["cases"]));
    }
}

fn group(case: &Value) -> Group {
    let completions = list(&case["completions"]).iter().map(|c| ids(&c["completion_ids"])).collect();
    Group { prompt: ids(&case["input_ids"]), completions }
}

fn expected(cases: &[Value], key: &str) -> Vec<f64> {
    let completions = cases.iter().flat_map(|case| list(&case["completions"]));
    completions.flat_map(|c| numbers(&c[key])).collect()
}

#[test]
fn logits_and_hidden_states_are_those_of_transformers() {
    each_model(|model, policy, cases| {
        let reference = golden::tensors(&format!("forward/{model}.safetensors"));
        for case in cases {
            let (key, prompt) = (case["key"].as_str().unwrap(), ids(&case["input_ids"]));
            let hidden = policy.hidden_states(&prompt).unwrap();
            let pairs = [
                ("logits", &policy.logits(&prompt).unwrap()),
                ("hidden_embed", &hidden.embed),
                ("hidden_layer0", &hidden.layers[0]),
                ("hidden_last_prenorm", hidden.layers.last().unwrap()),
                ("hidden_final_norm", &hidden.normed),
            ];
            for (name, ours) in pairs {
                let theirs = &reference[&format!("{key}.{name}")];
                assert_eq!(ours.dims(), theirs.dims());
                close(&flat(ours), &flat(theirs), TOLERANCE, &format!("{model} {key} {name}"));
            }
        }
    });
}

#[test]
fn logprobs_of_a_padded_batch_are_those_of_single_sequences() {
    each_model(|model, policy, cases| {
        let groups: Vec<Group> = cases.iter().map(group).collect();
        for (temperature, key) in [(1.0, "logps"), (0.7, "logps_temperature_0_7")] {
            let reference = expected(cases, key);
            let together = flat(&policy.logprobs(&groups, temperature).unwrap());
            close(&together, &reference, TOLERANCE, &format!("{model} {key}"));
            let engine: Vec<f64> = policy.score(&groups, temperature).unwrap().into_iter().map(f64::from).collect();
            close(&engine, &reference, TOLERANCE, &format!("{model} {key}, engine"));
            let alone: Vec<f64> = groups
                .iter()
                .flat_map(|g| {
                    g.completions.iter().map(|c| Group { prompt: g.prompt.clone(), completions: vec![c.clone()] })
                })
                .flat_map(|g| flat(&policy.logprobs(&[g], temperature).unwrap()))
                .collect();
            close(&together, &alone, 1e-5, &format!("{model} {key}, padded against single"));
        }
    });
}

#[test]
fn entropies_of_next_tokens_are_those_of_transformers() {
    each_model(|model, policy, cases| {
        let mut ours = Vec::new();
        for group in cases.iter().map(group) {
            for completion in &group.completions {
                let all = policy.logits(&[group.prompt.as_slice(), completion].concat()).unwrap();
                let rows = all.narrow(0, group.prompt.len() - 1, completion.len()).unwrap();
                let logp = candle_nn::ops::log_softmax(&rows, D::Minus1).unwrap();
                let entropy: Tensor = (logp.exp().unwrap() * logp).unwrap().sum(D::Minus1).unwrap().neg().unwrap();
                ours.extend(flat(&entropy));
            }
        }
        close(&ours, &expected(cases, "entropy"), TOLERANCE, model);
    });
}

#[test]
fn greedy_decoding_gives_the_same_tokens_alone_and_together() {
    each_model(|model, policy, cases| {
        let prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
        let reference: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["greedy_12"])).collect();
        let settings = Decoding::greedy(12, vec![]);
        let together = policy.generate(&prompts, &settings, 0).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let alone = policy.generate(std::slice::from_ref(prompt), &settings, 0).unwrap();
            assert_eq!(alone[0].ids, reference[i], "{model} prompt {i}");
            assert_eq!(together[i].ids, reference[i], "{model} prompt {i} in a batch");
            assert!(!together[i].finished);
            let stop = &cases[i]["greedy_stop"];
            let eos = stop["eos_token_id"].as_u64().unwrap() as u32;
            let stopped = policy.generate(std::slice::from_ref(prompt), &Decoding::greedy(12, vec![eos]), 0).unwrap();
            assert_eq!(stopped[0].ids, ids(&stop["output"]), "{model} prompt {i} with an end token");
            assert!(stopped[0].finished);
        }
    });
}

#[test]
fn sampling_reports_the_logprobs_that_training_computes() {
    each_model(|model, policy, cases| {
        let mut prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
        prompts.extend(prompts.clone());
        let settings = Decoding { top_k: 50, top_p: 0.95, ..Decoding::sampled(9, 1.3, vec![1, 2, 3, 4, 5, 6, 7]) };
        let completions = policy.generate(&prompts, &settings, 11).unwrap();
        let groups: Vec<Group> = prompts
            .iter()
            .zip(&completions)
            .map(|(p, c)| Group { prompt: p.clone(), completions: vec![c.ids.clone()] })
            .collect();
        let sampled: Vec<f64> = completions.iter().flat_map(|c| c.logprobs.iter().map(|x| f64::from(*x))).collect();
        let trained = policy.gradient(&groups, 1.0, &|_, logprobs| vec![0.0; logprobs.len()]).unwrap().logprobs;
        close(&sampled, &trained.into_iter().map(f64::from).collect::<Vec<_>>(), TOLERANCE, model);
        // A prompt's stream is its own: the tail of the batch alone, at the same indices, says the same.
        let again = policy.generate(&prompts[..cases.len()], &settings, 11).unwrap();
        for (i, (alone, together)) in again.iter().zip(&completions).enumerate() {
            assert_eq!(alone.ids, together.ids, "{model} prompt {i}");
        }
        assert_ne!(completions, policy.generate(&prompts, &settings, 12).unwrap(), "the seed changes nothing");
    });
}

#[test]
fn filtered_distributions_are_those_of_transformers() {
    let reference = golden::json("sampling/sampling.json");
    for (i, case) in list(&reference["cases"]).iter().enumerate() {
        let name = case["logits"].as_str().unwrap();
        let logits: Vec<f32> = numbers(&reference["logits"][name]).into_iter().map(|x| x as f32).collect();
        let settings = Decoding {
            max_new_tokens: 1,
            temperature: number(&case["temperature"]),
            top_k: case["top_k"].as_u64().unwrap() as usize,
            top_p: number(&case["top_p"]),
            min_p: number(&case["min_p"]),
            repetition_penalty: number(&case["repetition_penalty"]),
            eos: vec![],
            within: None,
            reluctant: None,
        };
        let ours = distribution(&logits, &ids(&case["previous_ids"]), &settings).unwrap();
        let kept: Vec<u32> = ours.iter().map(|(id, _)| *id).collect();
        assert_eq!(kept, ids(&case["kept"]), "case {i} on {name}: {settings:?}");
        let probs = numbers(&case["probs"]);
        let theirs =
            if probs.len() == kept.len() { probs } else { kept.iter().map(|id| probs[*id as usize]).collect() };
        let ours: Vec<f64> = ours.iter().map(|(_, p)| f64::from(*p)).collect();
        close(&ours, &theirs, 1e-5, &format!("case {i} on {name}"));
    }
}

#[test]
fn a_written_folder_reads_back_to_the_same_bits() {
    each_model(|model, policy, cases| {
        let prompt = ids(&cases[cases.len() - 1]["input_ids"]);
        let before = flat(&policy.logits(&prompt).unwrap());
        let bytes: usize = policy.vars().iter().map(|(_, var)| 4 * var.elem_count()).sum();
        for limit in [None, Some(bytes as u64 / 3)] {
            let dir = tempfile::tempdir().unwrap();
            policy.save(dir.path(), limit).unwrap();
            assert_eq!(dir.path().join("model.safetensors.index.json").exists(), limit.is_some());
            let again = Policy::load(dir.path(), &Device::Cpu).unwrap();
            assert_eq!(flat(&again.logits(&prompt).unwrap()), before, "{model} {limit:?}");
            assert_eq!(again.tokenizer.eos(), policy.tokenizer.eos());
            let message = [Message { role: "user".into(), content: "a b".into() }];
            let chat = |p: &Policy| p.tokenizer.encode_chat(&message, true, None).unwrap();
            assert_eq!(chat(&again), chat(policy));
        }
    });
}

#[test]
fn after_one_backward_every_parameter_has_a_gradient() {
    each_model(|model, policy, cases| {
        let groups: Vec<Group> = cases.iter().map(group).collect();
        let ones = |_: usize, logprobs: &[f32]| vec![1.0; logprobs.len()];
        let (engine, graph) = (policy.gradient(&groups, 1.0, &ones), policy.gradient_in_graph(&groups, 1.0, &ones));
        for (path, pass) in [("engine", engine.unwrap()), ("graph", graph.unwrap())] {
            for ((name, _), grad) in policy.vars().iter().zip(&pass.grads) {
                let largest = flat(grad).into_iter().map(f64::abs).fold(0.0, f64::max);
                assert!(largest > 0.0 && largest.is_finite(), "{model}: {name} has gradient {largest} in the {path}");
            }
        }
    });
}

#[test]
fn damaged_folders_are_explained() {
    let model = &golden::models()[0];
    let source = golden::path(&format!("models/{model}"));
    let failure = |damage: &dyn Fn(&std::path::Path)| {
        let dir = tempfile::tempdir().unwrap();
        load(model).save(dir.path(), None).unwrap();
        damage(dir.path());
        format!("{:#}", Policy::load(dir.path(), &Device::Cpu).err().expect("a damaged folder was read"))
    };
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let error = failure(&|dir| std::fs::remove_file(dir.join(file)).unwrap());
        assert!(error.contains(file), "{error}");
    }
    let error = failure(&|dir| {
        let path = dir.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(error.contains("model.safetensors is damaged"), "{error}");
    let edit = |from: &'static str, to: &'static str| {
        failure(&move |dir| {
            let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(dir.join("config.json"), text.replace(from, to)).unwrap();
        })
    };
    let family = if load(model).config.to_json(DType::F32).contains("\"qwen2\"") { "\"qwen2\"" } else { "\"qwen3\"" };
    assert!(edit(family, "\"llama\"").contains("model_type llama is not supported: core reads qwen2 and qwen3"));
    let error = edit("\"intermediate_size\": ", "\"intermediate_size\": 1");
    assert!(error.contains("gate_proj.weight has shape"), "{error}");
    let error = edit("\"num_hidden_layers\": ", "\"num_hidden_layers\": 1");
    assert!(error.contains("is missing"), "{error}");
    assert!(Policy::load(&source.join("nowhere"), &Device::Cpu).is_err());
}

#[test]
fn inputs_that_cannot_be_computed_are_errors() {
    let policy = load(&golden::models()[0]);
    let group = |prompt: &[u32], completion: &[u32]| {
        [Group { prompt: prompt.to_vec(), completions: vec![completion.to_vec()] }]
    };
    let settings = Decoding::greedy(2, vec![]);
    for prompt in [vec![], vec![policy.config.vocab as u32], vec![0; policy.config.max_positions + 1]] {
        assert!(policy.generate(std::slice::from_ref(&prompt), &settings, 0).is_err());
        assert!(policy.logprobs(&group(&prompt, &[1]), 1.0).is_err());
        assert!(policy.logits(&prompt).is_err());
    }
    assert!(policy.logprobs(&group(&[1], &[]), 1.0).is_err());
    assert!(policy.logprobs(&group(&[1], &[1]), 0.0).is_err());
    assert!(policy.generate(&[vec![1]], &Decoding { top_p: 0.0, ..settings.clone() }, 0).is_err());
    assert_eq!(policy.generate(&[], &settings, 0).unwrap(), []);
    let full = policy.generate(&[vec![1; policy.config.max_positions]], &settings, 0).unwrap();
    assert!(full[0].ids.is_empty() && !full[0].finished);
}
