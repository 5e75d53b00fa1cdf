//! Scores the texts and documents that ratios are made of: every pair once, in one pass, kept in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use rayon::prelude::*;

use super::evidence::Evidence;
use super::posterior::Demand;
use super::ratio::{Ratio, Scored, flawed, mean_factor, text_of};
use super::relevances::{Relevances, Source};
use super::{Said, form};
use crate::logs::words;
use crate::recipe::{Flaw, Recipe};
use crate::search::Engine;
use crate::store::{Scores, Store};

/// What the relevance of documents is asked of.
pub(super) struct Scorer {
    /// Where scores are kept; only one pass at a time reads and writes it.
    store: Mutex<Store>,
    relevances: Relevances,
    key: String,
}

/// Relevance of documents to texts.
pub(super) type Scoring = HashMap<String, Scores>;

impl Scorer {
    pub fn open(workspace: &Path, engine: &Engine, recipe: &Recipe, source: &Source) -> Result<Self> {
        let (relevances, key) = Relevances::open(workspace, engine, recipe, source)?;
        Ok(Self { store: Mutex::new(Store::open(workspace)?), relevances, key })
    }

    /// Scores every pair that was not scored yet. Gives how many that were, too.
    pub fn score(&self, engine: &Engine, wanted: &Wanted) -> Result<(Scoring, usize)> {
        let mut store = self.store.lock().expect("no holder of the scores panics");
        let known: Vec<Scores> = wanted.0.keys().map(|text| store.scores(&self.key, text)).collect::<Result<_>>()?;
        let work: Vec<_> = wanted.0.iter().zip(known).collect();
        let scored = work.into_par_iter().map(|((text, documents), mut scores)| {
            let missing: Vec<u32> = documents.iter().copied().filter(|doc| !scores.contains_key(doc)).collect();
            if !missing.is_empty() {
                let found = self.relevances.of(engine, text, &missing)?;
                scores.extend(missing.iter().copied().zip(found));
            }
            Ok(((text.clone(), scores), missing.len()))
        });
        let scored: Vec<((String, Scores), usize)> = scored.collect::<Result<_>>()?;
        let fresh =
            scored.iter().filter(|(_, missing)| *missing > 0).map(|((text, scores), _)| (text.as_str(), scores));
        store.keep_scores(&self.key, fresh)?;
        let asked = scored.iter().map(|(_, missing)| missing).sum();
        Ok((scored.into_iter().map(|(scored, _)| scored).collect(), asked))
    }
}

/// Texts with the documents that they are to be scored on.
#[derive(Default)]
pub(super) struct Wanted(BTreeMap<String, BTreeSet<u32>>);

impl Wanted {
    pub fn add(&mut self, text: &str, documents: impl IntoIterator<Item = u32>) {
        self.0.entry(text.to_owned()).or_default().extend(documents);
    }
}

