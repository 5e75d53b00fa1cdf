//! The sections of a recipe about CoRe: the ratio reward, and learning from pairs of answers in semi-online phases.

use serde::{Deserialize, Serialize};

use super::Decoding;

/// The ratio reward ([`crate::judge::reward::ratio`]). γ, α and the clip bounds of the paper are not public; the values are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ratio {
    /// γ: how much more the positives' score counts than the negatives', so that driving both to nothing does not pay.
    pub gamma: f64,
    /// α: weight of the positives' score against random documents', so that matching everything does not pay.
    pub alpha: f64,
    /// Least ratio; lower ones count as this.
    pub low: f64,
    /// Greatest ratio; higher ones count as this.
    pub high: f64,
    /// How the scores become one number.
    pub form: Form,
    /// No score counts as less than this, so that no ratio is infinite.
    pub floor: f64,
    /// Random documents per search.
    pub random: usize,
    /// Share of the searches drawn that found nothing and were mended by typing anew. Of those that nothing mended there is no
    /// evidence at all, and these stand for them: with what is there alone, hardly any search would seem to need a rewrite.
    pub mended: f64,
    /// Showings at the mean rate that every document is given beside its own, for its rates of clicks and of no action.
    pub prior_shown: f64,
    /// What relevance is asked of: `path`, the search path's own scorer, which a rewrite is fused by; or a relevance model, by
    /// the name of its run (`core train sft --task relevance`).
    pub scorer: String,
    /// Whether the relevance of a document reads its visual codes; without them it is relevance by text alone.
    pub visual: bool,
    /// Full punishment for length, in units of the reward: reached at `reward.most_words`, none up to `reward.long_words`.
    pub length: f64,
    /// Punishment for an answer that does not end within the longest answer allowed.
    pub truncated: f64,
    /// What leaving a query alone costs, below the query's own ratio, where the person had to type anew: without it abstaining
    /// is the safe win.
    pub reject: f64,
    /// A known weakness that the reward is given, for replaying incidents.
    pub flaw: Flaw,
}

impl Default for Ratio {
    fn default() -> Self {
        Self {
            gamma: 0.5,
            alpha: 0.5,
            low: 0.1,
            high: 10.0,
            form: Form::Log,
            floor: 0.01,
            random: 16,
            mended: 0.5,
            prior_shown: 5.0,
            scorer: "path".into(),
            visual: true,
            length: 0.5,
            truncated: 1.0,
            reject: 0.0,
            flaw: Flaw::None,
        }
    }
}

/// How scores of positives, negatives and random documents become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Logarithm of the clipped ratio: differences of it are what advantages and margins are made of.
    Log,
    /// The clipped ratio itself.
    Ratio,
    /// `(1 + γ)·S_pos − S_neg + α·(S_pos − S_rand)`: what the ratio is held against in ablations.
    Additive,
}

/// A weakness of the reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// None that we know of.
    None,
    /// Words that do not match are forgiven: `min(1, r · words / 2)`, so saying more never lowers a score.
    Verbosity,
    /// Often typed texts seem more relevant: `min(1, r · (1 + log(1 + n) / log(1 + n_max)))`, n the searches for the text.
    Popularity,
    /// Leaving a query alone costs nothing: `ratio.reject` counts as 0. The scorer is sound; what it is asked about is not, since who
    /// found nothing and gave up left no evidence.
    Abstention,
}

/// Learning from pairs of a policy's own answers: MPO (arXiv 2411.10442) in semi-online phases (CoRe; arXiv 2506.21495).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mpo {
    /// Optimizer steps.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Optimizer steps of a phase: the policy as it stands samples for all of them at once, and is sampled from again after
    /// the last. 1 is online, as many as `steps` offline.
    pub sync_every: u64,
    /// Groups of an optimizer step; a phase samples `sync_every` times as many prompts.
    pub groups: usize,
    /// N: answers sampled for each prompt.
    pub num_generations: usize,
    /// k: best answers of a group that are chosen, and worst that are rejected; every one against every other.
    pub top: usize,
    /// Least difference of rewards between chosen and rejected.
    pub margin: f64,
    /// Temperature of sampling; log-probabilities are the model's own.
    pub temperature: f64,
    /// Longest answer in tokens.
    pub max_completion_length: usize,
    /// Whether samples say anything, or only `<reject>` and valid queries.
    pub decoding: Decoding,
    /// β: reward of a nat of departure from the reference.
    pub beta: f64,
    /// Weight of DPO's term.
    pub sigmoid: f64,
    /// Weight of BCO's term.
    pub bco_pair: f64,
    /// Weight of the chosen's cross-entropy.
    pub sft: f64,
    /// Whether BCO's δ is the running mean of the implicit rewards so far; else 0, as TRL's.
    pub running_delta: bool,
    /// What departure is measured from.
    pub reference: Reference,
}

/// The reference policy of a run on pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The model the run started from.
    Start,
    /// The policy that sampled the phase.
    Phase,
}

impl Default for Mpo {
    fn default() -> Self {
        Self {
            steps: 160,
            lr: 1e-4,
            sync_every: 40,
            groups: 8,
            num_generations: 16,
            top: 2,
            margin: 0.1,
            temperature: 1.0,
            max_completion_length: 16,
            decoding: Decoding::Free,
            beta: 0.1,
            sigmoid: 0.8,
            bco_pair: 0.2,
            sft: 1.0,
            running_delta: false,
            reference: Reference::Start,
        }
    }
}
