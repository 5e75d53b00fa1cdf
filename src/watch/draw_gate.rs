//! The gate page: who stood against whom, what was decided, and every check with its rule and its interval.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use unicode_width::UnicodeWidthStr;

use super::app::{App, Page};
use super::draw::{Paint, inset};
use super::text::{cut, fold};
use crate::journal::words;
use crate::judge::{Check, Verdict};

/// Rows that the words about the check under the cursor may take.
const ROWS: usize = 2;

/// A column: its head, and its width in cells.
type Column = (&'static str, u16);

const VERDICT: Column = ("check", 6);
const DIFFERENCE: Column = ("difference", 10);
const INCUMBENT: Column = ("incumbent", 9);
const CANDIDATE: Column = ("candidate", 9);
const INTERVAL: Column = ("95 % interval", 20);
const RULE: Column = ("rule", 34);

/// What fits into so many cells beside the metric's name; what matters least goes first when it gets narrow.
fn columns(width: u16) -> &'static [Column] {
    match width {
        0..34 => &[VERDICT],
        34..56 => &[DIFFERENCE, VERDICT],
        56..77 => &[INCUMBENT, CANDIDATE, DIFFERENCE, VERDICT],
        77..112 => &[INCUMBENT, CANDIDATE, DIFFERENCE, INTERVAL, VERDICT],
        _ => &[INCUMBENT, CANDIDATE, DIFFERENCE, INTERVAL, RULE, VERDICT],
    }
}

/// Draws the page; answers whether there was anything to draw.
pub(super) fn gate(frame: &mut Frame, area: Rect, app: &App, paint: Paint) -> bool {
    let Some(verdict) = app.view_of(Page::Gate).and_then(|view| view.judged.verdict.as_ref()) else { return false };
    let area = inset(area);
    let at = app.check_at(verdict.checks.len());
    let about = verdict.checks.get(at).map(|check| about(check, &verdict.unit, usize::from(area.width), paint));
    let about = about.unwrap_or_default();
    // A low screen is for the rows.
    let below = if area.height > 7 { about.len() as u16 + 1 } else { 0 };
    let parts = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(below)];
    let [top, middle, bottom] = Layout::vertical(parts).areas(area);
    frame.render_widget(in_short(verdict, usize::from(area.width), paint), top);
    checks(frame, middle, &verdict.checks, at, paint);
    frame.render_widget(Paragraph::new([vec![Line::default()], about].concat()), bottom);
    true
}

fn in_short<'a>(verdict: &Verdict, width: usize, paint: Paint) -> Line<'a> {
    let (word, style) = match (verdict.promoted, verdict.release) {
        (true, Some(id)) => (format!("✓ promoted, release {id}"), paint.good()),
        (true, None) => ("✓ promoted".into(), paint.good()),
        (false, _) => ("✗ refused".into(), paint.bad()),
    };
    let (failed, all) = (verdict.failed().len(), verdict.checks.len());
    let failed = if failed > 0 { format!("  {failed} of {all} failed") } else { String::new() };
    let Verdict { incumbent, candidate, queries, .. } = verdict;
    let text = format!("  {candidate} against {incumbent}  {queries} queries{failed}");
    let rest = cut(&text, width.saturating_sub(word.width()));
    Line::from(vec![Span::styled(word, style.patch(paint.strong())), Span::raw(rest)])
}

fn checks(frame: &mut Frame, area: Rect, checks: &[Check], at: usize, paint: Paint) {
    let columns = columns(area.width);
    let rows = checks.iter().map(|check| {
        let cells = columns.iter().map(|(head, _)| cell(check, head, paint));
        Row::new(std::iter::once(Cell::from(check.measure.clone())).chain(cells))
    });
    let heads = columns.iter().map(|&(head, _)| aligned(head, head.to_owned()));
    let head = Row::new(std::iter::once(Cell::from("metric")).chain(heads)).style(paint.strong());
    let widths = columns.iter().map(|&(_, width)| Constraint::Length(width));
    let table = Table::new(rows, std::iter::once(Constraint::Max(16)).chain(widths));
    // A lone row is for the check under the cursor.
    let table = if area.height > 1 { table.header(head) } else { table };
    let table = table.highlight_symbol("> ").row_highlight_style(paint.strong());
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(Some(at)));
}

fn cell<'a>(check: &Check, head: &str, paint: Paint) -> Cell<'a> {
    let Check { found, rule, passed, .. } = check;
    match head {
        "check" if *passed => Cell::from(Span::styled("✓ pass", paint.good())),
        "check" => Cell::from(Span::styled("✗ fail", paint.bad())),
        "incumbent" => aligned(head, words::number(found.control)),
        "candidate" => aligned(head, words::number(found.treatment)),
        "difference" => aligned(head, signed(found.difference)),
        "rule" => aligned(head, rule.clone()),
        _ => aligned(head, interval(check)),
    }
}

/// Numbers to the right, words to the left.
fn aligned<'a>(head: &str, text: String) -> Cell<'a> {
    let line = Line::from(text);
    if matches!(head, "rule" | "check") { line.into() } else { line.right_aligned().into() }
}

/// In full, what the row of a check may have no room for.
fn about<'a>(check: &Check, unit: &str, width: usize, paint: Paint) -> Vec<Line<'a>> {
    let Check { measure, found, rule, .. } = check;
    let text =
        format!("{measure}: {rule}; {} {} over {} {unit}", signed(found.difference), interval(check), found.people);
    fold(&text, width, ROWS).into_iter().map(|part| Line::styled(part, paint.quiet())).collect()
}

fn interval(check: &Check) -> String {
    format!("[{}, {}]", signed(check.found.low), signed(check.found.high))
}

fn signed(x: f64) -> String {
    let plus = if x > 0.0 { "+" } else { "" };
    format!("{plus}{}", words::number(x))
}
