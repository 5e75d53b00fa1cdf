//! A trained model as a rewriter: prompt, greedy decoding, free or not, reading of the answer.

use anyhow::Result;

use super::{Decoder, Outcome, Reason};
use crate::logs::Context;
use crate::model::{Cancel, Decoding, Policy, Tokenizer};
use crate::task::Target;

/// Longest answer in tokens; queries are short.
pub const MAX_NEW_TOKENS: usize = 24;
/// Requests decoded together.
const BATCH: usize = 32;

/// A model with its template.
pub struct PolicyRewriter {
    name: String,
    identity: String,
    policy: Policy,
    decoder: Decoder,
    max_prompt_tokens: usize,
}

impl PolicyRewriter {
    /// Wraps a loaded model; `name` is what tables call it, `identity` tells its weights from others of that name.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn new(name: &str, identity: &str, policy: Policy, decoder: Decoder, max_prompt_tokens: usize) -> Result<Self> {
        policy.tokenizer.task_template()?;
        Ok(Self { name: name.to_owned(), identity: identity.to_owned(), policy, decoder, max_prompt_tokens })
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.policy.tokenizer
    }

    /// Decodes otherwise from here on, for comparisons of one model with itself: its name and identity stay.
    pub fn decode_by(&mut self, decoder: Decoder) {
        self.decoder = decoder;
    }

    /// Name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells this model's answers from those of other weights of the same name.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Answers many requests, in their order; the answer to one never depends on the others. Once `cancel` is set the rest
    /// is given up.
    ///
    /// # Errors
    /// Those of the model.
    pub fn rewrite(&self, requests: &[(&Context, &str)], cancel: &Cancel) -> Result<Vec<Outcome>> {
        let tokenizer = &self.policy.tokenizer;
        let settings = Decoding::greedy(MAX_NEW_TOKENS, tokenizer.end_tokens());
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            let prompts = batch
                .iter()
                .map(|(context, query)| tokenizer.prompt(context, query, self.max_prompt_tokens))
                .collect::<Result<Vec<_>>>()?;
            let completions = self.decoder.generate(&self.policy, &prompts, &settings, 0, cancel)?;
            for ((_, query), completion) in batch.iter().zip(completions) {
                let known = completion.logprobs.len() == completion.ids.len();
                let logprob = known.then(|| completion.logprobs.iter().map(|&lp| f64::from(lp)).sum());
                let outcome = if !completion.finished {
                    let reason = if cancel.is_set() { Reason::Cancelled } else { Reason::Truncated };
                    Outcome::none(reason)
                } else {
                    match tokenizer.read_completion(&completion.ids)? {
                        Target::Reject => Outcome::none(Reason::Rejected),
                        Target::Rewrite(text) => Outcome::of(query, text),
                    }
                };
                outcomes.push(Outcome { logprob, forwards: completion.forwards, ..outcome });
            }
        }
        Ok(outcomes)
    }
}
