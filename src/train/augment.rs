//! Examples that a log has too few of, made from those it has by a seeded draw; training examples alone are used.
//!
//! *Slips*: a search path that forgives spelling satisfies people who mistyped, so their queries are mined as best left alone.
//! *Strangers*: a head without support is only mined where somebody was satisfied all the same. *Renamed*: every pair of head and
//! sense that is mined often can be remembered, so nothing in the log asks to read the context; with the gain term replaced by
//! another word in context and rewrite alike, nothing else helps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::renaming::reworded;
use crate::logs::{Context, words};
use crate::recipe::{Recipe, stream};
use crate::store::ExampleRow;

/// Tries to find a context that says nothing of a head.
const TRIES: usize = 20;

/// The examples, and behind them `train.slips` of them again with a typing error in a query, `train.strangers` of the
/// rewrites again in the context of somebody else, where leaving alone is right, and `train.renamed` of them with another word
/// for the gain term.
pub(super) fn augment(rows: &[ExampleRow], recipe: &Recipe) -> Vec<ExampleRow> {
    let mut rng = stream(recipe.seed, "train augment", &[]);
    let said = said_of(rows);
    let vocabulary: Vec<String> =
        rows.iter().flat_map(|row| texts(&row.context).flat_map(words)).collect::<BTreeSet<_>>().into_iter().collect();
    let mut all = rows.to_vec();
    for row in rows {
        if rng.random_bool(recipe.train.slips) {
            all.extend(mistyped(row, &mut rng));
        }
        if row.target.is_some() && rng.random_bool(recipe.train.strangers) {
            all.extend(among_strangers(row, rows, &said, &mut rng));
        }
        if row.target.is_some() && rng.random_bool(recipe.train.renamed) {
            all.extend(renamed(row, &vocabulary, &said, &mut rng));
        }
    }
    all
}

/// The words that rewrites of a query ever held.
fn said_of(rows: &[ExampleRow]) -> HashMap<&str, HashSet<String>> {
    let mut said: HashMap<&str, HashSet<String>> = HashMap::new();
    for row in rows {
        let new = said.entry(&row.query).or_default();
        new.extend(row.target.iter().flat_map(|target| words(target)));
    }
    said
}

/// The query, or one that the person typed before it, with a slip: what it should have been is the answer, as people mend a slip
/// before anything else.
fn mistyped(row: &ExampleRow, rng: &mut ChaCha8Rng) -> Option<ExampleRow> {
    let earlier = row.context.queries.len();
    let mut context = row.context.clone();
    let meant = match rng.random_range(0..=earlier) {
        0 => row.query.clone(),
        // Newest first: what stands behind it was typed before it.
        n => context.queries.drain(..n).next_back()?,
    };
    let query = slip(&meant, rng)?;
    Some(ExampleRow { query, target: Some(meant), context, satisfied_doc: None, ..row.clone() })
}

/// The query in a context that has no word by which it was ever rewritten.
fn among_strangers(
    row: &ExampleRow,
    rows: &[ExampleRow],
    said: &HashMap<&str, HashSet<String>>,
    rng: &mut ChaCha8Rng,
) -> Option<ExampleRow> {
    let said = said.get(row.query.as_str())?;
    let foreign = |context: &Context| texts(context).all(|text| words(text).all(|word| !said.contains(&word)));
    let mut drawn = (0..TRIES).filter_map(|_| rows.choose(rng));
    let other = drawn.find(|other| foreign(&other.context))?;
    Some(ExampleRow { target: None, context: other.context.clone(), satisfied_doc: None, ..row.clone() })
}

/// The example with another word for each gain term that its context holds; none where it holds none.
fn renamed(
    row: &ExampleRow,
    vocabulary: &[String],
    said: &HashMap<&str, HashSet<String>>,
    rng: &mut ChaCha8Rng,
) -> Option<ExampleRow> {
    let typed: HashSet<String> = words(&row.query).collect();
    let context: HashSet<String> = texts(&row.context).flat_map(words).collect();
    let gained: Vec<String> = words(row.target.as_deref()?).filter(|word| !typed.contains(word)).collect();
    let taken = |word: &String| {
        context.contains(word) || typed.contains(word) || said.get(row.query.as_str()).is_some_and(|s| s.contains(word))
    };
    let mut names = BTreeMap::new();
    for word in gained.into_iter().filter(|word| context.contains(word)) {
        let mut drawn = (0..TRIES).filter_map(|_| other_word(vocabulary, rng));
        names.insert(word, drawn.find(|new| !taken(new))?);
    }
    if names.is_empty() {
        return None;
    }
    Some(reworded(ExampleRow { satisfied_doc: None, ..row.clone() }, &names))
}

/// A word of the log, or one coined of two of them.
pub(super) fn other_word(vocabulary: &[String], rng: &mut ChaCha8Rng) -> Option<String> {
    let word = vocabulary.choose(rng)?;
    if rng.random_bool(0.5) {
        return Some(word.clone());
    }
    let (front, back): (Vec<char>, Vec<char>) = (word.chars().collect(), vocabulary.choose(rng)?.chars().collect());
    let half = |letters: &[char]| letters.len().div_ceil(2);
    Some(front[..half(&front)].iter().chain(&back[back.len() - half(&back)..]).collect())
}

