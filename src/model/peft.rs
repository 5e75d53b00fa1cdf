//! Adapters in and out of folders in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::checkpoint::{read_whole, write_file};
use super::lora::{ALL_LINEAR, Lora, LoraSettings, Module, PROJECTIONS, modules, names, pair, select};
use super::{Policy, hub, read_safetensors, write_safetensors};
use crate::recipe::Fingerprint;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
/// Keys that change nothing about what is computed, or are read below.
const KNOWN: [&str; 25] = [
    "peft_type",
    "peft_version",
    "task_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "target_modules",
    "bias",
    "init_lora_weights",
    // What is left after initialisation is in the tensors; methods that change the base are refused by name.
    "eva_config",
    "corda_config",
    "loftq_config",
    "lora_ga_config",
    "runtime_config",
    // Without effect unless another key, refused when set, switches them on.
    "layers_pattern",
    "megatron_core",
    "qalora_group_size",
    "merge_weights",
    "ensure_weight_tying",
    "_attn_implementation",
];

/// Whether a folder holds an adapter and no whole model.
pub(super) fn is_adapter(dir: &Path) -> bool {
    let whole = ["model.safetensors", "model.safetensors.index.json"];
    dir.join(CONFIG).is_file() && !whole.iter().any(|name| dir.join(name).exists())
}

/// What `adapter_config.json` says.
struct Described {
    settings: LoraSettings,
    /// Whether the targets are a list; a pattern leaves the choice to the tensors.
    listed: bool,
    base: Option<String>,
}

impl Policy {
    /// Freezes the weights and puts the adapter of a PEFT folder on them.
    ///
    /// # Errors
    /// A missing or damaged file; a kind of adapter that would be computed wrongly, by the name of its key; tensors
    /// that are missing, unknown or of another shape; a policy that has an adapter.
    pub fn load_adapter(self, dir: &Path) -> Result<Self> {
        let lora = read_whole(dir, |dir| {
            let described = describe(dir)?;
            read_tensors(&self, dir, described).with_context(|| format!("cannot use {}", dir.join(TENSORS).display()))
        })?;
        self.adapted(lora)
    }

    /// Writes the adapter alone, in PEFT's layout, into `dir`, which must exist. It names the folder or hub id that
    /// the base was loaded from; see [`Policy::sourced_from`].
    ///
    /// # Errors
    /// A policy without an adapter; a full disk; a folder that cannot be written.
    pub fn save_adapter(&self, dir: &Path) -> Result<()> {
        let Some(lora) = &self.lora else { bail!("this policy has no adapter: save it whole") };
        let LoraSettings { rank, alpha, rslora, targets } = &lora.settings;
        let targets: Vec<&str> = match targets.iter().any(|target| target == ALL_LINEAR) {
            true => PROJECTIONS.to_vec(),
            false => targets.iter().map(String::as_str).collect(),
        };
        // PEFT writes whole numbers without a point.
        let alpha = if alpha.fract() == 0.0 && *alpha < 1e15 { json!(*alpha as u64) } else { json!(alpha) };
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": self.source, "revision": null,
            "inference_mode": true, "r": rank, "lora_alpha": alpha, "use_rslora": rslora, "lora_dropout": 0.0,
            "target_modules": targets, "bias": "none", "fan_in_fan_out": false, "init_lora_weights": true,
            "use_dora": false, "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {},
            "layers_to_transform": null, "layers_pattern": null,
        });
        write_file(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())?;
        let tensors: Vec<_> = lora.vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        write_safetensors(&dir.join(TENSORS), &tensors, &[])
    }

    /// Sixteen hexadecimal digits that differ between adapters whose numbers or settings differ.
    ///
    /// # Errors
    /// A policy without an adapter.
    pub fn adapter_fingerprint(&self) -> Result<String> {
        let Some(lora) = &self.lora else { bail!("this policy has no adapter") };
        let mut print = Fingerprint::default();
        print.add(format!("{:?}", lora.settings).as_bytes());
        for (name, var) in &lora.vars {
            print.add(name.as_bytes());
            let values: Vec<f32> = var.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
            print.add(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(print.hex())
    }
}

/// The folder of the model that an adapter stands on: `base_model_name_or_path` relative to the adapter's folder or
/// one of the two above it, to the current folder, or as an id on the hub.
///
/// # Errors
/// The file is damaged or names no base; the base is gone.
pub(super) fn base_of(dir: &Path) -> Result<(PathBuf, String)> {
    let path = dir.join(CONFIG);
    let named = describe(dir)?.base;
    let named = named.with_context(|| {
        format!("{} names no base (base_model_name_or_path): write the base's folder or hub id there", path.display())
    })?;
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let near = dir.ancestors().take(3).map(|above| above.join(&named));
    let folder = near.into_iter().chain([PathBuf::from(&named)]).find(|folder| folder.join("config.json").is_file());
    if let Some(folder) = folder {
        let folder = folder.canonicalize().unwrap_or(folder);
        let source = folder.display().to_string();
        return Ok((folder, source));
    }
    let folder = hub::resolve(&named, None).with_context(|| {
        format!(
            "the base {named:?} that {} names is gone: put it back, or correct base_model_name_or_path there",
            path.display()
        )
    })?;
    Ok((folder, named))
}

fn describe(dir: &Path) -> Result<Described> {
    let path = dir.join(CONFIG);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: an adapter folder needs {CONFIG} and {TENSORS}", path.display()))?;
    let map: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
    read_config(&map).with_context(|| format!("cannot use {}", path.display()))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Refuses every key that would change the computation and is not computed here, of whatever version of PEFT.
fn refuse_variants(map: &Map<String, Value>) -> Result<()> {
    let kind = map.get("peft_type").and_then(Value::as_str).unwrap_or("LORA");
    ensure!(kind == "LORA", "peft_type is {kind}: core computes LORA alone");
    for (key, value) in map.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        ensure!(
            is_off(value),
            "{key} is {value}: core computes plain LoRA and would get this wrong; merge the adapter with PEFT and load the merged model"
        );
    }
    let bias = map.get("bias").and_then(Value::as_str).unwrap_or("none");
    ensure!(bias == "none", "bias is {bias:?}: core trains and reads no biases; merge the adapter with PEFT");
    let start = map.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    let changes_base = ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|name| start.starts_with(name));
    ensure!(
        !changes_base,
        "init_lora_weights is {start:?}: that start changes the base's weights, and this adapter fits the changed ones alone; convert it to plain LoRA with PEFT"
    );
    Ok(())
}

