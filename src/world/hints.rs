//! What was watched before a search says about the need behind it: whether a context could resolve the query at all.

use super::World;
use super::needs::{Need, Want};
use super::videos::Topic;
use crate::logs::Watched;

/// Watched videos of a search's context, counted by what they say about the need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// They are of the sense that is wanted.
    pub wanted: u32,
    /// Of these, their title or tags say so; of the others only the picture does.
    pub wanted_in_words: u32,
    /// They are of another sense of the same head.
    pub rival: u32,
}

impl World {
    /// Counts over the watched videos that a context would hold; `watched` in time order, all before the search.
    pub(super) fn hints(&self, need: &Need, watched: &[Watched]) -> Hints {
        let mut hints = Hints::default();
        let Want::Sense { sense, .. } = need.want else { return hints };
        for video in watched.iter().rev().take(self.watched_limit).filter_map(|w| self.video(&w.doc)) {
            let hidden = &self.hidden[video];
            match hidden.topic {
                Topic::Sense(s) if s == sense => {
                    hints.wanted += 1;
                    hints.wanted_in_words += u32::from(hidden.told);
                }
                Topic::Sense(s) if self.lexicon.senses[s].head == self.lexicon.senses[sense].head => hints.rival += 1,
                _ => {}
            }
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use super::super::videos::Hidden;
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn the_newest_videos_are_counted_by_sense() {
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.videos, recipe.mine.watched_limit) = (1_500, 3);
        let world = World::new(&recipe).unwrap();
        let head = &world.lexicon.of_head[0];
        let watched = |sense: usize, told: bool| {
            let is = |h: &Hidden| h.topic == Topic::Sense(sense) && h.told == told;
            let video = world.hidden.iter().position(is).unwrap();
            Watched { doc: world.docs.id(video).to_owned(), ..Watched::default() }
        };
        let elsewhere = world.lexicon.of_head[1][0];
        let need = |sense| Need::of(Want::Sense { sense, facet: None });
        let seen = [watched(head[0], true), watched(head[0], false), watched(head[1], true), watched(elsewhere, true)];
        // The oldest of the four is beyond the limit.
        let hints = world.hints(&need(head[0]), &seen);
        assert_eq!(hints, Hints { wanted: 1, wanted_in_words: 0, rival: 1 });
        assert_eq!(world.hints(&need(head[1]), &seen), Hints { wanted: 1, wanted_in_words: 1, rival: 1 });
        let functional = Need::of(Want::Functional { entry: 0, place: 0 });
        assert_eq!(world.hints(&functional, &seen), Hints::default());
    }
}
