//! Taught contexts of things that are yet to come: a head's own words are exchanged for words that it never had.
//!
//! Every sense that log and catalogue hold can be remembered, and what is remembered ages: of a sense that is born next week
//! nobody knows a word today. What is still there to go by is how a title is put together, and that is all that helps here.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::augment::{other_word, texts};
use super::renaming::reworded;
use crate::logs::{Doc, words};
use crate::rewriter::Association;
use crate::store::ExampleRow;

/// Draws of a word that the context does not have.
const TRIES: usize = 20;

/// Words of titles and tags, in order.
pub(super) fn vocabulary(docs: &[Doc]) -> Vec<String> {
    let texts = docs.iter().flat_map(|doc| std::iter::once(&doc.title).chain(&doc.tags));
    texts.flat_map(|text| words(text)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Questions in one context, with another word for each own word of one head that is asked about, wherever it stands; as they
/// are where no answer says an own word.
pub(super) fn unheard(
    rows: Vec<ExampleRow>,
    rule: &Association,
    vocabulary: &[String],
    rng: &mut ChaCha8Rng,
) -> Vec<ExampleRow> {
    let answered: Vec<&ExampleRow> = rows.iter().filter(|row| row.target.is_some()).collect();
    let Some(about) = answered.choose(rng) else { return rows };
    let asked: Vec<String> = words(&about.query).collect();
    let Some(head) = rule.head(&asked) else { return rows };
    let said: BTreeSet<String> = texts(&about.context).flat_map(words).collect();
    let own = said.iter().filter(|word| *word != head && rule.goes_with(head, word));
    let mut names = BTreeMap::new();
    for word in own {
        let mut drawn = (0..TRIES).filter_map(|_| other_word(vocabulary, rng));
        let Some(new) = drawn.find(|new| !said.contains(new) && !rule.goes_with(head, new)) else { return rows };
        names.insert(word.clone(), new);
    }
    rows.into_iter().map(|row| reworded(row, &names)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Context, Seen};
    use crate::recipe::stream;
    use crate::rewriter::Typed;
    use crate::store::Split;

    fn rule() -> Association {
        let titles =
            ["jaguar engine", "jaguar engine", "jaguar engine", "jaguar jungle", "jaguar jungle", "jaguar jungle"];
        let all = titles.into_iter().chain(std::iter::repeat_n("funny dance", 60));
        let docs: Vec<Doc> = all.map(|title| Doc { title: title.into(), ..Doc::default() }).collect();
        Association::fit(&docs, Typed::of(&["jaguar"]))
    }

    fn row(query: &str, target: Option<&str>) -> ExampleRow {
        let seen = Seen { title: "Funny jaguar engine".into(), tags: vec!["engine".into()] };
        ExampleRow {
            split: Split::Train,
            user: "u".into(),
            time_ms: 0,
            query: query.into(),
            target: target.map(str::to_owned),
            context: Context { watched: vec![seen], queries: vec!["engine".into()], ..Context::default() },
            satisfied_doc: None,
        }
    }

    #[test]
    fn an_own_word_is_another_one_wherever_it_stands_and_all_else_stays() {
        let rows = vec![row("jaguar", Some("jaguar engine")), row("dance", None), row("jaguar engine", None)];
        let vocabulary = ["tulip", "harbour", "funny", "jungle"].map(str::to_owned);
        for seed in 0..20 {
            let made = unheard(rows.clone(), &rule(), &vocabulary, &mut stream(seed, "test", &[]));
            let new = made[0].target.as_deref().unwrap().strip_prefix("jaguar ").unwrap();
            assert!(!["engine", "funny", "jungle", "jaguar"].contains(&new), "{new}");
            for row in &made {
                assert_eq!(row.context.watched[0].title, format!("Funny jaguar {new}"));
                assert_eq!((&row.context.watched[0].tags[0][..], &row.context.queries[0][..]), (new, new));
            }
            let asked: Vec<_> = made.iter().map(|row| (row.query.clone(), row.target.is_some())).collect();
            assert_eq!(asked, [("jaguar".into(), true), ("dance".into(), false), (format!("jaguar {new}"), false)]);
        }
    }

    #[test]
    fn where_nothing_is_said_or_no_word_is_free_all_stays() {
        let left = vec![row("jaguar", None), row("dance", None)];
        let rng = &mut stream(1, "test", &[]);
        assert_eq!(unheard(left.clone(), &rule(), &["tulip".to_owned()], rng), left);
        let said = vec![row("jaguar", Some("jaguar engine"))];
        assert_eq!(unheard(said.clone(), &rule(), &["engine".to_owned()], rng), said);
    }
}
