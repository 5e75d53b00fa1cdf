//! The text index: building it, opening it, recalling from it.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, EnableScoring, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, STORED, STRING, Schema, TEXT, Value};
use tantivy::tokenizer::{TextAnalyzer, TokenStream};
use tantivy::{
    DocAddress, Index, IndexReader, ReloadPolicy, Searcher, TERMINATED, TantivyDocument, TantivyError, Term,
};

use super::folder::{self, Current};
use super::rank::{self, Candidate};
use super::{Hit, Signals};
use crate::logs::{Doc, Seen};
use crate::recipe::{Fingerprint, SearchPath};

/// Changes when the index's fields or analysis change, so that an older index is built anew.
const FORMAT: &str = "text-1";
/// Bytes the builder sizes its tables for.
const BUILD_BYTES: usize = 128 << 20;
/// Documents between two reports of progress.
const TICK: usize = 1_000;
/// Distinct words of a query that are searched for: a pasted page must not cost a second.
const MAX_WORDS: usize = 32;
/// Popularity of a document whose log does not say: the floor keeps scores above 0.
const LEAST_POPULARITY: f64 = 1e-6;

/// A text index opened for searching; share it between threads by reference.
pub struct Engine {
    reader: IndexReader,
    fields: Fields,
    analyzer: TextAnalyzer,
    current: Current,
}

#[derive(Clone, Copy)]
struct Fields {
    id: Field,
    title: Field,
    tags: Field,
    creator: Field,
    popularity: Field,
}

fn schema() -> (Schema, Fields) {
    let mut s = Schema::builder();
    let fields = Fields {
        id: s.add_text_field("id", STRING | STORED),
        title: s.add_text_field("title", TEXT | STORED),
        tags: s.add_text_field("tags", TEXT | STORED),
        creator: s.add_text_field("creator", TEXT),
        popularity: s.add_f64_field("popularity", FAST),
    };
    (s.build(), fields)
}

impl Engine {
    /// Indexes documents under `dir` and opens the result. `tick(n)` hears of every `n` documents done.
    ///
    /// The new index takes the earlier one's place only when it is whole. Of two documents with one id the later counts.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk.
    pub fn build(dir: &Path, docs: &[Doc], tick: impl Fn(u64) + Sync) -> Result<Self> {
        let (folder, path) = folder::start(dir)?;
        let built = Self::fill(&path, docs, tick).and_then(|kept| {
            folder::publish(dir, &Current { folder, fingerprint: Self::fingerprint_of(docs), docs: kept })
        });
        if let Err(error) = built {
            // On a full disk what cannot be used is the first that should go.
            let _ = std::fs::remove_dir_all(&path);
            return Err(error);
        }
        Self::open(dir)
    }

    /// Writes an index into an empty folder; how many documents it holds.
    fn fill(path: &Path, docs: &[Doc], tick: impl Fn(u64) + Sync) -> Result<usize> {
        let (schema, fields) = schema();
        let failed = || format!("cannot build the search index in {}: check the disk's space", path.display());
        // One segment in the order of ids: a tie at the recall limit then falls the same way in every build.
        let mut sorted: Vec<&Doc> = docs.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let directory = MmapDirectory::open(path).with_context(failed)?;
        let mut writer = Index::builder()
            .schema(schema)
            .single_segment_index_writer::<TantivyDocument>(directory, BUILD_BYTES)
            .with_context(failed)?;
        let mut kept = 0;
        for group in sorted.chunk_by(|a, b| a.id == b.id) {
            let doc = group[group.len() - 1];
            writer.add_document(row(doc, &fields)).with_context(failed)?;
            kept += 1;
            if kept % TICK == 0 {
                tick(TICK as u64);
            }
        }
        tick((kept % TICK) as u64);
        writer.finalize().with_context(failed)?;
        Ok(kept)
    }

    /// Opens the index under `dir`.
    ///
    /// # Errors
    /// No index there, or one that cannot be read; the sentence says how to build it.
    pub fn open(dir: &Path) -> Result<Self> {
        let current = folder::read(dir)?;
        let damaged = || format!("the search index in {} is damaged: delete it and run `core simulate`", dir.display());
        // A reader takes a lock in the folder, which is no damage when it cannot.
        let unreadable = |error: TantivyError| match error {
            TantivyError::LockFailure(..) => {
                anyhow!("cannot lock the search index in {}: check the folder's permissions", dir.display())
            }
            _ => anyhow::Error::new(error).context(damaged()),
        };
        let index = Index::open_in_dir(dir.join(&current.folder)).with_context(damaged)?;
        let (expected, fields) = schema();
        anyhow::ensure!(
            index.schema() == expected,
            "the search index in {} is of another version: delete it and run `core simulate`",
            dir.display()
        );
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(unreadable)?;
        let analyzer = index.tokenizer_for_field(fields.title).with_context(damaged)?;
        Ok(Self { reader, fields, analyzer, current })
    }

