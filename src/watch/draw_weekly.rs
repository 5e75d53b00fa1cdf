//! The weekly page: how far the loop is, its lifts as a chart, and a row a week with what was decided and why.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::app::{App, Page};
use super::draw::{Paint, inset};
use super::draw_training::plot;
use super::judged::Judged;
use super::text::{cut, fold};
use crate::journal::RunInfo;
use crate::judge::{Lift, Week, Weeks};

/// Rows that the words about the week under the cursor may take.
const ROWS: usize = 2;

/// A column: its head, and its width in cells; the last one takes what is left.
type Column = (&'static str, u16);

const WEEK: Column = ("week", 4);
const DECISION: Column = ("decision", 10);
const IN_USE: Column = ("in use", 6);
const LIFT: Column = ("lift", 6);
const INTERVAL: Column = ("95 % interval", 14);
const CANDIDATE: Column = ("candidate", 9);
const FIRST: Column = ("first", 6);
const UNGATED: Column = ("no gate", 7);
const DRIFT: Column = ("drift", 5);
const REASON: Column = ("reason", 0);

/// What fits into so many cells; what matters least goes first when it gets narrow.
fn columns(width: u16) -> &'static [Column] {
    match width {
        0..30 => &[WEEK, DECISION],
        30..38 => &[WEEK, DECISION, LIFT, DRIFT],
        38..52 => &[WEEK, DECISION, IN_USE, LIFT, DRIFT],
        52..77 => &[WEEK, DECISION, IN_USE, LIFT, INTERVAL, DRIFT],
        77..100 => &[WEEK, DECISION, IN_USE, LIFT, INTERVAL, CANDIDATE, FIRST, UNGATED, DRIFT],
        _ => &[WEEK, DECISION, IN_USE, LIFT, INTERVAL, CANDIDATE, FIRST, UNGATED, DRIFT, REASON],
    }
}

/// Draws the page; answers whether there was anything to draw.
pub(super) fn weekly(frame: &mut Frame, area: Rect, app: &App, paint: Paint) -> bool {
    let Some((run, view)) = app.run_of(Page::Weekly).zip(app.view_of(Page::Weekly)) else { return false };
    let judged = &view.judged;
    let Some(weeks) = &judged.weeks else { return false };
    let area = inset(area);
    let at = app.week_at(&judged.week_ids());
    let about = judged.newest_first().nth(at).map(|week| about(week, usize::from(area.width), paint));
    let about = about.unwrap_or_default();
    // A low screen is for the rows; the chart gets what the table does not need, and the table never more than two fifths.
    let below = if area.height > 7 { about.len() as u16 + 1 } else { 0 };
    let table = (weeks.rows.len() as u16 + 1).min((area.height * 2 / 5).max(3));
    let roomy = area.height >= 14 && area.width >= 36 && !weeks.rows.is_empty();
    let chart = if roomy { area.height.saturating_sub(1 + below + table) } else { 0 };
    let parts = [1, chart].map(Constraint::Length).into_iter().chain([Constraint::Min(0), Constraint::Length(below)]);
    let [top, middle, rows, bottom] = Layout::vertical(parts).areas(area);
    frame.render_widget(in_short(run, weeks, usize::from(area.width), paint), top);
    if chart > 0 {
        lifts(frame, middle, weeks, paint);
    }
    a_row_a_week(frame, rows, judged, at, paint);
    frame.render_widget(Paragraph::new([vec![Line::default()], about].concat()), bottom);
    true
}

fn in_short<'a>(run: &RunInfo, weeks: &Weeks, width: usize, paint: Paint) -> Line<'a> {
    let Weeks { log, planned, weeks, promoted, .. } = weeks;
    let text = format!("  {weeks} of {planned} weeks, {promoted} promoted  log {log}");
    let status = Span::styled(run.status.clone(), paint.status(&run.status).patch(paint.strong()));
    Line::from(vec![status, Span::raw(cut(&text, width.saturating_sub(run.status.len())))])
}

/// The lift of what is in use, and of what would be without a gate, over the weeks.
fn lifts(frame: &mut Frame, area: Rect, weeks: &Weeks, paint: Paint) {
    let points = |of: fn(&Week) -> Option<Lift>| -> Vec<(f64, f64)> {
        weeks.rows.iter().filter_map(|week| Some((f64::from(week.week), of(week)?.percent))).collect()
    };
    let title = Line::from(vec![
        Span::styled("lift, %", paint.strong()),
        Span::styled("  ⠒⠒ in use", paint.accent()),
        Span::styled("  • no gate", paint.warn()),
    ]);
    plot(frame, area, title, &points(|week| week.lift), &points(|week| week.ungated_lift), paint);
}

fn a_row_a_week(frame: &mut Frame, area: Rect, judged: &Judged, at: usize, paint: Paint) {
    let columns = columns(area.width);
    let rows = judged.newest_first().map(|week| Row::new(columns.iter().map(|(head, _)| cell(week, head, paint))));
    let head = Row::new(columns.iter().map(|&(head, _)| aligned(head, head.to_owned()))).style(paint.strong());
    let widths = columns.iter().map(|&(_, width)| if width == 0 { Constraint::Min(8) } else { width.into() });
    let table = Table::new(rows, widths);
    // A lone row is for the week under the cursor.
    let table = if area.height > 1 { table.header(head) } else { table };
    let table = table.highlight_symbol("> ").row_highlight_style(paint.strong());
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(Some(at)));
}

fn cell<'a>(week: &Week, head: &str, paint: Paint) -> Cell<'a> {
    let lift = |lift: Option<Lift>| lift.map_or_else(|| "–".into(), |lift| percent(lift.percent));
    let text = match head {
        "decision" if week.promoted() => return Span::styled("✓ promoted", paint.good()).into(),
        "decision" => return Span::styled("✗ refused", paint.bad()).into(),
        "week" => week.week.to_string(),
        "in use" => week.in_use.to_string(),
        "lift" => lift(week.lift),
        "candidate" => lift(week.candidate_lift),
        "first" => lift(week.first_lift),
        "no gate" => lift(week.ungated_lift),
        "drift" => format!("{:.3}", week.drift),
        "reason" => week.reason(),
        _ => week.lift.map_or_else(|| "–".into(), interval),
    };
    aligned(head, text)
}

/// Numbers to the right, words to the left.
fn aligned<'a>(head: &str, text: String) -> Cell<'a> {
    let line = Line::from(text);
    if matches!(head, "decision" | "reason") { line.into() } else { line.right_aligned().into() }
}

/// In full, what the row of a week may have no room for.
fn about<'a>(week: &Week, width: usize, paint: Paint) -> Vec<Line<'a>> {
    let Week { week: number, searches, examples: [learnt, held], verdict, .. } = week;
    let text = format!(
        "week {number}: {}, {}; {searches} searches, {learnt} examples and {held} held out",
        verdict.candidate,
        week.reason()
    );
    fold(&text, width, ROWS).into_iter().map(|part| Line::styled(part, paint.quiet())).collect()
}

fn interval(lift: Lift) -> String {
    format!("[{}, {}]", percent(lift.low), percent(lift.high))
}

/// Three digits, so that a column holds it.
fn percent(x: f64) -> String {
    match x.abs() {
        0.0..9.995 => format!("{x:+.2}"),
        9.995..99.95 => format!("{x:+.1}"),
        _ => format!("{x:+.0}"),
    }
}
