//! Simulated sessions on their way to the store: a file without a name, so that memory stays flat and nothing is left
//! behind by a run that is killed.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::logs::Session;
use crate::recipe::Fingerprint;

/// Sessions in the order they were added.
pub(super) struct Spool {
    file: BufWriter<File>,
    print: Fingerprint,
}

impl Spool {
    /// Makes an empty spool in the workspace.
    pub(super) fn new(workspace: &Path) -> Result<Self> {
        let path = workspace.join(format!("simulate-{}.spool", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}: check the folder's permissions", path.display()))?;
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), print: Fingerprint::default() })
    }

    /// Appends a session.
    pub(super) fn add(&mut self, session: &Session) -> Result<()> {
        let mut line = serde_json::to_vec(session)?;
        self.print.add(&line);
        line.push(b'\n');
        self.file
            .write_all(&line)
            .context("cannot keep the simulated sessions: free some space on the workspace's disk")
    }

    /// Hash of all sessions so far, and of the documents they tell of.
    pub(super) fn hash(&self, docs: &str) -> String {
        let mut print = self.print;
        print.add(docs.as_bytes());
        print.hex()
    }

    /// Passes every session to `visit`, in order.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(Session) -> Result<()>) -> Result<()> {
        self.file.flush().context("cannot keep the simulated sessions: free some space on the workspace's disk")?;
        self.file.get_mut().rewind()?;
        for line in BufReader::new(self.file.get_mut()).lines() {
            visit(serde_json::from_str(&line?)?)?;
        }
        Ok(())
    }
}
