//! The main metric each time it is looked at, held against its boundary.

use super::arms::days;
use crate::judge::{Decision, Estimate, Look, Monitor, two_sided_p};
use crate::recipe::Recipe;

/// Looks at an estimate that grows; `seen(n)` is the control's value and the estimate after the first `n` parts, none while
/// there is nothing to compare.
pub(super) fn looks(
    recipe: &Recipe,
    more_is_better: bool,
    seen: impl Fn(usize) -> Option<(f64, Estimate)>,
) -> Vec<Look> {
    let mut monitor = Monitor::new(recipe.ab.level);
    let mut stopped = false;
    let mut looks = Vec::new();
    for index in 0..recipe.ab.looks {
        let Some((control, estimate)) = seen(index as usize + 1) else { continue };
        let days = days(recipe, index);
        let time = f64::from(days) / f64::from(7 * recipe.ab.weeks);
        let boundary = monitor.look(time, estimate.se.powi(-2));
        let (z, reach) = (estimate.z(), boundary.z * estimate.se);
        let crossed = z.abs() > boundary.z;
        let decision = match (stopped, crossed, (z > 0.0) == more_is_better) {
            (true, _, _) => Decision::StoppedBefore,
            (_, true, true) => Decision::Better,
            (_, true, false) => Decision::Worse,
            _ if index + 1 == recipe.ab.looks => Decision::NoDifference,
            _ => Decision::GoOn,
        };
        stopped |= crossed;
        let difference = estimate.difference;
        let (low, high) = (difference - reach, difference + reach);
        looks.push(Look { days, control, difference, low, high, z, p: two_sided_p(z), boundary, decision });
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_significant_too_early_goes_on_and_what_is_clear_stops() {
        let mut recipe = Recipe::default();
        (recipe.ab.weeks, recipe.ab.looks) = (4, 4);
        let of = |zs: [f64; 4]| {
            // The standard error falls with the root of time.
            let seen = move |n: usize| {
                let se = 1.0 / (n as f64).sqrt();
                Some((1.0, Estimate { difference: zs[n - 1] * se, se }))
            };
            looks(&recipe, true, seen).into_iter().map(|look| look.decision).collect::<Vec<_>>()
        };
        // 2.9 has a nominal p of 0.004; the boundaries are 4.33, 2.96, 2.36, 2.01.
        assert_eq!(of([2.9, 2.9, 2.0, 1.99]), [Decision::GoOn, Decision::GoOn, Decision::GoOn, Decision::NoDifference]);
        assert_eq!(of([2.9, 3.0, 1.0, 2.0])[1..], [Decision::Better, Decision::StoppedBefore, Decision::StoppedBefore]);
        assert_eq!(of([0.0, 0.0, 0.0, -2.1])[3], Decision::Worse);
    }
}
