//! Geometry of the page's pictures: a forest plot of lifts, and the path of an experiment between its boundaries.

use serde::Serialize;

use crate::judge::{Comparison, Look, Trial};

/// Pixels left of a forest plot, for names, and its width.
const LEFT: f64 = 190.0;
const WIDTH: f64 = 520.0;
const ROW: f64 = 34.0;
/// Size of the picture of looks, and its margin.
const LOOKS: [f64; 2] = [420.0, 170.0];
const MARGIN: f64 = 34.0;

/// Lifts in percent of the control, one row a treatment.
#[derive(Serialize)]
pub(super) struct Forest {
    width: f64,
    height: f64,
    bottom: f64,
    zero: f64,
    ticks: Vec<Tick>,
    rows: Vec<ForestRow>,
}

#[derive(Serialize)]
struct ForestRow {
    name: String,
    y: f64,
    all: Option<Mark>,
    impacted: Option<Mark>,
}

/// An estimate and its interval.
#[derive(Serialize)]
struct Mark {
    x: f64,
    low: f64,
    high: f64,
    text: String,
}

#[derive(Serialize)]
struct Tick {
    at: f64,
    label: String,
}

impl Forest {
    /// The main metric of every treatment.
    pub(super) fn of(trial: &Trial) -> Self {
        let lifts = |c: Option<Comparison>| {
            let c = c.filter(|c| c.control != 0.0)?;
            Some([c.difference, c.low, c.high].map(|x| 100.0 * x / c.control))
                .filter(|lift| lift.iter().all(|x| x.is_finite()))
        };
        let of_row = |one: &crate::judge::Treatment| {
            let main = one.rows.first();
            (one.treatment.clone(), lifts(main.and_then(|r| r.all)), lifts(main.and_then(|r| r.impacted)))
        };
        let lines: Vec<_> = trial.treatments.iter().map(of_row).collect();
        let ends = lines.iter().flat_map(|(_, all, impacted)| all.iter().chain(impacted)).flatten().copied();
        let (low, high) = ends.fold((0.0_f64, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
        let (low, high) = if low < high { (low, high) } else { (-1.0, 1.0) };
        let place = |x: f64| round(LEFT + WIDTH * (x - low) / (high - low));
        let mark = |[x, from, to]: [f64; 3]| Mark {
            x: place(x),
            low: place(from),
            high: place(to),
            text: format!("{x:+.2} % [{from:+.1}, {to:+.1}]"),
        };
        let rows = lines.into_iter().enumerate().map(|(i, (name, all, impacted))| ForestRow {
            name,
            y: ROW * (i as f64 + 0.5) + 8.0,
            all: all.map(mark),
            impacted: impacted.map(mark),
        });
        let rows: Vec<_> = rows.collect();
        let bottom = ROW * rows.len() as f64 + 10.0;
        let ticks = steps(low, high, 8).into_iter().map(|x| Tick { at: place(x), label: format!("{x:+} %") }).collect();
        Self { width: LEFT + WIDTH + 30.0, height: bottom + 24.0, bottom, zero: place(0.0), ticks, rows }
    }
}

/// The z-statistic look after look, between boundaries that come down.
#[derive(Serialize)]
pub(super) struct Path {
    width: f64,
    height: f64,
    left: f64,
    zero: f64,
    upper: String,
    lower: String,
    points: Vec<[f64; 2]>,
    path: String,
    days: Vec<Tick>,
    heights: Vec<Tick>,
}

impl Path {
    /// All looks of a treatment.
    pub(super) fn of(looks: &[Look]) -> Self {
        let [width, height] = LOOKS;
        let most = looks.iter().map(|l| l.boundary.z.max(l.z.abs())).filter(|z| z.is_finite()).fold(1.0, f64::max);
        let last = f64::from(looks.last().map_or(1, |look| look.days).max(1));
        let x = |days: u32| round(MARGIN + (width - 2.0 * MARGIN) * f64::from(days) / last);
        let y = |z: f64| round(height / 2.0 - (height / 2.0 - MARGIN / 2.0) * z.clamp(-most, most) / most);
        let line = |z: &dyn Fn(&Look) -> f64| {
            let points = looks.iter().map(|look| format!("{},{}", x(look.days), y(z(look))));
            points.collect::<Vec<_>>().join(" ")
        };
        Self {
            width,
            height,
            left: MARGIN,
            zero: y(0.0),
            upper: line(&|look| look.boundary.z),
            lower: line(&|look| -look.boundary.z),
            points: looks.iter().map(|look| [x(look.days), y(look.z)]).collect(),
            path: line(&|look| look.z),
            days: looks.iter().map(|look| Tick { at: x(look.days), label: look.days.to_string() }).collect(),
            heights: steps(-most, most, 6).into_iter().map(|z| Tick { at: y(z), label: z.to_string() }).collect(),
        }
    }
}

/// Round values (1, 2 or 5 times a power of ten apart) between two ends, about `most` of them.
fn steps(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most as f64;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    // Sums of steps would show the dust of binary fractions.
    (first..=last).map(|n| format!("{:.6}", n as f64 * step).parse().unwrap_or_default()).collect()
}

/// A tenth of a pixel is enough.
fn round(x: f64) -> f64 {
    (10.0 * x).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(steps(-1.7, 5.3, 8), [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(steps(0.0, 0.35, 4), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(steps(-30.0, 31.0, 6), [-20.0, 0.0, 20.0]);
    }
}
