//! The experiment: equal arms differ by nothing or by chance, the oracle lifts what it should, looks keep the error rate.

use core_rewriter::ab::{self, Plan};
use core_rewriter::judge::{Decision, Design, Experiment, Row, Treatment};
use core_rewriter::recipe::{Recall, Recipe};
use core_rewriter::{fake, mine, simulate};

fn small() -> Recipe {
    let mut recipe = Recipe::load("tiny").unwrap();
    (recipe.world.videos, recipe.world.people, recipe.ab.resamples) = (600, 160, 400);
    recipe
}

fn plan<'a>(control: &'a str, treatments: &[&str], design: Design) -> Plan<'a> {
    let treatments = treatments.iter().map(|name| (*name).to_owned()).collect();
    Plan { control, treatments, design, weeks: Vec::new() }
}

fn only(experiment: &Experiment) -> &Treatment {
    &experiment.trials[0].treatments[0]
}

fn row<'a>(one: &'a Treatment, metric: &str) -> &'a Row {
    one.rows.iter().find(|row| row.metric == metric).unwrap()
}

#[test]
fn arms_differ_by_what_they_do_and_by_nothing_else() {
    let (workspace, recipe) = (tempfile::tempdir().unwrap(), small());
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    let run = |plan: Plan| ab::run(workspace.path(), &recipe, &plan).unwrap();
    let nothing = run(plan("never", &["never"], Design::Paired));
    for metric in &only(&nothing).rows {
        assert_eq!(metric.all.unwrap().difference, 0.0, "{}", metric.metric);
        assert!(metric.impacted.is_none(), "no search can be impacted");
    }
    assert_eq!(only(&nothing).rewritten_share, 0.0);
    assert_eq!((only(&nothing).index_hits, only(&nothing).functional_left_alone), (None, Some(1.0)));
    assert_eq!(only(&nothing).looks[0].decision, Decision::NoDifference);

    let oracle = run(plan("never", &["oracle"], Design::Paired));
    let views = row(only(&oracle), "vv10s_per_search");
    let lift = views.all.unwrap();
    assert!(lift.difference > 0.0 && lift.p < 0.05, "{lift:?}");
    assert!((views.share_of_oracle().unwrap() - 1.0).abs() < 1e-12);
    assert!(row(only(&oracle), "good_rate").all.unwrap().difference > 0.0);
    assert!(only(&oracle).rewritten_share > 0.5 && only(&oracle).rewrite_ms >= 0.0);
    assert_eq!(only(&oracle).functional_left_alone, Some(1.0));
    let hits = only(&oracle).index_hits.unwrap();
    assert!(hits > 0.0 && hits < 1.0, "what nobody types is in no index: {hits}");

    // Hashed arms hold each person once, and no one is in both: together as many as searched at all in the week, which those
    // who live both arms tell.
    let hashed = run(plan("never", &["copy-rule"], Design::Hashed));
    assert_eq!(row(only(&hashed), "ctr").all.unwrap().people, row(only(&nothing), "ctr").all.unwrap().people);
    assert!(row(only(&hashed), "ctr").all.unwrap().people <= hashed.trials[0].people);
    assert!(row(only(&hashed), "ctr").impacted.is_some());
    let names = (hashed.control.as_str(), only(&hashed).treatment.as_str());
    assert_eq!(names, ("never rewrite", "copy rule"));
    let of_all = run(plan("never", &["prf"], Design::Paired));
    assert_eq!(only(&of_all).functional_left_alone, Some(0.0), "the rule adds a word to anything");
}

#[test]
fn treatments_that_share_a_control_get_what_each_would_get_alone() {
    let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), small());
    (recipe.ab.weeks, recipe.ab.looks, recipe.baselines.min_people) = (2, 2, 2);
    recipe.world.weeks_after = 2;
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    mine::run(workspace.path(), &recipe, "tiny", mine::Source::Store).unwrap();
    let names = ab::everything(workspace.path(), "tiny", "never");
    assert_eq!(names, ["frequent-gain", "copy-rule", "association", "cooccurrence", "nearest", "prf", "oracle"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for design in [Design::Paired, Design::Hashed] {
        let run = |names: &[&str]| ab::run(workspace.path(), &recipe, &plan("never", names, design)).unwrap();
        let all = run(&names);
        for (name, together) in names.iter().zip(&all.trials[0].treatments) {
            assert!(together.rewritten_share > 0.0, "{name} never rewrites");
            let alone = run(&[name]);
            // How long a rewrite takes is the clock's.
            let alone = Treatment { rewrite_ms: together.rewrite_ms, ..only(&alone).clone() };
            assert_eq!(alone, *together, "{name}");
        }
        // The last look is at everything: what it estimates is what the table says.
        let oracle = all.trials[0].treatments.last().unwrap();
        let (first, last) = (oracle.looks[0], oracle.looks[1]);
        assert!((last.difference - oracle.rows[0].all.unwrap().difference).abs() < 1e-12);
        assert_eq!(([first.days, last.days], last.boundary.spent < 0.0501), ([7, 14], true));
        assert!(first.boundary.z > last.boundary.z && first.difference != last.difference);
    }
    let text = ab::text(&ab::run(workspace.path(), &recipe, &plan("never", &names, Design::Paired)).unwrap());
    assert!(text.contains("nearest valid query") && text.contains("Looks at vv10s_per_search of oracle"), "{text}");
}

#[test]
fn lives_tell_more_of_the_same_people_and_the_first_is_the_one_lived_alone() {
    let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), small());
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    let mut run = |lives| {
        recipe.ab.lives = lives;
        ab::run(workspace.path(), &recipe, &plan("never", &["oracle"], Design::Paired)).unwrap()
    };
    let [once, again, often] = [1, 1, 8].map(&mut run);
    let views = |one: &Experiment| row(only(one), "vv10s_per_search").all.unwrap();
    assert_eq!(views(&once), views(&again));
    assert_eq!((once.lives, often.lives), (1, 8));
    let [one, eight] = [&once, &often].map(views);
    assert!(one.people <= eight.people && eight.people <= once.trials[0].people, "people stay the units");
    assert!(eight.control != one.control && eight.difference != one.difference);
    let [wide, narrow] = [one, eight].map(|c| c.high - c.low);
    assert!(narrow < 0.8 * wide, "eight lives tell {narrow}, one {wide}");
    assert!(ab::text(&often).contains("in every arm, 8 lives each") && !ab::text(&once).contains("lives each"));
}

