//! Annotations by the world's rules: which queries, which documents of each, and their labels (`docs/relevance.md`).
//!
//! The one place where what the world knows becomes something public: rows of the store, as people would have written them.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::journal::{Journal, stop};
use crate::logs::words;
use crate::recipe::{Recipe, stream};
use crate::search::{Engine, Stage, index_dir};
use crate::store::{Annotation, Part, Split, Store, subject_split};
use crate::world::{Near, Reading, World};

/// First results that *General* draws from.
const TOP: usize = 20;

/// Annotates pairs of the recipe's log, in place of earlier annotations.
pub(in crate::bench) fn annotate(workspace: &Path, recipe: &Recipe, journal: &Journal) -> Result<Vec<Annotation>> {
    let mut store = Store::open(workspace)?;
    let log = store.log(&recipe.name)?;
    let world = World::new(recipe)?;
    // What clicks have taught the ranking must not change the benchmark.
    let engine = Engine::open(&index_dir(workspace, &recipe.name), &recipe.search)?.unfitted();
    let asked = queries(&store, &world, recipe)?;
    ensure!(!asked.is_empty(), "no query of log {:?} has one meaning: simulate more people or weeks", log.name);
    let annotator = Annotator { world: &world, engine: &engine, recipe };
    let progress = journal.progress("annotate", asked.len() as u64);
    let one = |(number, (query, reading)): (usize, &(String, Reading))| -> Result<Vec<Annotation>> {
        stop::check("annotations are written whole or not at all; run the same command again")?;
        let rows = annotator.pairs(number as u64, query, reading);
        progress.inc(1);
        rows
    };
    let rows: Vec<Vec<Annotation>> = asked.par_iter().enumerate().map(one).collect::<Result<_>>()?;
    let rows = rows.concat();
    progress.finish(&format!("{} pairs", rows.len()));
    store.replace_annotations(&log, &rows)?;
    Ok(rows)
}

/// Distinct queries of the log that have one meaning, as many as the recipe asks for, drawn by its seed.
fn queries(store: &Store, world: &World, recipe: &Recipe) -> Result<Vec<(String, Reading)>> {
    let (log, readings) = (store.log(&recipe.name)?, world.readings());
    let from_ms = store.time_span(&log)?.map_or(0, |(first, _)| first);
    let mut found: Vec<(String, Reading)> = Vec::new();
    store.for_each_query_day(&log, from_ms, |day| {
        // They come by query, then by day.
        if found.last().is_none_or(|(last, _)| *last != day.query)
            && let Some(reading) = readings.of(&day.query)
        {
            found.push((day.query, reading.clone()));
        }
        Ok(())
    })?;
    found.shuffle(&mut stream(recipe.seed, "relevance queries", &[]));
    found.truncate(recipe.relevance.queries);
    Ok(found)
}

struct Annotator<'a> {
    world: &'a World,
    engine: &'a Engine,
    recipe: &'a Recipe,
}

impl Annotator<'_> {
    /// The pairs of a query; a document comes once.
    fn pairs(&self, number: u64, query: &str, reading: &Reading) -> Result<Vec<Annotation>> {
        let (world, r) = (self.world, &self.recipe.relevance);
        let mut rng = stream(self.recipe.seed, "relevance pairs", &[number]);
        let mut taken = HashSet::new();
        let mut rows = Vec::new();
        let split = subject_split(self.recipe, &reading.subject);
        let mut add = |part: Part, videos: Vec<usize>| {
            rows.extend(videos.into_iter().map(|video| self.row(split, part, query, reading, video)));
        };
        add(Part::General, self.general(query, &mut taken, &mut rng)?);
        let near: Vec<Near> = (0..world.docs().len()).map(|video| world.near(reading, video)).collect();
        let chosen = |keep: &dyn Fn(usize, Near) -> bool| -> Vec<usize> {
            near.iter().enumerate().filter(|(video, near)| keep(*video, **near)).map(|(video, _)| video).collect()
        };
        let right = |near: Near| matches!(near, Near::Answer | Near::OtherFacet);
        let hard = [
            chosen(&|video, near| near == Near::OtherSense && world.told(video)),
            chosen(&|video, near| near == Near::OtherFacet && world.told(video)),
            chosen(&|video, near| right(near) && world.told(video) && self.lacks_a_word(query, video)),
        ];
        add(Part::Hard, in_turn(hard, r.hard, &mut taken, &mut rng));
        let salient = [
            chosen(&|video, near| right(near) && world.salient(reading, video)),
            chosen(&|video, near| near == Near::OtherSense && world.salient(reading, video)),
        ];
        add(Part::Salient, in_turn(salient, r.salient, &mut taken, &mut rng));
        Ok(rows)
    }

    /// Some of the first results, and as many of all documents.
    fn general(&self, query: &str, taken: &mut HashSet<usize>, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let most = self.recipe.relevance.general;
        let top = self.engine.after(Stage::Finerank, query, None, TOP, &self.recipe.search)?;
        let top: Vec<usize> = top.iter().filter_map(|id| self.world.number(id)).collect();
        let mut videos: Vec<usize> = top.choose_multiple(rng, most).copied().collect();
        videos.extend((0..most).map(|_| rng.random_range(0..self.world.docs().len())));
        videos.retain(|video| taken.insert(*video));
        Ok(videos)
    }

    /// Whether neither title nor tags have some word of the query: a lexical gap.
    fn lacks_a_word(&self, query: &str, video: usize) -> bool {
        let doc = self.world.docs().get(video);
        let there: HashSet<String> =
            std::iter::once(&doc.title).chain(&doc.tags).flat_map(|text| words(text)).collect();
        words(query).any(|word| !there.contains(&word))
    }

    fn row(&self, split: Split, part: Part, query: &str, reading: &Reading, video: usize) -> Annotation {
        Annotation {
            split,
            part,
            query: query.to_owned(),
            doc: self.world.docs().get(video).id,
            label: self.world.near(reading, video).label().number(),
            notes: self.world.reasons(reading, video),
        }
    }
}

/// Draws from several heaps in turn, until there are enough or all are empty; what was taken before is passed over.
fn in_turn<const N: usize>(
    mut heaps: [Vec<usize>; N],
    most: usize,
    taken: &mut HashSet<usize>,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    for heap in &mut heaps {
        heap.retain(|video| !taken.contains(video));
        heap.shuffle(rng);
    }
    let mut drawn = Vec::new();
    while drawn.len() < most && heaps.iter().any(|heap| !heap.is_empty()) {
        for heap in &mut heaps {
            drawn.extend(heap.pop().filter(|video| drawn.len() < most && taken.insert(*video)));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaps_are_drawn_from_in_turn_and_nothing_comes_twice() {
        let mut rng = stream(1, "heaps", &[]);
        let mut taken = HashSet::from([1]);
        let drawn = in_turn([vec![1, 2, 3, 4, 5], vec![6], vec![2]], 4, &mut taken, &mut rng);
        assert_eq!(drawn.len(), 4);
        assert!(!drawn.contains(&1) && drawn.contains(&6));
        let unlike: HashSet<usize> = drawn.iter().copied().collect();
        assert_eq!(unlike.len(), 4);
        assert!(in_turn([vec![6], vec![]], 3, &mut taken, &mut rng).is_empty());
    }
}
