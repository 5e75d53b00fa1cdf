//! The retrieval rewards: what stands on the page that a rewrite brings about (JD, "Relevance Matters").

use anyhow::Result;

use super::Asked;
use crate::recipe::Recipe;
use crate::search::Engine;

/// The worth of a page; the person sees it with the rewrite fused in, as served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Mean relevance of the first `reward.top_k` documents to the person's own query, in [0, 1]; 0 for an empty page.
    pub relevance: f64,
    /// 1/rank of the document that satisfied the person, 0 when it is not there; none where nobody knows which.
    pub hit: Option<f64>,
}

impl Worth {
    /// Of the page for a search, with a rewrite or without one.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn of(engine: &Engine, asked: &Asked, rewrite: Option<&str>, recipe: &Recipe) -> Result<Self> {
        let hits = engine.search_as_of(asked.time_ms, asked.query, rewrite, &recipe.search)?;
        let first = &hits[..hits.len().min(recipe.reward.top_k)];
        let relevance = first.iter().map(|hit| hit.signals.relevance).sum::<f64>() / first.len().max(1) as f64;
        let hit = asked.satisfied_doc.map(|doc| {
            let place = hits.iter().position(|hit| hit.doc == doc);
            place.map_or(0.0, |place| 1.0 / (place + 1) as f64)
        });
        Ok(Self { relevance, hit })
    }
}
