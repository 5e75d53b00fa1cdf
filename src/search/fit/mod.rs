//! What logged clicks teach the ranking: how satisfied people were with each document, and the weights of rawrank.
//!
//! One pass over a log counts per document and rank, and keeps a sample of searches ([`Observations`]); memory stays flat.
//! *Satisfaction* is long clicks over expected long clicks: what a document got, against what the ranks at which it was shown
//! get on average. So a document is neither praised nor blamed for its place. *Weights* are fitted on pairs (see [`pairs`]).

mod linear;
mod pairs;

use std::collections::HashMap;

use anyhow::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::rank::Weights;
use super::{Engine, Signals};
use crate::recipe::stream;

/// Ranks told apart; those below count as the last.
const RANKS: usize = 20;
/// Expected long clicks that a document is credited with at the usual rate: what little is known is drawn towards 1.
const PRIOR: f64 = 5.0;
/// Searches kept for the weights, drawn from all with a long click.
const SAMPLE: usize = 8_000;
/// Of these, every so-manieth is not fitted on, and tells how often the weights are right.
const HELD: usize = 5;
/// Fewer searches teach no weights: those of the program stay.
const FEWEST: usize = 50;

/// The part of an index that clicks have taught.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ranking {
    /// Weights of rawrank.
    pub weights: Weights,
    /// The log they were fitted on; none for the program's own.
    pub fitted_on: Option<String>,
    /// Hash of what they were learnt from: equal keys, equal weights.
    #[serde(default)]
    pub key: String,
    /// Pairs of documents they were fitted on.
    pub pairs: usize,
    /// Share of pairs put right in searches that were not fitted on.
    pub agreement: Option<f64>,
    /// The same by the program's own weights.
    pub agreement_before: Option<f64>,
}

/// One search as it is kept: what was shown, by number, and what was stayed with.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    query: String,
    shown: Vec<(u32, bool)>,
}

/// Counts over a log.
pub struct Observations {
    numbers: HashMap<String, u32>,
    /// By document and rank.
    shown: Vec<[u32; RANKS]>,
    long: Vec<u32>,
    /// Times a rank was shown, and stayed with.
    by_rank: [(u64, u64); RANKS],
    sample: Vec<Kept>,
    /// Searches with a long click.
    eligible: u64,
    rng: ChaCha8Rng,
}

impl Observations {
    /// Nothing seen yet of the documents of an index.
    ///
    /// # Errors
    /// An index that cannot be read.
    pub fn new(engine: &Engine, seed: u64) -> Result<Self> {
        let docs = engine.len();
        Ok(Self {
            numbers: engine.numbers()?,
            shown: vec![[0; RANKS]; docs],
            long: vec![0; docs],
            by_rank: [(0, 0); RANKS],
            sample: Vec::new(),
            eligible: 0,
            rng: stream(seed, "search.fit", &[]),
        })
    }