#[test]
fn rewrites_are_read_from_the_fake_index_where_the_recipe_serves_from_it() {
    let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), small());
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    let oracle = plan("never", &["oracle"], Design::Paired);
    let run = |recipe: &Recipe| ab::run(workspace.path(), recipe, &oracle);
    let searched = run(&recipe).unwrap();
    recipe.serve.recall = Recall::Fake;
    let error = run(&recipe).unwrap_err().to_string();
    assert!(error.contains("core fake build"), "{error}");
    fake::run(workspace.path(), &recipe, &fake::Do::Build(vec![])).unwrap();
    let read = run(&recipe).unwrap();
    assert_eq!([searched.recall, read.recall], [Recall::Index, Recall::Fake]);
    let [by_search, by_index] = [&searched, &read].map(|one| row(only(one), "vv10s_per_search").all.unwrap());
    assert_eq!(by_search.control, by_index.control, "the plain page is the same");
    assert!(by_index.difference != 0.0 && by_index.difference != by_search.difference, "{by_index:?}");
    assert!(ab::text(&read).contains("read from the fake index") && !ab::text(&searched).contains("read from"));
}

#[test]
fn later_weeks_are_held_against_the_first_and_the_log_s_own_are_refused() {
    let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), small());
    recipe.world.weeks_after = 4;
    simulate::run(workspace.path(), &recipe, simulate::Part::default(), false).unwrap();
    let run = |weeks: Vec<u32>| {
        let plan = Plan { weeks, ..plan("never", &["copy-rule", "oracle"], Design::Paired) };
        ab::run(workspace.path(), &recipe, &plan)
    };
    let both = run(vec![3, 6]).unwrap();
    assert_eq!(both.trials.iter().map(|trial| trial.first_week).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(both.decay.len(), 2);
    for (arm, decay) in both.decay.iter().enumerate() {
        let lift = |trial: usize| both.trials[trial].treatments[arm].rows[0].all.unwrap().relative();
        assert!((decay.early - lift(0)).abs() < 1e-12 && (decay.late - lift(1)).abs() < 1e-12, "{decay:?}");
        assert!((decay.change - (decay.late - decay.early)).abs() < 1e-12);
        assert!(decay.low < decay.change && decay.change < decay.high);
    }
    // The same weeks come out whether they are asked for alone or with others.
    assert_eq!(run(vec![6]).unwrap().trials[0].treatments[1].rows, both.trials[1].treatments[1].rows);
    let error = run(vec![2]).unwrap_err().to_string();
    assert!(error.contains("weeks 1 to 2") && error.contains("from 3 to 6"), "{error}");
    assert!(run(vec![7]).unwrap_err().to_string().contains("ends with week 6"));
}

#[test]
fn equal_arms_are_called_different_no_more_often_than_the_level_says() {
    let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), small());
    (recipe.world.videos, recipe.world.people, recipe.ab.looks) = (300, 90, 7);
    let null = ab::rejections(workspace.path(), &recipe, 24).unwrap();
    // Nobody buys anything in this world, so purchases are not among the metrics.
    assert_eq!((null.runs, null.people, null.looks, null.by_metric.len()), (24, 90, 7, 6));
    // Binomial(24, 0.05): more than 5 has probability below 0.002.
    assert!(null.share_significant <= 5.0 / 24.0, "{null:?}");
    assert_eq!(null.share_significant, null.by_metric[0].at_end);
    for row in &null.by_metric {
        assert!(row.any_look_corrected <= 5.0 / 24.0, "{row:?}");
        assert!(row.any_look_uncorrected >= row.any_look_corrected, "{row:?}");
    }
    // Seven looks at 5 % each, over six metrics: what looking at every day does to those who do not correct for it.
    let mean = null.by_metric.iter().map(|row| row.any_look_uncorrected).sum::<f64>() / 6.0;
    assert!(mean > 0.08, "{null:?}");
    assert!(ab::rejections(workspace.path(), &recipe, 0).is_err());
}
