//! From people's lives to what an experiment found.

use super::arms::{Arm, Stage};
use super::looks::looks;
use super::metrics::{Counts, METRICS, Metric};
use super::said::Said;
use super::{Life, Plan};
use crate::judge::{
    Comparison, Decay, Design, Estimate, Experiment, Ratio, Row, Treatment, Trial, compare, compare_groups,
    lift_change, two_sided_p,
};
use crate::recipe::Recipe;

/// One stretch of weeks, lived.
type Lived<'a> = (Stage<'a>, Vec<Life>);

pub(super) fn experiment(
    recipe: &Recipe,
    plan: &Plan,
    control: &Arm,
    treatments: &[Arm],
    trials: &[Lived],
) -> Experiment {
    let asked = plan.treatments.len();
    let trial = |(stage, lives): &Lived| {
        let one = |arm: usize| treatment(recipe, plan.design, stage, lives, arm, treatments[arm].name());
        let treatments = (0..asked).map(one).collect();
        Trial { first_week: stage.weeks.start + 1, weeks: recipe.ab.weeks, people: lives.len(), treatments }
    };
    let decay = trials.split_first().map_or_else(Vec::new, |(first, later)| {
        let of_arm =
            |arm: usize| later.iter().filter_map(move |late| decay(plan.design, first, late, arm, &treatments[arm]));
        (0..asked).flat_map(of_arm).collect()
    });
    Experiment {
        recipe: recipe.name.clone(),
        seed: recipe.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        control: control.name().to_owned(),
        design: plan.design,
        recall: recipe.serve.recall,
        lives: recipe.ab.lives,
        level: recipe.ab.level,
        trials: trials.iter().map(trial).collect(),
        decay,
    }
}

fn treatment(recipe: &Recipe, design: Design, stage: &Stage, lives: &[Life], arm: usize, name: &str) -> Treatment {
    let everything: Vec<Counts> = lives.iter().flat_map(counts_of_all).collect();
    let oracle = (0..lives.first().map_or(0, |life| life.treatments.len())).find(|arm| stage.is_oracle(*arm));
    let row = |metric: &Metric| {
        let to_oracle = |life: &Life| {
            let ceiling = life.treatments[oracle?].as_ref()?;
            Some((metric.of(&life.control.all()), metric.of(&ceiling.all())))
        };
        let pairs: Vec<_> = lives.iter().filter_map(to_oracle).collect();
        let impacted = |life: &Life, treated: bool| {
            Some(match treated {
                false => metric.of(&life.control.impacted[arm]),
                true => metric.of(&life.treatments[arm].as_ref()?.impacted[0]),
            })
        };
        Row {
            metric: metric.name.into(),
            more_is_better: metric.more_is_better,
            all: compared(recipe, design, lives, |life, treated| value(metric, life, arm, treated, usize::MAX)),
            impacted: compared(recipe, design, lives, impacted),
            oracle_difference: compare(&pairs, 1, recipe.seed).map(|c| c.difference),
        }
    };
    let main = &METRICS[0];
    let (rewritten, searches) =
        lives.iter().fold((0, 0), |(r, s), life| (r + life.control.rewritten[arm], s + life.control.searches));
    let said =
        lives.iter().filter_map(|life| Some(life.treatments[arm].as_ref()?.said)).fold(Said::default(), Said::and);
    Treatment {
        treatment: name.to_owned(),
        rewritten_share: rewritten as f64 / searches.max(1) as f64,
        index_hits: said.index_hits(),
        functional_left_alone: said.functional_left_alone(),
        rewrite_ms: stage.mean_ms(arm),
        rows: METRICS.iter().filter(|metric| metric.told(&everything)).map(row).collect(),
        looks: looks(recipe, main.more_is_better, |parts| {
            estimated(design, lives, |life, treated| value(main, life, arm, treated, parts))
        }),
    }
}

fn counts_of_all(life: &Life) -> impl Iterator<Item = Counts> {
    std::iter::once(&life.control).chain(life.treatments.iter().flatten()).map(|lived| lived.all())
}

