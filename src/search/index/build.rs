//! Building an index: from nothing, or by adding to the one in use when the catalogue has only grown.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::indexer::NoMergePolicy;
use tantivy::schema::Schema;
use tantivy::{Index, IndexWriter, TantivyDocument};

use super::folder::{self, Current};
use super::manifest::{self, Manifest};
use super::vectors::{self, ShardFile, Vector};
use super::{Fields, Opened, columns, fingerprint_of, open, print, readable, row, schema, text_of, with_analyzer};
use crate::search::Docs;
use crate::search::docs::Chosen;
use crate::search::encoder::Encoder;
use crate::search::fit::Ranking;

/// Bytes the builder sizes its tables for.
const BUILD_BYTES: usize = 128 << 20;
/// Documents between two reports of progress.
const TICK: usize = 1_000;
/// Documents encoded together: enough to sort by length, few enough to hold their vectors in float32.
const ENCODED: usize = 16_384;
/// Parts of a text index that has grown this often are made one.
const MOST_SEGMENTS: usize = 8;

/// The long parts of a build, for a progress line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Documents whose texts are indexed.
    Texts,
    /// Documents that the encoder has read.
    Encoding,
    /// Documents whose vectors stand in a graph.
    Vectors,
}

/// What a build found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The index in use was made from these very documents.
    Unchanged,
    /// Documents were added to the index in use.
    Grown,
    /// Everything was built.
    Anew,
}

/// What a build did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Which way.
    pub how: How,
    /// Documents that were worked on.
    pub added: usize,
}

/// Brings the index under `dir` up to date with `docs`. Of two documents with one id the later counts.
///
/// With `graphs` the nearest vectors can be found; an index without them is then built anew. The new index takes the earlier one's
/// place only when it is whole.
pub(crate) fn update(
    dir: &Path,
    docs: &(impl Docs + ?Sized),
    encoder: &Encoder,
    (anew, graphs): (bool, bool),
    tick: &(impl Fn(Part, u64) -> Result<()> + Sync),
) -> Result<Update> {
    let fingerprint = fingerprint_of(docs);
    // Whatever is wrong with an earlier index, building it anew mends it.
    let earlier =
        if anew { None } else { open(dir, graphs).ok().filter(|e| e.stats.encoder.agrees(encoder.identity())) };
    if earlier.as_ref().is_some_and(|e| e.current.fingerprint == fingerprint) {
        return Ok(Update { how: How::Unchanged, added: 0 });
    }
    let docs = Chosen::in_order(docs);
    let new = match &earlier {
        Some(earlier) => only_grown(earlier, &docs)?,
        None => None,
    };
    let (folder, path) = folder::start(dir)?;
    let build = Build { path: &path, encoder, graphs, tick };
    let (built, done) = match (earlier, new) {
        (Some(earlier), Some(new)) => {
            let done = Update { how: How::Grown, added: new.len() };
            (build.grow(dir, earlier, &new), done)
        }
        _ => (build.fill(&docs), Update { how: How::Anew, added: docs.len() }),
    };
    let built = built.and_then(|()| folder::publish(dir, &Current { folder, fingerprint, docs: docs.len() }));
    if let Err(error) = built {
        // On a full disk what cannot be used is the first that should go.
        let _ = fs::remove_dir_all(&path);
        return Err(error);
    }
    Ok(done)
}

/// Puts other weights behind the same documents.
pub(crate) fn publish_ranking(dir: &Path, earlier: Opened, ranking: Ranking, satisfaction: &[f32]) -> Result<()> {
    let (folder, path) = folder::start(dir)?;
    let change = || -> Result<()> {
        let from = dir.join(&earlier.current.folder);
        let mut manifest = Manifest::read(&from)?;
        link_files(&from, &path)?;
        manifest.ranking = ranking;
        manifest::write_satisfaction(&path, satisfaction)?;
        manifest.write(&path)?;
        folder::publish(dir, &Current { folder, ..earlier.current.clone() })
    };
    change().inspect_err(|_| _ = fs::remove_dir_all(&path))
}

/// The documents that the earlier index lacks; none when it also holds some that were changed or have gone.
fn only_grown<'a, D: Docs + ?Sized>(earlier: &Opened, docs: &Chosen<'a, D>) -> Result<Option<Chosen<'a, D>>> {
    let searcher = earlier.reader.searcher();
    let mut held: HashMap<String, u64> = HashMap::with_capacity(earlier.addresses.len());
    for segment in searcher.segment_readers() {
        let prints = segment.fast_fields().u64(columns::PRINT)?;
        let store = segment.get_store_reader(1)?;
        for doc in 0..segment.max_doc() {
            let row: TantivyDocument = store.get(doc)?;
            held.insert(text_of(&row, earlier.fields.id), prints.first(doc).unwrap_or_default());
        }
    }
    let kept = docs.iter().filter(|doc| held.get(&doc.id) == Some(&print(doc))).count();
    Ok((kept == held.len()).then(|| docs.filtered(|doc| !held.contains_key(&doc.id))))
}

/// A build under way in a folder of its own.
struct Build<'a, F> {
    path: &'a Path,
    encoder: &'a Encoder,
    graphs: bool,
    tick: &'a F,
}

