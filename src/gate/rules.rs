//! What is asked of each metric.

use super::metrics::Metric;
use crate::judge::{Check, Comparison};
use crate::recipe::Gate;

/// Holds one metric against its rule.
pub(super) fn check(metric: Metric, found: Comparison, gate: &Gate) -> Check {
    let (rule, passed) =
        if gate.strict { strict(metric, &found) } else { None }.unwrap_or_else(|| band(metric, &found, gate));
    Check { measure: metric.name().to_owned(), found, rule, passed }
}

/// The paper's rule for its seven metrics: each must improve; none for the others.
fn strict(metric: Metric, found: &Comparison) -> Option<(String, bool)> {
    let (words, passed) = match metric {
        Metric::RMain | Metric::SPos | Metric::RRand | Metric::Entropy => ("must rise", found.difference > 0.0),
        Metric::Surprisal | Metric::Length => ("must fall", found.difference < 0.0),
        // It cannot fall where nothing is truncated.
        Metric::Truncated => ("must not rise", found.difference <= 0.0),
        _ => return None,
    };
    Some((words.to_owned(), passed))
}

/// Within a band unless the interval lies beyond it: what is noise refuses nobody.
fn band(metric: Metric, found: &Comparison, gate: &Gate) -> (String, bool) {
    let Comparison { control: old, difference, low, high, .. } = *found;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    match metric {
        Metric::RMain => ("must rise".into(), difference > 0.0),
        Metric::SPos | Metric::RRand => ("must not fall".into(), high >= 0.0),
        Metric::Entropy => (format!("loses at most {}", percent(gate.entropy_loss)), high >= -gate.entropy_loss * old),
        Metric::Surprisal => {
            (format!("rises by at most {}", percent(gate.surprisal_rise)), low <= gate.surprisal_rise * old)
        }
        Metric::Length => (format!("rises by at most {}", percent(gate.length_rise)), low <= gate.length_rise * old),
        Metric::Truncated => (format!("rises by at most {}", gate.truncated_rise), low <= gate.truncated_rise),
        Metric::IndexHits => (format!("falls by at most {}", gate.hit_loss), high >= -gate.hit_loss),
        Metric::Rejects => {
            let within = low <= gate.reject_move && high >= -gate.reject_move;
            (format!("moves by at most {}", gate.reject_move), within)
        }
        Metric::Concentration => {
            (format!("rises by at most {}", gate.concentration_rise), low <= gate.concentration_rise)
        }
        Metric::Popularity => {
            let within = low <= gate.popularity_move && high >= -gate.popularity_move;
            (format!("moves by at most {}", gate.popularity_move), within)
        }
        Metric::Kl => (format!("at most {} nats", gate.kl), low <= gate.kl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(control: f64, difference: f64) -> Comparison {
        let (low, high) = (difference - 0.01, difference + 0.01);
        Comparison { control, treatment: control + difference, difference, low, high, p: 0.5, people: 9 }
    }

    fn passes(metric: Metric, control: f64, difference: f64, strict: bool) -> bool {
        check(metric, found(control, difference), &Gate { strict, ..Gate::default() }).passed
    }

    #[test]
    fn within_the_bands_passes_and_beyond_them_fails() {
        for (metric, old, fine, beyond) in [
            (Metric::RMain, 2.0, 0.001, 0.0),
            (Metric::SPos, 2.0, -0.005, -0.02),
            (Metric::RRand, 2.0, -0.005, -0.02),
            // Intervals reach 0.01 to both sides: what lies just beyond a band may be noise.
            (Metric::Entropy, 1.0, -0.305, -0.315),
            (Metric::Surprisal, 1.0, 0.305, 0.315),
            (Metric::Length, 4.0, 0.605, 0.615),
            (Metric::Truncated, 0.0, 0.019, 0.021),
            (Metric::IndexHits, 0.7, -0.055, -0.065),
            (Metric::Rejects, 0.5, -0.105, -0.115),
            (Metric::Rejects, 0.5, 0.105, 0.115),
            (Metric::Concentration, 0.2, 0.055, 0.065),
            (Metric::Popularity, 2.0, -0.305, -0.315),
            (Metric::Popularity, 2.0, 0.305, 0.315),
            (Metric::Kl, 0.0, 1.005, 1.015),
        ] {
            assert!(passes(metric, old, fine, false), "{metric:?} {fine}");
            assert!(!passes(metric, old, beyond, false), "{metric:?} {beyond}");
        }
    }

    #[test]
    fn the_strict_rule_asks_all_seven_to_improve_and_leaves_ours_in_their_bands() {
        for (metric, better) in [
            (Metric::RMain, 0.1),
            (Metric::SPos, 0.1),
            (Metric::RRand, 0.1),
            (Metric::Entropy, 0.1),
            (Metric::Surprisal, -0.1),
            (Metric::Length, -0.1),
            (Metric::Truncated, -0.1),
        ] {
            assert!(passes(metric, 1.0, better, true) && !passes(metric, 1.0, -better, true), "{metric:?}");
        }
        assert!(passes(Metric::Kl, 0.0, 0.5, true) && !passes(Metric::IndexHits, 0.9, -0.2, true));
    }
}