/// A person's share in a metric up to a look, in one arm; none for who is not in it.
fn value(metric: &Metric, life: &Life, arm: usize, treated: bool, parts: usize) -> Option<Ratio> {
    let lived = if treated { life.treatments[arm].as_ref()? } else { &life.control };
    Some(metric.of(&lived.until(parts)))
}

/// People of both arms as pairs.
fn pairs(lives: &[Life], value: impl Fn(&Life, bool) -> Option<Ratio>) -> Vec<(Ratio, Ratio)> {
    lives.iter().filter_map(|life| Some((value(life, false)?, value(life, true)?))).collect()
}

/// People of the control, and those of the treatment.
fn groups(lives: &[Life], value: impl Fn(&Life, bool) -> Option<Ratio>) -> [Vec<Ratio>; 2] {
    [false, true]
        .map(|arm| lives.iter().filter(|life| life.treated == arm).filter_map(|life| value(life, arm)).collect())
}

fn compared(
    recipe: &Recipe,
    design: Design,
    lives: &[Life],
    value: impl Fn(&Life, bool) -> Option<Ratio>,
) -> Option<Comparison> {
    match design {
        Design::Paired => compare(&pairs(lives, value), recipe.ab.resamples, recipe.seed),
        Design::Hashed => {
            let [control, treatment] = groups(lives, value);
            compare_groups(&control, &treatment, recipe.ab.resamples, recipe.seed)
        }
    }
}

/// The control's value, and the difference with its standard error.
fn estimated(design: Design, lives: &[Life], value: impl Fn(&Life, bool) -> Option<Ratio>) -> Option<(f64, Estimate)> {
    let ratio = |arm: &[Ratio]| arm.iter().map(|r| r.num).sum::<f64>() / arm.iter().map(|r| r.den).sum::<f64>();
    match design {
        Design::Paired => {
            let pairs = pairs(lives, value);
            let control: Vec<_> = pairs.iter().map(|(control, _)| *control).collect();
            Some((ratio(&control), Estimate::of_pairs(&pairs)?))
        }
        Design::Hashed => {
            let [control, treatment] = groups(lives, value);
            Some((ratio(&control), Estimate::of_groups(&control, &treatment)?))
        }
    }
}

/// What a treatment's lift of the main metric lost from the first stretch to a later one.
fn decay(design: Design, early: &Lived, late: &Lived, arm: usize, treatment: &Arm) -> Option<Decay> {
    // One entry a person in either arm, so that the same person's weeks stand side by side.
    let of = |(_, lives): &Lived, treated: bool| -> Vec<Ratio> {
        let takes_part = |life: &Life| design == Design::Paired || life.treated == treated;
        let one = |life: &Life| value(&METRICS[0], life, arm, treated, usize::MAX).filter(|_| takes_part(life));
        lives.iter().map(|life| one(life).unwrap_or_default()).collect()
    };
    let lift = |[control, treatment]: [&[Ratio]; 2]| {
        let ratio = |arm: &[Ratio]| arm.iter().map(|r| r.num).sum::<f64>() / arm.iter().map(|r| r.den).sum::<f64>();
        ratio(treatment) / ratio(control) - 1.0
    };
    let (early_arms, late_arms) = ([false, true].map(|t| of(early, t)), [false, true].map(|t| of(late, t)));
    let (early_arms, late_arms) = ([&early_arms[0][..], &early_arms[1]], [&late_arms[0][..], &late_arms[1]]);
    let change = lift_change(early_arms, late_arms)?;
    let half = 1.959_964 * change.se;
    Some(Decay {
        treatment: treatment.name().to_owned(),
        early_week: early.0.weeks.start + 1,
        early: lift(early_arms),
        late_week: late.0.weeks.start + 1,
        late: lift(late_arms),
        change: change.difference,
        low: change.difference - half,
        high: change.difference + half,
        p: two_sided_p(change.z()),
    })
}
