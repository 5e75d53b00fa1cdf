//! How a page came about, for whoever asks: everything a person needs to work a merged score out by hand.

use serde_json::{Value, json};

use super::path::{Page, Paths};
use crate::search::fake::Ranked;

/// The explanation of a page.
pub(super) fn explanation(paths: &Paths, query_id: &str, page: &Page) -> Value {
    let recipe = &paths.recipe;
    let hits: Vec<Value> = page.hits.iter().map(|hit| json!({"doc": hit.doc, "score": score(hit, paths)})).collect();
    json!({
        "query_id": query_id,
        "rewriting": page.fate.as_str(),
        "rewriter": paths.rewriter,
        "rewrites": recipe.serve.rewrites,
        "recall": recipe.serve.recall,
        "deadline_ms": recipe.serve.deadline_ms,
        "latency_ms": page.latency_ms,
        "search": recipe.search,
        "fake": {
            "version": page.fake_version, "weight": recipe.fake.weight, "min_relevance": recipe.fake.min_relevance
        },
        "hits": hits,
    })
}

/// Where a score comes from, in numbers that give it again.
fn score(hit: &Ranked, paths: &Paths) -> String {
    match (hit.fake, hit.signals.is_some()) {
        (None, _) => format!("{} of the search, from its signals and the weights under `search`", hit.score),
        (Some(fake), true) => {
            format!("{} = {} of the search × (1 + {})^{}", hit.score, fake.base, fake.weight, paths.recipe.fake.weight)
        }
        (Some(fake), false) => format!(
            "{} = {} × (1 + {})^{}, where {} = ½ × the page's best plain score × relevance {} × weight {}",
            hit.score, fake.base, fake.weight, paths.recipe.fake.weight, fake.base, fake.relevance, fake.weight
        ),
    }
}
