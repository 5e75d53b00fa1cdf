//! How a page came about, for whoever asks: everything a person needs to work a merged score out by hand.

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::path::{Page, Paths};
use crate::search::fake::Ranked;

/// The explanation of a page. `ranking` is the algebra of the search below it: with the rewrite on the fused path,
/// without it where the rewrite's documents were merged in from the fake index.
pub(super) async fn explanation(paths: &Paths, query: &str, query_id: &str, page: &Page) -> Value {
    let recipe = &paths.recipe;
    let ranking = ranking(paths, query, page.rewrite.clone().filter(|_| page.path == "fused")).await;
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
        "ranking": ranking,
        "fake": {
            "version": page.fake_version, "weight": recipe.fake.weight, "min_relevance": recipe.fake.min_relevance
        },
        "hits": hits,
    })
}

async fn ranking(paths: &Paths, query: &str, rewrite: Option<String>) -> Value {
    let (engine, settings, query) = (paths.engine.clone(), paths.recipe.search.clone(), query.to_owned());
    let explained = spawn_blocking(move || engine.explain(&query, rewrite.as_deref(), &settings)).await;
    match explained {
        Ok(Ok(explained)) => json!(explained),
        Ok(Err(error)) => json!({"error": format!("{error:#}")}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// Where a score comes from, in numbers that give it again.
fn score(hit: &Ranked, paths: &Paths) -> String {
    match (hit.fake, hit.signals.is_some()) {
        (None, _) => format!("{} of the search: the product of its `factors` under `ranking`", hit.score),
        (Some(fake), true) => {
            format!("{} = {} of the search × (1 + {})^{}", hit.score, fake.base, fake.weight, paths.recipe.fake.weight)
        }
        (Some(fake), false) => format!(
            "{} = {} × (1 + {})^{}, where {} = ½ × the page's best plain score × relevance {} × weight {}",
            hit.score, fake.base, fake.weight, paths.recipe.fake.weight, fake.base, fake.relevance, fake.weight
        ),
    }
}