    /// Adds a search: the documents on its page from the top down, each with whether it was stayed with.
    pub fn add<'a>(&mut self, query: &str, page: impl Iterator<Item = (&'a str, bool)>) {
        let mut shown = Vec::new();
        for (rank, (id, long)) in page.enumerate() {
            // A document that has left the catalogue teaches nothing, but held its rank.
            let Some(&number) = self.numbers.get(id) else { continue };
            let rank = rank.min(RANKS - 1);
            self.shown[number as usize][rank] += 1;
            self.long[number as usize] += u32::from(long);
            self.by_rank[rank].0 += 1;
            self.by_rank[rank].1 += u64::from(long);
            shown.push((number, long));
        }
        if !shown.iter().any(|(_, long)| *long) {
            return;
        }
        // A reservoir: every search has the same chance, whatever the length of the log.
        self.eligible += 1;
        let kept = Kept { query: query.to_owned(), shown };
        if self.sample.len() < SAMPLE {
            self.sample.push(kept);
        } else {
            let place = self.rng.random_range(0..self.eligible);
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.sample.get_mut(place)) {
                *slot = kept;
            }
        }
    }

    /// Long clicks over expected long clicks, by document number; 1 where nothing is known.
    #[must_use]
    pub fn satisfaction(&self) -> Vec<f32> {
        let rates = self.rates();
        let one = |(shown, long): (&[u32; RANKS], &u32)| {
            let expected: f64 = shown.iter().zip(rates).map(|(n, rate)| f64::from(*n) * rate).sum();
            ((f64::from(*long) + PRIOR) / (expected + PRIOR)) as f32
        };
        self.shown.iter().zip(&self.long).map(one).collect()
    }

    /// Long clicks per showing at each rank, over all documents.
    fn rates(&self) -> [f64; RANKS] {
        self.by_rank.map(|(shown, long)| if shown > 0 { long as f64 / shown as f64 } else { 0.0 })
    }

    /// Fits the weights of rawrank. `name` is what the log is called.
    ///
    /// # Errors
    /// An index that cannot be read.
    pub fn ranking(&self, engine: &Engine, name: &str) -> Result<Ranking> {
        let own = Weights::default();
        let fitted_on = Some(name.to_owned());
        if self.sample.len() < FEWEST {
            return Ok(Ranking { fitted_on, ..Ranking::default() });
        }
        let of = |kept: &Kept| pairs::of(engine, &kept.query, &kept.shown);
        let groups: Vec<Vec<pairs::Pair>> = self.sample.par_iter().map(of).collect::<Result<_>>()?;
        let part = |held: bool| -> Vec<&pairs::Pair> {
            groups.iter().enumerate().filter(|(n, _)| (n % HELD == 0) == held).flat_map(|(_, group)| group).collect()
        };
        let (fit, check) = (part(false), part(true));
        let start = pairs::with_ranks(own.to_array());
        let found = linear::fit(&fit, start);
        // The program's own weights are compared with what ranks do added to them too.
        let mut before = found;
        before[..own.to_array().len()].copy_from_slice(&own.to_array());
        Ok(Ranking {
            weights: Weights::from_array(pairs::without_ranks(&found)),
            fitted_on,
            key: String::new(),
            pairs: fit.len(),
            agreement: linear::agreement(&check, found),
            agreement_before: linear::agreement(&check, before),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;
    use crate::recipe::SearchPath;

    fn engine(dir: &std::path::Path, n: usize) -> Engine {
        let doc = |i| Doc { id: format!("d{i:03}"), title: format!("jaguar number{i}"), ..Doc::default() };
        Engine::build(dir, &(0..n).map(doc).collect::<Vec<_>>(), &SearchPath::default(), |_| ()).unwrap()
    }

    #[test]
    fn a_document_is_judged_against_what_its_ranks_let_expect() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path(), 12);
        let mut seen = Observations::new(&engine, 1).unwrap();
        // d000 stands on top and is stayed with 40 times in 100; d001 below it 20 times; d002, also below, 40 times.
        let mut rng = stream(1, "test", &[]);
        for _ in 0..2_000 {
            let below = if rng.random::<bool>() { "d001" } else { "d002" };
            let chance = if below == "d001" { 0.1 } else { 0.3 };
            let page = [("d000", rng.random::<f64>() < 0.4), (below, rng.random::<f64>() < chance)];
            seen.add("jaguar", page.into_iter());
        }
        let s = seen.satisfaction();
        assert!((s[0] - 1.0).abs() < 0.1, "top, and usual for the top: {}", s[0]);
        assert!(s[1] < 0.75 && s[2] > 1.25, "{} {}", s[1], s[2]);
        assert_eq!(s[5], 1.0, "never shown");
    }

    #[test]
    fn strangers_and_few_searches_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path(), 3);
        let mut seen = Observations::new(&engine, 1).unwrap();
        seen.add("jaguar", [("nobody", true)].into_iter());
        assert_eq!(seen.satisfaction(), [1.0; 3]);
        let ranking = seen.ranking(&engine, "log").unwrap();
        assert_eq!((ranking.weights, ranking.pairs), (Weights::default(), 0));
        assert_eq!(ranking.fitted_on.as_deref(), Some("log"));
    }

    #[test]
    fn the_sample_is_bounded_and_drawn_from_all() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path(), 3);
        let mut seen = Observations::new(&engine, 1).unwrap();
        for n in 0..3 * SAMPLE {
            seen.add(&format!("{n}"), [("d001", true)].into_iter());
        }
        assert_eq!(seen.sample.len(), SAMPLE);
        let late = seen.sample.iter().filter(|k| k.query.parse::<usize>().unwrap() >= 2 * SAMPLE).count();
        assert!((SAMPLE / 4..SAMPLE / 2).contains(&late), "about a third: {late}");
    }

    #[test]
    fn clicks_on_fresh_documents_teach_that_freshness_counts() {
        let dir = tempfile::tempdir().unwrap();
        let day = 86_400_000_i64;
        let doc = |i: i64| Doc {
            id: format!("d{i:03}"),
            title: "jaguar".into(),
            published_ms: 1_000 * day - i * 10 * day,
            popularity: 0.5,
            ..Doc::default()
        };
        let engine =
            Engine::build(dir.path(), &(0..30).map(doc).collect::<Vec<_>>(), &SearchPath::default(), |_| ()).unwrap();
        let mut seen = Observations::new(&engine, 1).unwrap();
        // Whichever stands above, the fresh one is stayed with.
        for n in 0..200 {
            let (old, new) = (format!("d{:03}", 10 + n % 20), format!("d{:03}", n % 5));
            let mut page = [(old.as_str(), false), (new.as_str(), true)];
            page.rotate_left(n % 2);
            seen.add("jaguar", page.into_iter());
        }
        let settings = SearchPath { recall: 30, ..SearchPath::default() };
        let ranking = seen.ranking(&engine, "log").unwrap();
        assert!(ranking.weights.freshness > 0.3, "{ranking:?}");
        assert!(ranking.agreement > ranking.agreement_before, "{ranking:?}");
        let before = engine.search("jaguar", None, &settings).unwrap();
        let refitted = engine.refit(dir.path(), ranking.clone(), &seen.satisfaction()).unwrap();
        assert_eq!(refitted.ranking(), &ranking);
        let after = refitted.search("jaguar", None, &settings).unwrap();
        assert!(after[0].signals.rawrank > before[0].signals.rawrank, "{after:?}");
        assert_eq!(refitted.unfitted().search("jaguar", None, &settings).unwrap(), before);
    }
}
