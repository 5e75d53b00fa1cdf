//! What should be made of a search, known from the hidden truth: questions with one right answer.
//!
//! People's own next queries are a noisy key: they choose among wordings, and some type what their context never said. A probe
//! is a first query for which the context alone decides; what it leaves open is not asked.

use std::collections::HashSet;

use super::World;
use super::needs::{Need, Want};
use super::phrasing::Phrasing;
use crate::logs::{Context, words};

/// A question about a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The sense was left open, and titles and tags of what was watched tell it by its gain term and tell no other sense of the head.
    Supported {
        /// The head.
        head: String,
        /// The gain term.
        gain: String,
        /// Rewrites that are right: with the gain term, and with the facet that was typed or is wanted.
        right: Vec<String>,
    },
    /// The sense was left open, and nothing watched has a word of any sense of the head: to be left alone.
    Unsupported,
    /// A typing error.
    Mistyped {
        /// What was meant.
        meant: String,
        /// Whether the words that were meant stand in the context.
        in_context: bool,
    },
    /// It said what it wanted: to be left alone.
    Clear,
    /// It wants the same thing whoever asks: to be left alone.
    Functional,
}

impl World {
    /// The question that a person's first query for a need asks; none where the context leaves the answer open. `meant` is what
    /// the query should have been, where a typing error slipped in.
    #[must_use]
    pub fn probe(
        &self,
        need: &Need,
        phrasing: Phrasing,
        context: &Context,
        query: &str,
        meant: Option<&str>,
    ) -> Option<Probe> {
        let watched = context.watched.iter().flat_map(|seen| std::iter::once(&seen.title).chain(&seen.tags));
        let titles: HashSet<String> = watched.flat_map(|text| words(text)).collect();
        if let Some(meant) = meant {
            let earlier = context.queries.iter().flat_map(|query| words(query));
            let there: HashSet<String> = titles.iter().cloned().chain(earlier).collect();
            let in_context = words(meant).all(|word| there.contains(&word));
            return Some(Probe::Mistyped { meant: meant.to_owned(), in_context });
        }
        match (need.want, phrasing) {
            (Want::Sense { sense, facet }, Phrasing::Bare | Phrasing::Facet) => self.open(sense, facet, &titles, query),
            (Want::Functional { .. }, _) => Some(Probe::Functional),
            (_, Phrasing::Colloquial) => None,
            _ => Some(Probe::Clear),
        }
    }

    fn open(&self, sense: usize, facet: Option<usize>, titles: &HashSet<String>, query: &str) -> Option<Probe> {
        let (lexicon, head) = (&self.lexicon, self.lexicon.senses[sense].head);
        let stands = |text: &String| words(text).all(|word| titles.contains(&word));
        let tells = |sense: &usize| {
            let s = &lexicon.senses[*sense];
            stands(&s.gain) || s.title_words.iter().any(stands)
        };
        let mut told = lexicon.of_head[head].iter().filter(|sense| tells(sense));
        match (told.next(), told.next()) {
            (None, _) => Some(Probe::Unsupported),
            (Some(one), None) if *one == sense && stands(&lexicon.senses[sense].gain) => {
                let (head, gain) = (lexicon.head_of(sense), lexicon.senses[sense].gain.as_str());
                let wanted = facet.and_then(|f| lexicon.category_of(sense).facets.get(f)).map_or("", String::as_str);
                let typed = query.strip_prefix(head).unwrap_or_default().trim();
                let right = [typed, wanted].map(|facet| lexicon.join(&[head, gain, facet]));
                Some(Probe::Supported { head: head.to_owned(), gain: gain.to_owned(), right: right.to_vec() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Seen;
    use crate::recipe::Recipe;

    #[test]
    fn the_context_alone_decides_what_is_right() {
        let mut recipe = Recipe::load("tiny").unwrap();
        recipe.world.videos = 1_500;
        let world = World::new(&recipe).unwrap();
        // Of mercury: planet, singer, car, metal.
        let need = Need::of(Want::Sense { sense: 0, facet: None });
        let probe = |titles: &[&str], query: &str, meant| {
            let seen = |title: &&str| Seen { title: (*title).to_owned(), tags: vec![] };
            let context = Context { watched: titles.iter().map(seen).collect(), ..Context::default() };
            world.probe(&need, Phrasing::Bare, &context, query, meant)
        };
        let Some(Probe::Supported { right, .. }) = probe(&["Mercury planet transit"], "mercury", None) else {
            panic!("supported")
        };
        assert!(right.contains(&"mercury planet".to_owned()), "{right:?}");
        assert_eq!(probe(&["Cats at home"], "mercury", None), Some(Probe::Unsupported));
        // Another sense of the head was watched too; or the wanted one is told by another word than its gain term.
        assert_eq!(probe(&["Mercury planet", "Mercury singer"], "mercury", None), None);
        assert_eq!(probe(&["Mercury crater"], "mercury", None), None);
        let slip = |titles: &[&str]| match probe(titles, "mercruy", Some("mercury")) {
            Some(Probe::Mistyped { in_context, .. }) => in_context,
            other => panic!("{other:?}"),
        };
        assert!(slip(&["Mercury crater"]) && !slip(&["Cats at home"]));
        let named = world.probe(&need, Phrasing::Named, &Context::default(), "mercury planet", None);
        assert_eq!(named, Some(Probe::Clear));
        let weather = Need::of(Want::Functional { entry: 0, place: 0 });
        let asked = world.probe(&weather, Phrasing::Named, &Context::default(), "weather today", None);
        assert_eq!(asked, Some(Probe::Functional));
    }
}
