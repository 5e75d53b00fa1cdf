//! Measures two rewriters on the same held-out searches: what they would serve, and what else they might say.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use rand::Rng;

use super::metrics::Metric;
use crate::journal::{Journal, stop};
use crate::judge::Ratio;
use crate::judge::reward::{Rewarder, Said, Searched};
use crate::logs::{Context, words};
use crate::model::Completion;
use crate::recipe::{Recipe, stream};
use crate::rewriter::{Answerable, Outcome, PolicyRewriter, Rewriter};

/// Searches answered at once.
const CHUNK: usize = 64;

/// What a person's searches gave, metric by metric.
pub(super) type ByPerson = BTreeMap<String, BTreeMap<Metric, Ratio>>;

/// What both are held against.
pub(super) struct Ground<'a> {
    pub searched: &'a [Searched],
    pub rewarder: &'a Rewarder,
    pub answerable: &'a Answerable,
    pub recipe: &'a Recipe,
}

impl Ground<'_> {
    /// Both rewriters' metrics; the divergence stands in the second's alone.
    pub fn both(&self, old: &Rewriter, new: &Rewriter, journal: &Journal) -> Result<[ByPerson; 2]> {
        let samplers = match (old, new) {
            (Rewriter::Policy(old), Rewriter::Policy(new)) => Some([old.as_ref(), new.as_ref()]),
            // A rule has nothing to sample from; then nothing is said of candidates that were not served.
            _ => None,
        };
        let mut found = [ByPerson::new(), ByPerson::new()];
        for (place, rewriter) in [old, new].into_iter().enumerate() {
            let served = self.served(rewriter, journal)?;
            self.count_served(&served, &mut found[place])?;
            if let Some(samplers) = samplers {
                let other = (place == 1 && samplers[0].same_tokens(samplers[1])).then_some(samplers[0]);
                self.count_sampled(samplers[place], other, &mut found[place], journal)?;
            }
        }
        Ok(found)
    }

    /// What would be served.
    fn served(&self, rewriter: &Rewriter, journal: &Journal) -> Result<Vec<Outcome>> {
        let progress = journal.progress("rewrite", self.searched.len() as u64);
        let mut served = Vec::with_capacity(self.searched.len());
        for rows in self.searched.chunks(CHUNK) {
            stop::check("nothing was released; run the same command again")?;
            served.extend(rewriter.rewrite(&requests(rows))?);
            progress.inc(rows.len() as u64);
        }
        progress.finish(&format!("{} held-out searches by {}", served.len(), rewriter.name()));
        Ok(served)
    }

    fn count_served(&self, served: &[Outcome], found: &mut ByPerson) -> Result<()> {
        // A query whose answer did not come in time is served as it is.
        let said = |outcome: &Outcome| outcome.rewrite.clone().map_or(Said::Reject, Said::Rewrite);
        let said: Vec<Said> = served.iter().map(said).collect();
        let answers: Vec<_> =
            self.searched.iter().zip(&said).map(|(s, said)| (&s.evidence, s.row.query.as_str(), said)).collect();
        let (ratios, _) = self.rewarder.ratios(&answers)?;
        let shared = shared(self.searched.iter().map(|s| s.row.query.as_str()), &said);
        for ((searched, said), ratio) in self.searched.iter().zip(&said).zip(ratios) {
            let person = found.entry(searched.row.user.clone()).or_default();
            let mut add = |metric, value: f64| person.entry(metric).or_default().add(value);
            if let Some(scored) = ratio.and_then(|ratio| ratio.scored) {
                add(Metric::RMain, scored.main(&self.recipe.ratio));
                add(Metric::SPos, scored.positive);
                add(Metric::RRand, scored.rand(&self.recipe.ratio));
            }
            add(Metric::Rejects, f64::from(u8::from(*said == Said::Reject)));
            if let Said::Rewrite(text) = said {
                add(Metric::IndexHits, f64::from(u8::from(self.answerable.holds(text))));
                add(Metric::Concentration, f64::from(u8::from(shared.contains(text.as_str()))));
                add(Metric::Popularity, f64::from(self.rewarder.posterior(text).searches).ln_1p());
            }
        }
        Ok(())
    }

    fn count_sampled(
        &self,
        own: &PolicyRewriter,
        other: Option<&PolicyRewriter>,
        found: &mut ByPerson,
        journal: &Journal,
    ) -> Result<()> {
        let progress = journal.progress("sample", self.searched.len() as u64);
        for (chunk, rows) in self.searched.chunks(CHUNK).enumerate() {
            stop::check("nothing was released; run the same command again")?;
            let seed = stream(self.recipe.seed, "gate", &[chunk as u64]).random();
            let sampled = own.sample(&requests(rows), self.recipe.gate.samples, seed)?;
            let theirs = other.map(|other| other.logprobs(&requests(rows), &sampled)).transpose()?;
            for (place, (searched, sampled)) in rows.iter().zip(&sampled).enumerate() {
                let person = found.entry(searched.row.user.clone()).or_default();
                let logprobs: Vec<f64> = sampled.iter().map(logprob).collect();
                person.entry(Metric::Entropy).or_default().add(entropy(sampled, &logprobs));
                for (nth, (completion, logprob)) in sampled.iter().zip(&logprobs).enumerate() {
                    let tokens = completion.ids.len() as f64;
                    let surprisal = person.entry(Metric::Surprisal).or_default();
                    (surprisal.num, surprisal.den) = (surprisal.num - logprob, surprisal.den + tokens);
                    person.entry(Metric::Length).or_default().add(tokens);
                    person.entry(Metric::Truncated).or_default().add(f64::from(u8::from(!completion.finished)));
                    if let Some(theirs) = &theirs {
                        person.entry(Metric::Kl).or_default().add(logprob - theirs[place][nth]);
                    }
                }
            }
            progress.inc(rows.len() as u64);
        }
        progress.finish(&format!("{} answers each by {}", self.recipe.gate.samples, own.name()));
        Ok(())
    }
}

