//! How people put a need into words, and what they type when that failed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::draw::{Weighted, chance, pick};
use super::lexicon::{Category, Lexicon, Sense};
use super::needs::{Need, Want};
use crate::logs::words;
use crate::recipe::World as Settings;

/// Share of those who give up when a query failed that had said what was wanted: who has said it seldom knows how to say it
/// better.
const GIVES_UP: f64 = 0.8;

/// Share of first queries that say the sense and add a word of its field: what makes the long tail long.
const WORDY: f64 = 0.25;

/// How a query says what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phrasing {
    /// The bare ambiguous head.
    Bare,
    /// Head and facet: the sense is still open.
    Facet,
    /// Head and gain term, perhaps with the facet.
    Named,
    /// Head and a word from titles of the sense.
    TitleWord,
    /// A word that no title of the sense has.
    Colloquial,
    /// Words of the title of one video.
    Known,
    /// A functional query.
    Functional,
}

/// A query as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrase {
    pub kind: Phrasing,
    pub text: String,
    /// What it should have been, where a typing error slipped in.
    pub meant: Option<String>,
}

/// A sense's words, as a need of a person uses them.
struct Words<'a> {
    lexicon: &'a Lexicon,
    head: &'a str,
    sense: &'a Sense,
    category: &'a Category,
    facet: Option<&'a str>,
}

impl<'a> Words<'a> {
    fn new(lexicon: &'a Lexicon, sense: usize, facet: Option<usize>) -> Self {
        let category = lexicon.category_of(sense);
        let facet = facet.and_then(|f| category.facets.get(f)).map(String::as_str);
        Self { lexicon, head: lexicon.head_of(sense), sense: &lexicon.senses[sense], category, facet }
    }

    fn say(&self, kind: Phrasing, rng: &mut ChaCha8Rng) -> String {
        let facet = self.facet.unwrap_or_default();
        let any_facet = pick(rng, &self.category.facets).map_or("", String::as_str);
        let title_word = pick(rng, &self.sense.title_words).map_or("", String::as_str);
        let slang = pick(rng, &self.sense.colloquial).map_or("", String::as_str);
        let short = chance(rng, 0.5);
        let parts = match kind {
            Phrasing::Bare | Phrasing::Known | Phrasing::Functional => [self.head, "", ""],
            Phrasing::Facet if facet.is_empty() => [self.head, any_facet, ""],
            Phrasing::Facet => [self.head, facet, ""],
            Phrasing::Named if short => [self.head, &self.sense.gain, ""],
            Phrasing::Named => [self.head, &self.sense.gain, facet],
            Phrasing::TitleWord => [self.head, title_word, if short { "" } else { facet }],
            Phrasing::Colloquial if short => [slang, any_facet, ""],
            Phrasing::Colloquial => [self.head, slang, ""],
        };
        self.lexicon.join(&parts)
    }
}

/// The query that names the sense, and the facet where the need has one; none where rewriting is wrong.
pub(super) fn oracle(lexicon: &Lexicon, need: &Need) -> Option<String> {
    let Want::Sense { sense, facet } = need.want else { return None };
    let words = Words::new(lexicon, sense, facet);
    Some(lexicon.join(&[words.head, &words.sense.gain, words.facet.unwrap_or_default()]))
}

