//! The training page: where the run is, two charts, every metric as a row.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table, TableState};

use super::app::{App, Page};
use super::draw::{Paint, inset};
use super::text::{bar, cut};
use super::view::{Metric, NORM, RATE, RunView, SPEED};
use crate::journal::{RunInfo, words};

/// A running run that was quiet for longer is said to be.
const QUIET_MS: i64 = 60_000;

/// Draws the page; answers whether there was anything to draw.
pub(super) fn training(frame: &mut Frame, area: Rect, app: &App, now_ms: i64, paint: Paint) -> bool {
    let Some((run, view)) = app.run_of(Page::Training).zip(app.view_of(Page::Training)) else { return false };
    let names = view.metric_names();
    if names.is_empty() {
        return false;
    }
    let area = inset(area);
    let rows = names.len() as u16 + 1;
    // The charts get what the table does not need, and the table never more than two fifths.
    let table = rows.min((area.height * 2 / 5).max(3));
    let charts = if area.height >= 14 && area.width >= 36 { area.height.saturating_sub(2 + table) } else { 0 };
    let parts = [Constraint::Length(2), Constraint::Length(charts), Constraint::Min(0)];
    let [top, middle, below] = Layout::vertical(parts).areas(area);
    let width = usize::from(area.width);
    let lines = vec![where_it_is(run, view, width, paint), speed(run, view, now_ms, width, paint)];
    frame.render_widget(Paragraph::new(lines), top);
    let chosen = app.metric_at(&names);
    if charts > 0 {
        draw_charts(frame, middle, view, names[chosen], paint);
    }
    metrics(frame, below, view, &names, chosen, paint);
    true
}

fn where_it_is<'a>(run: &RunInfo, view: &RunView, width: usize, paint: Paint) -> Line<'a> {
    let step = format!("  step {} of {}  ", view.step, view.steps);
    let left = view.left_ms().filter(|_| run.status == "running" && view.step < view.steps);
    let left = left.map_or_else(String::new, |ms| format!("  {} left", words::duration(ms)));
    let used = run.status.chars().count() + step.len() + left.len();
    let bar = bar(view.step, view.steps, width.saturating_sub(used).min(48));
    Line::from(vec![
        Span::styled(run.status.clone(), paint.status(&run.status).patch(paint.strong())),
        Span::raw(step),
        Span::styled(bar, paint.accent()),
        Span::raw(left),
    ])
}

/// Speed and the like in one line, behind what a person should know first.
fn speed<'a>(run: &RunInfo, view: &RunView, now_ms: i64, width: usize, paint: Paint) -> Line<'a> {
    let mut alarms = Vec::new();
    let bad = view.metrics.iter().find_map(|(name, m)| Some((name, m.train.bad_step().or(m.eval.bad_step())?)));
    alarms.extend(bad.map(|(name, step)| format!("! {name} was not a number at step {step}")));
    let quiet_ms = now_ms - view.last_ms;
    if run.status == "running" && quiet_ms > QUIET_MS {
        alarms.push(format!("! quiet for {}", words::duration(quiet_ms)));
    }
    let style = if alarms.is_empty() { paint.quiet() } else { paint.warn() };
    let mut parts = alarms;
    for (names, what) in [(&RATE[..], "learning rate"), (&NORM, "gradient norm"), (&SPEED, "tokens/s")] {
        parts.extend(view.newest(names).map(|value| format!("{what} {}", words::number(value))));
    }
    Line::styled(cut(&parts.join("  "), width), style)
}

/// The loss and the chosen metric, side by side where there is room.
fn draw_charts(frame: &mut Frame, area: Rect, view: &RunView, chosen: &str, paint: Paint) {
    let loss = view.metrics.get_key_value("loss").filter(|(name, _)| *name != chosen && area.width >= 70);
    let Some((name, metric)) = loss else {
        chart(frame, area, chosen, &view.metrics[chosen], paint);
        return;
    };
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    chart(frame, left, name, metric, paint);
    chart(frame, right, chosen, &view.metrics[chosen], paint);
}

