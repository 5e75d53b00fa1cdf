//! The recipe's words for the objective's settings.

use crate::recipe::{Grpo, ImportanceLevel, LossType, ScaleRewards};
use crate::train::advantages::Scale;
use crate::train::grpo::{Importance, Loss, Settings};

pub(super) fn scale(g: &Grpo) -> Scale {
    match g.scale_rewards {
        ScaleRewards::Group => Scale::Group,
        ScaleRewards::Batch => Scale::Batch,
        ScaleRewards::None => Scale::None,
    }
}

pub(super) fn of(g: &Grpo) -> Settings {
    Settings {
        loss: match g.loss_type {
            LossType::Grpo => Loss::Grpo,
            LossType::Bnpo => Loss::Bnpo,
            LossType::Dapo => Loss::Dapo,
            LossType::DrGrpo => Loss::DrGrpo,
            LossType::Cispo => Loss::Cispo,
        },
        importance: match g.importance_sampling_level {
            ImportanceLevel::Token => Importance::Token,
            ImportanceLevel::Sequence => Importance::Sequence,
        },
        beta: g.beta,
        epsilon_low: g.epsilon,
        epsilon_high: g.epsilon_high,
        delta: None,
        max_completion_length: g.max_completion_length,
    }
}
