//! From rewards to advantages: how much better a completion did than its group (GRPO, arXiv 2402.03300; names and
//! constants are TRL's).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Added to every deviation that is divided by.
const EPS: f64 = 1e-4;
/// A deviation up to this is none.
const ZERO: f64 = 1e-8;

/// What an advantage is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The deviation of the rewards in its group.
    Group,
    /// The deviation of all rewards of the batch.
    Batch,
    /// Nothing (Dr. GRPO, arXiv 2503.20783).
    None,
}

/// How several rewards become one advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// The weighted sum of the rewards is compared within its group.
    SumThenNormalize,
    /// Each reward is standardised within its group, and their weighted sum over the batch, so that no reward drowns
    /// the others by its scale (GDPO, arXiv 2601.05242). [`Scale`] plays no part.
    NormalizeThenSum,
}

/// Advantages of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Advantages {
    /// One a completion; 0 for one without any reward.
    pub values: Vec<f64>,
    /// Whether the rewards that a completion was compared with did not differ at all.
    pub zero_spread: Vec<bool>,
    /// `reward`, `reward_std` (mean of the deviations used), `frac_reward_zero_std`.
    pub statistics: BTreeMap<String, f64>,
}

/// Advantages of completions that stand in groups of `group`. A completion has one reward per weight; `None` is a
/// reward that does not apply to it, and takes no part in sums, means and deviations (unbiased, `n − 1`).
///
/// # Errors
/// Rows that do not fill whole groups, or that have not one reward per weight; a reward that is not finite.
pub fn advantages(
    rewards: &[Vec<Option<f64>>],
    weights: &[f64],
    group: usize,
    scale: Scale,
    aggregation: Aggregation,
) -> Result<Advantages> {
    ensure!(
        group > 0 && rewards.len().is_multiple_of(group),
        "{} rewards do not fill groups of {group}",
        rewards.len()
    );
    for (i, row) in rewards.iter().enumerate() {
        ensure!(row.len() == weights.len(), "completion {i} has {} rewards for {} weights", row.len(), weights.len());
        let finite = row.iter().flatten().all(|r| r.is_finite());
        ensure!(finite, "a reward of completion {i} is not finite: leave it out instead");
    }
    let totals: Vec<Option<f64>> = rewards.iter().map(|row| weighted(row, weights)).collect();
    let (compared, spreads) = match aggregation {
        Aggregation::SumThenNormalize => within_groups(&totals, group, scale),
        Aggregation::NormalizeThenSum => {
            let summed = standardised_sums(rewards, weights, group);
            let (mean, spread) = (mean(&summed), deviation(&summed));
            let divided = |x: f64| (x - mean.unwrap_or(x)) / (spread.unwrap_or(0.0) + EPS);
            (summed.iter().map(|x| x.map_or(0.0, divided)).collect(), vec![spread; rewards.len()])
        }
    };
    let zero_spread: Vec<bool> = spreads.iter().map(|s| s.is_some_and(|s| s <= ZERO)).collect();
    let statistics = [
        ("reward", mean(&totals)),
        ("reward_std", mean(&spreads)),
        ("frac_reward_zero_std", mean(&zero_spread.iter().map(|z| Some(f64::from(u8::from(*z)))).collect::<Vec<_>>())),
    ];
    let statistics = statistics.into_iter().filter_map(|(name, x)| Some((name.to_owned(), x?))).collect();
    Ok(Advantages { values: compared, zero_spread, statistics })
}

/// Rewards less their group's mean, scaled; and the deviation each was, or would have been, divided by.
fn within_groups(totals: &[Option<f64>], group: usize, scale: Scale) -> (Vec<f64>, Vec<Option<f64>>) {
    let of_batch = deviation(totals);
    let (mut values, mut spreads) = (Vec::with_capacity(totals.len()), Vec::with_capacity(totals.len()));
    for rows in totals.chunks(group) {
        let mean = mean(rows);
        let spread = if scale == Scale::Batch { of_batch } else { deviation(rows) };
        for row in rows {
            // Without a spread there is one reward, which is the mean.
            let over = row.zip(mean).map_or(0.0, |(r, mean)| r - mean);
            values.push(if scale == Scale::None { over } else { over / (spread.unwrap_or(0.0) + EPS) });
            spreads.push(spread);
        }
    }
    (values, spreads)
}

