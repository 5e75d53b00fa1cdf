//! What is asked of `/v1/completions`, and an answer checked before it is believed.
//!
//! The fields are those of vLLM's server (`CompletionRequest`, `CompletionResponseChoice`); all but `return_token_ids` and the
//! filters beside `top_p` are OpenAI's or commonly known.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Completion, Decoding, Tokenizer};
use super::Question;

/// Bytes of an answer for each completion token (its spelling twice, log-probabilities, offset), for each prompt token and
/// for all else; far above what servers send.
const BYTES_OF_TOKEN: u64 = 1024;
const BYTES_OF_PROMPT_TOKEN: u64 = 64;
const BYTES_BESIDE: u64 = 64 * 1024;

/// How all questions of a call are to be answered.
pub(super) struct Asking<'a> {
    pub model: &'a str,
    pub decoding: &'a Decoding,
    pub tokenizer: &'a Tokenizer,
    /// Ids that the model knows, and positions it has.
    pub vocab: usize,
    pub positions: usize,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    #[serde(default)]
    text: String,
    finish_reason: Option<String>,
    stop_reason: Option<Value>,
    token_ids: Option<Vec<u32>>,
    prompt_token_ids: Option<Vec<u32>>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    token_logprobs: Vec<Option<f32>>,
}

impl Asking<'_> {
    /// Most tokens of a completion: what is asked for, where the model has room.
    fn most(&self, question: &Question) -> usize {
        self.decoding.max_new_tokens.min(self.positions.saturating_sub(question.prompt.len()))
    }

    /// The request's body. Every filter is named, since servers take those of `generation_config.json` otherwise.
    pub fn body(&self, question: &Question, seed: u64) -> Value {
        let decoding = self.decoding;
        json!({
            "model": self.model, "prompt": question.prompt, "n": question.n, "seed": seed,
            "max_tokens": self.most(question), "temperature": decoding.temperature,
            "top_p": decoding.top_p, "top_k": decoding.top_k, "min_p": decoding.min_p,
            "repetition_penalty": decoding.repetition_penalty, "stop_token_ids": decoding.eos,
            "logprobs": 1, "return_token_ids": true, "stream": false,
            // For a server that answers in text alone: what it leaves out cannot be encoded again.
            "skip_special_tokens": false, "spaces_between_special_tokens": false,
        })
    }

    /// Most bytes of an answer.
    pub fn limit(&self, question: &Question) -> u64 {
        let each = self.most(question) as u64 * BYTES_OF_TOKEN + question.prompt.len() as u64 * BYTES_OF_PROMPT_TOKEN;
        BYTES_BESIDE + question.n as u64 * (each + 1024)
    }

    /// The completions of an answer, in the order of their indices; or what is wrong with it.
    pub fn read(&self, question: &Question, bytes: &[u8]) -> Result<Vec<Completion>, String> {
        let response: Response =
            serde_json::from_slice(bytes).map_err(|e| format!("its answer cannot be read: {e}"))?;
        let mut choices = response.choices;
        choices.sort_by_key(|choice| choice.index);
        if choices.len() != question.n || choices.iter().enumerate().any(|(i, choice)| choice.index != i) {
            return Err(format!("it gave {} choices where {} were asked for", choices.len(), question.n));
        }
        choices.into_iter().map(|choice| self.completion(question, choice)).collect()
    }

    fn completion(&self, question: &Question, choice: Choice) -> Result<Completion, String> {
        if choice.prompt_token_ids.as_ref().is_some_and(|ids| *ids != question.prompt) {
            return Err("it answered another prompt than the one it was given".into());
        }
        let stopped = match choice.finish_reason.as_deref() {
            Some("stop") => true,
            Some("length") => false,
            other => return Err(format!("a completion ended for the reason {}", other.unwrap_or("none"))),
        };
        let eos = &self.decoding.eos;
        let said = choice.stop_reason.and_then(|reason| u32::try_from(reason.as_u64()?).ok());
        let end = said.filter(|id| eos.contains(id)).or(eos.first().copied());
        let most = self.most(question);
        let (mut ids, mut logprobs) = match choice.token_ids {
            Some(ids) => {
                let logprobs = choice.logprobs.map_or(Vec::new(), |found| found.token_logprobs);
                self.check(&ids, &logprobs, most)?;
                (ids, logprobs.into_iter().collect::<Option<Vec<f32>>>().unwrap_or_default())
            }
            None => {
                let encoded = self.tokenizer.encode_marked(&choice.text).map_err(|e| format!("{e:#}"))?;
                (encoded, Vec::new())
            }
        };
        // A server may leave out the token that it stopped at.
        if let (true, Some(end), false) = (stopped, end, ids.last().is_some_and(|id| eos.contains(id))) {
            ids.push(end);
            logprobs.clear();
        }
        ids.truncate(most);
        if ids.is_empty() {
            return Err("it gave a completion without a token".into());
        }
        let finished = ids.last().is_some_and(|id| eos.contains(id));
        let forwards = ids.len();
        Ok(Completion { ids, logprobs, finished, forwards })
    }

    /// Whether ids can be a completion of this model.
    fn check(&self, ids: &[u32], logprobs: &[Option<f32>], most: usize) -> Result<(), String> {
        if ids.len() > most {
            return Err(format!("it gave {} tokens where at most {most} were asked for", ids.len()));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab) {
            return Err(format!("it gave token {id}, and the model knows {}: it serves another model", self.vocab));
        }
        let inside = &ids[..ids.len().saturating_sub(1)];
        if inside.iter().any(|id| self.decoding.eos.contains(id)) {
            return Err("it went on behind an end token".into());
        }
        if !logprobs.is_empty() && logprobs.len() != ids.len() {
            return Err(format!("it gave {} log-probabilities for {} tokens", logprobs.len(), ids.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_end|>", "<reject>"];

    fn tokenizer() -> Tokenizer {
        Tokenizer::train(["red bicycle repair", "red bicycle"].repeat(4).iter(), 290, &SPECIAL).unwrap()
    }

    fn read(choices: &Value) -> Result<Vec<Completion>, String> {
        let (tokenizer, decoding) = (tokenizer(), Decoding::sampled(4, 1.0, vec![1, 0]));
        let vocab = tokenizer.size();
        let asking = Asking { model: "m", decoding: &decoding, tokenizer: &tokenizer, vocab, positions: 64 };
        let question = Question { prompt: vec![5, 6], n: 1 };
        asking.read(&question, json!({ "id": "cmpl-1", "choices": choices }).to_string().as_bytes())
    }

    #[test]
    fn an_answer_with_token_ids_is_taken_as_it_is() {
        let logprobs = json!({ "token_logprobs": [-0.5, -1.5], "tokens": ["a", "b"] });
        let said = read(&json!([{ "index": 0, "text": "a", "finish_reason": "stop", "stop_reason": 1,
            "token_ids": [9, 1], "prompt_token_ids": [5, 6], "logprobs": logprobs }]));
        let expected = Completion { ids: vec![9, 1], logprobs: vec![-0.5, -1.5], finished: true, forwards: 2 };
        assert_eq!(said.unwrap(), [expected]);
        let cut = read(&json!([{ "index": 0, "finish_reason": "length", "token_ids": [9, 8, 7, 6] }])).unwrap();
        assert_eq!((cut[0].ids.len(), cut[0].finished, cut[0].logprobs.len()), (4, false, 0));
        // The end token that the server kept to itself is put back, the one it names before the first.
        let bare = read(&json!([{ "index": 0, "finish_reason": "stop", "stop_reason": 0, "token_ids": [9] }])).unwrap();
        assert_eq!((&bare[0].ids[..], bare[0].finished), (&[9, 0][..], true));
    }

    #[test]
    fn an_answer_in_text_is_encoded_again_special_tokens_and_all() {
        let said = read(&json!([{ "index": 0, "text": "<reject>", "finish_reason": "stop" }])).unwrap();
        assert_eq!((&said[0].ids[..], said[0].finished, said[0].logprobs.len()), (&[2, 1][..], true, 0));
        let tokenizer = tokenizer();
        let said = read(&json!([{ "index": 0, "text": " bicycle", "finish_reason": "length" }])).unwrap();
        assert_eq!(said[0].ids, tokenizer.encode_plain(" bicycle").unwrap());
        assert!(!said[0].finished);
    }

    #[test]
    fn an_answer_that_cannot_be_one_is_refused_with_a_reason() {
        let good = json!({ "index": 0, "finish_reason": "stop", "token_ids": [9, 1] });
        assert!(read(&json!([good])).is_ok());
        let with = |key: &str, value: Value| {
            let mut choice = good.clone();
            choice[key] = value;
            json!([choice])
        };
        for (choices, reason) in [
            (json!([]), "0 choices where 1"),
            (json!([good, good]), "2 choices where 1"),
            (with("index", json!(1)), "1 choices where 1"),
            (with("token_ids", json!([9, 9, 9, 9, 1])), "5 tokens where at most 4"),
            (with("token_ids", json!([90_000, 1])), "token 90000"),
            (with("token_ids", json!([1, 9])), "behind an end token"),
            (with("token_ids", json!([-1])), "cannot be read"),
            (with("finish_reason", json!("abort")), "the reason abort"),
            (with("finish_reason", json!(null)), "the reason none"),
            (with("prompt_token_ids", json!([5])), "another prompt"),
            (with("logprobs", json!({ "token_logprobs": [-1.0] })), "1 log-probabilities for 2"),
            (json!([{ "index": 0, "finish_reason": "length", "text": "" }]), "without a token"),
            (json!("none"), "cannot be read"),
        ] {
            let error = read(&choices).unwrap_err();
            assert!(error.contains(reason), "{choices}: {error}");
        }
    }
}