fn requests(searched: &[Searched]) -> Vec<(&Context, &str)> {
    searched.iter().map(|s| (&s.row.context, s.row.query.as_str())).collect()
}

fn logprob(completion: &Completion) -> f64 {
    completion.logprobs.iter().map(|&lp| f64::from(lp)).sum()
}

/// Entropy (nats) over the distinct candidates among samples, their probabilities made to add up to 1.
fn entropy(sampled: &[Completion], logprobs: &[f64]) -> f64 {
    let mut distinct: Vec<(&[u32], f64)> = Vec::new();
    for (completion, logprob) in sampled.iter().zip(logprobs) {
        if distinct.iter().all(|(ids, _)| *ids != completion.ids.as_slice()) {
            distinct.push((&completion.ids, logprob.exp()));
        }
    }
    let sum: f64 = distinct.iter().map(|(_, p)| p).sum();
    let shares = distinct.iter().map(|(_, p)| p / sum.max(f64::MIN_POSITIVE)).filter(|p| *p > 0.0);
    shares.map(|p| -p * p.ln()).sum()
}

/// Rewrites that more than one query got, whatever the letter case of queries.
fn shared<'a>(queries: impl Iterator<Item = &'a str>, said: &'a [Said]) -> HashSet<&'a str> {
    let mut first: HashMap<&str, String> = HashMap::new();
    let mut shared = HashSet::new();
    for (query, said) in queries.zip(said) {
        if let Said::Rewrite(text) = said {
            let query = words(query).collect::<Vec<_>>().join(" ");
            if *first.entry(text).or_insert_with(|| query.clone()) != query {
                shared.insert(text.as_str());
            }
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(ids: &[u32]) -> Completion {
        Completion { ids: ids.to_vec(), logprobs: vec![], finished: true, forwards: 1 }
    }

    #[test]
    fn entropy_is_of_distinct_candidates_and_0_where_all_say_the_same() {
        let half = 0.5_f64.ln();
        let sampled = [completion(&[1]), completion(&[2]), completion(&[1])];
        assert!((entropy(&sampled, &[half, half, half]) - 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(entropy(&sampled[..1], &[half]), 0.0);
        assert!(entropy(&sampled, &[-1e9, -1e9, -1e9]).abs() < 1e-12, "nothing is divided by 0");
    }

    #[test]
    fn rewrites_that_several_queries_got_are_shared() {
        let said = ["x", "x", "y", "y", "z"].map(|text| Said::Rewrite(text.into()));
        let queries = ["a", "A!", "b", "c", "d"];
        let found = shared(queries.into_iter(), &said);
        assert_eq!(found, HashSet::from(["y"]), "one query in two spellings is one query");
        assert!(shared(["a", "b"].into_iter(), &[Said::Reject, Said::Reject]).is_empty());
    }
}
