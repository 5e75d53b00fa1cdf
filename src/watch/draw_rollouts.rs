//! The rollouts page: one prompt at a time with all that was tried, what each try earned, part by part, and its advantage.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::app::{App, Page};
use super::draw::{Paint, inset};
use super::text::{cut, fold};
use super::view::Rollout;
use crate::journal::words;

/// Rows one line about the prompt may take.
const ROWS: usize = 2;
/// Width of a column of numbers.
const NUMBER: u16 = 10;

/// Draws the page; answers whether there was anything to draw.
pub(super) fn rollouts(frame: &mut Frame, area: Rect, app: &App, paint: Paint) -> bool {
    let Some(view) = app.view_of(Page::Rollouts).filter(|view| !view.rollouts.is_empty()) else { return false };
    let area = inset(area);
    let ids: Vec<_> = view.rollouts.iter().rev().map(|r| r.id).collect();
    let at = app.rollout_at(&ids);
    let Some(rollout) = view.rollouts.iter().rev().nth(at) else { return false };
    let width = usize::from(area.width);
    let head = format!("group {} of {}, newest first; step {}", at + 1, ids.len(), rollout.step);
    let mut lines = vec![Line::styled(cut(&head, width), paint.quiet())];
    let context = if rollout.context.is_empty() { "(none)" } else { &rollout.context };
    for (name, text) in [("query", rollout.query.as_str()), ("context", context), ("person", &rollout.target)] {
        for (i, part) in fold(text, width.saturating_sub(11).max(4), ROWS).into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            lines.push(Line::from(vec![Span::styled(format!("  {name:<9}"), paint.quiet()), Span::raw(part)]));
        }
    }
    lines.push(Line::default());
    let [top, below] = Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(lines), top);
    tries(frame, below, rollout, paint);
    true
}

/// How often a completion was drawn; not at all where it was put there.
fn drawn(count: usize) -> String {
    if count == 0 { "–".into() } else { count.to_string() }
}

/// Completions, best first; equal ones once, with how often they were drawn.
fn tries(frame: &mut Frame, area: Rect, rollout: &Rollout, paint: Paint) {
    let mut distinct: Vec<(usize, &crate::journal::Sampled)> = Vec::new();
    for sampled in &rollout.sampled {
        match distinct.iter_mut().find(|(_, known)| known.output == sampled.output) {
            Some((count, _)) => *count += 1,
            None => distinct.push((usize::from(!sampled.unsaid), sampled)),
        }
    }
    distinct.sort_by(|(_, a), (_, b)| b.advantage.total_cmp(&a.advantage));
    let parts: Vec<&String> = rollout.sampled.first().into_iter().flat_map(|sampled| sampled.parts.keys()).collect();
    // Parts go first when it gets narrow.
    let room = usize::from(area.width.saturating_sub(24 + 4 + 2 * NUMBER) / (NUMBER + 1));
    let parts = &parts[..parts.len().min(room)];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let rows = distinct.into_iter().map(|(count, sampled)| {
        let style = if sampled.advantage > 0.0 { paint.good() } else { paint.bad() };
        let output = words::one_line(&sampled.output);
        let reward = sampled.reward.map_or_else(|| "–".into(), words::number);
        let own = parts.iter().map(|part| sampled.parts.get(*part).map_or_else(|| "–".into(), |x| words::number(*x)));
        let own: Vec<Cell> = own.map(&right).collect();
        let front = [Cell::from(Span::styled(output, style)), right(drawn(count)), right(reward)];
        let advantage = Cell::from(Line::styled(words::number(sampled.advantage), style).right_aligned());
        Row::new(front.into_iter().chain([advantage]).chain(own))
    });
    let heads = ["n", "reward", "advantage"].into_iter().chain(parts.iter().map(|part| part.as_str()));
    let heads = std::iter::once(Cell::from("tried")).chain(heads.map(|head| right(head.to_owned())));
    let widths = [Constraint::Min(20), Constraint::Length(4), Constraint::Length(NUMBER), Constraint::Length(NUMBER)];
    let widths = widths.into_iter().chain(parts.iter().map(|_| Constraint::Length(NUMBER)));
    frame.render_widget(Table::new(rows, widths).header(Row::new(heads).style(paint.strong())), area);
}
