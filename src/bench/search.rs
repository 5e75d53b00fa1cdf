//! Building and asking an index: ours, plain Tantivy, and SQLite's FTS5, on the same documents and queries.
//!
//! Documents are the world's; queries are what its people type, in their order and as often as they type them. Tantivy has
//! our analyser and its own query parser; both peers look any word up in title, tags and creator and give ten titles back.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::{Index, IndexReader, IndexWriter, TantivyDocument};

use super::machine;
use crate::journal::words::bytes;
use crate::journal::{Cell, Table, stop};
use crate::logs::{Doc, words};
use crate::recipe::{Recipe, SearchPath};
use crate::search::{Engine, Stage};
use crate::store::FullText;
use crate::world::{Page, World};

/// Results of a page.
const PAGE: usize = 10;
/// Queries asked before the clock starts.
const WARM_UP: usize = 100;

/// One system's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The system.
    pub system: String,
    /// Seconds to build the index; none for a part of a system that was built already.
    pub build_s: Option<f64>,
    /// Documents indexed in a second.
    pub docs_per_s: Option<f64>,
    /// Bytes on disk.
    pub bytes: Option<u64>,
    /// Milliseconds of a query, one after the other on one thread.
    pub median_ms: f64,
    /// Milliseconds that 99 % of the queries stay within.
    pub p99_ms: f64,
    /// Queries in a second.
    pub queries_per_s: f64,
    /// Share of queries that found something.
    pub answered: f64,
}

/// All systems.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Documents.
    pub docs: usize,
    /// Queries.
    pub queries: usize,
    /// Threads that built.
    pub threads: usize,
    /// Share of the machine's processors that other programs took meanwhile; only where `/proc` tells.
    pub other_cpu: Option<f64>,
    /// One row a system.
    pub rows: Vec<Row>,
}

impl Report {
    /// One row a system.
    #[must_use]
    pub fn table(&self) -> Table {
        let other = self.other_cpu.map(|x| format!(", {:.0}% of the processors with others", 100.0 * x));
        let title = format!(
            "{} documents, {} queries, {} threads{}",
            self.docs,
            self.queries,
            self.threads,
            other.unwrap_or_default()
        );
        let columns = ["system", "build_s", "docs_per_s", "bytes", "median_ms", "p99_ms", "queries_per_s", "answered"];
        let mut table = Table::new("search", title, &columns);
        for row in &self.rows {
            let size = row.bytes.map_or_else(|| Cell::from(None::<f64>), |n| Cell::shown(n, bytes(n)));
            table.row([
                row.system.as_str().into(),
                row.build_s.into(),
                row.docs_per_s.into(),
                size,
                row.median_ms.into(),
                row.p99_ms.into(),
                row.queries_per_s.into(),
                row.answered.into(),
            ]);
        }
        table
    }
}

/// Builds and asks every system in a folder of the workspace, which is removed afterwards.
pub(super) fn run(workspace: &Path, recipe: &Recipe, docs: Option<usize>, queries: usize) -> Result<Report> {
    let mut recipe = recipe.clone();
    recipe.world.videos = docs.unwrap_or(recipe.world.videos);
    let world = World::new(&recipe)?;
    let queries = typed(&world, queries)?;
    ensure!(!queries.is_empty(), "nobody types anything: raise world.people or world.sessions_per_week");
    std::fs::create_dir_all(workspace).with_context(|| format!("cannot make {}", workspace.display()))?;
    let place = Scratch::new(workspace)?;
    let before = machine::Times::now();
    let docs: Vec<Doc> = world.docs().iter().collect();
    let mut rows = ours(&place.0.join("core"), &docs, &queries, &recipe)?;
    rows.push(plain_tantivy(&place.0.join("tantivy"), &docs, &queries)?);
    rows.push(fts5(&place.0.join("fts5"), &docs, &queries)?);
    let other_cpu = before.zip(machine::Times::now()).and_then(|(before, now)| before.others_until(&now));
    let threads = rayon::current_num_threads();
    Ok(Report { docs: docs.len(), queries: queries.len(), threads, other_cpu, rows })
}

/// A folder that goes when it is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(workspace: &Path) -> Result<Self> {
        let path = workspace.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind costs space only.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The first `most` queries that the world's people type when they find nothing.
fn typed(world: &World, most: usize) -> Result<Vec<String>> {
    let mut queries = Vec::new();
    for person in 0..world.people() {
        for session in world.simulate_person(person, 0..1, &|_| Ok(Page::default()))? {
            queries.extend(session.session.searches.into_iter().map(|search| search.query));
        }
        if queries.len() >= most {
            queries.truncate(most);
            break;
        }
    }
    Ok(queries)
}

