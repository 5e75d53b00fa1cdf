//! The gate's metrics: the paper's seven, and ours.

/// A metric of a rewriter on held-out searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Metric {
    /// `S_pos^(1+γ) / S_neg` of what would be served.
    RMain,
    /// Mean factor of documents that were stayed with.
    SPos,
    /// `S_pos / S_rand`.
    RRand,
    /// Entropy over the sampled candidates, nats.
    Entropy,
    /// Mean −log-probability of a sampled token, nats.
    Surprisal,
    /// Mean tokens of an answer.
    Length,
    /// Share of sampled answers without an end.
    Truncated,
    /// Share of rewrites that are valid queries.
    IndexHits,
    /// Share of queries left alone.
    Rejects,
    /// Share of rewrites that some other query got, too: a policy that says one thing to everybody.
    Concentration,
    /// Mean `log(1 + searches)` of the rewrites as queries.
    Popularity,
    /// Divergence of the candidate's answers from the incumbent's, nats an answer.
    Kl,
}

impl Metric {
    pub const ALL: [Self; 12] = [
        Self::RMain,
        Self::SPos,
        Self::RRand,
        Self::Entropy,
        Self::Surprisal,
        Self::Length,
        Self::Truncated,
        Self::IndexHits,
        Self::Rejects,
        Self::Concentration,
        Self::Popularity,
        Self::Kl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RMain => "r_main",
            Self::SPos => "S_pos",
            Self::RRand => "r_rand",
            Self::Entropy => "entropy",
            Self::Surprisal => "surprisal",
            Self::Length => "mean_length",
            Self::Truncated => "truncated",
            Self::IndexHits => "index_hit_rate",
            Self::Rejects => "reject_rate",
            Self::Concentration => "concentration",
            Self::Popularity => "popularity",
            Self::Kl => "kl",
        }
    }
}
