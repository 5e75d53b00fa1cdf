//! What a key asks for: one closed list of actions.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::Page;

/// Everything a person can ask the view to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Esc: closes the help, or quits.
    Back,
    Help,
    Next,
    Previous,
    Show(Page),
    /// Moves down by this many rows; up when negative.
    Move(i32),
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Opens the run under the cursor.
    Open,
    /// Lets go of the opened run, and of the place in a list: the newest is shown as it comes.
    Follow,
}

/// How far a page key moves.
const PAGE_ROWS: i32 = 10;

/// What is said in the footer and in the help, in order of use.
pub(super) const HELP: [(&str, &str); 9] = [
    ("q", "quit (also Esc, Ctrl-C)"),
    ("?", "this help"),
    ("Tab", "next page; Shift-Tab the one before"),
    ("1 to 8", "Runs, Training, Samples, Log, Serving, Rollouts, Gate, Weekly"),
    ("j k", "down and up (also the arrows)"),
    ("Enter", "open the run under the cursor"),
    ("f", "follow the newest run and its newest lines"),
    ("g G", "first and last row (also Home, End)"),
    ("PgDn", "ten rows down; PgUp ten up"),
];

/// The action of a key, if it has one.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Action::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Tab | KeyCode::Right => Action::Next,
        KeyCode::BackTab | KeyCode::Left => Action::Previous,
        KeyCode::Char(digit @ '1'..='8') => Action::Show(Page::ALL[digit as usize - '1' as usize]),
        KeyCode::Char('j') | KeyCode::Down => Action::Move(1),
        KeyCode::Char('k') | KeyCode::Up => Action::Move(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Action::Move(PAGE_ROWS),
        KeyCode::PageUp => Action::Move(-PAGE_ROWS),
        KeyCode::Char('g') | KeyCode::Home => Action::First,
        KeyCode::Char('G') | KeyCode::End => Action::Last,
        KeyCode::Enter => Action::Open,
        KeyCode::Char('f') => Action::Follow,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ask_for_what_the_help_says() {
        let plain = |code| action(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Action::Quit));
        assert_eq!(plain(KeyCode::Esc), Some(Action::Back));
        assert_eq!(plain(KeyCode::Tab), Some(Action::Next));
        assert_eq!(plain(KeyCode::BackTab), Some(Action::Previous));
        assert_eq!(plain(KeyCode::Char('4')), Some(Action::Show(Page::Log)));
        assert_eq!(plain(KeyCode::Char('5')), Some(Action::Show(Page::Serving)));
        assert_eq!(plain(KeyCode::Char('6')), Some(Action::Show(Page::Rollouts)));
        assert_eq!(plain(KeyCode::Char('7')), Some(Action::Show(Page::Gate)));
        assert_eq!(plain(KeyCode::Char('8')), Some(Action::Show(Page::Weekly)));
        assert_eq!([plain(KeyCode::Char('0')), plain(KeyCode::Char('9'))], [None, None]);
        let pages: Vec<_> = Page::ALL.iter().map(|page| page.title()).collect();
        assert!(HELP.contains(&("1 to 8", pages.join(", ").as_str())));
        assert_eq!(plain(KeyCode::Char('j')), plain(KeyCode::Down));
        assert_eq!(plain(KeyCode::Char('k')), Some(Action::Move(-1)));
        let control = |c| action(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        assert_eq!([control('c'), control('j')], [Some(Action::Quit), None]);
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(action(shifted), Some(Action::Last));
        let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(released), None);
    }
}
