//! A trained model as a rewriter: prompt, greedy decoding, free or not, reading of the answer.

use anyhow::Result;

use super::{Decoder, Outcome, Reason};
use crate::logs::Context;
use crate::model::{Cancel, Completion, Decoding, Group, Policy, Reluctant, Tokenizer};
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
    /// See `rewriting.reject_at`.
    reject_at: f64,
}

impl PolicyRewriter {
    /// Wraps a loaded model; `name` is what tables call it, `identity` tells its weights from others of that name.
    ///
    /// # Errors
    /// A tokenizer that can carry no template.
    pub fn new(name: &str, identity: &str, policy: Policy, decoder: Decoder, max_prompt_tokens: usize) -> Result<Self> {
        policy.tokenizer.task_template()?;
        Ok(Self {
            name: name.to_owned(),
            identity: identity.to_owned(),
            policy,
            decoder,
            max_prompt_tokens,
            reject_at: 0.0,
        })
    }

    /// The same, but a query is left alone only where `<reject>` has at least this share of the probability of itself and of the
    /// rewrite that would be said; 0 leaves that to its first token.
    #[must_use]
    pub fn rejecting_at(self, reject_at: f64) -> Self {
        Self { reject_at, ..self }
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

    /// Whether another model's tokens are this one's, so that either can score what the other says.
    #[must_use]
    pub fn same_tokens(&self, other: &Self) -> bool {
        self.policy.tokenizer.agrees(&other.policy.tokenizer)
    }

    /// `n` answers to each request, sampled freely at temperature 1, each with the log-probabilities of its tokens: what the
    /// model might say, whatever serving lets through.
    ///
    /// # Errors
    /// Those of the model.
    pub fn sample(&self, requests: &[(&Context, &str)], n: usize, seed: u64) -> Result<Vec<Vec<Completion>>> {
        let settings = Decoding::sampled(MAX_NEW_TOKENS, 1.0, self.policy.tokenizer.end_tokens());
        let mut repeated = Vec::with_capacity(requests.len() * n);
        for prompt in self.prompts(requests)? {
            repeated.extend(std::iter::repeat_n(prompt, n));
        }
        let said = self.policy.generate(&repeated, &settings, seed)?;
        Ok(said.chunks(n.max(1)).map(<[Completion]>::to_vec).collect())
    }

    /// Log-probability (nats) of given answers to each request under this model.
    ///
    /// # Errors
    /// Those of the model; tokens that it does not have.
    pub fn logprobs(&self, requests: &[(&Context, &str)], answers: &[Vec<Completion>]) -> Result<Vec<Vec<f64>>> {
        let groups = self.prompts(requests)?.into_iter().zip(answers).map(|(prompt, answers)| Group {
            prompt,
            completions: answers.iter().map(|answer| answer.ids.clone()).collect(),
        });
        let groups: Vec<Group> = groups.collect();
        let mut tokens = self.policy.score(&groups, 1.0)?.into_iter().map(f64::from);
        let mut of = |completion: &Vec<u32>| tokens.by_ref().take(completion.len()).sum();
        Ok(groups.iter().map(|group| group.completions.iter().map(&mut of).collect()).collect())
    }

    fn prompts(&self, requests: &[(&Context, &str)]) -> Result<Vec<Vec<u32>>> {
        let tokenizer = &self.policy.tokenizer;
        requests.iter().map(|(context, query)| tokenizer.prompt(context, query, self.max_prompt_tokens)).collect()
    }

    /// Answers many requests, in their order; the answer to one never depends on the others. Once `cancel` is set the rest
    /// is given up.
    ///
    /// # Errors
    /// Those of the model.
    pub fn rewrite(&self, requests: &[(&Context, &str)], cancel: &Cancel) -> Result<Vec<Outcome>> {
        let tokenizer = &self.policy.tokenizer;
        let reject = tokenizer.completion(&Target::Reject)?;
        let reluctant = (self.reject_at > 0.0).then_some(Reluctant { ids: reject, least: self.reject_at });
        let settings = Decoding { reluctant, ..Decoding::greedy(MAX_NEW_TOKENS, tokenizer.end_tokens()) };
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            let prompts = self.prompts(batch)?;
            let settings = self.decoder.settings(batch, settings.clone())?;
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
