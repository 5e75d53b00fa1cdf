//! The pages that are lists: runs, samples, log. Each answers whether there was anything to draw.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::app::{App, Page};
use super::draw::{Paint, inset, padded};
use super::text::{bar, cut, fold};
use super::view::{RunView, Sample, Stage};
use crate::journal::{RunInfo, words};

/// Rows one field of a sample may take.
const SAMPLE_ROWS: usize = 3;

pub(super) fn runs(frame: &mut Frame, area: Rect, app: &App, now_ms: i64, paint: Paint) -> bool {
    if app.runs.is_empty() {
        return false;
    }
    // What matters least goes first when it gets narrow.
    let columns: &[(&str, u16)] = match area.width {
        0..40 => &[("run", 4), ("verb", 8), ("status", 8)],
        40..70 => &[("run", 5), ("verb", 9), ("name", 0), ("status", 8)],
        _ => &[("run", 5), ("verb", 9), ("name", 0), ("status", 8), ("started", 14), ("took", 9), ("events", 8)],
    };
    let widths = columns.iter().map(|&(_, w)| if w == 0 { Constraint::Min(6) } else { Constraint::Length(w) });
    let rows = app.runs.iter().map(|run| {
        Row::new(columns.iter().map(|(column, _)| match *column {
            "status" => Cell::from(Span::styled(run.status.clone(), paint.status(&run.status))),
            column => Cell::from(run_field(run, column, now_ms)),
        }))
    });
    let head = Row::new(columns.iter().map(|(name, _)| *name)).style(paint.strong());
    let table = Table::new(rows, widths).header(head).highlight_symbol("> ").row_highlight_style(paint.strong());
    let mut state = TableState::default().with_selected(Some(app.run_at()));
    frame.render_stateful_widget(table, area, &mut state);
    true
}

fn run_field(run: &RunInfo, column: &str, now_ms: i64) -> String {
    match column {
        "run" => run.id.to_string(),
        "verb" => words::one_line(&run.verb),
        "name" => words::one_line(&run.name),
        "started" => format!("{} ago", words::duration(now_ms - run.started_ms)),
        "took" => run.duration_ms(now_ms).map_or_else(|| "–".into(), words::duration),
        _ => run.events.to_string(),
    }
}

pub(super) fn samples(frame: &mut Frame, area: Rect, app: &App, paint: Paint) -> bool {
    let Some(view) = app.view_of(Page::Samples).filter(|view| !view.samples.is_empty()) else { return false };
    let area = inset(area);
    let ids: Vec<_> = view.samples.iter().rev().map(|s| s.id).collect();
    let at = app.sample_at(&ids);
    let right = view.samples.iter().filter(|s| s.right()).count();
    let head = format!("sample {} of {}, newest first; {right} of them right", at + 1, ids.len());
    let width = usize::from(area.width);
    let mut lines = vec![Line::styled(cut(&head, width), paint.quiet())];
    for sample in view.samples.iter().rev().skip(at) {
        if lines.len() >= usize::from(area.height) {
            break;
        }
        sample_lines(sample, width, paint, &mut lines);
    }
    frame.render_widget(Paragraph::new(lines), area);
    true
}

fn sample_lines(sample: &Sample, width: usize, paint: Paint, lines: &mut Vec<Line>) {
    let (mark, style) = if sample.right() { ("✓ right", paint.good()) } else { ("✗ wrong", paint.bad()) };
    let step = if sample.step > 0 { format!("  step {}", sample.step) } else { String::new() };
    lines.push(Line::from(vec![Span::styled(mark, style.patch(paint.strong())), Span::styled(step, paint.quiet())]));
    let context = if sample.context.is_empty() { "(none)" } else { &sample.context };
    for (name, text) in
        [("query", sample.query.as_str()), ("context", context), ("target", &sample.target), ("output", &sample.output)]
    {
        for (i, part) in fold(text, width.saturating_sub(11).max(4), SAMPLE_ROWS).into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            let part = if name == "output" { Span::styled(part, style) } else { Span::raw(part) };
            lines.push(Line::from(vec![Span::styled(format!("  {name:<9}"), paint.quiet()), part]));
        }
    }
}

pub(super) fn log(frame: &mut Frame, area: Rect, app: &App, now_ms: i64, paint: Paint) -> bool {
    let Some((run, view)) = app.run_of(Page::Log).zip(app.view_of(Page::Log)) else { return false };
    if view.stages.is_empty() && view.lines.is_empty() {
        return false;
    }
    let area = inset(area);
    let shown = view.stages.len().min(usize::from(area.height / 2));
    let gap = u16::from(shown > 0 && area.height > 8);
    let [top, _, below] =
        Layout::vertical([Constraint::Length(shown as u16), Constraint::Length(gap), Constraint::Min(0)]).areas(area);
    let hidden = view.stages.len() - shown;
    let lines: Vec<_> = (hidden..view.stages.len())
        .map(|i| {
            let live = run.status == "running" && i + 1 == view.stages.len();
            stage_line(&view.stages[i], usize::from(area.width), live.then_some(now_ms), paint)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), top);
    log_lines(frame, below, app, run, view, paint);
    true
}

/// One stage; `now_ms` for the one under way, whose time still runs.
fn stage_line<'a>(stage: &Stage, width: usize, now_ms: Option<i64>, paint: Paint) -> Line<'a> {
    let of = if stage.total > 0 { format!("/{}", stage.total) } else { String::new() };
    let whole = stage.total > 0 && stage.done >= stage.total;
    let took = now_ms.filter(|_| !whole).unwrap_or(stage.last_ms) - stage.first_ms;
    let count = format!("  {}{of}  {}", stage.done, words::duration(took));
    let name = padded(&cut(&stage.name, 12), 12);
    let bar = bar(stage.done, stage.total, width.saturating_sub(14 + count.chars().count()).min(48));
    let style = if whole { paint.good() } else { paint.accent() };
    Line::from(vec![Span::raw(name + "  "), Span::styled(bar, style), Span::raw(count)])
}

/// The lines up to the one held, from the bottom up.
fn log_lines(frame: &mut Frame, area: Rect, app: &App, run: &RunInfo, view: &RunView, paint: Paint) {
    let ids: Vec<_> = view.lines.iter().map(|line| line.id).collect();
    let at = app.line_at(&ids);
    let width = usize::from(area.width);
    let mut rows: Vec<Line> = Vec::new();
    if !app.at_end_of_log() {
        rows.push(Line::styled(cut(&format!("-- {} newer below --", ids.len() - 1 - at), width), paint.quiet()));
    }
    for line in view.lines.iter().take(at + 1).rev() {
        if rows.len() >= usize::from(area.height) {
            break;
        }
        let time = padded(&format!("+{}", words::duration(line.time_ms - run.started_ms)), 9);
        let folded = fold(&line.text, width.saturating_sub(10).max(4), 4);
        for (i, part) in folded.into_iter().enumerate().rev() {
            let time = if i == 0 { time.clone() } else { " ".repeat(9) };
            rows.push(Line::from(vec![Span::styled(time + " ", paint.quiet()), Span::raw(part)]));
        }
    }
    rows.truncate(usize::from(area.height));
    rows.reverse();
    frame.render_widget(Paragraph::new(rows), area);
}
