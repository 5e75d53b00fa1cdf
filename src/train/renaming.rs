//! Examples and annotated pairs with other words for what they are about: what holds for any name is learnt, not names.

use std::collections::{BTreeMap, HashSet};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::augment::other_word;
use crate::logs::{Doc, is_han, words};
use crate::store::ExampleRow;

/// Tries to find a word that is not there already.
const TRIES: usize = 20;

/// A query and its documents with another word for the one of the query that most of the documents share; none where fewer
/// than two do. Pictures keep what they show.
pub(super) fn renamed(
    query: &str,
    docs: &[&Doc],
    vocabulary: &[String],
    rng: &mut ChaCha8Rng,
) -> Option<(String, Vec<Doc>)> {
    let texts = |doc: &Doc| std::iter::once(&doc.title).chain(&doc.tags).flat_map(|t| words(t)).collect::<HashSet<_>>();
    let of_docs: Vec<HashSet<String>> = docs.iter().map(|doc| texts(doc)).collect();
    let sharing = |word: &String| of_docs.iter().filter(|of_doc| of_doc.contains(word)).count();
    let asked: Vec<String> = words(query).collect();
    // Of equals the first.
    let old = asked.iter().rev().max_by_key(|word| sharing(word)).filter(|word| sharing(word) > 1)?.clone();
    let typed: HashSet<String> = asked.into_iter().collect();
    let free = |word: &String| !typed.contains(word) && sharing(word) == 0;
    let new = (0..TRIES).filter_map(|_| other_word(vocabulary, rng)).find(free)?;
    let made = docs.iter().map(|doc| Doc {
        title: replaced(&doc.title, &old, &new),
        tags: doc.tags.iter().map(|tag| replaced(tag, &old, &new)).collect(),
        ..(*doc).clone()
    });
    Some((replaced(query, &old, &new), made.collect()))
}

/// Whether a share, which may be above 1, gives one more copy now: the whole part always does.
pub(super) fn copies(share: f64, rng: &mut ChaCha8Rng) -> usize {
    share as usize + usize::from(rng.random_bool(share.fract()))
}

/// An example in which words have other names, wherever they stand.
pub(super) fn reworded(mut row: ExampleRow, names: &BTreeMap<String, String>) -> ExampleRow {
    let reword = |text: &mut String| {
        // One pass for all: a new word may be another one's old word.
        let marked = names.iter().enumerate();
        let held = marked.clone().fold(text.clone(), |text, (n, (old, _))| replaced(&text, old, &mark(n)));
        *text = marked.fold(held, |text, (n, (_, new))| text.replace(&mark(n), new));
    };
    reword(&mut row.query);
    row.target.iter_mut().for_each(reword);
    row.context.queries.iter_mut().for_each(reword);
    for seen in &mut row.context.watched {
        reword(&mut seen.title);
        seen.tags.iter_mut().for_each(reword);
    }
    row
}

/// What stands for the word of a number meanwhile.
fn mark(number: usize) -> String {
    format!("\u{1}{number}\u{2}")
}

/// The text with another word for one of its words.
fn replaced(text: &str, old: &str, new: &str) -> String {
    if old.contains(is_han) {
        return text.replace(old, new);
    }
    let word = |word: &str| if word.to_lowercase() == old { new.to_owned() } else { word.to_owned() };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::stream;

    #[test]
    fn what_most_documents_share_gets_another_name_everywhere_in_words() {
        let doc = |title: &str, tags: &[&str]| Doc {
            title: title.into(),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            visual: vec!["see:jaguar".into()],
            ..Doc::default()
        };
        let docs =
            [doc("Jaguar xjs price", &["car", "jaguar"]), doc("Jaguar rosettes", &[]), doc("Volvo price", &["car"])];
        let vocabulary = ["jaguar", "tulip", "harbour"].map(str::to_owned);
        let mut rng = stream(1, "renaming", &[]);
        for _ in 0..20 {
            let (query, made) = renamed("jaguar car", &docs.each_ref(), &vocabulary, &mut rng).unwrap();
            let new = query.strip_suffix(" car").unwrap();
            assert_ne!(new, "jaguar");
            assert_eq!([&made[0].title, &made[1].title], [&format!("{new} xjs price"), &format!("{new} rosettes")]);
            assert_eq!((&made[0].tags[1], &made[0].visual), (&new.to_owned(), &docs[0].visual));
            assert_eq!(made[2], docs[2]);
        }
        let han = [doc("苹果发布会", &[]), doc("苹果果园", &[])];
        let (query, made) = renamed("苹果手机", &han.each_ref(), &vocabulary, &mut rng).unwrap();
        assert!(query.ends_with("手机") && !query.contains("苹果") && made[0].title.ends_with("发布会"), "{query}");
        assert_eq!(renamed("weather", &docs.each_ref(), &vocabulary, &mut rng), None);
        assert_eq!(copies(2.0, &mut rng), 2);
    }
}
