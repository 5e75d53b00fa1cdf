//! Distributions: dwell, queries of a sitting, which way contexts point.

use anyhow::Result;
use plotters::prelude::*;
use plotters::series::LineSeries;

use super::lines::figure;
use super::{Area, OURS, PUBLISHED, QUIET, SECOND, legend, mesh, percent, room, words};
use crate::describe::curves::Curves;
use crate::describe::hidden::Sides;
use crate::describe::people::LENGTHS;
use crate::truth::Phrasing;

/// Dwell of clicks over a logarithmic axis, the Weibull distribution that fits, and the published grades of a play.
pub(super) fn dwell(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let (first, last) = (curves.dwell[0].0, curves.dwell[curves.dwell.len() - 1].1);
    let fitted = |shape: f64, scale: f64| -> Vec<(f64, f64)> {
        let below = |s: f64| 1.0 - (-(s / scale).powf(shape)).exp();
        curves.dwell.iter().map(|(from, to, _)| ((from * to).sqrt(), below(*to) - below(*from))).collect()
    };
    let line = curves.dwell_weibull.map(|(shape, scale)| (shape, scale, fitted(shape, scale)));
    // Above the bars is room for the legend.
    let top =
        1.25 * room(curves.dwell.iter().map(|bin| bin.2).chain(line.iter().flat_map(|l| l.2.iter().map(|p| p.1))));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{log}: how long a clicked video is stayed with"), words(20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d((first..last).log_scale(), 0.0..top)?;
    mesh(&mut chart, "dwell, seconds", "share of clicks in the bar")
        .x_label_formatter(&|x| if *x < 1.0 { format!("{x}") } else { format!("{x:.0}") })
        .y_label_formatter(&percent)
        .draw()?;
    // A gap between bars, in the axis' own measure.
    let bars = curves
        .dwell
        .iter()
        .map(|(from, to, share)| Rectangle::new([(from * 1.02, 0.0), (to / 1.02, *share)], OURS.mix(0.55).filled()));
    chart.draw_series(bars)?.label("ours").legend(|(x, y)| swatch(x, y, OURS.mix(0.55)));
    if let Some((shape, scale, points)) = line {
        chart
            .draw_series(LineSeries::new(points, OURS.stroke_width(2)))?
            .label(format!("Weibull fit: shape {shape:.2}, scale {scale:.1} s (published: shape below 1, P)"))
            .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], OURS.stroke_width(2)));
    }
    for (name, seconds) in [("valid > 7 s", 7.0), ("long ≥ 18 s", 18.0)] {
        if (first..last).contains(&seconds) {
            let edge = [(seconds, 0.0), (seconds, 0.74 * top)];
            chart.draw_series(DashedLineSeries::new(edge, 6, 5, PUBLISHED.stroke_width(2)))?;
            let at = (seconds * 1.04, 0.765 * top);
            chart.draw_series([Text::new(name, at, words(14).color(&PUBLISHED))])?;
        }
    }
    chart
        .draw_series(std::iter::empty::<Circle<(f64, f64), i32>>())?
        .label("grades of a play, KuaiRand (P)")
        .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], PUBLISHED.stroke_width(2)));
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Queries of a sitting.
pub(super) fn sittings(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let published = figure("one_query_sessions")?;
    let values = curves.queries_per_sitting.iter().copied().chain(published.iter().map(|p| p.0));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{log}: queries of a sitting, cut at five minutes without one"), words(20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.4..LENGTHS as f64 + 0.6, 0.0..room(values))?;
    let last = LENGTHS as f64;
    mesh(&mut chart, "queries", "share of sittings")
        .x_labels(LENGTHS)
        .x_label_formatter(&|x| if *x >= last { format!("{x:.0}+") } else { format!("{x:.0}") })
        .y_label_formatter(&percent)
        .draw()?;
    let bar = |(n, share): (f64, &f64)| Rectangle::new([(n - 0.38, 0.0), (n + 0.38, *share)], OURS.mix(0.55).filled());
    chart
        .draw_series((1..).map(f64::from).zip(&curves.queries_per_sitting).map(bar))?
        .label("ours")
        .legend(|(x, y)| swatch(x, y, OURS.mix(0.55)));
    if let Some((share, label)) = published {
        chart
            .draw_series([PathElement::new([(0.55, share), (1.45, share)], PUBLISHED.stroke_width(3))])?
            .label(format!("one query: {label}"))
            .legend(|(x, y)| PathElement::new([(x + 2, y), (x + 16, y)], PUBLISHED.stroke_width(3)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Which way the watched videos point, one bar a phrasing.
pub(super) fn context(area: &Area, log: &str, curves: &Curves) -> Result<()> {
    let rows = curves.context.len() as f64;
    // Left of zero is room for the bars' names, above the first bar for the legend.
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{log}: what was watched says about the sense that is meant (hidden tables)"), words(19))
        .margin(14)
        .x_label_area_size(46)
        .build_cartesian_2d(-0.24..1.02, 0.0..1.42 * rows)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_y_axis()
        .x_labels(12)
        // There is nothing left of zero.
        .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
        .x_label_formatter(&|x| if *x < -1e-9 { String::new() } else { percent(x) })
        .x_desc("share of first queries, by how they are phrased")
        .axis_desc_style(words(15))
        .label_style(words(14))
        .draw()?;
    let kinds: [(&str, Side, RGBColor); 4] = [
        ("the wanted sense alone", |s| s.resolves, SECOND),
        ("both", |s| s.mixed, RGBColor(166, 205, 160)),
        ("neither", |s| s.silent, RGBColor(215, 215, 215)),
        ("a rival sense alone", |s| s.misleads, RGBColor(178, 24, 43)),
    ];
    let mut bars: [Vec<_>; 4] = Default::default();
    for (row, (phrasing, sides)) in curves.context.iter().enumerate() {
        let (low, mut from) = (rows - row as f64 - 0.85, 0.0);
        for ((_, of, color), bars) in kinds.iter().zip(&mut bars) {
            let to = from + of(sides) as f64 / sides.all().max(1) as f64;
            bars.push(Rectangle::new([(from, low), (to, low + 0.7)], color.filled()));
            from = to;
        }
        let name = format!("{} ({})", said(*phrasing), sides.all());
        chart.draw_series([Text::new(name, (-0.235, low + 0.45), words(14))])?;
    }
    for ((name, _, color), bars) in kinds.into_iter().zip(bars) {
        chart.draw_series(bars)?.label(name).legend(move |(x, y)| swatch(x, y, color.into()));
    }
    let edge = PathElement::new([(0.0, 0.0), (0.0, rows + 0.05)], QUIET);
    chart.draw_series([edge])?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

type Side = fn(&Sides) -> u64;

fn said(phrasing: Phrasing) -> &'static str {
    match phrasing {
        Phrasing::Bare => "bare head",
        Phrasing::Facet => "head and facet",
        Phrasing::Named => "sense named",
        Phrasing::TitleWord => "title word",
        Phrasing::Colloquial => "colloquial",
        Phrasing::Known => "known video",
        Phrasing::Functional => "functional",
    }
}

fn swatch(x: i32, y: i32, color: RGBAColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x + 3, y - 6), (x + 15, y + 6)], color.filled())
}
