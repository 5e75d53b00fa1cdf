//! `core fake`: builds the fake index from what the store holds, and shows what is in it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::journal::{Cell, Journal, Progress, Table, stop, words};
use crate::recipe::{Recall, Recipe};
use crate::search::fake::{FakeIndex, Gather, Info, Listed, People, fake_path, write};
use crate::store::{Lock, LogInfo, Store};

const ADVICE: &str = "the earlier fake index is still in use; run the same command again";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Build it anew from these logs; none means the recipe's own and what its server logged.
    Build(Vec<String>),
    /// Say what it holds.
    Stats,
    /// Show the list of a query.
    Show(String),
}

impl Do {
    /// Builds it anew where the recipe serves rewrites from it, and does nothing where they are searched for: what an experiment at the
    /// end of a longer command needs.
    ///
    /// # Errors
    /// Those of a build.
    pub fn for_serving(workspace: &Path, recipe: &Recipe) -> Result<()> {
        match recipe.serve.recall {
            Recall::Fake => run(workspace, recipe, &Self::Build(Vec::new())).map(drop),
            Recall::Index => Ok(()),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// A build, or what a build left.
    Index(Stats),
    /// The list of a query.
    List(List),
}

/// What a fake index holds.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// The file.
    pub path: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What it says of itself.
    #[serde(flatten)]
    pub info: Info,
}

/// The list of a query.
#[derive(Debug, Clone, Serialize)]
pub struct List {
    /// The query.
    pub query: String,
    /// Whether it is ordered by clicks and dwell, not by past pages; null when it is no key.
    pub head: Option<bool>,
    /// Its documents, best first.
    pub docs: Vec<Listed>,
}

impl Report {
    /// One row, or one row a document.
    #[must_use]
    pub fn table(&self) -> Table {
        match self {
            Self::Index(stats) => stats.table(),
            Self::List(list) => list.table(),
        }
    }
}

impl Stats {
    fn table(&self) -> Table {
        let columns = ["version", "made_utc", "keys", "head_keys", "docs", "bytes", "logs"];
        let mut table = Table::new("fake", "", &columns);
        table.row([
            self.info.version.into(),
            words::utc(self.info.made_ms).into(),
            self.info.keys.into(),
            self.info.head_keys.into(),
            self.info.docs.into(),
            Cell::shown(self.bytes, words::bytes(self.bytes)),
            self.info.logs.join(", ").into(),
        ]);
        table
    }
}

impl List {
    fn table(&self) -> Table {
        let title = match self.head {
            None => "not a key: too few people typed it, or nothing was shown for it",
            Some(true) => "by clicks and dwell",
            Some(false) => "by what past searches ranked on top",
        };
        let mut table = Table::new("fake", title, &["doc", "title", "weight"]);
        for listed in &self.docs {
            table.row([listed.card.doc.as_str().into(), listed.card.title.as_str().into(), listed.weight.into()]);
        }
        table
    }
}

/// Builds or shows the fake index of the recipe's log.
///
/// # Errors
/// No log; a log that was never shown anything; no index to show, or a damaged one; a full disk; `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, what: &Do) -> Result<Report> {
    let path = fake_path(workspace, &recipe.name);
    match what {
        Do::Build(logs) => Journal::record(workspace, "fake", &recipe.name, &recipe.to_toml(), |journal| {
            build(workspace, recipe, logs, &path, journal)?;
            stats(&path)
        }),
        Do::Stats => stats(&path),
        Do::Show(query) => {
            let index = FakeIndex::open(&path)?;
            let (head, docs) = (index.is_head(query), index.get(query).unwrap_or_default());
            Ok(Report::List(List { query: query.clone(), head, docs }))
        }
    }
}

fn stats(path: &Path) -> Result<Report> {
    let index = FakeIndex::open(path)?;
    let (bytes, info) = (index.bytes(), index.info().clone());
    Ok(Report::Index(Stats { path: path.display().to_string(), bytes, info }))
}

fn build(workspace: &Path, recipe: &Recipe, names: &[String], path: &Path, journal: &Journal) -> Result<()> {
    let _alone = Lock::take(workspace, &format!("fake-{}", recipe.name))?;
    let store = Store::open_existing(workspace)?;
    let logs = logs(&store, recipe, names)?;
    let sessions = logs.iter().map(|log| log.sessions as u64).sum();
    let mut people = People::default();
    each_session(&store, &logs, &journal.progress("people", sessions), |session| people.add(session))?;
    let valid = people.valid(recipe.fake.min_people);
    let typed = valid.len();
    let mut catalogue = HashMap::new();
    for log in &logs {
        catalogue.extend(store.docs(log)?.into_iter().map(|doc| (doc.id.clone(), doc)));
    }
    let mut catalogue: Vec<_> = catalogue.into_values().collect();
    catalogue.sort_by(|a, b| a.id.cmp(&b.id));
    let mut gather = Gather::new(&recipe.fake, recipe.mine.success_dwell_s, valid, catalogue);
    each_session(&store, &logs, &journal.progress("gather", sessions), |session| gather.add(session))?;
    let (cards, lists) = gather.finish();
    if lists.is_empty() {
        bail!(
            "no query would be in it: {typed} were typed by {} people or more (fake.min_people), and none of these was \
             shown a document of the log; use a longer log, or a lower fake.min_people",
            recipe.fake.min_people
        );
    }
    let names: Vec<_> = logs.iter().map(|log| log.name.clone()).collect();
    let progress = journal.progress("write", lists.len() as u64);
    let info = write(path, &names, &cards, lists.into_iter(), |n| progress.inc(n))?;
    progress.finish(&format!("version {}: {} queries, {} documents", info.version, info.keys, info.docs));
    Ok(())
}

