//! The lifts of a loop as one picture, an SVG file.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::judge::{Lift, Week, Weeks};

const SIZE: (u32, u32) = (900, 520);
const INK: RGBColor = RGBColor(40, 40, 40);

/// A line: its name, its colour, and whose lift it is.
type Line = (&'static str, RGBColor, fn(&Week) -> Option<Lift>);

const LINES: [Line; 3] = [
    ("in use, behind the gate", RGBColor(33, 102, 172), |week| week.lift),
    ("released without a gate", RGBColor(217, 95, 2), |week| week.ungated_lift),
    ("first release, never trained again", RGBColor(120, 120, 120), |week| week.first_lift),
];

/// Draws the weeks that are done; refused ones have an open circle.
pub(super) fn draw(file: &Path, weeks: &Weeks) -> Result<()> {
    let mut text = String::new();
    paint(&mut text, weeks).context("drawing the weeks")?;
    std::fs::write(file, text)
        .with_context(|| format!("cannot write {}: name another file after --plot", file.display()))
}

fn paint(text: &mut String, weeks: &Weeks) -> Result<()> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let all = || weeks.rows.iter().flat_map(|week| LINES.iter().filter_map(|(_, _, of)| of(week)));
    let low = all().map(|lift| lift.percent).fold(0.0, f64::min);
    let high = all().map(|lift| lift.percent).fold(0.0, f64::max);
    let room = 0.12 * (high - low).max(1.0);
    let words = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let title = format!("{}: {} of {} weeks promoted", weeks.log, weeks.promoted, weeks.weeks);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, words(20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.5..f64::from(weeks.weeks.max(1)) + 0.5, low - room..high + 2.5 * room)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("week")
        .y_desc("lift of VV10s per search, %")
        .axis_desc_style(words(15))
        .label_style(words(14))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (name, color, of) in LINES {
        let points: Vec<(f64, f64, bool)> = weeks
            .rows
            .iter()
            .filter_map(|week| Some((f64::from(week.week), of(week)?.percent, week.promoted())))
            .collect();
        let line = points.iter().map(|(x, y, _)| (*x, *y));
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        let circle = |(x, y, promoted): &(f64, f64, bool)| {
            let style = if *promoted { color.filled() } else { color.stroke_width(2) };
            Circle::new((*x, *y), 4, style)
        };
        chart.draw_series(points.iter().map(circle))?;
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).label_font(words(14)).background_style(WHITE.mix(0.9)).draw()?;
    area.present()?;
    Ok(())
}
