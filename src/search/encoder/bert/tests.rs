//! Folders that nobody vouches for: every file missing, damaged, or of another encoder.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::recipe::SearchPath;
use crate::search::Encoder;

/// A change of a folder, or of how it is asked.
type Change = dyn Fn(&Path, &mut SearchPath);
/// Words of an error, and the change of a header that leads to it.
type Spoilt<'a> = (&'a str, &'a dyn Fn(&mut Value));

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoder").join(name)
}

/// A copy of the tiny BERT that may be spoilt.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    FILES.iter().for_each(|file| _ = fs::copy(golden("bert").join(file), dir.path().join(file)).unwrap());
    dir
}

fn settings(folder: &Path) -> SearchPath {
    SearchPath { encoder: folder.to_str().unwrap().into(), ..SearchPath::default() }
}

/// What opening a folder says is wrong with it.
fn refused(folder: &Path, change: impl FnOnce(&mut SearchPath)) -> String {
    let mut settings = settings(folder);
    change(&mut settings);
    format!("{:#}", Encoder::open(&settings).err().expect("it should have been refused"))
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites the header of a safetensors file; its tensors stay where they are.
fn edit_header(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(path).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes(), &bytes[end..]].concat()).unwrap();
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    for file in &FILES[..3] {
        let dir = copy();
        let path = dir.path().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let said = refused(dir.path(), |_| ());
        assert!(said.contains(file) && said.contains("search.encoder"), "{said}");
        fs::remove_file(&path).unwrap();
        let said = refused(dir.path(), |_| ());
        assert!(said.contains(file) && said.contains("is missing"), "{said}");
        fs::create_dir(&path).unwrap();
        assert!(refused(dir.path(), |_| ()).contains("is no file"));
    }
    let dir = copy();
    fs::write(dir.path().join("pytorch_model.bin"), "a pickle").unwrap();
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert!(refused(dir.path(), |_| ()).contains("model.safetensors is missing"));
}

#[test]
fn another_kind_of_model_is_refused_by_name() {
    for (key, value, words) in [
        ("model_type", json!("distilbert"), "model_type distilbert is not supported: core reads encoders of type bert"),
        ("model_type", Value::Null, "model_type is missing"),
        ("hidden_act", json!("silu"), "hidden_act silu"),
        ("position_embedding_type", json!("relative_key"), "relative_key"),
        ("is_decoder", json!(true), "is_decoder"),
        ("num_attention_heads", json!(5), "must divide hidden_size"),
        ("num_attention_heads", json!(0), "num_attention_heads = 0"),
        ("vocab_size", json!(-1), "vocab_size = -1"),
        ("num_hidden_layers", json!(1), "encoder.layer.1.output.dense.weight is there"),
        ("num_hidden_layers", json!(3), "encoder.layer.2.attention.self.query.bias is missing"),
        ("hidden_size", json!(64), "has shape [87, 32], but config.json asks for [87, 64]"),
        ("vocab_size", json!(16_000_000), "shape"),
        ("intermediate_size", json!(16_000_000), "between 1 and 65536"),
        ("num_attention_heads", json!(256), "between 1 and 128"),
        ("hidden_size", json!(65_536), "parameters"),
        ("max_position_embeddings", json!(2), "no room"),
        ("pad_token_id", json!(900), "pad_token_id"),
        ("layer_norm_eps", json!("x"), "layer_norm_eps"),
    ] {
        let dir = copy();
        // Without it, the width would be refused before the shapes of tensors are looked at.
        fs::remove_file(dir.path().join(FILES[3])).unwrap();
        edit(&dir.path().join("config.json"), |config| config[key] = value.clone());
        let said = refused(dir.path(), |_| ());
        assert!(said.contains(words), "{key} = {value}: {said}");
    }
}