fn ours(dir: &Path, docs: &[Doc], queries: &[String], recipe: &Recipe) -> Result<Vec<Row>> {
    let started = Instant::now();
    let tick = |_, _| stop::check("nothing of a benchmark is kept");
    let (engine, _) = Engine::update(dir, docs, &recipe.search, true, tick)?;
    let build_s = started.elapsed().as_secs_f64();
    let settings = SearchPath { page: PAGE, ..recipe.search.clone() };
    let texts = SearchPath { vector_recall: 0, ..settings.clone() };
    let size = engine.stats().text_bytes + engine.stats().vector_bytes;
    let built = Some((build_s, docs.len(), size));
    let page = |query: &str, settings: &SearchPath| Ok(engine.search(query, None, settings)?.len());
    // A rewrite costs a second recall and a second measure.
    let fused = |query: &str| Ok(engine.search(query, Some(&format!("{query} review")), &settings)?.len());
    Ok(vec![
        asked("core: three stages", built, queries, |query| page(query, &settings))?,
        asked("core: with a rewrite", None, queries, fused)?,
        asked("core: no vectors recalled", None, queries, |query| page(query, &texts))?,
        asked("core: recall alone", None, queries, |query| {
            Ok(engine.after(Stage::Recall, query, None, PAGE, &settings)?.len())
        })?,
    ])
}

/// The figures of a system that answers a query with so many results.
fn asked(
    system: &str,
    built: Option<(f64, usize, u64)>,
    queries: &[String],
    answer: impl Fn(&str) -> Result<usize>,
) -> Result<Row> {
    for query in queries.iter().take(WARM_UP) {
        answer(query)?;
    }
    let mut ms = Vec::with_capacity(queries.len());
    let mut answered = 0;
    for query in queries {
        stop::check("nothing of a benchmark is kept")?;
        let started = Instant::now();
        answered += usize::from(answer(query)? > 0);
        ms.push(1_000.0 * started.elapsed().as_secs_f64());
    }
    let all_s: f64 = ms.iter().sum::<f64>() / 1_000.0;
    ms.sort_by(f64::total_cmp);
    Ok(Row {
        system: system.to_owned(),
        build_s: built.map(|b| b.0),
        docs_per_s: built.map(|b| b.1 as f64 / b.0),
        bytes: built.map(|b| b.2),
        median_ms: machine::percentile(&ms, 0.5),
        p99_ms: machine::percentile(&ms, 0.99),
        queries_per_s: queries.len() as f64 / all_s,
        answered: answered as f64 / queries.len() as f64,
    })
}

/// A plain Tantivy index and what it takes to ask it.
struct Plain {
    index: Index,
    reader: IndexReader,
    fields: [Field; 3],
    title: Field,
}

fn plain_tantivy(dir: &Path, docs: &[Doc], queries: &[String]) -> Result<Row> {
    std::fs::create_dir_all(dir)?;
    let started = Instant::now();
    let plain = Plain::build(dir, docs)?;
    let build_s = started.elapsed().as_secs_f64();
    let parser = QueryParser::for_index(&plain.index, plain.fields.to_vec());
    let searcher = plain.reader.searcher();
    asked("tantivy", Some((build_s, docs.len(), size_of(dir)?)), queries, |query| {
        let (query, _) = parser.parse_query_lenient(query);
        let found = searcher.search(&query, &TopDocs::with_limit(PAGE).order_by_score())?;
        let titles = found.into_iter().map(|(_, address)| {
            let row: TantivyDocument = searcher.doc(address)?;
            Ok(row.get_first(plain.title).and_then(|v| v.as_str()).map(str::to_owned))
        });
        Ok(titles.collect::<Result<Vec<_>>>()?.len())
    })
}

impl Plain {
    fn build(dir: &Path, docs: &[Doc]) -> Result<Self> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(Engine::ANALYZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let text = TextOptions::default().set_indexing_options(indexing);
        let id = schema.add_text_field("id", STRING | STORED);
        let title = schema.add_text_field("title", text.clone() | STORED);
        let (tags, creator) = (schema.add_text_field("tags", text.clone()), schema.add_text_field("creator", text));
        let index = Index::create_in_dir(dir, schema.build())?;
        index.tokenizers().register(Engine::ANALYZER, Engine::analyzer());
        let mut writer: IndexWriter = index.writer(128 << 20)?;
        for doc in docs {
            let mut row = TantivyDocument::default();
            row.add_text(id, &doc.id);
            row.add_text(title, &doc.title);
            doc.tags.iter().for_each(|tag| row.add_text(tags, tag));
            row.add_text(creator, &doc.creator);
            writer.add_document(row)?;
        }
        writer.commit()?;
        writer.wait_merging_threads()?;
        let reader = index.reader()?;
        Ok(Self { index, reader, fields: [title, tags, creator], title })
    }
}

fn fts5(dir: &Path, docs: &[Doc], queries: &[String]) -> Result<Row> {
    std::fs::create_dir_all(dir)?;
    let started = Instant::now();
    let peer = FullText::build(&dir.join("fts5.db"), docs)?;
    let build_s = started.elapsed().as_secs_f64();
    asked("sqlite fts5", Some((build_s, docs.len(), size_of(dir)?)), queries, |query| {
        Ok(peer.search(&words(query).collect::<Vec<_>>(), PAGE)?.len())
    })
}

fn size_of(dir: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum())
}
