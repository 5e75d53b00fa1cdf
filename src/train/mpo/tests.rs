//! The slopes against differences of the loss; shared groups against single pairs; what does not belong together.

use super::*;

const LOGPROBS: [f32; 9] = [-1.0, -2.0, -0.5, -3.0, -0.1, -0.7, -2.2, -0.3, -1.4];
const REFERENCE: [f32; 9] = [-1.5, -1.0, -9.5, -3.1, -0.4, -0.2, -2.0, -14.3, -1.0];

/// Two chosen of 2 and 1 tokens, two rejected of 4 and 2.
fn shared() -> Pairs {
    Pairs::crossed(vec![2, 1, 4, 2], 2, REFERENCE.to_vec())
}

fn objective(groups: Vec<Pairs>) -> Mpo {
    let counts = Counts::of(&groups);
    Mpo::new(Settings::default(), groups, counts).unwrap().with_delta(0.3)
}

#[test]
fn slopes_are_the_derivatives_of_the_loss() {
    let mpo = objective(vec![shared()]);
    let slopes = mpo.slopes(0, &LOGPROBS);
    for t in 0..LOGPROBS.len() {
        let loss = |step: f32| {
            let mut moved = LOGPROBS;
            moved[t] += step;
            (mpo.tally(&moved).loss, f64::from(moved[t]))
        };
        let ((above, x1), (below, x0)) = (loss(1e-2), loss(-1e-2));
        assert!(((above - below) / (x1 - x0) - f64::from(slopes[t])).abs() < 1e-5, "token {t}");
    }
}

#[test]
fn a_shared_group_is_worth_its_pairs_one_by_one() {
    let mpo = objective(vec![shared()]);
    let spans = [0..2, 2..3, 3..7, 7..9];
    let cut = |list: &[f32], w: usize, l: usize| [&list[spans[w].clone()], &list[spans[l].clone()]].concat();
    let pairs = &shared().pairs;
    assert_eq!(*pairs, [(0, 2), (0, 3), (1, 2), (1, 3)]);
    let lengths = |w: usize, l: usize| vec![spans[w].len(), spans[l].len()];
    let single = |&(w, l): &(usize, usize)| Pairs::crossed(lengths(w, l), 1, cut(&REFERENCE, w, l));
    let alone = objective(pairs.iter().map(single).collect());
    let logprobs: Vec<f32> = pairs.iter().flat_map(|&(w, l)| cut(&LOGPROBS, w, l)).collect();
    let (together, apart) = (mpo.tally(&LOGPROBS), alone.tally(&logprobs));
    assert!((together.loss - apart.loss).abs() < 1e-12);
    for (name, value) in apart.statistics() {
        assert!((together.statistics()[&name] - value).abs() < 1e-12, "{name}");
    }
    let mut slopes = [0.0f32; 9];
    for (i, &(w, l)) in pairs.iter().enumerate() {
        let own = alone.slopes(i, &cut(&LOGPROBS, w, l));
        for (t, slope) in spans[w].clone().chain(spans[l].clone()).zip(own) {
            slopes[t] += slope;
        }
    }
    for (a, b) in mpo.slopes(0, &LOGPROBS).iter().zip(slopes) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_completion_in_no_pair_has_no_slope_and_large_rewards_stay_finite() {
    let mut group = shared();
    group.pairs = vec![(0, 3)];
    let mpo = objective(vec![group]);
    let logprobs = LOGPROBS.map(|lp| lp * 1e5);
    assert!(mpo.tally(&logprobs).loss.is_finite());
    let slopes = mpo.slopes(0, &logprobs);
    assert!(slopes.iter().all(|s| s.is_finite()) && slopes[2..7].iter().all(|s| *s == 0.0), "{slopes:?}");
}

#[test]
fn the_running_mean_counts_every_batch_once() {
    let mut running = RunningMean::default();
    assert_eq!(running.update(&[]), 0.0);
    assert_eq!(running.update(&[1.0, 3.0]), 2.0);
    assert!((running.update(&[8.0]) - 5.0).abs() < 1e-12 && (running.mean() - 5.0).abs() < 1e-12);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let error = |group: Pairs| {
        let counts = Counts::of(std::slice::from_ref(&group));
        Mpo::new(Settings::default(), vec![group], counts).unwrap_err().to_string()
    };
    assert!(error(Pairs { reference: vec![], ..shared() }).contains("0 reference log-probabilities for 9 tokens"));
    assert!(error(Pairs { pairs: vec![(0, 4)], ..shared() }).contains("two of its 4 completions"));
    assert!(Settings { beta: 0.0, ..Settings::default() }.check().is_err());
}
