//! Beside rewards: which examples are learnt in the same steps, and which of those that were made are tried like the mined ones.

use rand::seq::IndexedRandom;

use crate::recipe::{Beside, Recipe, stream};
use crate::store::ExampleRow;

/// Those of the rows that are learnt by example; `answers` tells whether an index answers a text. What it does not answer would
/// teach what rewards may punish.
pub(super) fn learnt(rows: &[ExampleRow], which: Beside, answers: impl Fn(&str) -> bool) -> Vec<ExampleRow> {
    let fits = |row: &&ExampleRow| which == Beside::All || row.target.as_deref().is_none_or(&answers);
    rows.iter().filter(fits).cloned().collect()
}

/// Of the made rows, `grpo.made` for each mined one, as many of them left alone as of the mined; fewer where there are not so many.
pub(super) fn tried(made: &[ExampleRow], mined: &[ExampleRow], recipe: &Recipe) -> Vec<ExampleRow> {
    let wanted = |left_alone: bool| {
        let of_mined = mined.iter().filter(|row| row.target.is_none() == left_alone).count();
        (of_mined as f64 * recipe.grpo.made).round() as usize
    };
    let mut rng = stream(recipe.seed, "rollout made", &[]);
    let mut tried = Vec::new();
    for left_alone in [false, true] {
        let rows: Vec<&ExampleRow> = made.iter().filter(|row| row.target.is_none() == left_alone).collect();
        tried.extend(rows.choose_multiple(&mut rng, wanted(left_alone)).copied().cloned());
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Context;
    use crate::store::Split;

    fn rows(targets: &[Option<&str>]) -> Vec<ExampleRow> {
        let row = |target: &Option<&str>| ExampleRow {
            split: Split::Train,
            user: "u".into(),
            time_ms: 0,
            query: "jaguar".into(),
            target: target.map(str::to_owned),
            context: Context::default(),
            satisfied_doc: None,
        };
        targets.iter().map(row).collect()
    }

    fn targets(rows: &[ExampleRow]) -> Vec<Option<&str>> {
        rows.iter().map(|row| row.target.as_deref()).collect()
    }

    #[test]
    fn what_no_index_answers_is_not_learnt_and_what_is_left_alone_is() {
        let rows = rows(&[Some("jaguar car"), None, Some("jaguar qwxyz")]);
        let of = |which| targets(&learnt(&rows, which, |text| text == "jaguar car")).len();
        assert_eq!((of(Beside::All), of(Beside::Answered)), (3, 2));
        let kept = learnt(&rows, Beside::Answered, |text| text == "jaguar car");
        assert_eq!(targets(&kept), [Some("jaguar car"), None]);
    }

    #[test]
    fn made_ones_are_tried_in_the_proportion_of_the_mined() {
        let mined = rows(&[Some("a"), Some("b"), Some("c"), None]);
        let made = rows(&[&[None; 50][..], &[Some("d"); 50]].concat());
        let mut recipe = Recipe::default();
        let of = |recipe: &Recipe| {
            let tried = tried(&made, &mined, recipe);
            let left_alone = tried.iter().filter(|row| row.target.is_none()).count();
            (tried.len() - left_alone, left_alone)
        };
        assert_eq!(of(&recipe), (0, 0));
        recipe.grpo.made = 2.0;
        assert_eq!(of(&recipe), (6, 2));
        recipe.grpo.made = 20.0;
        assert_eq!(of(&recipe), (50, 20));
    }
}