impl<F: Fn(Part, u64) -> Result<()> + Sync> Build<'_, F> {
    /// Builds everything.
    fn fill<D: Docs + ?Sized>(&self, docs: &Chosen<D>) -> Result<()> {
        let failed = || format!("cannot build the search index in {}: check the disk's space", self.path.display());
        let (schema, fields) = schema();
        let directory = MmapDirectory::open(self.path).with_context(failed)?;
        let tokenizers = tantivy::tokenizer::TokenizerManager::default();
        tokenizers.register(crate::search::analysis::NAME, crate::search::analysis::analyzer());
        let mut writer = Index::builder()
            .schema(schema.clone())
            .tokenizers(tokenizers)
            .single_segment_index_writer::<TantivyDocument>(directory, BUILD_BYTES)
            .with_context(failed)?;
        self.texts(docs, 0, |row| writer.add_document(row).with_context(failed), &schema, &fields)?;
        writer.finalize().with_context(failed)?;
        let shards = self.append(Vec::new(), docs)?;
        let satisfaction = vec![1.0; docs.len()];
        self.finish(docs, i64::MIN, shards, Ranking::default(), &satisfaction)
    }

    /// Adds to what an earlier folder holds.
    fn grow<D: Docs + ?Sized>(&self, dir: &Path, earlier: Opened, new: &Chosen<D>) -> Result<()> {
        let failed = || format!("cannot build the search index in {}: check the disk's space", self.path.display());
        let from = dir.join(&earlier.current.folder);
        let manifest = Manifest::read(&from)?;
        link_files(&from, self.path)?;
        let first = earlier.current.docs;
        let mut satisfaction = earlier.satisfaction;
        let index = with_analyzer(Index::open_in_dir(self.path).with_context(failed)?);
        let (schema, fields) = schema();
        let mut writer: IndexWriter = index.writer_with_num_threads(1, BUILD_BYTES).with_context(failed)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        self.texts(new, first, |row| writer.add_document(row).map(drop).with_context(failed), &schema, &fields)?;
        writer.commit().with_context(failed)?;
        let segments = index.searchable_segment_ids().with_context(failed)?;
        if segments.len() > MOST_SEGMENTS {
            writer.merge(&segments).wait().with_context(failed)?;
        }
        writer.garbage_collect_files().wait().with_context(failed)?;
        writer.wait_merging_threads().with_context(failed)?;
        let shards = self.append(manifest.shards, new)?;
        satisfaction.resize(first + new.len(), 1.0);
        self.finish(new, manifest.newest_ms, shards, manifest.ranking, &satisfaction)
    }

    /// Passes the rows of documents, numbered from `first`, to `add`.
    fn texts<D: Docs + ?Sized>(
        &self,
        docs: &Chosen<D>,
        first: usize,
        mut add: impl FnMut(TantivyDocument) -> Result<()>,
        schema: &Schema,
        fields: &Fields,
    ) -> Result<()> {
        for (done, doc) in docs.iter().enumerate() {
            add(row(&doc, (first + done) as u64, schema, fields))?;
            if (done + 1) % TICK == 0 {
                (self.tick)(Part::Texts, TICK as u64)?;
            }
        }
        (self.tick)(Part::Texts, (docs.len() % TICK) as u64)
    }

    /// Encodes documents and puts their vectors behind those that are there.
    fn append<D: Docs + ?Sized>(&self, old: Vec<ShardFile>, docs: &Chosen<D>) -> Result<Vec<ShardFile>> {
        let embed = |range: Range<usize>| -> Result<Vec<Vector>> {
            let mut encoded = Vec::with_capacity(range.len());
            for from in range.clone().step_by(ENCODED) {
                let window = from..(from + ENCODED).min(range.end);
                let texts: Vec<String> = docs.range(window).map(|doc| readable(&doc)).collect();
                let vectors = self.encoder.passages(&texts, &|n| (self.tick)(Part::Encoding, n))?;
                encoded.extend(vectors.iter().map(|values| Vector::new(values)));
            }
            Ok(encoded)
        };
        vectors::append(self.path, old, docs.len(), self.graphs, embed, |n| (self.tick)(Part::Vectors, n))
    }

    fn finish<D: Docs + ?Sized>(
        &self,
        docs: &Chosen<D>,
        newest_ms: i64,
        shards: Vec<ShardFile>,
        ranking: Ranking,
        satisfaction: &[f32],
    ) -> Result<()> {
        let newest_ms = docs.iter().map(|doc| doc.published_ms).fold(newest_ms, i64::max);
        let format = manifest::FORMAT.to_owned();
        manifest::write_satisfaction(self.path, satisfaction)?;
        Manifest { format, encoder: self.encoder.identity().clone(), newest_ms, shards, ranking }.write(self.path)
    }
}

/// Makes the files of one folder appear in another. Files that are never changed are linked, which costs neither time nor
/// space; where the disk cannot link they are copied, as are those that Tantivy replaces.
fn link_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        let name = entry.file_name();
        let (source, target) = (entry.path(), to.join(&name));
        let text = name.to_string_lossy();
        if text.ends_with(".lock") || [manifest::FILE, manifest::SATISFACTION].contains(&&*text) {
            continue;
        }
        let replaced = text.ends_with("meta.json") || text.ends_with("managed.json");
        if replaced || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy {}: check the disk's space", source.display()))?;
        }
    }
    Ok(())
}