/// Weighted sums of rewards that were each standardised within their group.
fn standardised_sums(rewards: &[Vec<Option<f64>>], weights: &[f64], group: usize) -> Vec<Option<f64>> {
    let mut scaled = Vec::with_capacity(rewards.len());
    for rows in rewards.chunks(group) {
        let columns: Vec<_> = (0..weights.len())
            .map(|k| {
                let column: Vec<Option<f64>> = rows.iter().map(|row| row[k]).collect();
                (mean(&column).unwrap_or(0.0), deviation(&column).unwrap_or(0.0))
            })
            .collect();
        for row in rows {
            let row: Vec<_> =
                row.iter().zip(&columns).map(|(r, (mean, spread))| r.map(|r| (r - mean) / (spread + EPS))).collect();
            scaled.push(weighted(&row, weights));
        }
    }
    scaled
}

/// The weighted sum of what is there; `None` when nothing is.
fn weighted(row: &[Option<f64>], weights: &[f64]) -> Option<f64> {
    let known = row.iter().zip(weights).filter_map(|(r, w)| r.map(|r| r * w));
    known.reduce(|a, b| a + b)
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let (sum, n) = values.iter().flatten().fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// Unbiased deviation; 0 of a single value, unknown when only one of several is there.
fn deviation(values: &[Option<f64>]) -> Option<f64> {
    if values.len() == 1 {
        return Some(0.0);
    }
    let mean = mean(values)?;
    let n = values.iter().flatten().count();
    let squares: f64 = values.iter().flatten().map(|x| (x - mean).powi(2)).sum();
    (n > 1).then(|| (squares / (n - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rewards: &[Option<f64>], group: usize, scale: Scale) -> Advantages {
        let rows: Vec<_> = rewards.iter().map(|r| vec![*r]).collect();
        advantages(&rows, &[1.0], group, scale, Aggregation::SumThenNormalize).unwrap()
    }

    #[test]
    fn statistics_count_groups_without_a_difference() {
        let got = of(&[Some(1.0), Some(1.0), Some(0.0), Some(2.0)], 2, Scale::Group);
        assert_eq!(got.zero_spread, [true, true, false, false]);
        assert_eq!(got.statistics["frac_reward_zero_std"], 0.5);
        assert_eq!(got.statistics["reward"], 1.0);
        assert!((got.statistics["reward_std"] - 2f64.sqrt() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_lone_completion_and_a_lone_reward_teach_nothing() {
        for scale in [Scale::Group, Scale::None] {
            assert_eq!(of(&[Some(3.0), Some(5.0)], 1, scale).values, [0.0, 0.0]);
            assert_eq!(of(&[Some(3.0), None], 2, scale).values, [0.0, 0.0]);
            assert_eq!(of(&[None, None], 2, scale).values, [0.0, 0.0]);
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_explained() {
        let row = |r| vec![Some(r)];
        let call = |rows: &[Vec<Option<f64>>], weights: &[f64], group| {
            advantages(rows, weights, group, Scale::Group, Aggregation::SumThenNormalize).unwrap_err().to_string()
        };
        assert!(call(&[row(1.0)], &[1.0], 2).contains("groups of 2"));
        assert!(call(&[row(1.0)], &[1.0], 0).contains("groups of 0"));
        assert!(call(&[row(1.0)], &[1.0, 2.0], 1).contains("1 rewards for 2 weights"));
        assert!(call(&[row(f64::NAN)], &[1.0], 1).contains("not finite"));
    }
}