/// The first query for a need, as it is meant; typing errors come later. `titles` gives the title of a video.
pub(super) fn first<'a>(
    lexicon: &Lexicon,
    settings: &Settings,
    titles: impl Fn(usize) -> &'a str,
    terseness: f64,
    need: &Need,
    rng: &mut ChaCha8Rng,
) -> Phrase {
    let (kind_at, text_at, more_at): (f64, f64, f64) = (rng.random(), rng.random(), rng.random());
    let (kind, text) = match need.want {
        Want::Functional { entry, place } => {
            let query = &lexicon.functional[entry].query;
            let place = if text_at < 0.3 { lexicon.places[place].as_str() } else { "" };
            (Phrasing::Functional, lexicon.join(&[query, place]))
        }
        // What is asked for again and again is asked for in words that find it.
        Want::Video { video } => {
            (Phrasing::Known, some_words(lexicon, titles(video), 2 + usize::from(need.habit), rng))
        }
        Want::Sense { sense, facet } => {
            let bare = settings.ambiguous_share * terseness;
            let open = bare + settings.facet_share * terseness;
            let kind = match kind_at {
                k if k < bare => Phrasing::Bare,
                k if k < open => Phrasing::Facet,
                k if k < open + settings.colloquial_share * terseness => Phrasing::Colloquial,
                _ if text_at < 0.6 => Phrasing::Named,
                _ => Phrasing::TitleWord,
            };
            let words = Words::new(lexicon, sense, facet);
            let said = words.say(kind, rng);
            let explicit = matches!(kind, Phrasing::Named | Phrasing::TitleWord);
            let more = pick(rng, &words.category.title_words).filter(|_| explicit && more_at < WORDY);
            (kind, lexicon.join(&[said.as_str(), more.map_or("", String::as_str)]))
        }
    };
    Phrase { kind, text, meant: None }
}

impl Phrase {
    /// The same with a typing error, where there is a word that is long enough for one.
    pub(super) fn mistyped(self, lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Self {
        match mistype(lexicon, &self.text, rng) {
            Some(text) => Self { kind: self.kind, text, meant: Some(self.text) },
            None => self,
        }
    }
}

/// Up to four words of a title, as it has them in turn: what one remembers of a video.
fn some_words(lexicon: &Lexicon, title: &str, fewest: usize, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<String> = words(title).collect();
    let most = rng.random_range(fewest..=4);
    while words.len() > most {
        words.remove(rng.random_range(0..words.len()));
    }
    words.join(lexicon.glue)
}

/// The next query after one that failed; none when nothing new comes to mind.
pub(super) fn again<'a>(
    lexicon: &Lexicon,
    titles: impl Fn(usize) -> &'a str,
    need: &Need,
    failed: &[Phrase],
    rng: &mut ChaCha8Rng,
) -> Option<Phrase> {
    let last = failed.last()?;
    if let Some(meant) = &last.meant {
        return Some(Phrase { kind: last.kind, text: meant.clone(), meant: None });
    }
    if chance(rng, GIVES_UP) && matches!(last.kind, Phrasing::Named | Phrasing::TitleWord | Phrasing::Known) {
        return None;
    }
    let new = |text: &str| failed.iter().all(|f| f.text != text);
    let (sense, facet) = match need.want {
        Want::Sense { sense, facet } => (sense, facet),
        Want::Video { video } => {
            // One more word of the title comes to mind.
            let said: Vec<String> = words(&last.text).collect();
            let more: Vec<String> = words(titles(video)).filter(|word| !said.contains(word)).collect();
            let text = lexicon.join(&[&last.text, pick(rng, &more)?]);
            return new(&text).then_some(Phrase { kind: Phrasing::Known, text, meant: None });
        }
        Want::Functional { .. } => return None,
    };
    let words = Words::new(lexicon, sense, facet);
    let explicit = matches!(last.kind, Phrasing::Named | Phrasing::TitleWord);
    let kinds = Weighted::new(if explicit { [0.3, 0.3, 0.4] } else { [0.75, 0.05, 0.2] });
    for _ in 0..4 {
        let kind = [Phrasing::Named, Phrasing::Facet, Phrasing::TitleWord][kinds.draw(rng)];
        let text = words.say(kind, rng);
        if new(&text) {
            return Some(Phrase { kind, text, meant: None });
        }
    }
    None
}

/// A slip of the finger, or in Chinese of the ear; none when there is no word in which one would be likely.
fn mistype(lexicon: &Lexicon, text: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let wrong = if lexicon.homophones.is_empty() { misspell(text, rng)? } else { mishear(lexicon, text, rng)? };
    (wrong != text).then_some(wrong)
}

/// Swaps, drops or doubles a letter of one word with four letters or more.
fn misspell(text: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut words: Vec<Vec<char>> = text.split(' ').map(|w| w.chars().collect()).collect();
    let long: Vec<usize> = (0..words.len()).filter(|i| words[*i].len() >= 4).collect();
    let word = &mut words[*pick(rng, &long)?];
    // The first letter is seldom the wrong one.
    let at = rng.random_range(1..word.len() - 1);
    match rng.random_range(0..3) {
        0 => word.swap(at, at + 1),
        1 => {
            word.remove(at);
        }
        _ => word.insert(at, word[at]),
    }
    Some(words.iter().map(|w| w.iter().collect::<String>()).collect::<Vec<_>>().join(" "))
}

