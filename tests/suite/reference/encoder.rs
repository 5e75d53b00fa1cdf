//! Encoders read from a folder, against what transformers makes of the same texts (scripts/golden_encoder.py).

use crate::common::golden::{self, close, list, numbers};
use core_rewriter::recipe::{Encoding, Pooling, SearchPath};
use core_rewriter::search::Encoder;
use serde_json::Value;

const TOLERANCE: f64 = 1e-5;
const FOLDERS: [&str; 2] = ["bert", "xlm_roberta"];

fn rows(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden::kept(&format!("encoder/{name}.json"))).unwrap();
    list(&serde_json::from_str::<Value>(&text).unwrap()["rows"]).clone()
}

fn open(name: &str, encoding: Encoding) -> Encoder {
    let encoder = golden::kept(&format!("encoder/{name}")).to_str().unwrap().into();
    Encoder::open(&SearchPath { encoder, encoding, ..SearchPath::default() }).unwrap()
}

fn doubles(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn vectors_are_those_of_transformers_alone_and_in_batches_of_any_size() {
    for name in FOLDERS {
        let rows = rows(name);
        let texts: Vec<String> = rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
        assert!(texts.len() >= 10 && list(&rows[texts.len() - 1]["ids"]).len() >= 32, "one is cut off");
        for (pooling, key) in [(Pooling::Cls, "cls"), (Pooling::Mean, "mean")] {
            for batch in [1, 3, 32] {
                let encoder = open(name, Encoding { pooling, batch, ..Encoding::default() });
                let vectors = encoder.passages(&texts, &|_| Ok(())).unwrap();
                assert_eq!(vectors.len(), rows.len());
                for (row, vector) in rows.iter().zip(&vectors) {
                    let what = format!("{name} {key} in batches of {batch}, {}", row["text"]);
                    assert_eq!(vector.len(), encoder.identity().dimension, "{what}");
                    close(&doubles(vector), &numbers(&row[key]), TOLERANCE, &what);
                    let alone = encoder.query(row["text"].as_str().unwrap()).unwrap();
                    close(&doubles(&alone), &numbers(&row[key]), TOLERANCE, &format!("{what}, alone"));
                }
            }
        }
    }
}

#[test]
fn a_prefix_is_put_before_the_text_and_the_folder_says_how_it_pools() {
    for name in FOLDERS {
        let prefixes =
            Encoding { query_prefix: "query: ".into(), passage_prefix: "passage: ".into(), ..Encoding::default() };
        let encoder = open(name, prefixes);
        let of = |text: &str| rows(name).into_iter().find(|row| row["text"] == text).unwrap();
        let query = doubles(&encoder.query("jaguar").unwrap());
        close(&query, &numbers(&of("query: jaguar")["mean"]), TOLERANCE, name);
        let passage = encoder.passages(&["wild jaguar review".into()], &|_| Ok(())).unwrap();
        close(&doubles(&passage[0]), &numbers(&of("passage: wild jaguar review")["mean"]), TOLERANCE, name);
    }
}
