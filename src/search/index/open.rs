//! Opening an index: every file is checked, and one that is damaged is named with the command that rebuilds it.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tantivy::{DocAddress, Index, IndexReader, ReloadPolicy, SegmentReader, TantivyError};

use super::folder::{self, Current};
use super::manifest::{self, Manifest, Stats};
use super::{Fields, LEAST_POPULARITY, Vectors, columns, schema, with_analyzer};
use crate::search::fit::Ranking;

/// Age at which a document counts as half fresh, in days.
const HALF_FRESH_DAYS: f64 = 30.0;

/// An index, ready to be searched.
pub(crate) struct Opened {
    pub reader: IndexReader,
    pub fields: Fields,
    pub vectors: Vectors,
    /// Where each document lies in the text index, by number.
    pub addresses: Vec<DocAddress>,
    /// Number of each document, by segment and place in it.
    numbers: Vec<Vec<u32>>,
    /// What ranking knows of each document whatever was asked, by number.
    pub facts: Vec<Facts>,
    /// Weights of the ranking.
    pub ranking: Ranking,
    /// How satisfied people were with each document, by number; 1 is usual.
    pub satisfaction: Vec<f32>,
    pub current: Current,
    pub stats: Stats,
}

/// What is known of a document whatever was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Views relative to the most viewed document, above 0.
    pub popularity: f64,
    /// `1 / (1 + age in days / 30)`; 0 when the age is not known.
    pub freshness: f64,
    /// Upload time, Unix milliseconds; 0 when not known.
    pub published_ms: i64,
}

impl Opened {
    /// The number of the document at an address.
    pub fn number(&self, address: DocAddress) -> u32 {
        self.numbers[address.segment_ord as usize][address.doc_id as usize]
    }
}

/// Opens the index under `dir`, with the graphs of its vectors or without.
pub(crate) fn open(dir: &Path, graphs: bool) -> Result<Opened> {
    let current = folder::read(dir)?;
    let path = dir.join(&current.folder);
    open_build(&path, current, graphs).with_context(|| unusable(dir))
}

/// The remedy for everything that can be wrong with an index.
pub(super) fn unusable(dir: &Path) -> String {
    format!("the search index in {} cannot be used: run `core index build`", dir.display())
}

fn open_build(path: &Path, current: Current, graphs: bool) -> Result<Opened> {
    let manifest = Manifest::read(path)?;
    let index = with_analyzer(Index::open_in_dir(path).with_context(|| format!("cannot open {}", path.display()))?);
    sound(&index, path)?;
    let (expected, fields) = schema();
    ensure!(index.schema() == expected, "{} has other fields than this program's", path.display());
    // A reader takes a lock in the folder, which is no damage when it cannot.
    let reader: IndexReader =
        index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(|error| match error {
            TantivyError::LockFailure(..) => anyhow!("cannot lock {}: check its permissions", path.display()),
            _ => anyhow::Error::new(error).context(format!("cannot open {}", path.display())),
        })?;
    let vectors = Vectors::open(path, &manifest.shards, manifest.encoder.dimension, graphs)?;
    let numbers = numbers(&reader).with_context(|| format!("a column in {} is damaged", path.display()))?;
    let (addresses, facts) = by_number(&reader, &numbers, current.docs, manifest.newest_ms)
        .with_context(|| format!("a column in {} is damaged", path.display()))?;
    ensure!(vectors.len() == current.docs, "{} holds vectors of other documents", path.display());
    let satisfaction = manifest::read_satisfaction(path, current.docs)?;
    let stats = stats(&reader, &manifest, path, current.docs)?;
    let ranking = manifest.ranking;
    Ok(Opened { reader, fields, vectors, addresses, numbers, facts, ranking, satisfaction, current, stats })
}

/// Refuses an index with a file that is missing or whose checksum is wrong.
fn sound(index: &Index, path: &Path) -> Result<()> {
    let damaged = index.validate_checksum().with_context(|| format!("{} is damaged", path.display()))?;
    match damaged.into_iter().min() {
        Some(file) => bail!("{} is damaged", path.join(file).display()),
        None => Ok(()),
    }
}

fn numbers(reader: &IndexReader) -> Result<Vec<Vec<u32>>> {
    let searcher = reader.searcher();
    let of_segment = |segment: &SegmentReader| -> Result<Vec<u32>> {
        let column = segment.fast_fields().u64(columns::NUMBER)?;
        let number = |doc| u32::try_from(column.first(doc).context("a document without a number")?).context("a number");
        (0..segment.max_doc()).map(number).collect()
    };
    searcher.segment_readers().iter().map(of_segment).collect()
}

/// Address and facts of each document.
fn by_number(
    reader: &IndexReader,
    numbers: &[Vec<u32>],
    docs: usize,
    newest_ms: i64,
) -> Result<(Vec<DocAddress>, Vec<Facts>)> {
    let nowhere = DocAddress::new(u32::MAX, 0);
    let mut addresses = vec![nowhere; docs];
    let mut facts = vec![Facts { popularity: LEAST_POPULARITY, freshness: 0.0, published_ms: 0 }; docs];
    let searcher = reader.searcher();
    for ((ord, segment), numbers) in (0..).zip(searcher.segment_readers()).zip(numbers) {
        let popularity = segment.fast_fields().f64(columns::POPULARITY)?;
        let published = segment.fast_fields().i64(columns::PUBLISHED)?;
        for (doc, number) in (0..).zip(numbers) {
            let number = *number as usize;
            *addresses.get_mut(number).context("a number beyond the last document")? = DocAddress::new(ord, doc);
            let published_ms = published.first(doc).unwrap_or_default();
            facts[number] = Facts {
                popularity: popularity.first(doc).unwrap_or(LEAST_POPULARITY),
                freshness: freshness(published_ms, newest_ms),
                published_ms,
            };
        }
    }
    ensure!(!addresses.contains(&nowhere), "a document is missing");
    Ok((addresses, facts))
}

/// How new a document is, against the newest one; 0 when its upload time is not known.
fn freshness(published_ms: i64, newest_ms: i64) -> f64 {
    if published_ms <= 0 {
        return 0.0;
    }
    let age_days = (newest_ms - published_ms).max(0) as f64 / 86_400_000.0;
    1.0 / (1.0 + age_days / HALF_FRESH_DAYS)
}

fn stats(reader: &IndexReader, manifest: &Manifest, path: &Path, docs: usize) -> Result<Stats> {
    let searcher = reader.searcher();
    let (_, fields) = schema();
    let mut terms = 0;
    for segment in searcher.segment_readers() {
        for field in &fields.texts {
            terms += segment.inverted_index(*field)?.terms().num_terms() as u64;
        }
    }
    let (mut text_bytes, mut vector_bytes) = (0, 0);
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?.flatten() {
        let bytes = entry.metadata().map_or(0, |m| m.len());
        let vectors = entry.file_name().to_string_lossy().starts_with("vectors-");
        if vectors { vector_bytes += bytes } else { text_bytes += bytes }
    }
    Ok(Stats {
        docs,
        segments: searcher.segment_readers().len(),
        terms,
        shards: manifest.shards.len(),
        text_bytes,
        vector_bytes,
        encoder: manifest.encoder.clone(),
        fitted_on: manifest.ranking.fitted_on.clone(),
    })
}
