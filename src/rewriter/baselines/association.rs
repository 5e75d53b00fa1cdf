//! The context word that goes with the head by more than chance: what reading alone can do, and a teacher for a model.

use super::copy_rule::said_before;
use super::postings::{Postings, shared};
use super::typed::Typed;
use crate::logs::{Context, Doc, words};
use crate::rewriter::Outcome;

/// "Add the context word most surely associated with the head": the copy rule with a better measure.
///
/// The head of a query is the word of it that people most often type alone. Two words are associated as surely as the
/// log-likelihood ratio of their standing together in titles and tags says (Dunning 1993, *Accurate methods for the statistics
/// of surprise and coincidence*), the more so the more often people type the one right behind the other. Only a word that is the
/// head's own counts: words such as "review" stand with every head, and say nothing. The word is put behind the head, before
/// what else was typed, and only where no own word of the head was typed, so that "jaguar car" stays what it is.
#[derive(Debug, Clone, Default)]
pub struct Association {
    docs: Postings,
    typed: Typed,
}

/// A pair of words must share this many documents before the rule trusts it.
const MIN_DOCS: usize = 3;
/// And this many times as many as by chance: next to what a thousand documents say, a slight preference is sure as well.
const MIN_LIFT: f64 = 3.0;
/// A word that was typed so often was meant.
const MIN_QUERIES: u32 = 5;
/// A word is a head's own when at least this share of its documents have the head,
const OWN_DOCS: f64 = 1.0 / 3.0;
/// or when it follows the head in at least this share of the queries with it.
const OWN_QUERIES: f64 = 0.03;
/// What a word that was never typed behind the head counts, as a share of queries.
const UNTYPED: f64 = 0.005;

impl Association {
    /// Indexes the words of every title and tag; `typed` are the queries that may be learnt from.
    #[must_use]
    pub fn fit(docs: &[Doc], typed: Typed) -> Self {
        let texts = docs.iter().map(|doc| std::iter::once(&doc.title).chain(&doc.tags).flat_map(|text| words(text)));
        Self { docs: Postings::of(texts), typed }
    }

    /// Whether every word of a query stands in enough documents to say something of it.
    #[must_use]
    pub fn knows(&self, query: &str) -> bool {
        let mut said = words(query).peekable();
        said.peek().is_some() && said.all(|word| self.docs.with(&word).is_some_and(|docs| docs.len() >= MIN_DOCS))
    }

    /// Whether every word of a query was typed often enough to be none by mistake, or is known.
    #[must_use]
    pub fn has_heard(&self, query: &str) -> bool {
        let mut said = words(query).peekable();
        said.peek().is_some() && said.all(|word| self.typed.all(&word) >= MIN_QUERIES || self.knows(&word))
    }

    /// Numbers of the documents with the query's head.
    #[must_use]
    pub fn about(&self, query: &str) -> &[u32] {
        let asked: Vec<String> = words(query).collect();
        self.head(&asked).and_then(|head| self.docs.with(head)).unwrap_or_default()
    }

    /// The word that people most often type alone; of equals the rarest, and of these the first. None where no document has any
    /// of the words.
    #[must_use]
    pub fn head<'a>(&self, asked: &'a [String]) -> Option<&'a String> {
        let most =
            asked.iter().filter(|word| self.docs.with(word).is_some()).map(|word| self.typed.alone(word)).max()?;
        let candidates = asked.iter().filter(|word| self.typed.alone(word) == most);
        self.docs.rarest(candidates)
    }

    /// Whether a word is a head or the head's own.
    #[must_use]
    pub fn goes_with(&self, head: &str, word: &str) -> bool {
        head == word || self.surely(head, word).is_some()
    }

    /// The query with the best context word behind its head.
    #[must_use]
    pub fn rewrite(&self, context: &Context, query: &str) -> Outcome {
        let asked: Vec<String> = words(query).collect();
        let Some(head) = self.head(&asked) else { return Outcome::rejected() };
        if asked.iter().any(|word| word != head && self.mostly_with(head, word)) {
            return Outcome::rejected();
        }
        let candidates = said_before(context, &asked);
        let weighed = candidates.into_iter().filter_map(|word| Some((self.surely(head, &word)?, word)));
        // Newest context first, so of equals the newest wins: keep the first maximum.
        let best = weighed.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let Some((_, word)) = best else { return Outcome::rejected() };
        let place = asked.iter().position(|asked| asked == head).map_or(asked.len(), |at| at + 1);
        let mut said = asked.clone();
        said.insert(place, word);
        Outcome::of(query, said.join(" "))
    }

    /// How surely a word goes with a head; none for words that are not its own.
    fn surely(&self, head: &str, word: &str) -> Option<f64> {
        let follows = self.typed.share_behind(head, word);
        let (a, b) = (self.docs.with(head)?, self.docs.with(word)?);
        let (both, all) = (shared(a, b), self.docs.count() as f64);
        let lift = both as f64 * all / (a.len() as f64 * b.len() as f64);
        let own = follows >= OWN_QUERIES || self.mostly_with(head, word);
        (own && both >= MIN_DOCS && lift >= MIN_LIFT)
            .then(|| likelihood_ratio([a.len(), b.len(), both], all) * (follows + UNTYPED))
    }

    /// Whether a good share of a word's documents have the head.
    fn mostly_with(&self, head: &str, word: &str) -> bool {
        let (Some(a), Some(b)) = (self.docs.with(head), self.docs.with(word)) else { return false };
        b.len() >= MIN_DOCS && shared(a, b) as f64 >= OWN_DOCS * b.len() as f64
    }
}

