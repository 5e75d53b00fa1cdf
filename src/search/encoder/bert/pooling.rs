//! How the states of a text become its vector: what the recipe or the folder says, and doing it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::files;
use crate::recipe::Pooling;

/// What sentence-transformers keeps beside an encoder.
const POOLING: &str = "1_Pooling/config.json";
const MODULES: &str = "modules.json";
const MOST_BYTES: u64 = 1 << 20;

/// What the recipe asks for, else what the folder says, else the mean, as sentence-transformers takes it.
pub(super) fn choose(asked: Pooling, folder: &Path, hidden: usize) -> Result<Pooling> {
    modules(folder)?;
    let path = folder.join(POOLING);
    if asked != Pooling::Auto || !path.exists() {
        return Ok(if asked == Pooling::Auto { Pooling::Mean } else { asked });
    }
    let bytes = files::read(&path, MOST_BYTES)?;
    let map = serde_json::from_slice(&bytes).with_context(|| format!("{} is not a JSON object", path.display()))?;
    said(&map, hidden).with_context(|| format!("cannot use {}", path.display()))
}

/// What a pooling file says: a switch for each kind or, in newer ones, its name.
fn said(map: &Map<String, Value>, hidden: usize) -> Result<Pooling> {
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        if let Some(width) = map.get(key) {
            ensure!(
                width.as_u64() == Some(hidden as u64),
                "{key} is {width}, but config.json's hidden_size is {hidden}: the files are of different encoders"
            );
        }
    }
    let switched = map.iter().filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true));
    let mut kinds: Vec<&str> = switched.map(|(key, _)| &key["pooling_mode_".len()..]).collect();
    kinds.extend(map.get("pooling_mode").and_then(Value::as_str));
    match kinds[..] {
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        [] => bail!("it names no pooling: set search.encoding.pooling to cls or mean"),
        _ => bail!(
            "pooling by {} is not supported: core takes cls or mean; an encoder trained otherwise will find little",
            kinds.join(" and ")
        ),
    }
}

/// Refuses a folder whose vectors pass through more than pooling and scaling.
fn modules(folder: &Path) -> Result<()> {
    let path = folder.join(MODULES);
    if !path.exists() {
        return Ok(());
    }
    let bytes = files::read(&path, MOST_BYTES)?;
    let modules: Vec<Map<String, Value>> =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not a list of modules", path.display()))?;
    for module in modules {
        let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
        let name = kind.rsplit('.').next().unwrap_or_default();
        ensure!(
            ["Transformer", "Pooling", "Normalize", "Dropout"].contains(&name),
            "{} names a module {kind:?}: core computes Transformer, Pooling and Normalize, so its vectors would be others",
            path.display()
        );
    }
    Ok(())
}

/// The vector of each row, scaled to length 1, from the states of a batch, `[row][token][hidden]` in one line. `lengths` are
/// the tokens of each row, `width` those of the longest.
pub(super) fn pool(
    states: &[f32],
    lengths: &[usize],
    width: usize,
    hidden: usize,
    how: Pooling,
) -> Result<Vec<Vec<f32>>> {
    let one = |(row, length): (&[f32], &usize)| {
        let taken = if how == Pooling::Cls { 1.min(*length) } else { *length };
        let mut vector = vec![0.0_f32; hidden];
        for state in row.chunks_exact(hidden).take(taken) {
            vector.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
        }
        // The mean and the sum point the same way.
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        ensure!(length.is_finite(), "its weights give numbers that are not finite: they are damaged, fetch them again");
        if length > 0.0 {
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        Ok(vector)
    };
    states.chunks_exact(width * hidden).zip(lengths).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Pooling> {
        said(&serde_json::from_str(text).unwrap(), 4)
    }

    #[test]
    fn both_spellings_are_read_and_what_is_not_computed_is_refused() {
        assert_eq!(of(r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#).unwrap(), Pooling::Cls);
        assert_eq!(of(r#"{"embedding_dimension": 4, "pooling_mode": "mean"}"#).unwrap(), Pooling::Mean);
        for (text, word) in [
            (r#"{"pooling_mode_max_tokens": true}"#, "max_tokens"),
            (r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#, "and mean_tokens"),
            (r#"{"pooling_mode": "lasttoken"}"#, "lasttoken"),
            ("{}", "search.encoding.pooling"),
            (r#"{"word_embedding_dimension": 5, "pooling_mode_cls_token": true}"#, "word_embedding_dimension is 5"),
        ] {
            let error = format!("{:#}", of(text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn padding_has_no_part_in_a_vector_and_nothing_stays_nothing() {
        let states = [3.0, 0.0, 0.0, 4.0, 9.0, 9.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0];
        let rows = pool(&states, &[2, 3, 1], 3, 2, Pooling::Mean).unwrap();
        assert_eq!(rows, [[0.6, 0.8], [1.0, 0.0], [0.0, 0.0]]);
        assert_eq!(pool(&states, &[2, 3, 1], 3, 2, Pooling::Cls).unwrap()[0], [1.0, 0.0]);
        assert!(pool(&[f32::NAN; 2], &[1], 1, 2, Pooling::Cls).is_err());
    }
}