/// The reward of an answer; none where the evidence does not speak.
pub(super) fn ratio(
    evidence: &Evidence,
    query: &str,
    said: &Said,
    scoring: &Scoring,
    demand: &Demand,
    recipe: &Recipe,
) -> Option<Ratio> {
    if !evidence.speaks() {
        return None;
    }
    let settings = &recipe.ratio;
    let Some(text) = text_of(query, said) else { return Some(Ratio::truncated(settings)) };
    let scores = scoring.get(text)?;
    let (said_words, prominence) = (words(text).count(), demand.prominence(text));
    let exponent = recipe.search.rewrite_finerank;
    let relevance = |doc: &u32| scores.get(doc).map(|r| flawed(*r, settings.flaw, said_words, prominence));
    let mean = |docs: &[(u32, f64)]| {
        let known = docs.iter().filter_map(|(doc, weight)| Some((relevance(doc)?, *weight)));
        mean_factor(known, exponent)
    };
    let random: Vec<(u32, f64)> = evidence.random.iter().map(|doc| (*doc, 1.0)).collect();
    let scored =
        Scored { positive: mean(&evidence.positives)?, negative: mean(&evidence.negatives)?, random: mean(&random)? };
    let length = if matches!(said, Said::Rewrite(_)) { form::length(words(text).count(), &recipe.reward) } else { 0.0 };
    let ratio = Ratio::of(scored, length, settings);
    // Whoever says the query again leaves it alone, whatever words that takes.
    let alone = *said == Said::Reject || words(text).eq(words(query));
    let charged = alone && evidence.mended && settings.flaw != Flaw::Abstention;
    let cost = if charged { settings.reject } else { 0.0 };
    Some(Ratio { value: ratio.value - cost, ..ratio })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;
    use crate::search::index_dir;

    fn doc(id: &str, title: &str) -> Doc {
        Doc { id: id.into(), title: title.into(), popularity: 0.5, ..Doc::default() }
    }

    fn open(workspace: &Path, engine: &Engine, recipe: &Recipe) -> Scorer {
        Scorer::open(workspace, engine, recipe, &Source::of_ratio(&recipe.ratio)).unwrap()
    }

    /// Documents about two senses of a word and some others, indexed, with the scorer over them.
    fn place(workspace: &Path, recipe: &Recipe) -> (Engine, Scorer) {
        let mut docs = vec![doc("car", "jaguar car engine test"), doc("cat", "jaguar cat in the forest")];
        docs.extend((0..30).map(|n| doc(&format!("other{n}"), &format!("bread recipe number{n}"))));
        let engine = Engine::build(&index_dir(workspace, "demo"), &docs, &recipe.search, |_| ()).unwrap();
        let scorer = open(workspace, &engine, recipe);
        (engine, scorer)
    }

    fn evidence(engine: &Engine) -> Evidence {
        let numbers = engine.numbers().unwrap();
        let of = |doc: &str| numbers[doc];
        Evidence {
            positives: vec![(of("car"), 0.3)],
            negatives: vec![(of("cat"), 0.8)],
            random: (0..30).map(|n| of(&format!("other{n}"))).collect(),
            mended: true,
        }
    }

    fn worth(engine: &Engine, scorer: &Scorer, recipe: &Recipe, said: &Said) -> Ratio {
        let evidence = evidence(engine);
        let mut wanted = Wanted::default();
        wanted.add(text_of("jaguar", said).unwrap(), evidence.documents());
        let (scoring, _) = scorer.score(engine, &wanted).unwrap();
        ratio(&evidence, "jaguar", said, &scoring, &Demand::default(), recipe).unwrap()
    }

    #[test]
    fn the_odds_of_a_positive_over_a_negative_move_by_exactly_the_ratio() {
        let dir = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::default();
        (recipe.ratio.gamma, recipe.ratio.alpha, recipe.ratio.form) = (0.0, 0.0, crate::recipe::Form::Ratio);
        let (engine, scorer) = place(dir.path(), &recipe);
        let odds = |rewrite: Option<&str>| {
            let page = engine.search("jaguar", rewrite, &recipe.search).unwrap();
            let score = |id: &str| page.iter().find(|hit| hit.doc == id).map(|hit| hit.score).unwrap();
            score("car") / score("cat")
        };
        for rewrite in ["jaguar car", "jaguar cat", "car engine", "jaguar forest test"] {
            let ratio = worth(&engine, &scorer, &recipe, &Said::Rewrite(rewrite.into())).value;
            let moved = odds(Some(rewrite)) / odds(None);
            assert!((moved / ratio - 1.0).abs() < 1e-9, "{rewrite}: odds × {moved}, ratio {ratio}");
        }
    }

    #[test]
    fn the_right_sense_beats_leaving_alone_and_the_wrong_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::default();
        let (engine, scorer) = place(dir.path(), &recipe);
        let of = |said: &Said| worth(&engine, &scorer, &recipe, said).value;
        let alone = of(&Said::Reject);
        assert!(of(&Said::Rewrite("jaguar car".into())) > alone);
        assert!(of(&Said::Rewrite("jaguar cat".into())) < alone);
        assert!(of(&Said::Rewrite("bread".into())) < alone);
    }

    #[test]
    fn abstaining_where_the_person_typed_anew_costs_and_so_does_saying_the_query_again() {
        let dir = tempfile::tempdir().unwrap();
        let free = Recipe::default();
        let mut dear = free.clone();
        dear.ratio.reject = 0.25;
        let (engine, scorer) = place(dir.path(), &free);
        let of = |recipe: &Recipe, said: &Said| worth(&engine, &scorer, recipe, said).value;
        for alone in [Said::Reject, Said::Rewrite("Jaguar!".into())] {
            assert!((of(&free, &alone) - of(&dear, &alone) - 0.25).abs() < 1e-12, "{alone:?}");
        }
        let rewrite = Said::Rewrite("jaguar car".into());
        assert_eq!(of(&free, &rewrite), of(&dear, &rewrite));
        dear.ratio.flaw = Flaw::Abstention;
        assert_eq!(of(&free, &Said::Reject), of(&dear, &Said::Reject), "the weakness that an incident replays");
    }

    #[test]
    fn a_pair_is_scored_once_whoever_asks_again() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::default();
        let (engine, scorer) = place(dir.path(), &recipe);
        let evidence = evidence(&engine);
        let ask = |scorer: &Scorer, texts: &[&str]| {
            let mut wanted = Wanted::default();
            texts.iter().for_each(|text| wanted.add(text, evidence.documents()));
            scorer.score(&engine, &wanted).unwrap()
        };
        let (first, asked) = ask(&scorer, &["jaguar car", "jaguar car", "jaguar"]);
        assert_eq!(asked, 2 * 32);
        // Another process, later.
        let (again, asked) = ask(&open(dir.path(), &engine, &recipe), &["jaguar car", "jaguar"]);
        assert_eq!((again, asked), (first, 0));
        let text_only =
            Recipe { ratio: crate::recipe::Ratio { visual: false, ..recipe.ratio.clone() }, ..recipe.clone() };
        let other = open(dir.path(), &engine, &text_only);
        assert_eq!(ask(&other, &["jaguar"]).1, 32, "what a score depends on is part of its key");
    }
}