    /// Fingerprint of the documents this index was built from; compare with [`Engine::fingerprint_of`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.current.fingerprint
    }

    /// Fingerprint that an index built from these documents, in this order, will have.
    #[must_use]
    pub fn fingerprint_of(docs: &[Doc]) -> String {
        let mut f = Fingerprint::default();
        f.add(FORMAT.as_bytes());
        for doc in docs {
            let texts = [&doc.id, &doc.title, &doc.creator].into_iter().chain(&doc.tags);
            texts.for_each(|text| f.add(str::as_bytes(text)));
            f.add(&[doc.tags.len() as u8]);
            f.add(&doc.popularity.to_le_bytes());
        }
        f.hex()
    }

    /// Documents in the index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.docs
    }

    /// Whether the index holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first page for a query, best first; with a rewrite, its results are merged in (see [`super`]).
    ///
    /// Any text is a query: it is cut into words, and no sign in it means anything. A query without words finds nothing.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn search(&self, query: &str, rewrite: Option<&str>, settings: &SearchPath) -> Result<Vec<Hit>> {
        let searcher = self.reader.searcher();
        let mut candidates = self.recall(&searcher, query, settings)?;
        let rewrite = rewrite.filter(|_| settings.rewrite_weight > 0.0);
        if let Some(rewrite) = rewrite {
            let found = self.recall(&searcher, rewrite, settings)?;
            self.merge(&searcher, query, &mut candidates, &found)?;
        }
        let page = rank::page(candidates, settings);
        page.into_iter().map(|(c, score, signals)| self.hit(&searcher, c.doc, score, signals)).collect()
    }

    /// Title and tags of a document.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn doc(&self, id: &str) -> Result<Option<Seen>> {
        let searcher = self.reader.searcher();
        let query = TermQuery::new(Term::from_field_text(self.fields.id, id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some((_, address)) = found.first() else { return Ok(None) };
        let row: TantivyDocument = searcher.doc(*address)?;
        let tags = row.get_all(self.fields.tags).filter_map(|v| v.as_str().map(str::to_owned)).collect();
        Ok(Some(Seen { title: text_of(&row, self.fields.title), tags }))
    }

    /// Any word in any text field, or nothing when the text has no words. Built from terms: text is never syntax.
    fn query(&self, text: &str) -> Option<BooleanQuery> {
        let mut words: Vec<String> = Vec::new();
        let mut analyzer = self.analyzer.clone();
        let mut tokens = analyzer.token_stream(text);
        while words.len() < MAX_WORDS && tokens.advance() {
            let word = &tokens.token().text;
            if !words.contains(word) {
                words.push(word.clone());
            }
        }
        let fields = [self.fields.title, self.fields.tags, self.fields.creator];
        let terms = words.iter().flat_map(|w| fields.map(|f| Term::from_field_text(f, w)));
        let clauses: Vec<Box<dyn Query>> =
            terms.map(|t| -> Box<dyn Query> { Box::new(TermQuery::new(t, IndexRecordOption::WithFreqs)) }).collect();
        (!clauses.is_empty()).then(|| BooleanQuery::union(clauses))
    }

    /// The best documents by BM25 alone.
    fn recall(&self, searcher: &Searcher, text: &str, settings: &SearchPath) -> Result<Vec<Candidate>> {
        let Some(query) = self.query(text) else { return Ok(Vec::new()) };
        let limit = settings.recall.max(settings.page);
        let found = searcher.search(&query, &TopDocs::with_limit(limit).order_by_score())?;
        found
            .into_iter()
            .map(|(bm25, address)| {
                let popularity = popularity(searcher, address)?;
                Ok(Candidate { doc: address.doc_id, bm25: f64::from(bm25), rewrite_bm25: 0.0, popularity })
            })
            .collect()
    }

    /// Adds what the rewrite found to the candidates of the query.
    fn merge(
        &self,
        searcher: &Searcher,
        query: &str,
        candidates: &mut Vec<Candidate>,
        found: &[Candidate],
    ) -> Result<()> {
        let mut new = Vec::new();
        for f in found {
            match candidates.iter_mut().find(|c| c.doc == f.doc) {
                Some(c) => c.rewrite_bm25 = f.bm25,
                None => new.push(Candidate { bm25: 0.0, rewrite_bm25: f.bm25, ..*f }),
            }
        }
        new.sort_by_key(|c| c.doc);
        // The query may match these too, below its recall limit.
        if let (Some(query), false) = (self.query(query), new.is_empty()) {
            let weight = query.weight(EnableScoring::enabled_from_searcher(searcher))?;
            let mut scorer = weight.scorer(searcher.segment_reader(0), 1.0)?;
            for c in &mut new {
                let at = scorer.doc();
                let at = if at < c.doc { scorer.seek(c.doc) } else { at };
                if at == TERMINATED {
                    break;
                }
                if at == c.doc {
                    c.bm25 = f64::from(scorer.score());
                }
            }
        }
        candidates.extend(new);
        Ok(())
    }

    fn hit(&self, searcher: &Searcher, doc: u32, score: f64, signals: Signals) -> Result<Hit> {
        let row: TantivyDocument = searcher
            .doc(DocAddress::new(0, doc))
            .context("the search index is damaged: delete its folder and run `core simulate`")?;
        Ok(Hit { doc: text_of(&row, self.fields.id), title: text_of(&row, self.fields.title), score, signals })
    }
}

fn popularity(searcher: &Searcher, address: DocAddress) -> Result<f64> {
    let column = searcher.segment_reader(address.segment_ord).fast_fields().f64("popularity")?;
    Ok(column.first(address.doc_id).unwrap_or(LEAST_POPULARITY))
}

fn row(doc: &Doc, fields: &Fields) -> TantivyDocument {
    let mut row = TantivyDocument::default();
    row.add_text(fields.id, &doc.id);
    row.add_text(fields.title, &doc.title);
    doc.tags.iter().for_each(|tag| row.add_text(fields.tags, tag));
    row.add_text(fields.creator, &doc.creator);
    let popularity = f64::from(doc.popularity);
    let popularity = if popularity.is_finite() { popularity.clamp(LEAST_POPULARITY, 1.0) } else { LEAST_POPULARITY };
    row.add_f64(fields.popularity, popularity);
    row
}

fn text_of(row: &TantivyDocument, field: Field) -> String {
    row.get_first(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
