//! How the numbers of a comparison are shown in a table.

use super::Comparison;
use crate::journal::Cell;

/// A share as a percentage.
#[must_use]
pub fn percent(share: Option<f64>) -> Cell {
    share.map_or(Cell::from(None::<f64>), |x| Cell::shown(x, format!("{:.1}%", 100.0 * x)))
}
/// Four decimals.
#[must_use]
pub fn fixed(x: Option<f64>) -> Cell {
    x.map_or(Cell::from(None::<f64>), |x| Cell::shown(x, format!("{x:.4}")))
}
/// Four decimals with a sign.
#[must_use]
pub fn signed(x: Option<f64>) -> Cell {
    x.map_or(Cell::from(None::<f64>), |x| Cell::shown(x, format!("{x:+.4}")))
}
/// Difference relative to the control.
#[must_use]
pub fn relative(c: &Comparison) -> Cell {
    let relative = c.relative();
    if relative.is_nan() {
        Cell::from(None::<f64>)
    } else {
        Cell::shown(relative, format!("{:+.2}%", 100.0 * relative))
    }
}
/// A 95 % interval.
#[must_use]
pub fn interval(c: Option<&Comparison>) -> Cell {
    c.map_or(Cell::from(None::<f64>), |c| Cell::shown(vec![c.low, c.high], format!("[{:+.4}, {:+.4}]", c.low, c.high)))
}
/// A 95 % interval of the difference, in percent of the control.
#[must_use]
pub fn relative_interval(c: Option<&Comparison>) -> Cell {
    c.filter(|c| c.control != 0.0).map_or(Cell::from(None::<f64>), |c| {
        let (low, high) = (c.low / c.control, c.high / c.control);
        Cell::shown(vec![low, high], format!("[{:+.1}, {:+.1}]", 100.0 * low, 100.0 * high))
    })
}
/// A p-value.
#[must_use]
pub fn p_value(p: Option<f64>) -> Cell {
    p.map_or(Cell::from(None::<f64>), |p| Cell::shown(p, p_text(p)))
}
/// A p-value in words.
#[must_use]
pub fn p_text(p: f64) -> String {
    if p < 0.001 { "<0.001".into() } else { format!("{p:.3}") }
}
