//! The catalogue in little memory: a million documents whose texts lie end to end and whose tags are numbers.
//!
//! A [`Doc`] is made when it is asked for. As a `Vec<Doc>` a million of them takes half a gigabyte, most of it in strings of
//! some letters each.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::logs::Doc;
use crate::search::Docs;

/// All documents of a world, by number.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// Ids and titles of all documents, one behind the other.
    texts: String,
    /// Tags, then visual codes, of all documents, as numbers of words.
    labels: Vec<u32>,
    /// Distinct tags, visual codes and creators.
    words: Vec<String>,
    rows: Vec<Row>,
}

/// What has a fixed size, and where the rest ends; it begins where the row before ends.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Row {
    published_ms: i64,
    id_end: usize,
    title_end: usize,
    tags_end: usize,
    visual_end: usize,
    creator: u32,
    duration_s: f32,
    popularity: f32,
}

impl Catalogue {
    /// Packs documents.
    pub(super) fn new(docs: impl IntoIterator<Item = Doc>) -> Self {
        let (mut packed, mut numbers) = (Self::default(), HashMap::new());
        for doc in docs {
            packed.texts += &doc.id;
            let id_end = packed.texts.len();
            packed.texts += &doc.title;
            let creator = packed.word(doc.creator, &mut numbers);
            for tag in doc.tags {
                let label = packed.word(tag, &mut numbers);
                packed.labels.push(label);
            }
            let tags_end = packed.labels.len();
            for code in doc.visual {
                let label = packed.word(code, &mut numbers);
                packed.labels.push(label);
            }
            packed.rows.push(Row {
                published_ms: doc.published_ms,
                id_end,
                title_end: packed.texts.len(),
                tags_end,
                visual_end: packed.labels.len(),
                creator,
                duration_s: doc.duration_s,
                popularity: doc.popularity,
            });
        }
        packed.texts.shrink_to_fit();
        packed.labels.shrink_to_fit();
        packed.rows.shrink_to_fit();
        packed
    }

    fn word(&mut self, word: String, numbers: &mut HashMap<String, u32>) -> u32 {
        if let Some(number) = numbers.get(&word) {
            return *number;
        }
        let number = self.words.len() as u32;
        self.words.push(word.clone());
        numbers.insert(word, number);
        number
    }

    /// Documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A document.
    ///
    /// # Panics
    /// Beyond the last one.
    #[must_use]
    pub fn get(&self, number: usize) -> Doc {
        let (row, before) = (&self.rows[number], self.before(number));
        let words = |labels: &[u32]| labels.iter().map(|label| self.words[*label as usize].clone()).collect();
        Doc {
            id: self.id(number).to_owned(),
            title: self.title(number).to_owned(),
            tags: words(&self.labels[before.visual_end..row.tags_end]),
            creator: self.words[row.creator as usize].clone(),
            duration_s: row.duration_s,
            published_ms: row.published_ms,
            popularity: row.popularity,
            visual: words(&self.labels[row.tags_end..row.visual_end]),
        }
    }

    /// Every document, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Doc> + '_ {
        (0..self.len()).map(|number| self.get(number))
    }

    pub(crate) fn id(&self, number: usize) -> &str {
        &self.texts[self.before(number).title_end..self.rows[number].id_end]
    }

    pub(super) fn title(&self, number: usize) -> &str {
        let row = &self.rows[number];
        &self.texts[row.id_end..row.title_end]
    }

    pub(super) fn duration_s(&self, number: usize) -> f32 {
        self.rows[number].duration_s
    }

    pub(super) fn published_ms(&self, number: usize) -> i64 {
        self.rows[number].published_ms
    }

    pub(super) fn popularity(&self, number: usize) -> f32 {
        self.rows[number].popularity
    }

    fn before(&self, number: usize) -> Row {
        number.checked_sub(1).map_or_else(Row::default, |before| self.rows[before])
    }
}

impl Docs for Catalogue {
    fn count(&self) -> usize {
        self.len()
    }

    fn doc(&self, place: usize) -> Cow<'_, Doc> {
        Cow::Owned(self.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back_as_they_went_in() {
        let doc = |id: &str, title: &str, tags: &[&str], visual: &[&str], n: i64| Doc {
            id: id.into(),
            title: title.into(),
            tags: tags.iter().map(|t| (*t).into()).collect(),
            creator: "cats".into(),
            duration_s: n as f32,
            published_ms: 7 * n,
            popularity: 0.5,
            visual: visual.iter().map(|v| (*v).into()).collect(),
        };
        let docs = vec![
            doc("v0", "Jaguar", &["cats", "car"], &[], 1),
            doc("v1", "光良 第一次", &[], &["see:car"], 2),
            doc("", "", &[], &[], 3),
            doc("v3", "Jaguar", &["car"], &["see:car", "cats"], 4),
        ];
        let packed = Catalogue::new(docs.clone());
        assert_eq!(packed.iter().collect::<Vec<_>>(), docs);
        assert_eq!((packed.len(), packed.id(3), packed.duration_s(1)), (4, "v3", 2.0));
        assert_eq!(packed.words, ["cats", "car", "see:car"], "each word once");
    }
}
