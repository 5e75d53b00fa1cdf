//! Adapters against PEFT: logits with the adapter and merged, and folders in PEFT's layout in and out.

use std::path::Path;

use crate::common::golden::{self, close, flat, ids, list, number};
use candle_core::{D, Device};
use core_rewriter::model::{ALL_LINEAR, Group, LoraSettings, Policy};
use serde_json::{Value, json};

/// Of logits, from the set's README; a merged weight must agree within 1e-6.
const TOLERANCE: f64 = 2e-4;

fn base(reference: &Value) -> Policy {
    Policy::load(&golden::path(reference["base"].as_str().unwrap()), &Device::Cpu).unwrap()
}

/// Log-probabilities of every possible next token by the engine: one group, each token a completion.
fn next_tokens(policy: &Policy, prompt: &[u32]) -> Vec<f64> {
    let completions = (0..policy.config.vocab as u32).map(|id| vec![id]).collect();
    let scores = policy.score(&[Group { prompt: prompt.to_vec(), completions }], 1.0).unwrap();
    scores.into_iter().map(f64::from).collect()
}

#[test]
fn logits_with_an_adapter_and_merged_are_those_of_peft() {
    let reference = golden::json("lora/lora.json");
    let tensors = golden::tensors("lora/lora.safetensors");
    for adapter in list(&reference["adapters"]) {
        let folder = adapter["adapter"].as_str().unwrap();
        let name = folder.rsplit('/').next().unwrap();
        let load = || base(&reference).load_adapter(&golden::path(folder)).unwrap();
        let policies = [("logits", load()), ("merged_logits", load().merge().unwrap())];
        let scale = policies[0].1.lora().unwrap().scale();
        assert!((scale - number(&adapter["scaling"])).abs() < 1e-12, "{name}: {scale}");
        for (kind, policy) in &policies {
            for case in list(&reference["cases"]) {
                let (key, prompt) = (case["key"].as_str().unwrap(), ids(&case["input_ids"]));
                let theirs = &tensors[&format!("{name}.{key}.{kind}")];
                close(
                    &flat(&policy.logits(&prompt).unwrap()),
                    &flat(theirs),
                    TOLERANCE,
                    &format!("{name} {key} {kind}"),
                );
                let last = theirs.narrow(0, prompt.len() - 1, 1).unwrap();
                let theirs = flat(&candle_nn::ops::log_softmax(&last, D::Minus1).unwrap());
                close(&next_tokens(policy, &prompt), &theirs, TOLERANCE, &format!("{name} {key} {kind}, engine"));
            }
        }
        let weight = "model.layers.0.self_attn.q_proj.weight";
        let (_, merged) = policies[1].1.vars().iter().find(|(name, _)| name == weight).unwrap();
        close(&flat(merged), &flat(&tensors[&format!("{name}.merged_q_proj_layer0")]), 1e-6, weight);
    }
}

