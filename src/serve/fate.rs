//! What became of the rewriting of a request, in one closed list.

use crate::rewriter::Reason;

/// The fate of one rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// The page was changed by it.
    Rewritten,
    /// The rewriter left the query alone.
    Rejected,
    /// The rewrite said what the query says already.
    Unchanged,
    /// The model did not come to an end.
    Truncated,
    /// Nothing that the rewrite brought goes with the query.
    Irrelevant,
    /// No near-line rewrite yet, or no list for it in the fake index.
    Missed,
    /// Not there by the deadline.
    Late,
    /// It failed, or panicked, or there is no rewriter where there should be one.
    Failed,
    /// No rewriting was asked for.
    Off,
}

impl Fate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rewritten => "rewritten",
            Self::Rejected => "rejected",
            Self::Unchanged => "unchanged",
            Self::Truncated => "truncated",
            Self::Irrelevant => "irrelevant",
            Self::Missed => "missed",
            Self::Late => "late",
            Self::Failed => "error",
            Self::Off => "off",
        }
    }

    /// The share it counts towards on the *Serving* page.
    pub(super) fn share(self) -> &'static str {
        match self {
            Self::Rewritten => "hit",
            Self::Rejected | Self::Unchanged | Self::Truncated | Self::Irrelevant => "reject",
            Self::Missed => "miss",
            Self::Late => "late",
            Self::Failed => "error",
            Self::Off => "off",
        }
    }
}

impl From<Reason> for Fate {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Rewritten => Self::Rewritten,
            Reason::Rejected => Self::Rejected,
            Reason::Unchanged => Self::Unchanged,
            Reason::Truncated => Self::Truncated,
            Reason::Cancelled => Self::Late,
        }
    }
}
