//! The slopes against differences of the loss; micro-batches; what does not belong together.

use super::*;

fn rollouts() -> Vec<Rollout> {
    vec![
        Rollout {
            lengths: vec![3, 0, 2],
            advantages: vec![0.7, -1.0, -0.9],
            old: Some(vec![-1.3, -0.2, -2.9, -0.6, -2.6]),
            reference: Some(vec![-1.0, -0.4, -2.0, -1.0, -1.5]),
        },
        Rollout {
            lengths: vec![1, 2],
            advantages: vec![-0.4, 1.1],
            old: Some(vec![-1.0, -2.0, -1.9]),
            reference: Some(vec![-2.0, -1.0, -1.2]),
        },
    ]
}

const LOGPROBS: [f32; 8] = [-1.1, -0.9, -2.5, -0.5, -1.7, -0.3, -1.95, -1.2];

fn every_setting() -> Vec<Settings> {
    let mut all = Vec::new();
    for loss in [Loss::Grpo, Loss::Bnpo, Loss::Dapo, Loss::DrGrpo, Loss::Cispo] {
        for importance in [Importance::Token, Importance::Sequence] {
            for (beta, delta) in [(0.0, None), (0.3, Some(1.5)), (0.3, Some(1.1))] {
                let max_completion_length = 4;
                all.push(Settings { loss, importance, beta, delta, max_completion_length, ..Settings::default() });
            }
        }
    }
    all
}

fn objective(settings: Settings, rollouts: Vec<Rollout>) -> Grpo {
    let counts = Counts::of(&rollouts);
    Grpo::new(settings, rollouts, counts).unwrap()
}

#[test]
fn slopes_are_the_derivatives_of_the_loss() {
    for settings in every_setting() {
        // CISPO's weights are constants of the derivative: at ratios above the cap they are constants indeed.
        let settings = match settings.loss {
            Loss::Cispo => Settings { epsilon_high: 0.01, ..settings },
            _ => settings,
        };
        let grpo = objective(settings, rollouts());
        let slopes = [grpo.slopes(0, &LOGPROBS[..5]), grpo.slopes(1, &LOGPROBS[5..])].concat();
        for t in 0..LOGPROBS.len() {
            let loss = |step: f32| {
                let mut moved = LOGPROBS;
                moved[t] += step;
                (grpo.tally(&moved).loss, f64::from(moved[t]))
            };
            let ((above, x1), (below, x0)) = (loss(1e-3), loss(-1e-3));
            let slope = (above - below) / (x1 - x0);
            assert!((slope - f64::from(slopes[t])).abs() < 2e-4, "{settings:?} token {t}: {slope} {}", slopes[t]);
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_whole() {
    for settings in every_setting() {
        let all = rollouts();
        let counts = Counts::of(&all);
        let whole = objective(settings, all.clone());
        let first = Grpo::new(settings, all[..1].to_vec(), counts).unwrap();
        let second = Grpo::new(settings, all[1..].to_vec(), counts).unwrap();
        assert_eq!(whole.slopes(1, &LOGPROBS[5..]), second.slopes(0, &LOGPROBS[5..]));
        let mut tally = first.tally(&LOGPROBS[..5]);
        tally.add(&second.tally(&LOGPROBS[5..]));
        let expected = whole.tally(&LOGPROBS);
        assert!((tally.loss - expected.loss).abs() < 1e-12);
        for (name, value) in expected.statistics() {
            assert!((tally.statistics()[&name] - value).abs() < 1e-12, "{name}");
        }
    }
}

#[test]
fn the_policys_own_samples_have_ratio_one() {
    let own = |r: Rollout| Rollout { old: None, ..r };
    let grpo = objective(Settings::default(), rollouts().into_iter().map(own).collect());
    let expected = [0.7, 0.7, 0.7, -0.9, -0.9].map(|a| -a / 8.0);
    for (slope, expected) in grpo.slopes(0, &LOGPROBS[..5]).iter().zip(expected) {
        assert!((f64::from(*slope) - expected).abs() < 1e-7);
    }
    assert_eq!(grpo.tally(&LOGPROBS).statistics()["clip_ratio/region_mean"], 0.0);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let error = |settings: Settings, change: &dyn Fn(&mut Rollout)| {
        let mut all = rollouts();
        change(&mut all[1]);
        let counts = Counts::of(&all);
        Grpo::new(settings, all, counts).unwrap_err().to_string()
    };
    let default = Settings::default();
    assert!(error(default, &|r| r.advantages.push(0.0)).contains("3 advantages for 2 completions"));
    assert!(error(default, &|r| r.old = Some(vec![])).contains("0 old log-probabilities for 3 tokens"));
    assert!(error(Settings { beta: 0.1, ..default }, &|r| r.reference = None).contains("no reference"));
    assert!(error(Settings { epsilon_low: -0.1, ..default }, &|_| ()).contains("epsilon_low = -0.1"));
    assert!(error(Settings { delta: Some(f64::NAN), ..default }, &|_| ()).contains("delta"));
}
