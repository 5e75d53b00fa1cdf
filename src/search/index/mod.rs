//! The index on disk: a Tantivy index of the texts, the vectors beside it, and a manifest that says what belongs together.
//!
//! Every build has its own folder, and is put into use by one rename ([`folder`]): whatever kills a build, the earlier index
//! goes on serving. A catalogue that has only grown is built from the earlier folder's files, which are linked and not copied.

mod build;
mod folder;
mod manifest;
mod open;
mod vectors;

use tantivy::schema::{FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value};
use tantivy::{Index, TantivyDocument};

use super::{Docs, analysis};
use crate::logs::Doc;
use crate::recipe::Fingerprint;

pub use build::{How, Part, Update};
pub(super) use build::{publish_ranking, update};
pub use manifest::Stats;
pub(super) use open::{Opened, open};
pub(super) use vectors::{Vector, Vectors, check};

/// Popularity of a document whose log does not say: the floor keeps scores above 0.
const LEAST_POPULARITY: f64 = 1e-6;
/// Text fields in the order of [`Fields::texts`].
pub(super) const TEXTS: [&str; 4] = ["title", "tags", "creator", "visual"];
/// How many of the text fields BM25 reads: visual codes are no words that a query could be expected to use.
pub(super) const RECALLED: usize = 3;

/// Fields of the text index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub id: Field,
    /// Title, tags, creator, visual codes.
    pub texts: [Field; 4],
}

/// Names of the columns that ranking reads.
pub(super) mod columns {
    /// Views relative to the most viewed document.
    pub const POPULARITY: &str = "popularity";
    /// Upload time, Unix milliseconds; 0 when not known.
    pub const PUBLISHED: &str = "published_ms";
    /// The document's number: the order in which documents came.
    pub const NUMBER: &str = "number";
    /// Hash of all that a document holds.
    pub const PRINT: &str = "print";
}

fn schema() -> (Schema, Fields) {
    let mut s = Schema::builder();
    let indexing =
        TextFieldIndexing::default().set_tokenizer(analysis::NAME).set_index_option(IndexRecordOption::WithFreqs);
    let text = TextOptions::default().set_indexing_options(indexing) | STORED;
    let id = s.add_text_field("id", STRING | STORED);
    let texts = TEXTS.map(|name| s.add_text_field(name, text.clone()));
    s.add_f64_field(columns::POPULARITY, FAST);
    s.add_i64_field(columns::PUBLISHED, FAST);
    s.add_u64_field(columns::NUMBER, FAST);
    s.add_u64_field(columns::PRINT, FAST);
    (s.build(), Fields { id, texts })
}

/// Tells an index that was just made or opened how to cut texts into terms.
fn with_analyzer(index: Index) -> Index {
    index.tokenizers().register(analysis::NAME, analysis::analyzer());
    index
}

/// A document as the text index takes it.
fn row(doc: &Doc, number: u64, schema: &Schema, fields: &Fields) -> TantivyDocument {
    let mut row = TantivyDocument::default();
    let [title, tags, creator, visual] = fields.texts;
    row.add_text(fields.id, &doc.id);
    row.add_text(title, super::normal::whole(&doc.title));
    doc.tags.iter().for_each(|tag| row.add_text(tags, super::normal::whole(tag)));
    row.add_text(creator, super::normal::whole(&doc.creator));
    doc.visual.iter().for_each(|code| row.add_text(visual, code));
    let popularity = f64::from(doc.popularity);
    let popularity = if popularity.is_finite() { popularity.clamp(LEAST_POPULARITY, 1.0) } else { LEAST_POPULARITY };
    let column = |name: &str| schema.get_field(name).expect("the schema has its own columns");
    row.add_f64(column(columns::POPULARITY), popularity);
    row.add_i64(column(columns::PUBLISHED), doc.published_ms);
    row.add_u64(column(columns::NUMBER), number);
    row.add_u64(column(columns::PRINT), print(doc));
    row
}

/// What a document's vector is made of: what people read on the page.
fn readable(doc: &Doc) -> String {
    [doc.title.as_str()].into_iter().chain(doc.tags.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// Hash of all that a document holds: equal for unchanged documents.
fn print(doc: &Doc) -> u64 {
    let mut f = Fingerprint::default();
    add(&mut f, doc);
    u64::from_str_radix(&f.hex(), 16).unwrap_or_default()
}

fn add(f: &mut Fingerprint, doc: &Doc) {
    let texts = [&doc.id, &doc.title, &doc.creator].into_iter().chain(&doc.tags).chain(&doc.visual);
    texts.for_each(|text| f.add(str::as_bytes(text)));
    f.add(&(doc.tags.len() as u64).to_le_bytes());
    f.add(&doc.popularity.to_le_bytes());
    f.add(&doc.published_ms.to_le_bytes());
}

/// Fingerprint that an index built from these documents, in this order, will have.
pub(super) fn fingerprint_of(docs: &(impl Docs + ?Sized)) -> String {
    let mut f = Fingerprint::default();
    f.add(manifest::FORMAT.as_bytes());
    (0..docs.count()).for_each(|place| add(&mut f, &docs.doc(place)));
    f.hex()
}

/// A stored text of a row.
pub(super) fn text_of(row: &TantivyDocument, field: Field) -> String {
    row.get_first(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// All stored texts of a row's field.
pub(super) fn texts_of(row: &TantivyDocument, field: Field) -> Vec<String> {
    row.get_all(field).filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
