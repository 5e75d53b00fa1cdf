//! Bad input: an answer, or a clear refusal.

use super::*;

#[test]
fn any_text_is_answered_or_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path(), live(|_, query, _| Ok(outcome(Some(&format!("{query} cat"))))), |_| ());
    let runtime = runtime();
    let status = |body: String| {
        let reply = runtime.block_on(post(&paths, "/v1/search", body));
        let said = reply.json();
        let message = said["error"]["message"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!(reply.status.is_success(), message.is_empty(), "{said}");
        for inner in ["tantivy", "panick", "queryparser", "syntaxerror", "regex", "sqlite"] {
            assert!(!message.contains(inner), "{message}");
        }
        reply.status.as_u16()
    };
    let query = |text: &str| status(json!({ "query": text }).to_string());
    for answered in [
        "?!.,;:",
        "AND OR NOT",
        "\"jaguar",
        "jaguar^3~2 +x -y *",
        "(((((",
        "title:[a TO z]",
        "{}[]<>\\/",
        "a\u{200b}b",
        "\u{0}jaguar\u{7}",
        "jaguar 光良 пума ジャガー",
        "👩‍👩‍👧‍👦",
        "ｊａｇｕａｒ",
        "e\u{301}\u{301}\u{301}",
        "\u{202e}raugaj",
        "' OR 1=1 --",
        &"猫".repeat(170),
        &"a ".repeat(256),
    ] {
        assert_eq!(query(answered), 200, "{answered:?}");
    }
    for refused in ["", "   ", "\u{200b}", "\t\r\n", &"x".repeat(513)] {
        assert_eq!(query(refused), 400, "{refused:?}");
    }
    assert_eq!(query(&"x".repeat(100_000)), 413);
    for (body, wanted) in [
        ("", 400),
        ("{", 400),
        ("null", 422),
        ("[]", 422),
        (r#"{"query": 7}"#, 422),
        (r#"{"query": "\ud800"}"#, 400),
        (r#"{"query": "x", "size": -1}"#, 422),
        (r#"{"query": "x", "size": 1e9}"#, 422),
        (r#"{"query": "x", "context": {"watched": "y"}}"#, 422),
        (r#"{"query": "x", "size": 0, "deadline_ms": 0}"#, 200),
        (r#"{"query": "x", "size": 18446744073709551615}"#, 200),
    ] {
        assert_eq!(status(body.into()), wanted, "{body}");
    }
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(status(nested.clone()), 422);
    assert_eq!(runtime.block_on(post(&paths, "/v1/feedback", nested)).status, 400);
    let broken = runtime.block_on(post(&paths, "/v1/search", &b"{\"query\": \"\xff\"}"[..]));
    assert_eq!(broken.status, 400);
    let long: Vec<_> = (0..900).map(|i| json!({"title": format!("{i} {}", "x".repeat(40))})).collect();
    assert_eq!(status(json!({"query": "x", "context": {"watched": long}}).to_string()), 200);
}

#[test]
fn feedback_that_cannot_be_kept_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path(), Source::Off, |_| ());
    let send = |body: Value| {
        let reply = runtime().block_on(post(&paths, "/v1/feedback", body.to_string()));
        (reply.status.as_u16(), reply.json())
    };
    let (status, said) = send(json!({"query_id": "q", "dco": "v000"}));
    assert!(status == 422 && said["refused"][0]["reason"].as_str().unwrap().contains("`dco`"), "{said}");
    let (status, said) = send(json!([{"query_id": "q", "doc": "v000", "dwell_s": -1}, {"action_name": "click"}]));
    assert_eq!((status, said["refused"].as_array().unwrap().len()), (422, 2), "{said}");
    let impression = json!({"action_name": "impression", "query_id": "q", "timestamp": "2026-01-01T00:00:00Z",
                            "event_attributes": {"object": {"object_id": "v000"}}});
    let (status, said) = send(json!({"events": [impression]}));
    assert_eq!((status, &said["known"]), (200, &json!(1)), "{said}");
    assert_eq!(send(json!({"events": []})).0, 200);
    assert_eq!(send(json!({"query_id": "q", "doc": "v000"})).0, 503, "this server keeps no log");
    assert_eq!(send(Value::Array(vec![json!({}); 257])).0, 400);
}