/// −2 ln λ of the two-by-two table of documents with one word, with the other, and with both, out of `all`.
fn likelihood_ratio([a, b, both]: [usize; 3], all: f64) -> f64 {
    let [a, b, both] = [a, b, both].map(|n| n as f64);
    let h = |cells: &[f64]| cells.iter().filter(|n| **n > 0.0).map(|n| n * (n / all).ln()).sum::<f64>();
    2.0 * (h(&[both, a - both, b - both, all - a - b + both]) - h(&[a, all - a]) - h(&[b, all - b]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;

    fn rule() -> Association {
        typed(&[])
    }

    fn typed(queries: &[&str]) -> Association {
        let doc = |title: &str, tag: &str| Doc { title: title.into(), tags: vec![tag.into()], ..Doc::default() };
        let mut docs: Vec<Doc> = (0..6).map(|_| doc("jaguar test drive part", "car")).collect();
        docs.extend((0..4).map(|_| doc("jaguar engine", "car")));
        docs.extend((0..6).map(|_| doc("jaguar in the jungle part", "cat")));
        docs.extend((0..80).map(|_| doc("funny dance part drive engine", "fun")));
        Association::fit(&docs, Typed::of(queries))
    }

    fn rewrite(query: &str, watched: &str) -> Option<String> {
        let seen = Seen { title: watched.into(), tags: vec![] };
        rule().rewrite(&Context { watched: vec![seen], ..Context::default() }, query).rewrite
    }

    #[test]
    fn the_surest_word_of_the_context_comes_behind_the_head() {
        assert_eq!(rewrite("jaguar", "engine of a car part").as_deref(), Some("jaguar car"));
        assert_eq!(rewrite("jaguar", "jungle cat").as_deref(), Some("jaguar jungle"));
        assert_eq!(rewrite("jaguar drive", "my car").as_deref(), Some("jaguar car drive"));
    }

    #[test]
    fn what_people_type_tells_the_head_and_which_word_goes_with_it() {
        let seen = Seen { title: "jungle cat".into(), tags: vec![] };
        let context = Context { watched: vec![seen], ..Context::default() };
        let said = |queries: &[&str], query| typed(queries).rewrite(&context, query).rewrite;
        assert_eq!(said(&["jaguar cat"], "jaguar").as_deref(), Some("jaguar cat"));
        assert_eq!(said(&["jaguar jungle"], "jaguar").as_deref(), Some("jaguar jungle"));
        let about = |queries: &[&str]| typed(queries).about("jaguar dance").len();
        assert_eq!((about(&["dance", "jaguar cat"]), about(&["jaguar"]), about(&[])), (80, 16, 16));
    }

    #[test]
    fn words_that_stand_everywhere_add_nothing() {
        assert_eq!(rewrite("jaguar", "part of a funny dance"), None);
        assert_eq!(rewrite("unknown", "car"), None);
        assert_eq!(rewrite("", "car"), None);
    }

    #[test]
    fn a_query_that_says_it_is_left_alone() {
        assert_eq!(rewrite("jaguar car", "engine test drive"), None);
        assert_eq!(rewrite("jaguar engine", "my car").as_deref(), Some("jaguar car engine"));
    }

    #[test]
    fn the_ratio_is_that_of_the_table() {
        // Dunning 1993, table 2: "the swiss", 110 of them, 2442 with one, 111 with the other, in 31,777 pairs of words.
        let ratio = likelihood_ratio([110 + 2442, 110 + 111, 110], 31_777.0);
        assert!((ratio - 270.72).abs() < 0.05, "{ratio}");
        assert!(likelihood_ratio([100, 50, 5], 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn it_says_nothing_of_words_it_hardly_met() {
        assert!(rule().knows("jaguar car") && !rule().knows("jaguar crater") && !rule().knows("?"));
    }
}
