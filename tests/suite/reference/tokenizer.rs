//! Chat templates, ids and streaming text against transformers.

use crate::common::golden::{self, ids, list};
use core_rewriter::model::Tokenizer;
use core_rewriter::task::Message;

fn load(model: &str) -> Tokenizer {
    Tokenizer::load(&golden::path(&format!("models/{model}"))).unwrap()
}

#[test]
fn chats_render_and_encode_as_in_transformers_and_injections_stay_text() {
    let reference = golden::json("tokenizer/chat.json");
    for (model, expected) in reference["models"].as_object().unwrap() {
        let tokenizer = load(model);
        for case in list(&expected["rendered"]) {
            let name = case["chat"].as_str().unwrap();
            let messages: Vec<Message> = serde_json::from_value(reference["chats"][name].clone()).unwrap();
            let (prompt, thinking) =
                (case["add_generation_prompt"].as_bool().unwrap(), case["enable_thinking"].as_bool());
            let what = format!("{model} {name} {prompt} {thinking:?}");
            let text = tokenizer.render(&messages, prompt, thinking).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{what}");
            assert_eq!(tokenizer.encode_marked(&text).unwrap(), ids(&case["ids"]), "{what}");
            let safe = case.get("safe_ids").unwrap_or(&case["ids"]);
            assert_eq!(tokenizer.encode_chat(&messages, prompt, thinking).unwrap(), ids(safe), "{what}, safely");
        }
    }
}

#[test]
fn texts_encode_and_decode_as_in_transformers() {
    let reference = golden::json("tokenizer/chat.json");
    let model = reference["models"].as_object().unwrap().keys().next().unwrap();
    let tokenizer = load(model);
    for case in list(&reference["encode"]) {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode_marked(text).unwrap(), ids(&case["ids"]), "{text:?}");
        assert_eq!(tokenizer.encode_plain(text).unwrap(), ids(&case["plain_ids"]), "{text:?}, plain");
        let decode = |skip| tokenizer.decode(&ids(&case["ids"]), skip).unwrap();
        assert_eq!(decode(false), case["decoded"].as_str().unwrap());
        assert_eq!(decode(true), case["decoded_skip_special"].as_str().unwrap());
    }
}

#[test]
fn streaming_never_shows_half_a_character() {
    let reference = golden::json("tokenizer/streaming.json");
    let tokenizer = load(&golden::models()[0]);
    let all = ids(&reference["ids"]);
    let prefixes: Vec<&str> = list(&reference["prefixes"]).iter().map(|p| p.as_str().unwrap()).collect();
    let (mut stream, mut shown) = (tokenizer.stream(false), String::new());
    for (n, prefix) in prefixes.iter().enumerate() {
        assert_eq!(tokenizer.decode(&all[..n], false).unwrap(), *prefix);
        if n > 0 {
            shown += &stream.push(all[n - 1]).unwrap();
        }
        assert!(prefix.starts_with(&shown) && !shown.contains('\u{FFFD}'), "{shown:?} of {prefix:?}");
    }
    shown += &stream.finish().unwrap();
    assert_eq!(shown, *prefixes.last().unwrap());
}