/// The logs asked for, or the recipe's own and what its server logged.
fn logs(store: &Store, recipe: &Recipe, names: &[String]) -> Result<Vec<LogInfo>> {
    if !names.is_empty() {
        return names.iter().map(|name| store.log(name)).collect();
    }
    let served = store.find_log(&format!("{}-served", recipe.name))?;
    Ok(std::iter::once(store.log(&recipe.name)?).chain(served).collect())
}

fn each_session(
    store: &Store,
    logs: &[LogInfo],
    progress: &Progress,
    mut visit: impl FnMut(&crate::logs::Session),
) -> Result<()> {
    for log in logs {
        store.for_each_session(log, |mut session| {
            stop::check(ADVICE)?;
            // One id in two logs is two people.
            session.user = format!("{}\u{1f}{}", log.name, session.user);
            visit(&session);
            progress.inc(1);
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Click, Doc, Search, Session};
    use crate::store::LogKind;

    fn recipe() -> Recipe {
        let mut recipe = Recipe { name: "l".into(), ..Recipe::default() };
        recipe.fake.min_people = 3;
        recipe
    }

    fn session(user: usize) -> Session {
        let click = Click { doc: "b".into(), rank: 2, dwell_s: Some(20.0), ..Click::default() };
        let search = |query: &str| Search {
            id: format!("{query}{user}"),
            query: query.into(),
            shown: vec!["a".into(), "b".into()],
            clicks: vec![click.clone()],
            ..Search::default()
        };
        let rare = if user == 0 { "my own name" } else { "Jaguar Car" };
        Session {
            id: format!("s{user}"),
            user: format!("u{user}"),
            searches: vec![search("jaguar"), search(rare)],
            ..Session::default()
        }
    }

    fn log(workspace: &Path, name: &str, people: usize) {
        let doc = |id: &str| Doc { id: id.into(), title: format!("Title {id}"), ..Doc::default() };
        let mut store = Store::open(workspace).unwrap();
        store
            .write_log(name, LogKind::World, "x", |w| {
                ["a", "b"].iter().try_for_each(|id| w.doc(&doc(id)))?;
                (0..people).try_for_each(|user| w.session(&session(user)))
            })
            .unwrap();
    }

    #[test]
    fn it_is_made_for_serving_where_rewrites_are_read_from_it() {
        let (workspace, mut recipe) = (tempfile::tempdir().unwrap(), recipe());
        log(workspace.path(), "l", 3);
        let there = |recipe: &Recipe| {
            Do::for_serving(workspace.path(), recipe).unwrap();
            FakeIndex::open(&fake_path(workspace.path(), "l")).is_ok()
        };
        assert!(!there(&recipe));
        recipe.serve.recall = Recall::Fake;
        assert!(there(&recipe));
    }

    #[test]
    fn a_build_from_the_store_lists_what_enough_people_typed() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "l", 30);
        let Report::Index(stats) = run(dir.path(), &recipe(), &Do::Build(vec![])).unwrap() else { panic!() };
        assert_eq!((stats.info.keys, stats.info.head_keys, stats.info.docs, stats.info.version), (2, 2, 2, 1));
        let show = |query: &str| match run(dir.path(), &recipe(), &Do::Show(query.into())).unwrap() {
            Report::List(list) => (list.head, list.docs.into_iter().map(|l| l.card.doc).collect::<Vec<_>>()),
            Report::Index(_) => panic!(),
        };
        assert_eq!(show("JAGUAR!"), (Some(true), vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(show("my own name"), (None, vec![]));
        let Report::Index(again) = run(dir.path(), &recipe(), &Do::Build(vec![])).unwrap() else { panic!() };
        assert_eq!((again.info.version, again.bytes), (2, stats.bytes));
    }

    #[test]
    fn what_a_server_logged_counts_and_one_id_in_two_logs_is_two_people() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), "l", 2);
        let error = run(dir.path(), &recipe(), &Do::Build(vec![])).unwrap_err().to_string();
        assert!(error.contains("fake.min_people") && error.contains("0 were typed"), "{error}");
        log(dir.path(), "l-served", 1);
        let Report::Index(stats) = run(dir.path(), &recipe(), &Do::Build(vec![])).unwrap() else { panic!() };
        assert_eq!((stats.info.keys, stats.info.logs), (1, vec!["l".to_owned(), "l-served".to_owned()]));
        assert!(
            run(dir.path(), &recipe(), &Do::Build(vec!["none".into()])).unwrap_err().to_string().contains("no log")
        );
    }
}
