//! Penalties of length and of repetition that rewards are lowered by.

use std::collections::HashSet;

/// DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): 0 up to `longest − margin` tokens, falling linearly to −1
/// at `longest`, −1 beyond.
#[must_use]
pub fn soft_overlong(tokens: usize, longest: usize, margin: usize) -> f64 {
    let (tokens, longest, margin) = (tokens as f64, longest as f64, margin as f64);
    if tokens <= longest - margin {
        0.0
    } else if tokens <= longest {
        (longest - margin - tokens) / margin
    } else {
        -1.0
    }
}

/// `most · (1 − distinct / all)` over the runs of `n` ids (arXiv 2502.03373); `most` is what endless repetition costs,
/// say −1. 0 when there is no run of that length.
#[must_use]
pub fn repetition(ids: &[u32], n: usize, most: f64) -> f64 {
    if n == 0 || ids.len() < n {
        return 0.0;
    }
    let distinct: HashSet<&[u32]> = ids.windows(n).collect();
    most * (1.0 - distinct.len() as f64 / (ids.len() - n + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_wider_than_the_limit_punishes_from_the_first_token() {
        assert_eq!(soft_overlong(0, 4, 8), -0.5);
        assert_eq!(soft_overlong(4, 4, 8), -1.0);
        assert_eq!((soft_overlong(4, 4, 0), soft_overlong(5, 4, 0)), (0.0, -1.0));
    }

    #[test]
    fn runs_of_nothing_do_not_repeat() {
        assert_eq!(repetition(&[1, 1, 1], 0, -1.0), 0.0);
        assert!((repetition(&[1, 1, 1], 1, -1.0) + 2.0 / 3.0).abs() < 1e-12);
    }
}
