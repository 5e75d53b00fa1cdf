//! The frame: pages at the top, keys at the bottom, help over it. Drawing reads the state and changes nothing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

use super::app::{App, Page};
use super::keys::HELP;
use super::text::{cut, fold};
use super::{draw_gate, draw_lists, draw_rollouts, draw_serving, draw_training, draw_weekly};
use crate::journal::words;

/// Cells that the header keeps for the name of the run.
const OF_RUN: usize = 24;

/// How things are painted. Colour only repeats what words and marks say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    colour: bool,
}

impl Paint {
    /// Without colour when asked so.
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// As the environment asks: <https://no-color.org>.
    pub(super) fn of_environment() -> Self {
        Self::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn fg(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn good(self) -> Style {
        self.fg(Color::Green)
    }

    pub(super) fn bad(self) -> Style {
        self.fg(Color::Red)
    }

    pub(super) fn warn(self) -> Style {
        self.fg(Color::Yellow)
    }

    pub(super) fn accent(self) -> Style {
        self.fg(Color::Cyan)
    }

    pub(super) fn quiet(self) -> Style {
        self.fg(Color::DarkGray)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The style of a run's status.
    pub(super) fn status(self, status: &str) -> Style {
        match status {
            "running" => self.accent(),
            "done" => self.good(),
            "failed" => self.bad(),
            _ => self.warn(),
        }
    }
}

/// Draws the whole screen as of `now_ms` (Unix milliseconds).
pub(super) fn draw(frame: &mut Frame, app: &App, now_ms: i64, paint: Paint) {
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]);
    let [top, body, bottom] = rows.areas(frame.area());
    header(frame, top, app, paint);
    let draws_something = match app.page {
        Page::Runs => draw_lists::runs(frame, body, app, now_ms, paint),
        Page::Training => draw_training::training(frame, body, app, now_ms, paint),
        Page::Samples => draw_lists::samples(frame, body, app, paint),
        Page::Log => draw_lists::log(frame, body, app, now_ms, paint),
        Page::Serving => draw_serving::serving(frame, body, app, now_ms, paint),
        Page::Rollouts => draw_rollouts::rollouts(frame, body, app, paint),
        Page::Gate => draw_gate::gate(frame, body, app, paint),
        Page::Weekly => draw_weekly::weekly(frame, body, app, paint),
    };
    if !draws_something {
        frame.render_widget(Paragraph::new(nothing(app)).wrap(Wrap { trim: true }), inset(body));
    }
    footer(frame, bottom, app, paint);
    if app.help {
        help(frame, body, paint);
    }
}

/// What an empty page says.
fn nothing(app: &App) -> String {
    if app.runs.is_empty() {
        let empty = "No run yet: start one with `core demo` in another terminal; it shows up here.";
        return app.notice.clone().unwrap_or_else(|| empty.into());
    }
    if app.view_of(app.page).is_some_and(|view| view.judged.unread) && matches!(app.page, Page::Gate | Page::Weekly) {
        return "What this run reported was written by another version of `core`, and this one cannot read it.".into();
    }
    match app.page {
        Page::Runs | Page::Log => "This run has said nothing yet.",
        Page::Training => "No training numbers yet. Page 4 (Log) tells what the run is doing.",
        Page::Samples => "No samples yet: they come with each evaluation.",
        Page::Rollouts => "No rollouts: they come with `core train grpo`, one group a prompt.",
        Page::Gate => "No verdict yet: `core gate` or `core weekly` gives one.",
        Page::Weekly => "No week done yet: `core weekly` runs the loop, and page 4 (Log) tells how far it is.",
        Page::Serving => "Nothing served yet: start `core serve` in another terminal and send it a search.",
    }
    .into()
}

/// All pages; where it is narrow only the one shown by its title, and then only that one.
fn header(frame: &mut Frame, area: Rect, app: &App, paint: Paint) {
    let tabs = |titles: bool| {
        let mut spans = vec![Span::styled(" core watch ", paint.strong())];
        for (i, page) in Page::ALL.into_iter().enumerate() {
            let title = format!("{} {}", i + 1, page.title());
            spans.push(match page {
                _ if page == app.page => Span::styled(format!("[{title}]"), paint.strong().patch(paint.accent())),
                _ if titles => Span::raw(format!(" {title} ")),
                _ => Span::raw(format!(" {} ", i + 1)),
            });
        }
        Line::from(spans)
    };
    let width = usize::from(area.width);
    let fitting = [true, false].map(tabs).into_iter().find(|tabs| tabs.width() + OF_RUN <= width);
    let pages = fitting
        .unwrap_or_else(|| Line::styled(format!("[{} {}]", app.page as usize + 1, app.page.title()), paint.strong()));
    let room = width.saturating_sub(pages.width() + 2);
    frame.render_widget(pages, area);
    if let Some(run) = app.run_of(app.page).filter(|_| app.page != Page::Runs) {
        let follows = if app.opened == Some(run.id) { "" } else { "newest: " };
        let text = format!("{follows}run {} {} {}", run.id, run.verb, words::one_line(&run.name));
        frame.render_widget(Line::from(cut(&text, room) + " ").right_aligned(), area);
    }
}

fn footer(frame: &mut Frame, area: Rect, app: &App, paint: Paint) {
    if let Some(notice) = app.notice.as_ref().filter(|_| !app.runs.is_empty()) {
        frame.render_widget(Line::styled(cut(notice, area.width as usize), paint.bad()), area);
        return;
    }
    let moves = match app.page {
        Page::Runs => "j/k move  Enter open",
        Page::Training => "j/k metric",
        Page::Samples | Page::Log | Page::Rollouts => "j/k scroll",
        Page::Gate => "j/k check",
        Page::Weekly => "j/k week",
        Page::Serving => "",
    };
    let follow = if app.opened.is_some() { "  f follow newest" } else { "" };
    let keys = format!(" q quit  ? help  Tab page  {moves}{follow}");
    frame.render_widget(Line::styled(cut(&keys, area.width as usize), paint.quiet()), area);
}

fn help(frame: &mut Frame, body: Rect, paint: Paint) {
    let width = body.width.min(58);
    let room = usize::from(width.saturating_sub(4));
    let mut lines = Vec::new();
    for (key, what) in HELP {
        for (i, part) in fold(what, room.saturating_sub(7).max(4), 4).into_iter().enumerate() {
            let key = if i == 0 { key } else { "" };
            lines.push(Line::from(vec![Span::styled(format!("{key:<7}"), paint.strong()), Span::raw(part)]));
        }
    }
    let height = (lines.len() as u16 + 2).min(body.height);
    let (x, y) = (body.x + (body.width - width) / 2, body.y + (body.height - height) / 2);
    let area = Rect::new(x, y, width, height);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}

/// The area with one free cell at the left and at the right, where there is room.
pub(super) fn inset(area: Rect) -> Rect {
    if area.width < 24 { area } else { Rect::new(area.x + 1, area.y, area.width - 2, area.height) }
}

/// Pads text on the right to `width` cells.
pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
