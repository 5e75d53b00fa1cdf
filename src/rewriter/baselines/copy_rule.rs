//! Copying a word of the context behind the query: no log at all, titles alone.

use super::postings::{Postings, shared};
use crate::logs::{Context, Doc, words};
use crate::rewriter::Outcome;

/// "Copy the context word that co-occurs with the head": reads the context, learns nothing.
///
/// A context word's weight is how often it stands in a title with the query's words, discounted by how many
/// titles it stands in at all. Titles are public, so the rule covers queries no log has seen.
#[derive(Debug, Clone, Default)]
pub struct CopyRule {
    titles: Postings,
}

/// A pair of words must share this many titles before the rule trusts it.
const MIN_TITLES: usize = 3;

impl CopyRule {
    /// Indexes the words of every title.
    #[must_use]
    pub fn fit(docs: &[Doc]) -> Self {
        Self { titles: Postings::of(docs.iter().map(|doc| words(&doc.title))) }
    }

    /// The query with the best context word behind it.
    #[must_use]
    pub fn rewrite(&self, context: &Context, query: &str) -> Outcome {
        let asked: Vec<String> = words(query).collect();
        let Some(head) = self.titles.rarest(&asked).and_then(|head| self.titles.with(head)) else {
            return Outcome::rejected();
        };
        let candidates = said_before(context, &asked);
        let weighed = candidates.into_iter().filter_map(|word| Some((self.weight(head, &word)?, word)));
        // Newest context first, so of equal weights the newest wins: keep the first maximum.
        let best = weighed.reduce(|best, next| if next.0 > best.0 { next } else { best });
        match best {
            Some((_, word)) => Outcome::of(query, format!("{} {word}", query.trim())),
            None => Outcome::rejected(),
        }
    }

    /// Shared titles × inverse document frequency.
    fn weight(&self, head: &[u32], word: &str) -> Option<f64> {
        let titles = self.titles.with(word)?;
        let both = shared(titles, head);
        (both >= MIN_TITLES).then(|| both as f64 * (self.titles.count() as f64 / titles.len() as f64).ln())
    }
}

/// The words of a context that the query does not have, each once, newest first: of titles and tags, then of earlier queries.
pub(super) fn said_before(context: &Context, asked: &[String]) -> Vec<String> {
    let watched = context.watched.iter().flat_map(|seen| std::iter::once(&seen.title).chain(&seen.tags));
    let mut candidates: Vec<String> = Vec::new();
    for word in watched.chain(&context.queries).flat_map(|text| words(text)) {
        if !asked.contains(&word) && !candidates.contains(&word) {
            candidates.push(word);
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;

    #[test]
    fn the_context_word_that_goes_with_the_head_is_copied() {
        let title = |t: &str| Doc { title: t.into(), ..Doc::default() };
        let mut docs: Vec<_> = (0..5).map(|_| title("jaguar car test drive")).collect();
        docs.extend((0..5).map(|_| title("jaguar cat in the jungle")));
        docs.extend((0..50).map(|_| title("funny dance")));
        let rule = CopyRule::fit(&docs);
        let context = |t: &str| Context { watched: vec![Seen { title: t.into(), tags: vec![] }], ..Context::default() };
        assert_eq!(rule.rewrite(&context("best car 2024"), "jaguar").rewrite.as_deref(), Some("jaguar car"));
        assert_eq!(rule.rewrite(&context("my cat is funny"), "jaguar").rewrite.as_deref(), Some("jaguar cat"));
        assert_eq!(rule.rewrite(&context("funny dance"), "jaguar").rewrite, None);
    }

    #[test]
    fn of_two_equally_rare_words_the_first_is_the_head_every_time() {
        let title = |t: &str| Doc { title: t.into(), ..Doc::default() };
        let mut docs: Vec<_> = (0..5).map(|_| title("jaguar car")).collect();
        docs.extend((0..5).map(|_| title("puma shoes")));
        docs.extend((0..50).map(|_| title("funny dance")));
        let rule = CopyRule::fit(&docs);
        let seen = Seen { title: "car shoes".into(), tags: vec![] };
        let context = Context { watched: vec![seen], ..Context::default() };
        for _ in 0..30 {
            assert_eq!(rule.rewrite(&context, "jaguar puma").rewrite.as_deref(), Some("jaguar puma car"));
            assert_eq!(rule.rewrite(&context, "puma jaguar").rewrite.as_deref(), Some("puma jaguar shoes"));
        }
    }
}
