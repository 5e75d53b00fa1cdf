//! From the journal into the state: opens the store once it is there, and reads what is new.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::app::App;
use crate::journal::Reader;
use crate::store;

/// Events read at once.
const BATCH: usize = 2_000;
/// Longest time one look at the journal takes, so that keys are answered while a long run is read.
const LOOK: Duration = Duration::from_millis(150);

/// A reader of a workspace that may not exist yet, or any more.
pub(super) struct Feed {
    workspace: PathBuf,
    open: Option<(Reader, FileId)>,
    seen: i64,
}

/// Tells one store file from another of the same name.
type FileId = Option<(u64, u64)>;

impl Feed {
    pub(super) fn new(workspace: &Path) -> Self {
        Self { workspace: workspace.to_owned(), open: None, seen: 0 }
    }

    /// Reads what is new into the state. Trouble in reading is told there and tried again at the next look.
    ///
    /// # Errors
    /// A store that this program cannot open at all: a newer one, or another kind of file.
    pub(super) fn look(&mut self, app: &mut App) -> Result<()> {
        let path = self.workspace.join(store::FILE_NAME);
        let Ok(metadata) = path.metadata() else {
            if self.open.take().is_some() {
                app.forget();
            }
            app.notice =
                Some(format!("Waiting for a store at {}: run `core demo` in another terminal.", path.display()));
            return Ok(());
        };
        let id = file_id(&metadata);
        if self.open.as_ref().is_some_and(|(_, known)| *known != id) {
            self.open = None;
            app.forget();
        }
        if self.open.is_none() {
            self.open = Some((Reader::open(&self.workspace)?, id));
            self.seen = 0;
        }
        let Some((reader, _)) = &self.open else { return Ok(()) };
        app.notice = read(reader, &mut self.seen, app).err().map(|error| format!("Cannot read the journal: {error:#}"));
        Ok(())
    }
}

fn read(reader: &Reader, seen: &mut i64, app: &mut App) -> Result<()> {
    let began = Instant::now();
    app.runs = reader.runs()?;
    let end = reader.end()?;
    if let Some((run, _)) = reader.newest_metrics(*seen)? {
        app.training = Some(run);
    }
    for (title, run) in [("gate", &mut app.gate), ("weekly", &mut app.weekly)] {
        *run = reader.newest_reporting(title, *seen)?.or(*run);
    }
    *seen = end;
    for (run, mut after) in app.wanted() {
        while began.elapsed() < LOOK {
            let events = reader.events(run, after, BATCH)?;
            app.take(run, &events);
            match events.last() {
                Some(last) if events.len() == BATCH => after = last.id,
                _ => break,
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn file_id(metadata: &std::fs::Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(_: &std::fs::Metadata) -> FileId {
    None
}