/// Mostly takes a character for one that sounds or looks like it, else drops one; of texts of two characters or more.
fn mishear(lexicon: &Lexicon, text: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut chars: Vec<char> = text.chars().collect();
    if chars.len() < 2 {
        return None;
    }
    let (drops, any) = (chance(rng, 0.3), rng.random_range(0..chars.len()));
    let like =
        |c: char| lexicon.homophones.iter().filter(move |group| group.contains(&c)).flatten().filter(move |o| **o != c);
    let heard: Vec<usize> = (0..chars.len()).filter(|i| like(chars[*i]).next().is_some()).collect();
    match pick(rng, &heard) {
        Some(at) if !drops => {
            let others: Vec<char> = like(chars[*at]).copied().collect();
            chars[*at] = *pick(rng, &others)?;
        }
        _ => {
            chars.remove(any);
        }
    }
    Some(chars.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Language, stream};

    fn need(want: Want) -> Need {
        Need { want, against_history: false, new_pair: false, habit: false }
    }

    fn bare(sense: usize) -> Need {
        need(Want::Sense { sense, facet: None })
    }

    #[test]
    fn a_typing_error_changes_one_word_a_little_and_short_words_are_spared() {
        let mut rng = stream(3, "typo", &[]);
        for _ in 0..200 {
            if let Some(wrong) = misspell("jaguar car", &mut rng).filter(|wrong| wrong != "jaguar car") {
                assert!(wrong.ends_with(" car") && wrong.starts_with('j'), "{wrong}");
                assert!(strsim::damerau_levenshtein("jaguar car", &wrong) == 1, "{wrong}");
            }
        }
        assert_eq!(misspell("go car", &mut rng), None);
    }

    #[test]
    fn a_chinese_slip_is_a_homophone_or_a_lost_character() {
        let settings = Settings { language: Language::Zh, heads: 20, ..Settings::default() };
        let (lexicon, mut rng) = (Lexicon::new(&settings).unwrap(), stream(3, "typo", &[]));
        let (mut shorter, mut heard) = (0, 0);
        for _ in 0..200 {
            let wrong = mistype(&lexicon, "苹果手机", &mut rng).unwrap();
            shorter += usize::from(wrong.chars().count() == 3);
            heard += usize::from(wrong.chars().count() == 4);
        }
        assert!(shorter > 30 && heard > 100, "{shorter} {heard}");
        assert_eq!(mistype(&lexicon, "花", &mut rng), None);
    }

    #[test]
    fn a_typo_is_mended_first_and_a_query_is_not_typed_twice() {
        let lexicon = Lexicon::new(&Settings { heads: 20, ..Settings::default() }).unwrap();
        let mut rng = stream(3, "again", &[]);
        let wrong = Phrase { kind: Phrasing::Bare, text: "mercruy".into(), meant: Some("mercury".into()) };
        assert_eq!(again(&lexicon, |_| "", &bare(0), std::slice::from_ref(&wrong), &mut rng).unwrap().text, "mercury");
        let mut tried = vec![Phrase { kind: Phrasing::Bare, text: "mercury".into(), meant: None }];
        for _ in 0..50 {
            // Some give up.
            let Some(next) = again(&lexicon, |_| "", &bare(0), &tried, &mut rng) else { continue };
            assert!(tried.iter().all(|t| t.text != next.text));
            tried.push(next);
        }
        assert!(tried.len() > 3);
    }

    #[test]
    fn the_oracle_names_the_sense_and_leaves_functional_needs_alone() {
        let lexicon = Lexicon::new(&Settings { heads: 20, ..Settings::default() }).unwrap();
        assert_eq!(oracle(&lexicon, &bare(0)).unwrap(), "mercury planet");
        let want = Want::Functional { entry: 0, place: 0 };
        assert_eq!(oracle(&lexicon, &need(want)), None);
    }
}
