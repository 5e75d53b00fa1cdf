//! Reading golden vectors: from `CORE_GOLDEN_DIR` when it is set, else from the small set in `tests/golden`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

/// Path of a file or folder of the set.
pub fn path(name: &str) -> PathBuf {
    std::env::var_os("CORE_GOLDEN_DIR").map_or_else(|| kept(""), PathBuf::from).join(name)
}

/// Path of a file or folder in `tests/golden`: for what other sets do not have.
pub fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A JSON file of the set.
pub fn json(name: &str) -> Value {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A safetensors file of the set.
pub fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path(name), &Device::Cpu).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Names of the models in the set: what `forward/` has a JSON file for.
pub fn models() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path("forward"))
        .expect("the set has a forward folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "the set has no forward/*.json");
    names
}

/// A list.
pub fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

/// A list of token ids.
pub fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|v| v.as_u64().expect("an id") as u32).collect()
}

/// A list of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

/// A number.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// Values of a tensor, flattened, as float64.
pub fn flat(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(candle_core::DType::F64));
    flat.and_then(|t| t.to_vec1()).expect("a float tensor")
}

/// Largest absolute difference; panics when lengths differ or a number is not finite.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths differ");
    let far = |(x, y): (&f64, &f64)| {
        assert!(x.is_finite() && y.is_finite(), "{x} against {y}");
        (x - y).abs()
    };
    a.iter().zip(b).map(far).fold(0.0, f64::max)
}

/// Fails unless two lists agree within an absolute tolerance.
pub fn close(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    let far = distance(a, b);
    assert!(far <= tolerance, "{what}: {far:e} apart, allowed {tolerance:e}");
}

/// Fails unless two numbers agree within a relative tolerance.
pub fn close_relative(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1e-12), "{what}: {a} against {b}");
}

/// L2 norm of a difference, as a share of the second's norm.
pub fn relative_l2(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths differ");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(x, y)| x - y)) / norm(&mut b.iter().copied()).max(1e-30)
}
