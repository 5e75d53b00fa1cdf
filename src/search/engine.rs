//! The engine: opened once, asked from many threads.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tantivy::collector::TopDocs;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{Searcher, TantivyDocument, Term};

use super::encoder::Encoder;
use super::fit::Ranking;
use super::index::{self, Opened, Part, RECALLED, Stats, Update, Vector};
use super::learned::Learned;
use super::normal::{adds_nothing, normal};
use super::rank::relevance::{self, Measured};
use super::rank::{self, Candidate};
use super::recall::{Asked, Match, Recalled, TermStats, by_address, matches, term_stats};
use super::sides::Side;
use super::{Docs, Hit, analysis};
use crate::logs::Seen;
use crate::recipe::SearchPath;

/// Distinct terms of a query that are searched for: a pasted page must not cost a second.
const MAX_TERMS: usize = 32;

/// An index opened for searching; share it between threads by reference.
pub struct Engine {
    pub(super) opened: Opened,
    pub(super) analyzer: TextAnalyzer,
    encoder: Encoder,
    pub(super) learned: Option<Arc<Learned>>,
}

/// The three stages of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Which documents are worth ranking, in the order of BM25, then of vectors.
    Recall,
    /// A linear model over light features.
    Rawrank,
    /// Relevance times engagement.
    Finerank,
}

/// A text's measure of each document, with what it was reckoned from.
pub(super) struct Measures {
    pub terms: Vec<TermStats>,
    pub matches: Vec<Match>,
    pub measured: Vec<Measured>,
}

impl Engine {
    /// Name of [`Engine::analyzer`] in a schema.
    pub const ANALYZER: &str = analysis::NAME;

    /// What cuts titles and queries into terms: for another index that is to be compared with this one.
    #[must_use]
    pub fn analyzer() -> TextAnalyzer {
        analysis::analyzer()
    }

    /// Indexes documents under `dir`, with the encoder of `settings`, and opens the result. `tick(n)` hears of every `n`
    /// documents done.
    ///
    /// The new index takes the earlier one's place only when it is whole. Of two documents with one id the later counts.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk; an encoder that does not open.
    pub fn build(
        dir: &Path,
        docs: &(impl Docs + ?Sized),
        settings: &SearchPath,
        tick: impl Fn(u64) + Sync,
    ) -> Result<Self> {
        let texts = |part, n| {
            if part == Part::Texts {
                tick(n);
            }
            Ok(())
        };
        Ok(Self::update(dir, docs, settings, true, texts)?.0)
    }

    /// Brings the index under `dir` up to date, and opens it: only new documents are worked on when the catalogue has merely
    /// grown and the encoder is the earlier index's, unless all is to be built `anew`. An error of `tick` ends the build and
    /// leaves the index in use as it is.
    ///
    /// # Errors
    /// Those of [`Engine::build`] and of `tick`.
    pub fn update(
        dir: &Path,
        docs: &(impl Docs + ?Sized),
        settings: &SearchPath,
        anew: bool,
        tick: impl Fn(Part, u64) -> Result<()> + Sync,
    ) -> Result<(Self, Update)> {
        let encoder = Encoder::open(settings)?;
        let update = index::update(dir, docs, &encoder, (anew, settings.vector_recall > 0), &tick)?;
        Ok((
            Self {
                opened: index::open(dir, settings.vector_recall > 0)?,
                analyzer: analysis::analyzer(),
                encoder,
                learned: None,
            },
            update,
        ))
    }

    /// Opens the index under `dir`, to be asked with the encoder of `settings`; relevance is the plain scorer's
    /// ([`Engine::of_log`] opens the one that a recipe names).
    ///
    /// # Errors
    /// No index there, or one that cannot be read; an encoder that does not open, or is not the one that the index was built
    /// with. The sentence says how to rebuild it.
    pub fn open(dir: &Path, settings: &SearchPath) -> Result<Self> {
        let opened = index::open(dir, settings.vector_recall > 0)?;
        let encoder = Encoder::open(settings)?;
        let (held, asked) = (&opened.stats.encoder, encoder.identity());
        ensure!(
            held.agrees(asked),
            "the search index in {} holds vectors of the encoder {held}, and the recipe's search.encoder is {asked}: run \
             `core index build` with this recipe, or search with the recipe that the index was built with",
            dir.display()
        );
        Ok(Self { opened, analyzer: analysis::analyzer(), encoder, learned: None })
    }

