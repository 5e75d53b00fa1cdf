//! The reward of form: what can be said of a rewrite without asking anybody.

use std::collections::HashSet;

use crate::judge::soft_overlong;
use crate::logs::{Context, words};
use crate::recipe::Reward;

/// What is wrong with the form of a rewrite; each in [−1, 0], 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// Too long, softly (DAPO's overlong punishment, in words).
    pub length: f64,
    /// Share of its words that it says again.
    pub repetition: f64,
    /// −1 where it says what the query says.
    pub copy: f64,
    /// Share of its words that nobody said ([`foreign`]).
    pub foreign: f64,
    /// −1 where it keeps no word of the query, nor one a slip away: it is about something else (JD's rule against flips).
    pub flip: f64,
    /// −1 where it says less than the query, as it was typed or a slip away, and nothing else: an index has every head, and
    /// whoever typed more meant more.
    pub shorter: f64,
}

impl Form {
    /// Of a rewrite of a query in its context.
    #[must_use]
    pub fn of(context: &Context, query: &str, rewrite: &str, settings: &Reward) -> Self {
        let said: Vec<String> = words(rewrite).collect();
        let distinct = said.iter().collect::<HashSet<_>>().len();
        Self {
            length: length(said.len(), settings),
            repetition: distinct as f64 / said.len().max(1) as f64 - 1.0,
            copy: if said.iter().cloned().eq(words(query)) { -1.0 } else { 0.0 },
            foreign: -foreign(context, query, rewrite),
            flip: if flips(query, &said) { -1.0 } else { 0.0 },
            shorter: if shortens(query, &said) { -1.0 } else { 0.0 },
        }
    }

    /// The reward: all that is wrong, in [−3 − `reward.foreign` − `reward.flip` − `reward.shorter`, 0].
    #[must_use]
    pub fn value(&self, settings: &Reward) -> f64 {
        let priced = settings.foreign * self.foreign + settings.flip * self.flip + settings.shorter * self.shorter;
        self.length + self.repetition + self.copy + priced
    }
}

/// How much too long so many words are, softly; in [−1, 0].
#[must_use]
pub fn length(words: usize, settings: &Reward) -> f64 {
    soft_overlong(words, settings.most_words, settings.most_words.saturating_sub(settings.long_words))
}

/// Whether a rewrite keeps no word of its query, as it was typed or a slip away.
fn flips(query: &str, said: &[String]) -> bool {
    let kept = |word: String| said.iter().any(|other| strsim::osa_distance(&word, other) <= 1);
    !words(query).any(kept)
}

/// Whether a rewrite has fewer words than its query and none of its own.
fn shortens(query: &str, said: &[String]) -> bool {
    let typed: Vec<String> = words(query).collect();
    let known = |word: &String| typed.iter().any(|other| strsim::osa_distance(word, other) <= 1);
    !said.is_empty() && said.len() < typed.len() && said.iter().all(known)
}

/// Share of a rewrite's words that stand neither in the query nor in the context, nor are a slip away from one that was typed: what
/// to look at when a policy is paid for popular words.
#[must_use]
pub fn foreign(context: &Context, query: &str, rewrite: &str) -> f64 {
    let watched = context.watched.iter().flat_map(|seen| std::iter::once(&seen.title).chain(&seen.tags));
    let typed: Vec<String> = words(query).collect();
    let known: HashSet<String> =
        watched.chain(&context.queries).flat_map(|text| words(text)).chain(typed.iter().cloned()).collect();
    let mended = |word: &String| typed.iter().any(|other| strsim::osa_distance(word, other) == 1);
    let said: Vec<String> = words(rewrite).collect();
    said.iter().filter(|word| !known.contains(*word) && !mended(word)).count() as f64 / said.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;

    #[test]
    fn length_repetition_and_copying_cost_apart() {
        let settings = Reward { foreign: 4.0, ..Reward::default() };
        let context = Context { queries: vec!["car a b c d e f g h i j k".into()], ..Context::default() };
        let of = |rewrite: &str| Form::of(&context, "Jaguar", rewrite, &settings);
        assert_eq!(of("jaguar car").value(&settings), 0.0);
        assert_eq!(
            of("jaguar!"),
            Form { length: 0.0, repetition: 0.0, copy: -1.0, foreign: 0.0, flip: 0.0, shorter: 0.0 }
        );
        assert_eq!((of("jaguar boat").foreign, of("jaguar boat").value(&settings)), (-0.5, -2.0));
        assert_eq!(of("jaguar car car car").repetition, -0.5);
        assert_eq!(of("a b c d e f g h").length, -0.5);
        assert_eq!(of("a b c d e f g h i j k").length, -1.0);
        // A rewrite of no words says something else than the query.
        assert_eq!(of("?").copy, 0.0);
    }

    #[test]
    fn a_rewrite_that_keeps_no_word_of_its_query_is_about_something_else() {
        let settings = Reward { flip: 4.0, ..Reward::default() };
        let context = Context { queries: vec!["eclipse solar cabin jet".into()], ..Context::default() };
        let of = |query: &str, rewrite: &str| {
            let form = Form::of(&context, query, rewrite, &settings);
            (form.flip, form.value(&settings))
        };
        assert_eq!(of("seat", "eclipse solar"), (-1.0, -4.0));
        assert_eq!(of("seat belt", "Seat chair"), (0.0, 0.0));
        assert_eq!(of("cabiin jt", "cabin"), (0.0, 0.0), "spelt as it was meant");
    }

    #[test]
    fn a_rewrite_that_says_less_and_nothing_else_leaves_out_what_was_meant() {
        let settings = Reward { shorter: 2.0, ..Reward::default() };
        let of = |query: &str, rewrite: &str| {
            let form = Form::of(&Context::default(), query, rewrite, &settings);
            (form.shorter, form.value(&settings))
        };
        assert_eq!(of("Genesis band", "genesis"), (-1.0, -2.0));
        assert_eq!(of("eagle chiip season", "eagle chip"), (-1.0, -2.0), "spelt as it was meant");
        assert_eq!(of("jaguar test drive", "jaguar car"), (0.0, 0.0));
        assert_eq!(of("cabiin jet", "cabin jet"), (0.0, 0.0));
        assert_eq!(of("jaguar", "?").0, 0.0, "what says nothing is faulty");
    }

    #[test]
    fn foreign_words_are_those_nobody_said() {
        let seen = Seen { title: "Car engine".into(), tags: vec!["test".into()] };
        let context = Context { watched: vec![seen], queries: vec!["zoo".into()], place: None };
        assert_eq!(foreign(&context, "jaguar", "jaguar car zoo test"), 0.0);
        assert_eq!(foreign(&context, "jaguar", "jaguar music"), 0.5);
        assert_eq!(foreign(&context, "jaguar", ""), 0.0);
        // Spelt as it was meant.
        assert_eq!(foreign(&context, "jagaur", "jaguar car"), 0.0);
    }
}
