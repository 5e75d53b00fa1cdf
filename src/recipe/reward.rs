//! The sections of a recipe about learning from rewards: what a rewrite is worth, and how a policy learns from it.

use serde::{Deserialize, Serialize};

use super::Decoding;

/// What a rewrite is worth: weights of its parts, and what the parts are made of ([`crate::judge::reward`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reward {
    /// Weight of what the log says of the rewrite as a query (WeWrite eq. 4); 0 leaves the part out, as for all weights.
    pub posterior: f64,
    /// Weight of the relevance of its page to the person's own query (JD).
    pub relevance: f64,
    /// Weight of finding what satisfied the person: 1/rank on its page (JD's hit of purchased items).
    pub hit: f64,
    /// Weight of having rewritten where the person did, and left alone where the person was content.
    pub decision: f64,
    /// Weight of the form: length, repetition, saying the query again, and words that nobody said.
    pub format: f64,
    /// Weight of what the ranker will see of the documents that were liked, passed over and never shown (CoRe, `[ratio]`).
    pub ratio: f64,
    /// Weight of saying what the example says: what the person typed next or, of made examples, the teacher's answer.
    pub exact: f64,
    /// Standardise each part within its group before they are summed (GDPO, arXiv 2601.05242), so that none drowns the
    /// others by its scale.
    pub normalize: bool,
    /// Days before training ends that the posterior looks back on.
    pub window_days: u32,
    /// A query is valid when it satisfied at least so many people.
    pub min_people: usize,
    /// The posterior's weight of `log(1 + searches)`, relative to the most searched query.
    pub frequency: f64,
    /// The posterior's weight of the share of searches with a click.
    pub ctr: f64,
    /// Searches with the mean share of clicks that every query is given beside its own.
    pub prior_searches: f64,
    /// What a rewrite costs that is no valid query.
    pub invalid: f64,
    /// Least relevance of its page to the person's own query for a rewrite to count as valid; 0 is off.
    pub relevance_gate: f64,
    /// What the relevance of a page is asked of: `path`, the search path's own scorer; or a relevance model, by the name of its
    /// run (`core train sft --task relevance`).
    pub scorer: String,
    /// Documents of a page whose relevance is asked.
    pub top_k: usize,
    /// Words from which on length is punished, softly, and those at which the punishment is full.
    pub long_words: usize,
    /// See `long_words`.
    pub most_words: usize,
    /// What a rewrite costs, within its form, all of whose words stand neither in the query nor in the context; less for a share.
    pub foreign: f64,
    /// What a rewrite costs, within its form, that keeps no word of the query, nor one a slip away.
    pub flip: f64,
    /// What a rewrite costs, within its form, that says less than the query and nothing else.
    pub shorter: f64,
}

impl Default for Reward {
    fn default() -> Self {
        Self {
            posterior: 1.0,
            relevance: 0.0,
            hit: 1.0,
            decision: 1.0,
            format: 0.5,
            ratio: 0.0,
            exact: 0.0,
            normalize: false,
            window_days: 180,
            min_people: 2,
            frequency: 0.5,
            ctr: 0.5,
            prior_searches: 10.0,
            invalid: 1.0,
            relevance_gate: 0.0,
            scorer: "path".into(),
            top_k: 10,
            long_words: 6,
            most_words: 10,
            foreign: 0.0,
            flip: 0.0,
            shorter: 0.0,
        }
    }
}

/// Group-relative policy optimisation; names and defaults as TRL's, where it has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpo {
    /// Optimizer steps.
    pub steps: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// Prompts of a rollout.
    pub prompts: usize,
    /// Made examples (`[train]` taught, slips, strangers) that are tried too, for each mined one, as many of them left alone as of
    /// the mined: a log has few searches that somebody typed anew, and what an index answers can be told of any.
    pub made: f64,
    /// Searches of training people as they came that are tried too, for each mined one: those after which something was stayed
    /// with, at once or after typing anew (`grpo.mended`). A policy is asked at every search, not at those that make good examples.
    pub searched: f64,
    /// Share of these that found nothing until they were typed anew. What people stayed with was on the plain page, so the others
    /// speak for leaving alone: the more of them, the less is rewritten.
    pub mended: f64,
    /// G: completions sampled for each prompt.
    pub num_generations: usize,
    /// μ: optimizer steps taken on each rollout; from the second on by the ratio to the policy that sampled.
    pub num_iterations: u64,
    /// Temperature of sampling, and of the log-probabilities that are learnt from.
    pub temperature: f64,
    /// Longest completion in tokens.
    pub max_completion_length: usize,
    /// Whether rollouts say anything, or only `<reject>` and valid queries; log-probabilities are the model's own either way.
    pub decoding: Decoding,
    /// What the tokens' costs are divided by.
    pub loss_type: LossType,
    /// Where ratios are taken; `sequence` is GSPO.
    pub importance_sampling_level: ImportanceLevel,
    /// What a group's advantages are divided by.
    pub scale_rewards: ScaleRewards,
    /// Weight of the divergence from the model it starts from (k3); 0 needs no second model.
    pub beta: f64,
    /// The ratio is clipped below at 1 − ε.
    pub epsilon: f64,
    /// And above at 1 + this (DAPO's clip-higher); the cap itself with `cispo`.
    pub epsilon_high: f64,
    /// λ: weight of this loss beside that of the examples (WeWrite: `L_SFT + λ·L_GRPO`).
    pub lambda: f64,
    /// Weight of learning by example in the same step; 0 leaves it out.
    pub sft: f64,
    /// Which examples these are.
    pub examples: Beside,
    /// Whether a group whose completions all earned the same is given an answer that nobody in it said, `<reject>` or the example's
    /// own, where that earns more: what a policy is sure of gives no difference to learn from, right or wrong.
    pub unsaid: bool,
    /// How often prompts whose completions all earned the same are replaced by others (DAPO's dynamic sampling).
    pub resample: usize,
}

impl Default for Grpo {
    fn default() -> Self {
        Self {
            steps: 200,
            lr: 1e-4,
            prompts: 8,
            made: 0.0,
            searched: 0.0,
            mended: 0.5,
            num_generations: 8,
            num_iterations: 1,
            temperature: 1.0,
            max_completion_length: 16,
            decoding: Decoding::Free,
            loss_type: LossType::Dapo,
            importance_sampling_level: ImportanceLevel::Token,
            scale_rewards: ScaleRewards::Group,
            beta: 0.02,
            epsilon: 0.2,
            epsilon_high: 0.28,
            lambda: 1.0,
            sft: 1.0,
            examples: Beside::All,
            unsaid: false,
            resample: 2,
        }
    }
}

/// Examples that are learnt beside rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beside {
    /// All that there are.
    All,
    /// Those left alone, and those whose rewrite is a query that an index answers (`fake.min_people`): what nobody else types
    /// teaches how a context is read, and then it teaches what an index does not have.
    Answered,
}

/// What the tokens' costs are divided by; see `train::grpo::Loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Mean over a completion's tokens, then over completions.
    Grpo,
    /// Mean over the tokens of the micro-batch, which is the step here.
    Bnpo,
    /// Mean over the tokens of the step.
    Dapo,
    /// Sum over completions × `max_completion_length`.
    DrGrpo,
    /// Clipped ratio as a constant weight of log-probabilities.
    Cispo,
}

/// Where ratios are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceLevel {
    /// Per token.
    Token,
    /// Per completion (GSPO).
    Sequence,
}

/// What advantages are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The deviation of the rewards in a group.
    Group,
    /// The deviation of all rewards of the rollout.
    Batch,
    /// Nothing.
    None,
}
