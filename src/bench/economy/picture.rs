//! The curves as one picture: reward against wall-clock, gradient tokens, syncs and reward calls.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Point, Report};

const SIZE: (u32, u32) = (1_100, 800);
const INK: RGBColor = RGBColor(40, 40, 40);
const COLORS: [RGBColor; 6] = [
    RGBColor(120, 120, 120),
    RGBColor(33, 102, 172),
    RGBColor(27, 120, 55),
    RGBColor(217, 95, 2),
    RGBColor(118, 42, 131),
    RGBColor(180, 30, 60),
];

/// What a reward is drawn against.
type Axis = (&'static str, fn(&Point) -> f64);

const AXES: [Axis; 4] = [
    ("seconds", |p| p.seconds),
    ("tokens with a gradient, thousands", |p| p.gradient_tokens / 1e3),
    ("syncs of the sampler", |p| p.syncs as f64),
    ("answers judged, thousands", |p| p.reward_calls / 1e3),
];

pub(super) fn draw(file: &Path, report: &Report) -> Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("{}: reward on held-out searches against its cost", report.recipe);
        let inside = area.titled(&title, ("sans-serif", 20).into_font().color(&INK))?;
        for ((name, of), part) in AXES.iter().zip(inside.split_evenly((2, 2))) {
            chart(&part, report, name, *of).with_context(|| format!("drawing against {name}"))?;
        }
        area.present()?;
    }
    std::fs::write(file, text)
        .with_context(|| format!("cannot write {}: name another file after --plot", file.display()))
}

fn chart(area: &DrawingArea<SVGBackend, Shift>, report: &Report, name: &str, of: fn(&Point) -> f64) -> Result<()> {
    let all = || report.rows.iter().flat_map(|row| &row.points);
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.reward), high.max(p.reward)));
    let room = 0.08 * (high - low).max(1e-3);
    let widest = all().map(of).fold(0.0, f64::max).max(1e-9);
    let words = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.03 * widest, low - room..high + room)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(name)
        .y_desc("mean log ratio")
        .axis_desc_style(words(14))
        .label_style(words(13))
        .draw()?;
    for (row, color) in report.rows.iter().zip(COLORS.iter().cycle()) {
        let points = || row.points.iter().map(|p| (of(p), p.reward));
        chart
            .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
            .label(&row.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points().map(|at| Circle::new(at, 3, color.filled())))?;
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).label_font(words(13)).background_style(WHITE.mix(0.9)).draw()?;
    Ok(())
}