/// Everything said in a context, but for the place.
pub(super) fn texts(context: &Context) -> impl Iterator<Item = &str> {
    let watched = context.watched.iter().flat_map(|seen| std::iter::once(&seen.title).chain(&seen.tags));
    watched.chain(&context.queries).map(String::as_str)
}

/// One word with one slip: two letters swapped, one lost, doubled or wrong. None where no word is long enough.
fn slip(text: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut parts: Vec<Vec<char>> = text.split_whitespace().map(|word| word.chars().collect()).collect();
    // Two signs of a script without letters make a word.
    let least = |word: &[char]| if word.iter().all(char::is_ascii) { 4 } else { 2 };
    let long: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].len() >= least(&parts[*i])).collect();
    let part = &mut parts[*long.choose(rng)?];
    let letters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let other = *letters.choose(rng)?;
    let ascii = part.iter().all(char::is_ascii);
    let at = rng.random_range(usize::from(ascii)..part.len());
    match rng.random_range(0..4) {
        0 if at + 1 < part.len() => part.swap(at, at + 1),
        1 if ascii => part.insert(at, part[at]),
        2 if ascii => part[at] = char::from(rng.random_range(b'a'..=b'z')),
        2 => part[at] = other,
        _ => drop(part.remove(at)),
    }
    let wrong: Vec<String> = parts.iter().map(|word| word.iter().collect()).collect();
    let wrong = wrong.join(" ");
    (wrong != text).then_some(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;
    use crate::store::Split;

    fn row(query: &str, target: Option<&str>, watched: &str) -> ExampleRow {
        let watched = vec![Seen { title: watched.into(), tags: vec![] }];
        ExampleRow {
            split: Split::Train,
            user: "u".into(),
            time_ms: 0,
            query: query.into(),
            target: target.map(str::to_owned),
            context: Context { watched, ..Context::default() },
            satisfied_doc: Some("d".into()),
        }
    }

    fn recipe(slips: f64, strangers: f64, renamed: f64) -> Recipe {
        let mut recipe = Recipe::default();
        (recipe.train.slips, recipe.train.strangers, recipe.train.renamed) = (slips, strangers, renamed);
        recipe
    }

    #[test]
    fn slips_are_mended_to_what_was_typed_and_nothing_else_changes() {
        let rows = [row("jaguar", Some("jaguar car"), "Sports car"), row("weather", None, "Cats")];
        assert_eq!(augment(&rows, &recipe(0.0, 0.0, 0.0)), rows);
        let all = augment(&rows, &recipe(1.0, 0.0, 0.0));
        assert_eq!(all[..2], rows);
        for (made, from) in all[2..].iter().zip(&rows) {
            assert_eq!(strsim::damerau_levenshtein(&made.query, &from.query), 1);
            assert_eq!((made.target.as_deref(), &made.context), (Some(from.query.as_str()), &from.context));
        }
    }

    #[test]
    fn an_earlier_query_may_slip_too_and_then_stands_in_no_context() {
        let mut asked = row("weather", None, "Cats");
        asked.context.queries = vec!["tulips".into(), "lantern".into()];
        let made: Vec<ExampleRow> = augment(&vec![asked; 60], &recipe(1.0, 0.0, 0.0)).split_off(60);
        for (meant, before) in [("weather", 2), ("tulips", 1), ("lantern", 0)] {
            let of = made.iter().filter(|m| m.target.as_deref() == Some(meant));
            assert!(of.clone().count() > 5 && of.clone().all(|m| m.context.queries.len() == before), "{meant}");
        }
    }

    #[test]
    fn strangers_contexts_have_no_word_by_which_the_query_was_ever_rewritten() {
        let rows = [
            row("jaguar", Some("jaguar car"), "Sports car"),
            row("jaguar", Some("jaguar cat"), "Big cat"),
            row("weather", None, "Tulips"),
        ];
        let all = augment(&rows, &recipe(0.0, 1.0, 0.0));
        assert_eq!(all.len(), 5);
        for made in &all[3..] {
            assert_eq!((made.query.as_str(), made.target.as_deref()), ("jaguar", None));
            assert_eq!(made.context.watched[0].title, "Tulips");
        }
    }

    #[test]
    fn a_renamed_gain_term_is_another_word_in_context_and_rewrite_alike() {
        let rows = [
            row("jaguar", Some("jaguar car"), "Jaguar car engine"),
            row("jaguar", Some("jaguar cat"), "Rainforest"),
            row("weather", None, "Tulips in spring"),
        ];
        // The second one's context does not hold its gain term, so nothing can be copied there.
        let all = augment(&rows, &recipe(0.0, 0.0, 1.0));
        assert_eq!(all.len(), 4);
        let new = all[3].target.as_deref().unwrap().strip_prefix("jaguar ").unwrap();
        assert!(!["car", "cat", "engine"].contains(&new), "{new}");
        assert_eq!(all[3].context.watched[0].title, format!("Jaguar {new} engine"));
    }
}
