//! Curves over rank and over time.

use anyhow::Result;
use plotters::prelude::*;
use plotters::series::LineSeries;

use super::{Area, OURS, PUBLISHED, QUIET, SECOND, legend, mesh, percent, room, words};
use crate::describe::curves::Curves;
use crate::describe::published::{self, Point};

/// Clicks by rank.
pub(super) fn ctr(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let title = format!("{log}: pages clicked at each rank");
    by_rank(area, &title, &curves.ctr_by_rank, &published::curve("ctr")?)
}

/// Looks by rank.
pub(super) fn examination(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let title = format!("{log}: pages looked at, at each rank (hidden tables)");
    by_rank(area, &title, &curves.examined_by_rank, &published::curve("examination")?)
}

fn by_rank(area: &Area, title: &str, ours: &[f64], published: &[Point]) -> Result<()> {
    let top = room(ours.iter().copied().chain(published.iter().map(|p| p.y)));
    let mut chart = ChartBuilder::on(area)
        .caption(title, words(20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.5..10.5, 0.0..top)?;
    mesh(&mut chart, "rank on the page, from the top", "share of the pages that reach the rank")
        .x_labels(10)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&percent)
        .draw()?;
    let points = |ys: &[f64]| (1..).map(f64::from).zip(ys.to_vec()).collect::<Vec<_>>();
    let theirs: Vec<(f64, f64)> = published.iter().map(|p| (p.x, p.y)).collect();
    if let Some(first) = published.first() {
        let label = format!("{} ({})", first.source, first.sure);
        let style = ShapeStyle { color: PUBLISHED.mix(0.6), filled: false, stroke_width: 2 };
        // A line between neighbours only: what lies between ranks far apart was not published.
        for pair in theirs.windows(2).filter(|pair| pair[1].0 - pair[0].0 <= 1.0) {
            chart.draw_series(DashedLineSeries::new(pair.to_vec(), 6, 5, style))?;
        }
        chart
            .draw_series(theirs.iter().map(|at| TriangleMarker::new(*at, 7, PUBLISHED.filled())))?
            .label(label)
            .legend(|(x, y)| TriangleMarker::new((x + 9, y), 6, PUBLISHED.filled()));
    }
    chart.draw_series(LineSeries::new(points(ours), OURS.stroke_width(2)))?;
    chart
        .draw_series(points(ours).into_iter().map(|at| Circle::new(at, 4, OURS.filled())))?
        .label("ours")
        .legend(|(x, y)| Circle::new((x + 9, y), 4, OURS.filled()));
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Distances between weeks above, never-seen queries by day below.
pub(super) fn drift(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let area = area.titled(&format!("{log}: drift"), words(20))?;
    let (above, below) = area.margin(8, 0, 0, 0).split_vertically(235);
    distances(&above, curves)?;
    never_seen(&below, curves)
}

fn distances(area: &Area, curves: &Curves) -> Result<()> {
    let weeks = curves.query_divergence.len();
    let all = curves.query_divergence.iter().chain(&curves.sense_divergence).copied();
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.8..weeks as f64 + 0.2, 0.0..room(all))?;
    mesh(&mut chart, "week", "JSD to week 1, bits")
        .x_labels(weeks.min(12))
        .y_labels(5)
        .x_label_formatter(&|x| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() })
        .draw()?;
    let series =
        [("queries", &curves.query_divergence, OURS), ("wanted senses (hidden)", &curves.sense_divergence, SECOND)];
    for (name, bits, color) in series.into_iter().filter(|(_, bits, _)| !bits.is_empty()) {
        let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(bits.iter().copied()).collect();
        chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?;
        chart
            .draw_series(points.into_iter().map(|at| Circle::new(at, 4, color.filled())))?
            .label(name)
            .legend(move |(x, y)| Circle::new((x + 9, y), 4, color.filled()));
        // What two halves of the first week are apart is noise: a later week has drifted as far as it lies above.
        let noise = [(0.8, bits[0]), (weeks as f64 + 0.2, bits[0])];
        chart.draw_series(DashedLineSeries::new(noise, 4, 5, color.mix(0.5).stroke_width(1)))?;
    }
    chart
        .draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
        .label("week 1 to itself (noise)")
        .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], QUIET));
    legend(&mut chart, SeriesLabelPosition::MiddleRight)
}

fn never_seen(area: &Area, curves: &Curves) -> Result<()> {
    let days = curves.new_by_day.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..days + 1.0, 0.0..1.05)?;
    mesh(&mut chart, "day", "never-seen queries")
        .y_labels(5)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&percent)
        .draw()?;
    let ours = (1..).map(f64::from).zip(&curves.new_by_day).filter_map(|(day, share)| Some((day, (*share)?)));
    let ours: Vec<(f64, f64)> = ours.collect();
    chart
        .draw_series(LineSeries::new(ours, OURS.stroke_width(2)))?
        .label("ours, of each day's searches")
        .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], OURS.stroke_width(2)));
    if let Some((share, label)) = figure("new_queries")? {
        chart
            .draw_series(DashedLineSeries::new([(0.0, share), (days + 1.0, share)], 6, 5, PUBLISHED.stroke_width(2)))?
            .label(label)
            .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], PUBLISHED.stroke_width(2)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// The number of a published figure, and how the picture names it.
pub(super) fn figure(key: &str) -> Result<Option<(f64, String)>> {
    let found = published::figures()?.into_iter().find(|f| f.key == key);
    Ok(found.and_then(|f| Some((f.number?, format!("{}, {} ({})", f.figure, f.source, f.sure)))))
}