#[test]
fn weights_that_are_not_those_of_the_config_are_refused_by_tensor() {
    let first = "embeddings.word_embeddings.weight";
    let changes: [Spoilt; 5] = [
        ("embeddings.LayerNorm.bias is missing", &|h| {
            let tensor = h["embeddings.LayerNorm.bias"].take();
            h.as_object_mut().unwrap().remove("embeddings.LayerNorm.bias");
            h["x"] = tensor;
        }),
        ("is of type I32", &|h| h[first]["dtype"] = json!("I32")),
        ("has shape [32, 87]", &|h| h[first]["shape"] = json!([32, 87])),
        ("is damaged", &|h| h[first]["data_offsets"] = json!([0, 1_u64 << 62])),
        ("is damaged", &|h| h[first]["shape"] = json!([u64::MAX, u64::MAX])),
    ];
    for (words, change) in changes {
        let dir = copy();
        edit_header(&dir.path().join("model.safetensors"), change);
        let said = refused(dir.path(), |_| ());
        assert!(said.contains(words) && said.contains("model.safetensors"), "{words}: {said}");
    }
    // A header that says it is longer than memory.
    let dir = copy();
    fs::write(dir.path().join("model.safetensors"), [0xff; 64]).unwrap();
    assert!(refused(dir.path(), |_| ()).contains("is damaged"));
    // Numbers that are none: the first text tells.
    let dir = copy();
    let path = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = bytes.len() - 4 * 32;
    bytes[start..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    assert!(refused(dir.path(), |_| ()).contains("not finite"));
}

#[test]
fn old_names_of_norms_are_read() {
    let dir = copy();
    edit_header(&dir.path().join("model.safetensors"), |header| {
        let old = |name: &str| name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta");
        let map = header.as_object_mut().unwrap();
        *map = std::mem::take(map).into_iter().map(|(name, info)| (old(&name), info)).collect();
    });
    let of = |folder: &Path| Encoder::open(&settings(folder)).unwrap().query("jaguar").unwrap();
    assert_eq!(of(dir.path()), of(&golden("bert")));
}

#[test]
fn a_tokenizer_of_another_encoder_is_refused() {
    let dir = copy();
    let tokenizer = dir.path().join("tokenizer.json");
    edit(&tokenizer, |t| t["model"]["vocab"]["zebra"] = json!(87));
    let said = refused(dir.path(), |_| ());
    assert!(said.contains("tokenizer.json") && said.contains("88 ids") && said.contains("vocab_size is 87"), "{said}");
    let dir = copy();
    edit(&dir.path().join("tokenizer.json"), |t| t["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([900]));
    assert!(refused(dir.path(), |_| ()).contains("post_processor"));
}

#[test]
fn options_that_leave_no_room_are_refused_by_key() {
    let folder = golden("bert");
    assert!(refused(&folder, |s| s.encoding.max_tokens = 2).contains("search.encoding.max_tokens"));
    assert!(
        refused(&folder, |s| s.encoding.query_prefix = "wild ".repeat(99)).contains("search.encoding.query_prefix")
    );
    assert!(refused(Path::new("no/such/folder"), |_| ()).contains("search.encoder is \"no/such/folder\""));
    let dir = copy();
    edit(&dir.path().join(FILES[3]), |p| p["word_embedding_dimension"] = json!(48));
    assert!(refused(dir.path(), |_| ()).contains("word_embedding_dimension is 48"));
    let dense = json!([{ "type": "sentence_transformers.models.Transformer" }, { "type": "sentence_transformers.models.Dense" }]);
    let dir = copy();
    fs::write(dir.path().join("modules.json"), dense.to_string()).unwrap();
    assert!(refused(dir.path(), |_| ()).contains("models.Dense"));
}

#[test]
fn the_fingerprint_knows_everything_that_a_vector_depends_on() {
    let of = |change: &Change| {
        let dir = copy();
        let mut settings = settings(dir.path());
        change(dir.path(), &mut settings);
        Encoder::open(&settings).unwrap().identity().clone()
    };
    let own = of(&|_, _| ());
    assert_eq!((own.dimension, own.options.as_str()), (32, "mean, 64 tokens"));
    let same: [&Change; 3] =
        [&|_, _| (), &|_, s| (s.encoding.pooling, s.encoding.batch) = (Pooling::Mean, 1), &|dir, _| {
            edit(&dir.join("config.json"), |c| c["transformers_version"] = json!("6"))
        }];
    assert!(same.iter().all(|change| of(change).agrees(&own)));
    let other: [&Change; 7] = [
        &|_, s| s.encoding.pooling = Pooling::Cls,
        &|_, s| s.encoding.query_prefix = "query: ".into(),
        &|_, s| s.encoding.passage_prefix = "query: ".into(),
        &|_, s| s.encoding.max_tokens = 32,
        &|dir, _| edit(&dir.join("config.json"), |c| c["layer_norm_eps"] = json!(1e-5)),
        &|dir, _| edit(&dir.join("tokenizer.json"), |t| t["normalizer"]["lowercase"] = json!(false)),
        &|dir, _| {
            let path = dir.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 4;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();
        },
    ];
    let all: std::collections::HashSet<String> = other.iter().map(|change| of(change).fingerprint).collect();
    assert!(all.len() == 7 && !all.contains(&own.fingerprint), "{all:?}");
}

#[test]
fn a_spelt_mark_stays_text_and_an_error_of_the_caller_ends_the_work() {
    let encoder = Encoder::open(&settings(&golden("bert"))).unwrap();
    let (spelt, marked) = (encoder.query("jaguar [SEP] car").unwrap(), encoder.query("jaguar car").unwrap());
    let bert = Bert::open(&golden("bert"), &Encoding::default()).unwrap().0;
    let sep = bert.tokens.ids("").unwrap()[1];
    assert_eq!(bert.tokens.ids("jaguar [SEP] car").unwrap().iter().filter(|id| **id == sep).count(), 1);
    assert_ne!(spelt, marked);
    let texts: Vec<String> = (0..2_000).map(|i| format!("wild {i}")).collect();
    let stop = |_| -> Result<()> { anyhow::bail!("stopped") };
    assert_eq!(encoder.passages(&texts, &stop).unwrap_err().to_string(), "stopped");
}

/// Every leaf of a JSON file in turn becomes something odd; whatever that makes of the encoder, it is an answer or an error.
#[test]
fn no_json_makes_it_crash() {
    let odd = [Value::Null, json!(-1), json!(1_u64 << 40), json!(0), json!(""), json!("\u{0}["), json!([]), json!({})];
    let (mut opened, mut refused) = (0, 0);
    for (name, file) in [("bert", "config.json"), ("bert", "tokenizer.json"), ("xlm_roberta", "tokenizer.json")] {
        let dir = copy();
        FILES[..3].iter().for_each(|file| _ = fs::copy(golden(name).join(file), dir.path().join(file)).unwrap());
        fs::remove_file(dir.path().join(FILES[3])).unwrap();
        let path = dir.path().join(file);
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for pointer in leaves(&whole, String::new()) {
            // One entry of a vocabulary is as another.
            if pointer.contains("/vocab/") && !pointer.ends_with('1') && !pointer.ends_with("car") {
                continue;
            }
            for value in &odd {
                let mut spoilt = whole.clone();
                *spoilt.pointer_mut(&pointer).unwrap() = value.clone();
                fs::write(&path, spoilt.to_string()).unwrap();
                match Encoder::open(&settings(dir.path())).and_then(|e| e.query("Wild jaguar 光 <s> \u{0}")) {
                    Ok(_) => opened += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} {refused}");
}

/// Pointers to all values but the whole.
fn leaves(value: &Value, at: String) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    inner
        .into_iter()
        .flat_map(|(key, value)| {
            let at = format!("{at}/{key}");
            [vec![at.clone()], leaves(value, at)].concat()
        })
        .collect()
}