fn chart(frame: &mut Frame, area: Rect, name: &str, metric: &Metric, paint: Paint) {
    let (train, eval) = (metric.train.points(), metric.eval.points());
    let mut title = vec![Span::styled(name.to_owned(), paint.strong())];
    if !train.is_empty() {
        title.push(Span::styled("  ⠒⠒ train", paint.accent()));
    }
    if !eval.is_empty() {
        title.push(Span::styled("  • eval", paint.warn()));
    }
    plot(frame, area, Line::from(title), &train, &eval, paint);
}

/// A title over a chart of a line and of dots.
pub(super) fn plot(
    frame: &mut Frame,
    area: Rect,
    title: Line,
    train: &[(f64, f64)],
    eval: &[(f64, f64)],
    paint: Paint,
) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(title, head);
    let all = || train.iter().chain(eval);
    if all().next().is_none() {
        return;
    }
    let (left, right) = span(all().map(|p| p.0));
    let (low, high) = margin(span(all().map(|p| p.1)));
    let line = |points, style: Style| Dataset::default().graph_type(GraphType::Line).data(points).style(style);
    let data = vec![
        line(train, paint.accent()).marker(Marker::Braille),
        line(eval, paint.warn()).graph_type(GraphType::Scatter).marker(Marker::Dot),
    ];
    let middle = (low + high) / 2.0;
    let steps = [left, right].map(|step| format!("{step:.0}"));
    let x = Axis::default().bounds([left, if right > left { right } else { left + 1.0 }]).labels(steps);
    let y = Axis::default().bounds([low, high]).labels([low, middle, high].map(words::number));
    let y = y.labels_alignment(Alignment::Right);
    frame.render_widget(Chart::new(data).x_axis(x.style(paint.quiet())).y_axis(y.style(paint.quiet())), body);
}

/// Lowest and highest of some finite numbers.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// A little air above and below, and a height above zero for a flat curve.
fn margin((low, high): (f64, f64)) -> (f64, f64) {
    let air = if high > low { (high - low) * 0.04 } else { (high.abs() * 0.1).max(0.1) };
    // No air below zero for what cannot be negative.
    (if low >= 0.0 { (low - air).max(0.0) } else { low - air }, high + air)
}

fn metrics(frame: &mut Frame, area: Rect, view: &RunView, names: &[&str], chosen: usize, paint: Paint) {
    // What matters least goes first when it gets narrow.
    let heads: &[&str] = match area.width {
        0..36 => &["newest"],
        36..50 => &["train", "eval"],
        _ => &["train", "eval", "lowest", "highest"],
    };
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let rows = names.iter().map(|name| {
        let values =
            heads.iter().map(|head| value(&view.metrics[*name], head).map_or_else(|| "–".into(), words::number));
        Row::new(std::iter::once(Cell::from((*name).to_owned())).chain(values.map(right)))
    });
    let heads_row = std::iter::once(Cell::from("metric")).chain(heads.iter().map(|head| right((*head).to_owned())));
    let width = if area.width < 70 { 7 } else { 10 };
    let widths = std::iter::once(Constraint::Max(34)).chain(heads.iter().map(|_| Constraint::Length(width)));
    let head = Row::new(heads_row).style(paint.strong());
    // A lone row is for the chosen metric.
    let table = if area.height > 1 { Table::new(rows, widths).header(head) } else { Table::new(rows, widths) };
    let table = table.highlight_symbol("> ").row_highlight_style(paint.strong());
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(Some(chosen)));
}

/// What a metric shows under a head; lowest and highest are of the evaluations, where there are any.
fn value(metric: &Metric, head: &str) -> Option<f64> {
    let range = metric.eval.range().or(metric.train.range());
    match head {
        "train" => metric.train.last(),
        "eval" => metric.eval.last(),
        "newest" => metric.eval.last().or(metric.train.last()),
        "lowest" => range.map(|(low, _)| low),
        _ => range.map(|(_, high)| high),
    }
}
