//! Top-k × bottom-k: which answers to one prompt are set against which.

use crate::judge::reward::Ratio;
use crate::model::Completion;
use crate::recipe::Mpo;

/// Answers of a prompt that are learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Paired {
    /// Their places among all answers: chosen, then rejected.
    pub places: Vec<usize>,
    /// Chosen and rejected, by their places in `places`.
    pub pairs: Vec<(usize, usize)>,
}

/// Sets the best `top` of a group's answers against its worst, where rewards differ by `margin` or more. Answers that say the same
/// count as often as they were sampled, so that what comes after the best is not preferred for being another, and are learnt once.
/// Those without a reward, and what is left in no pair, are left out. A group in which all are alike gives none.
pub(super) fn pair(completions: &[Completion], ratios: &[Option<Ratio>], settings: &Mpo) -> Paired {
    let values: Vec<Option<f64>> = ratios.iter().map(|ratio| Some(ratio.as_ref()?.value)).collect();
    let ids: Vec<&[u32]> = completions.iter().map(|completion| completion.ids.as_slice()).collect();
    pair_of(&ids, &values, settings)
}

fn pair_of(answers: &[&[u32]], values: &[Option<f64>], settings: &Mpo) -> Paired {
    // The first of those that say the same stands for all.
    let first = |place: usize| answers.iter().position(|answer| *answer == answers[place]).unwrap_or(place);
    let known = values.iter().enumerate().filter_map(|(place, value)| Some((first(place), (*value)?)));
    let mut all: Vec<(usize, f64)> = known.filter(|(_, value)| value.is_finite()).collect();
    // Of equal rewards the one sampled first counts as the better.
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    // With fewer answers than both sides ask for, none may stand on both.
    let k = settings.top.min(all.len() / 2);
    let once = |side: &[(usize, f64)]| {
        let mut side = side.to_vec();
        side.dedup_by_key(|(place, _)| *place);
        side
    };
    let (best, worst) = (&once(&all[..k]), &once(&all[all.len() - k..]));
    let far: Vec<(usize, usize)> = best
        .iter()
        .flat_map(|w| worst.iter().map(move |l| (w, l)))
        .filter(|(w, l)| w.1 - l.1 >= settings.margin && w.1 > l.1)
        .map(|(w, l)| (w.0, l.0))
        .collect();
    let used = |side: &[(usize, f64)]| -> Vec<usize> {
        side.iter().map(|(place, _)| *place).filter(|p| far.iter().any(|(w, l)| w == p || l == p)).collect()
    };
    let places = [used(best), used(worst)].concat();
    let at = |place: usize| places.iter().position(|known| *known == place);
    let pairs = far.into_iter().filter_map(|(w, l)| Some((at(w)?, at(l)?))).collect();
    Paired { places, pairs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answers: &[(u32, f64)], top: usize, margin: f64) -> Paired {
        let ids: Vec<[u32; 1]> = answers.iter().map(|(id, _)| [*id]).collect();
        let ids: Vec<&[u32]> = ids.iter().map(|id| id.as_slice()).collect();
        let values: Vec<Option<f64>> = answers.iter().map(|(_, x)| Some(*x).filter(|x| !x.is_nan())).collect();
        pair_of(&ids, &values, &Mpo { top, margin, ..Mpo::default() })
    }

    #[test]
    fn the_best_are_set_against_the_worst_and_the_middle_is_left_out() {
        let found = of(&[(1, 0.5), (2, 2.0), (3, -1.0), (4, 1.5), (5, 0.0), (6, 0.6)], 2, 0.1);
        assert_eq!(found, Paired { places: vec![1, 3, 4, 2], pairs: vec![(0, 2), (0, 3), (1, 2), (1, 3)] });
    }

    #[test]
    fn ties_duplicates_and_unanimous_groups_give_no_pair_of_equals() {
        assert_eq!(of(&[(1, 1.0), (1, 1.0), (1, 1.0)], 2, 0.1), Paired::default());
        assert_eq!(of(&[(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)], 2, 0.0), Paired::default());
        // Two distinct answers: one side each, whatever k is.
        assert_eq!(of(&[(1, 1.0), (2, 0.0), (1, 1.0)], 2, 0.1), Paired { places: vec![0, 1], pairs: vec![(0, 1)] });
        // Whatever comes after an answer that was sampled often is not among the best.
        let often = of(&[(1, 1.0), (2, 0.5), (1, 1.0), (3, 0.0), (1, 1.0)], 2, 0.1);
        assert_eq!(often, Paired { places: vec![0, 1, 3], pairs: vec![(0, 1), (0, 2)] });
        assert_eq!(of(&[], 2, 0.1), Paired::default());
        assert_eq!(of(&[(1, 1.0)], 2, 0.1), Paired::default());
    }

    #[test]
    fn pairs_within_the_margin_and_answers_without_a_reward_are_left_out() {
        // The second best differs from the second worst by too little: that pair alone goes.
        let found = of(&[(1, 2.0), (2, 1.0), (3, 0.95), (4, 0.0), (5, f64::NAN)], 2, 0.1);
        assert_eq!(found, Paired { places: vec![0, 1, 2, 3], pairs: vec![(0, 2), (0, 3), (1, 3)] });
        assert_eq!(of(&[(1, 2.0), (2, f64::NAN)], 1, 0.1), Paired::default());
    }
}
