//! Relevance of given documents to a text: what the fusion multiplies by, asked for without a search.

use std::collections::HashMap;

use anyhow::Result;

use super::Engine;
use super::index::{RECALLED, text_of};
use super::rank::relevance::{self, Measured};

impl Engine {
    /// Numbers of all documents by their ids: what [`Engine::relevance`] is asked with.
    ///
    /// # Errors
    /// An index that cannot be read.
    pub fn numbers(&self) -> Result<HashMap<String, u32>> {
        let (opened, searcher) = (&self.opened, self.opened.reader.searcher());
        let ids = (0..).zip(&opened.addresses).map(|(number, address)| {
            let row = searcher.doc(*address)?;
            Ok((text_of(&row, opened.fields.id), number))
        });
        ids.collect()
    }

    /// Relevance of documents (by number, each once) to a text, in [0, 1], in their order: the signal with which a rewrite of
    /// that text would enter the ranking. Without `visual` no codes are read: relevance by words alone, by the plain scorer.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn relevance(&self, text: &str, numbers: &[u32], visual: bool) -> Result<Vec<f64>> {
        if let Some(learned) = self.learned().filter(|_| visual) {
            return learned.relevance(text, numbers);
        }
        let (searcher, asked) = (self.opened.reader.searcher(), self.asked(text)?);
        let mut found = self.measure(&searcher, &asked, numbers)?;
        if !visual {
            found.matches.retain(|m| m.field < RECALLED);
            let read = relevance::measure(&found.terms, &found.matches, numbers.len(), RECALLED);
            let cosines = found.measured.iter().map(|m| m.cosine);
            found.measured = read.into_iter().zip(cosines).map(|(m, cosine)| Measured { cosine, ..m }).collect();
        }
        Ok(found.measured.iter().map(Measured::relevance).collect())
    }
}
