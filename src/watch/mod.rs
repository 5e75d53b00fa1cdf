//! The live view: attaches to a workspace's journal from any terminal, and shows runs as they go or as they went.
//!
//! State ([`app`], [`view`]), keys ([`keys`]) and drawing ([`draw`]) are kept apart and know no terminal and no store;
//! [`feed`] reads the journal. The view only ever reads: nothing here can disturb a run.

mod app;
mod curve;
mod draw;
mod draw_gate;
mod draw_lists;
mod draw_rollouts;
mod draw_serving;
mod draw_training;
mod draw_weekly;
mod feed;
mod judged;
mod keys;
mod served;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{self, Event as Input};
use ratatui::DefaultTerminal;

use crate::journal::now_ms;
use crate::recipe::Usage;
use app::App;
use draw::Paint;
use feed::Feed;

/// How often the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Set when the program is asked to end from outside, so that the terminal is put back first.
static END: AtomicBool = AtomicBool::new(false);

/// Shows a workspace's runs until the person quits; waits for a store that does not exist yet.
///
/// # Errors
/// [`Usage`] when standard output is no terminal; a store of a newer version or a file that is none; a terminal that fails.
pub fn run(workspace: &Path) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        let text = "`core watch` needs a terminal to draw on: run it in one, or take `core runs` for a plain table";
        return Err(Usage(text.into()).into());
    }
    let (mut app, mut feed) = (App::new(), Feed::new(workspace));
    // Before the screen changes: a store that cannot be read is told as plain text.
    feed.look(&mut app)?;
    // Only fails where a handler is set already, and then that one ends the program.
    let _ = ctrlc::set_handler(|| {
        END.store(true, Ordering::Relaxed);
        // A terminal that was closed never answers again, and waiting for its keys would not end either.
        std::thread::sleep(2 * LOOK_EVERY);
        let _ = ratatui::try_restore();
        std::process::exit(1);
    });
    let terminal = ratatui::try_init().context("cannot set up the terminal: is standard input closed?");
    let shown = terminal.and_then(|mut terminal| show(&mut terminal, &mut app, &mut feed));
    let restored = ratatui::try_restore().context("cannot put the terminal back: type `reset`");
    shown.and(restored)
}

fn show(terminal: &mut DefaultTerminal, app: &mut App, feed: &mut Feed) -> Result<()> {
    let paint = Paint::of_environment();
    let mut looked = Instant::now();
    while !app.quit && !END.load(Ordering::Relaxed) {
        terminal.draw(|frame| draw::draw(frame, app, now_ms(), paint)).context("cannot draw on the terminal")?;
        if event::poll(LOOK_EVERY.saturating_sub(looked.elapsed()))? {
            // A resize needs no more than the next drawing.
            if let Input::Key(key) = event::read()?
                && let Some(action) = keys::action(key)
            {
                app.apply(action);
            }
        }
        if looked.elapsed() >= LOOK_EVERY {
            feed.look(app)?;
            looked = Instant::now();
        }
    }
    Ok(())
}