#[test]
fn a_saved_adapter_loads_with_its_base_to_the_same_numbers() {
    let reference = golden::json("lora/lora.json");
    let prompt = ids(&list(&reference["cases"])[1]["input_ids"]);
    for adapter in list(&reference["adapters"]) {
        let source = golden::path(adapter["adapter"].as_str().unwrap());
        let policy = base(&reference).load_adapter(&source).unwrap();
        let dir = tempfile::tempdir().unwrap();
        policy.save_adapter(dir.path()).unwrap();
        let file =
            |dir: &Path| candle_core::safetensors::load(dir.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
        let (ours, theirs) = (file(dir.path()), file(&source));
        assert_eq!(ours.len(), theirs.len());
        theirs.iter().for_each(|(name, tensor)| assert_eq!(flat(&ours[name]), flat(tensor), "{name}"));
        let again = Policy::load(dir.path(), &Device::Cpu).unwrap();
        assert_eq!(next_tokens(&again, &prompt), next_tokens(&policy, &prompt));
        assert_eq!(again.lora().unwrap().scale(), policy.lora().unwrap().scale());
        // The set's own folders name their base relative to the set.
        let named = Policy::load(&source, &Device::Cpu).unwrap();
        assert_eq!(next_tokens(&named, &prompt), next_tokens(&policy, &prompt));
        assert!(format!("{:#}", policy.save(dir.path(), None).unwrap_err()).contains("merge"));
    }
}

/// A copy of the set's first adapter, with its configuration changed.
fn changed(change: impl Fn(&mut serde_json::Map<String, Value>)) -> (tempfile::TempDir, Policy) {
    let reference = golden::json("lora/lora.json");
    let source = golden::path(reference["adapters"][0]["adapter"].as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors")).unwrap();
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(source.join("adapter_config.json")).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
    (dir, base(&reference))
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let cases = [
        ("use_dora", json!(true)),
        ("bias", json!("lora_only")),
        ("lora_bias", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("rank_pattern", json!({"q_proj": 2})),
        ("alpha_pattern", json!({"q_proj": 2})),
        ("layers_to_transform", json!([0])),
        ("fan_in_fan_out", json!(true)),
        ("exclude_modules", json!(["q_proj"])),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("a_method_of_next_year", json!(true)),
        ("peft_type", json!("IA3")),
        ("target_modules", json!(["q_proj", "lm_head"])),
        // Fewer modules than the file has: the rest would be left out.
        ("target_modules", json!(["q_proj"])),
        ("r", json!(5)),
        ("r", json!(0)),
        ("lora_alpha", json!("high")),
    ];
    for (key, value) in cases {
        let (dir, base) = changed(|config| {
            config.insert(key.into(), value.clone());
        });
        let error = format!("{:#}", base.load_adapter(dir.path()).err().unwrap_or_else(|| panic!("{key} = {value}")));
        let word = match key {
            "r" => "rank",
            "target_modules" if value.to_string().contains("lm_head") => "lm_head",
            "target_modules" => "has no place",
            other => other,
        };
        assert!(error.contains(word) && error.contains("adapter_"), "{key}: {error}");
    }
}

#[test]
fn old_and_new_spellings_mean_the_same() {
    let reference = golden::json("lora/lora.json");
    let prompt = ids(&list(&reference["cases"])[1]["input_ids"]);
    let (dir, policy) = changed(|_| {});
    let expected = next_tokens(&policy.load_adapter(dir.path()).unwrap(), &prompt);
    let same = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let (dir, base) = changed(change);
        assert_eq!(next_tokens(&base.load_adapter(dir.path()).unwrap(), &prompt), expected);
    };
    same(&|config| {
        config.insert("target_modules".into(), json!(ALL_LINEAR));
    });
    same(&|config| {
        config.insert("target_modules".into(), json!(r".*\.(self_attn|mlp)\.\w+_proj"));
    });
    // What PEFT wrote in 2023.
    same(&|config| {
        config.retain(|key, _| ["r", "lora_alpha", "target_modules", "peft_type", "bias"].contains(&key.as_str()));
        config.extend([("enable_lora".into(), Value::Null), ("merge_weights".into(), json!(false))]);
    });
}

#[test]
fn broken_folders_and_lost_bases_are_explained() {
    let fails = |dir: &Path, base: Policy| format!("{:#}", base.load_adapter(dir).err().expect("it was read"));
    let (dir, base) = changed(|_| {});
    std::fs::write(dir.path().join("adapter_model.safetensors"), b"not tensors").unwrap();
    assert!(fails(dir.path(), base).contains("damaged"));
    let (dir, base) = changed(|_| {});
    std::fs::rename(dir.path().join("adapter_model.safetensors"), dir.path().join("adapter_model.bin")).unwrap();
    assert!(fails(dir.path(), base).contains("pickled"));
    let other = Policy::load(&golden::path("models/qwen2_untied"), &Device::Cpu).unwrap();
    let (dir, base) = changed(|_| {});
    assert!(fails(dir.path(), other).contains("adapter"));
    let policy = base.load_adapter(dir.path()).unwrap();
    assert!(fails(dir.path(), policy).contains("merge it first"));

    for (named, said) in [(json!("./no/such/folder"), "is gone"), (Value::Null, "names no base")] {
        let (dir, _) = changed(|config| {
            config.insert("base_model_name_or_path".into(), named.clone());
        });
        let error = format!("{:#}", Policy::load(dir.path(), &Device::Cpu).err().unwrap());
        assert!(error.contains(said) && error.contains("base_model_name_or_path"), "{error}");
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let (dir, base) = changed(|_| {});
    let file = dir.path().join("adapter_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let lost = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight";
    tensors.remove(lost).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    assert!(format!("{:#}", base.load_adapter(dir.path()).err().unwrap()).contains(lost));
}

#[test]
fn settings_are_compared_by_what_they_name() {
    let (dir, base) = changed(|_| {});
    let policy = base.load_adapter(dir.path()).unwrap();
    let mut settings = LoraSettings { targets: vec![ALL_LINEAR.into()], ..policy.lora().unwrap().clone() };
    assert!(policy.has_lora(&settings).unwrap());
    settings.targets = vec!["q_proj".into()];
    assert!(!policy.has_lora(&settings).unwrap());
}