    /// Sizes and weights of the index under `dir`, whatever its encoder: every file is checked, no encoder is opened.
    ///
    /// # Errors
    /// No index there, or one that cannot be read.
    pub fn look(dir: &Path) -> Result<(Stats, Ranking)> {
        let opened = index::open(dir, false)?;
        Ok((opened.stats, opened.ranking))
    }

    /// The same documents, ranked by weights that no clicks have touched and by the plain relevance.
    #[must_use]
    pub fn unfitted(mut self) -> Self {
        self.opened.ranking = Ranking::default();
        self.opened.satisfaction.fill(1.0);
        self.learned = None;
        self
    }

    /// Puts other weights and satisfactions (one a document, by number) into the index under `dir`, and opens it again.
    ///
    /// # Errors
    /// Those of [`Engine::build`].
    pub fn refit(self, dir: &Path, ranking: Ranking, satisfaction: &[f32]) -> Result<Self> {
        let graphs = self.opened.vectors.graphs();
        index::publish_ranking(dir, self.opened, ranking, satisfaction)?;
        Ok(Self { opened: index::open(dir, graphs)?, ..self })
    }

    /// Fingerprint of the documents this index was built from; compare with [`Engine::fingerprint_of`].
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.opened.current.fingerprint
    }

    /// Fingerprint that an index built from these documents, in this order, will have.
    #[must_use]
    pub fn fingerprint_of(docs: &(impl Docs + ?Sized)) -> String {
        index::fingerprint_of(docs)
    }

    /// Documents in the index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.opened.current.docs
    }

    /// Whether the index holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sizes.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.opened.stats
    }

    /// The weights in use.
    #[must_use]
    pub fn ranking(&self) -> &Ranking {
        &self.opened.ranking
    }

    /// The first page for a query, best first; a rewrite's relevance is fused in (see [`super`]).
    ///
    /// Any text is a query: it is cut into terms, and no sign in it means anything. A query without words finds nothing.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn search(&self, query: &str, rewrite: Option<&str>, settings: &SearchPath) -> Result<Vec<Hit>> {
        self.search_as_of(i64::MAX, query, rewrite, settings)
    }

    /// What [`Engine::search`] would have answered at an earlier time: documents published later (Unix milliseconds) are
    /// recalled and then passed over. Of the future only the rarity of terms and some places in the recall lists remain.
    ///
    /// # Errors
    /// Those of [`Engine::search`].
    pub fn search_as_of(
        &self,
        time_ms: i64,
        query: &str,
        rewrite: Option<&str>,
        settings: &SearchPath,
    ) -> Result<Vec<Hit>> {
        let (own, other, mut candidates) = self.both_sides(query, rewrite, settings)?;
        candidates.retain(|c| self.opened.facts[c.number as usize].published_ms <= time_ms);
        self.page_of(&own, other.as_ref(), candidates, settings)
    }

    /// Ids of the first `most` documents that leave a stage, best first: what the stages are compared by.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn after(
        &self,
        stage: Stage,
        query: &str,
        rewrite: Option<&str>,
        most: usize,
        settings: &SearchPath,
    ) -> Result<Vec<String>> {
        let searcher = self.opened.reader.searcher();
        let (own, other, mut all) = self.both_sides(query, rewrite, settings)?;
        if stage != Stage::Recall {
            all = rank::rawrank(all, &self.opened.ranking.weights, settings);
        }
        if stage == Stage::Finerank {
            all = rank::finerank(self.judged(all, own.weighed().0, other.as_ref().map(Side::weighed))?, settings);
        }
        all.iter().take(most).map(|c| Ok(self.hit(&searcher, c)?.doc)).collect()
    }

    /// Vectors of texts, each of length 1 (of length 0 for a text without words): what the search path itself compares.
    ///
    /// # Errors
    /// An encoder that fails.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let unit = |mut vector: Vec<f32>| {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            let factor = if length > 0.0 && length.is_finite() { 1.0 / length } else { 0.0 };
            vector.iter_mut().for_each(|x| *x *= factor);
            vector
        };
        texts.iter().map(|text| self.encoder.query(&normal(text)).map(unit)).collect()
    }

    /// Title and tags of a document.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn doc(&self, id: &str) -> Result<Option<Seen>> {
        let (searcher, fields) = (self.opened.reader.searcher(), &self.opened.fields);
        let query = TermQuery::new(Term::from_field_text(fields.id, id), IndexRecordOption::Basic);
        let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
        let Some((_, address)) = found.first() else { return Ok(None) };
        let row: TantivyDocument = searcher.doc(*address)?;
        let [title, tags, ..] = fields.texts;
        Ok(Some(Seen { title: index::text_of(&row, title), tags: index::texts_of(&row, tags) }))
    }

    /// The rewrite, when it has a weight and says something that the query does not.
    pub(super) fn used<'a>(query: &str, rewrite: Option<&'a str>, settings: &SearchPath) -> Option<&'a str> {
        let weights = settings.rewrite_weights();
        let weighs = weights.recall > 0.0 || weights.rawrank > 0.0 || weights.finerank > 0.0;
        rewrite.filter(|rewrite| weighs && !adds_nothing(query, rewrite))
    }

    pub(super) fn asked(&self, text: &str) -> Result<Asked> {
        let text = normal(text);
        let terms = analysis::terms(&self.analyzer, &text, MAX_TERMS);
        let vector = match terms.is_empty() {
            true => None,
            false => Some(Vector::new(&self.encoder.query(&text)?)),
        };
        Ok(Asked { terms, vector })
    }

    /// Everything that the query, and a rewrite at its weight, recall.
    pub(super) fn recalled(
        &self,
        searcher: &Searcher,
        asked: &Asked,
        rewrite: Option<&Asked>,
        settings: &SearchPath,
    ) -> Result<[Recalled; 2]> {
        let own = Recalled::of(&self.opened, searcher, asked, settings, 1.0)?;
        let share = settings.rewrite_weights().recall;
        let more = match rewrite.filter(|_| share > 0.0) {
            Some(rewrite) => Recalled::of(&self.opened, searcher, rewrite, settings, share)?,
            None => Recalled::default(),
        };
        Ok([own, more])
    }

    /// Signals of given documents, in their order; of a rewrite with what its relevance counts for.
    pub(super) fn signals(
        &self,
        searcher: &Searcher,
        asked: &Asked,
        rewrite: Option<(&Asked, f64)>,
        numbers: &[u32],
    ) -> Result<Vec<Candidate>> {
        let own = self.measure(searcher, asked, numbers)?.measured;
        let measured = |(rewrite, weight)| Ok::<_, anyhow::Error>((self.measure(searcher, rewrite, numbers)?, weight));
        let other = rewrite.map(measured).transpose()?;
        Ok(self.with_signals(numbers, &own, other.as_ref().map(|(m, weight)| (m.measured.as_slice(), *weight))))
    }

    /// How given documents, in their order, lie to one text.
    pub(super) fn measure(&self, searcher: &Searcher, asked: &Asked, numbers: &[u32]) -> Result<Measures> {
        let terms = term_stats(searcher, &self.opened.fields, &asked.terms)?;
        let sorted = by_address(&self.opened, numbers);
        let mut found = matches(searcher, &self.opened.fields, &terms, &sorted)?;
        let places: std::collections::HashMap<u32, usize> =
            numbers.iter().enumerate().map(|(place, number)| (*number, place)).collect();
        found.iter_mut().for_each(|m| m.doc = places[&sorted[m.doc].0]);
        let mut measured = relevance::measure(&terms, &found, numbers.len(), RECALLED);
        if let Some(vector) = &asked.vector {
            for (m, number) in measured.iter_mut().zip(numbers) {
                m.cosine = self.opened.vectors.get(*number).map_or(0.0, |v| v.cosine(vector));
            }
        }
        Ok(Measures { terms, matches: found, measured })
    }

    pub(super) fn hit(&self, searcher: &Searcher, c: &Candidate) -> Result<Hit> {
        let row: TantivyDocument = searcher
            .doc(self.opened.addresses[c.number as usize])
            .context("the search index cannot be read: run `core index build`")?;
        let fields = &self.opened.fields;
        let (doc, title) = (index::text_of(&row, fields.id), index::text_of(&row, fields.texts[0]));
        Ok(Hit { doc, title, score: c.score, signals: c.signals })
    }
}