fn read_config(map: &Map<String, Value>) -> Result<Described> {
    refuse_variants(map)?;
    let rank = map.get("r").and_then(Value::as_u64).context("r (the rank) is missing or not a whole number")?;
    // PEFT's own default where the key is missing.
    let alpha = map.get("lora_alpha").map_or(Some(8.0), Value::as_f64).context("lora_alpha is not a number")?;
    let rslora = map.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
    let (targets, listed) = match map.get("target_modules") {
        Some(Value::String(text)) if text == ALL_LINEAR => (vec![ALL_LINEAR.to_owned()], true),
        Some(Value::String(pattern)) => (vec![pattern.clone()], false),
        Some(Value::Array(list)) => {
            let names = list.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            (names.context("target_modules holds something that is not a name")?, true)
        }
        // PEFT then takes a default that depends on its version; the tensors say what it was.
        None | Some(Value::Null) => (vec!["by the tensors".to_owned()], false),
        Some(other) => bail!("target_modules is {other}: it must be a list of names or a pattern"),
    };
    let settings = LoraSettings { rank: usize::try_from(rank)?, alpha, rslora, targets };
    settings.check()?;
    let base = map.get("base_model_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty());
    let revision = map.get("revision").and_then(Value::as_str).filter(|r| !r.is_empty() && *r != "main");
    let base = base.map(|name| match revision {
        Some(revision) if !Path::new(name).is_absolute() => format!("{name}@{revision}"),
        _ => name.to_owned(),
    });
    Ok(Described { settings, listed, base })
}

fn read_tensors(policy: &Policy, dir: &Path, described: Described) -> Result<Lora> {
    let path = dir.join(TENSORS);
    if !path.exists() && dir.join("adapter_model.bin").exists() {
        bail!("the adapter is pickled (adapter_model.bin), which could run code: save it as safetensors with PEFT");
    }
    // In memory PEFT calls an adapter `default`, and some tools save that name.
    let plain = |(name, tensor): (String, Tensor)| (name.replace(".default.weight", ".weight"), tensor);
    let mut tensors: HashMap<String, Tensor> = read_safetensors(&path)?.into_iter().map(plain).collect();
    let mut settings = described.settings;
    let chosen: Vec<Module> = if described.listed {
        select(&policy.config, &settings.targets)?
    } else {
        // A pattern is Python's regular expression; which modules it chose is what the file holds.
        let all = modules(&policy.config).into_iter();
        let chosen: Vec<_> = all.filter(|m| names(&m.name).iter().any(|name| tensors.contains_key(name))).collect();
        settings.targets = chosen.iter().map(|m| m.name.clone()).collect();
        chosen
    };
    ensure!(!chosen.is_empty(), "it holds no adapter for this model: adapter and base do not belong together");
    let mut vars = Vec::with_capacity(2 * chosen.len());
    for module in &chosen {
        let mut take = |name: &str| {
            tensors.remove(name).with_context(|| {
                format!("tensor {name} is missing: the adapter is incomplete, or belongs to another model")
            })
        };
        let [a, b] = names(&module.name);
        let both = [take(&a)?, take(&b)?];
        vars.extend(pair(module, settings.rank, both, &policy.device)?);
    }
    if let Some(name) = tensors.keys().min() {
        bail!("tensor {name} has no place in this model: leaving it out would compute something else");
    }
    Ok(Lora { settings, modules: chosen, vars })
}
