//! The serving page: how much is asked, how fast each path answers, what becomes of rewriting.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::app::{App, Page};
use super::draw::{Paint, inset};
use super::draw_training::plot;
use super::served::{FATES, Served};
use super::text::cut;
use crate::journal::{RunInfo, words};

/// Least height of the charts, and of a screen that has them beside the tables.
const CHART_ROWS: u16 = 5;

/// Draws the page; answers whether there was anything to draw.
pub(super) fn serving(frame: &mut Frame, area: Rect, app: &App, now_ms: i64, paint: Paint) -> bool {
    let Some((run, view)) = app.run_of(Page::Serving).zip(app.view_of(Page::Serving)) else { return false };
    let served = &view.served;
    if !served.any() {
        return false;
    }
    let area = inset(area);
    let (paths, fates) = (served.paths.len() as u16 + 1, FATES.len() as u16 + 1);
    let tables = paths + 1 + fates;
    let room = area.height.saturating_sub(1 + tables);
    let charts = if room >= CHART_ROWS && area.width >= 36 { room } else { 0 };
    let parts = [
        Constraint::Length(1),
        Constraint::Length(charts),
        Constraint::Length(paths),
        Constraint::Length(u16::from(area.height > tables)),
        Constraint::Min(0),
    ];
    let [top, middle, of_paths, _, of_fates] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(in_short(run, served, now_ms, usize::from(area.width), paint)), top);
    if charts > 0 {
        draw_charts(frame, middle, served, paint);
    }
    draw_paths(frame, of_paths, served, paint);
    draw_fates(frame, of_fates, served, paint);
    true
}

fn in_short<'a>(run: &RunInfo, served: &Served, now_ms: i64, width: usize, paint: Paint) -> Line<'a> {
    let up = run.duration_ms(now_ms).map_or_else(String::new, |ms| format!("  up {}", words::duration(ms)));
    let rate = words::number(served.last() as f64 / served.span_s);
    let text = format!("  {rate} searches/s  {} in all  {} refused{up}", served.all(), served.refused);
    let status = Span::styled(run.status.clone(), paint.status(&run.status).patch(paint.strong()));
    Line::from(vec![status, Span::raw(cut(&text, width.saturating_sub(run.status.len())))])
}

/// Rate and time side by side where there is room, else the rate alone.
fn draw_charts(frame: &mut Frame, area: Rect, served: &Served, paint: Paint) {
    let title = |text: &'static str, more: &'static str| {
        Line::from(vec![Span::styled(text, paint.strong()), Span::styled(more, paint.quiet())])
    };
    let rate = title("searches/s", "  over seconds served");
    if area.width < 70 {
        plot(frame, area, rate, &served.rate.points(), &[], paint);
        return;
    }
    let halves = [Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)];
    let [left, _, right] = Layout::horizontal(halves).areas(area);
    plot(frame, left, rate, &served.rate.points(), &[], paint);
    plot(frame, right, title("p99 ms", "  of the slowest path"), &served.p99_ms.points(), &[], paint);
}

fn draw_paths(frame: &mut Frame, area: Rect, served: &Served, paint: Paint) {
    // What matters least goes first when it gets narrow.
    let heads: &[&str] = match area.width {
        0..36 => &["p99 ms"],
        36..56 => &["p50 ms", "p99 ms"],
        _ => &["per second", "p50 ms", "p99 ms", "in all", "share"],
    };
    let all = served.all();
    let rows = served.paths.iter().map(|(path, view)| {
        let known = view.last.count > 0;
        let cells = heads.iter().map(|head| match *head {
            "per second" => words::number(view.last.count as f64 / served.span_s),
            "p50 ms" if known => words::number(view.last.p50_ms),
            "p99 ms" if known => words::number(view.last.p99_ms),
            "in all" => view.count.to_string(),
            "share" => share(view.count, all),
            _ => "–".into(),
        });
        row(path.clone(), cells, Style::new())
    });
    draw_table(frame, area, "path", heads, rows, paint);
}

fn draw_fates(frame: &mut Frame, area: Rect, served: &Served, paint: Paint) {
    let heads: &[&str] = if area.width < 36 { &["in all"] } else { &["now", "in all", "searches"] };
    let (last, all) = (served.last(), served.all());
    let rows = FATES.iter().map(|fate| {
        let (now, in_all) = served.rewriting.get(*fate).copied().unwrap_or_default();
        let cells = heads.iter().map(|head| match *head {
            "now" => share(now, last),
            "in all" => share(in_all, all),
            _ => in_all.to_string(),
        });
        let style = match *fate {
            "error" if in_all > 0 => paint.bad(),
            "late" if in_all > 0 => paint.warn(),
            _ => Style::new(),
        };
        row((*fate).to_owned(), cells, style)
    });
    draw_table(frame, area, "rewriting", heads, rows, paint);
}

fn row<'a>(name: String, cells: impl Iterator<Item = String>, style: Style) -> Row<'a> {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    Row::new(std::iter::once(Cell::from(name)).chain(cells.map(right))).style(style)
}

fn draw_table<'a>(
    frame: &mut Frame,
    area: Rect,
    first: &str,
    heads: &[&str],
    rows: impl Iterator<Item = Row<'a>>,
    paint: Paint,
) {
    let head = row(first.to_owned(), heads.iter().map(|head| (*head).to_owned()), paint.strong());
    let widths = std::iter::once(Constraint::Max(16)).chain(heads.iter().map(|_| Constraint::Length(10)));
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}
