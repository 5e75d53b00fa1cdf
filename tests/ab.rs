//! The experiment: equal arms differ by nothing or by chance, and the oracle lifts what it should.

use core_rewriter::ab::{self, Arms, Design, Report};
use core_rewriter::recipe::Recipe;
use core_rewriter::simulate;

fn small() -> Recipe {
    let mut recipe = Recipe::load("tiny").unwrap();
    (recipe.world.videos, recipe.world.people, recipe.ab.resamples) = (600, 160, 400);
    recipe
}

fn row<'a>(report: &'a Report, metric: &str) -> &'a ab::Row {
    report.rows.iter().find(|row| row.metric == metric).unwrap()
}

#[test]
fn arms_differ_by_what_they_do_and_by_nothing_else() {
    let (workspace, recipe) = (tempfile::tempdir().unwrap(), small());
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    let run =
        |control, treatment, design| ab::run(workspace.path(), &recipe, &Arms { control, treatment, design }).unwrap();
    let nothing = run("never", "never", Design::Paired);
    for metric in &nothing.rows {
        assert_eq!(metric.all.unwrap().difference, 0.0, "{}", metric.metric);
        assert!(metric.impacted.is_none(), "no search can be impacted");
    }
    assert_eq!(nothing.rewritten_share, 0.0);

    let oracle = run("never", "oracle", Design::Paired);
    let views = row(&oracle, "vv10s_per_search");
    let lift = views.all.unwrap();
    assert!(lift.difference > 0.0 && lift.p < 0.05, "{lift:?}");
    assert!((views.share_of_oracle().unwrap() - 1.0).abs() < 1e-12);
    assert!(row(&oracle, "good_rate").all.unwrap().difference > 0.0);
    assert!(oracle.rewritten_share > 0.5 && oracle.rewrite_ms >= 0.0);

    // Hashed arms hold each person once, and no one is in both.
    let hashed = run("never", "copy-rule", Design::Hashed);
    assert_eq!(row(&hashed, "ctr").all.unwrap().people, hashed.people);
    assert!(row(&hashed, "ctr").impacted.is_some());
    let names = (hashed.control.as_str(), hashed.treatment.as_str());
    assert_eq!(names, ("never rewrite", "copy rule"));
}

#[test]
fn equal_arms_are_called_different_no_more_often_than_the_level_says() {
    let mut recipe = small();
    (recipe.world.videos, recipe.world.people) = (300, 90);
    let null = ab::rejections(&recipe, 24).unwrap();
    assert_eq!((null.runs, null.people, null.by_metric.len()), (24, 90, 6));
    // Binomial(24, 0.05): more than 5 has probability below 0.002.
    assert!(null.share_significant <= 5.0 / 24.0, "{null:?}");
    assert_eq!(null.share_significant, null.by_metric[0].1);
    assert!(ab::rejections(&recipe, 0).is_err());
}
