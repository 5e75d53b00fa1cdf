//! What a rewrite is worth to a policy that learns from it: small parts, each logged apart, summed as the recipe says.
//!
//! *Posterior*: what the log says of the rewrite as a query ([`Demand`], WeWrite eq. 4). *Relevance* and *hit*: what the search
//! path makes of it (JD). *Decision*: whether rewriting was called for. *Format*: its form ([`Form`]). *Ratio*: how the ranker will
//! move what was liked against what was passed over (CoRe, [`ratio`]). Leaving a query alone is
//! worth what the plain path is worth and what the person did says, so abstaining is never a safe win: it earns 0 of the
//! posterior, 1/rank of the plain page, the ratio of the query itself, and loses the decision where the person had to type again.

mod evidence;
mod explain;
mod form;
mod listed;
mod page;
mod posterior;
pub mod ratio;
mod relevances;
mod scorer;
mod searched;

use std::path::Path;

use anyhow::Result;

pub use evidence::Evidence;
pub use explain::{Explained, Outcome, explain};
pub use form::{Form, foreign};
use page::Pages;
pub use page::Worth;
pub use posterior::{Demand, Posterior};
pub use ratio::Ratio;
pub use searched::{Searched, Side};

use crate::logs::{Context, words};
use crate::recipe::Recipe;
use crate::search::Engine;
use crate::store::{ExampleRow, Store};
use relevances::Source;
use scorer::{Scorer, Scoring, Wanted};

/// The parts by their names in logs, in the order of every list of them.
pub const PARTS: [&str; 7] = ["posterior", "relevance", "hit", "decision", "format", "ratio", "exact"];

/// A search whose rewrites are to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What stood before it.
    pub context: &'a Context,
    /// What was typed.
    pub query: &'a str,
    /// When, Unix milliseconds: later documents are not on its pages.
    pub time_ms: i64,
    /// The document that satisfied the person; none where nobody knows.
    pub satisfied_doc: Option<&'a str>,
    /// Whether the person typed something else; none where nobody knows.
    pub rewrote: Option<bool>,
    /// What was typed in its place, or would have been; none where it was left alone, or nobody knows.
    pub target: Option<&'a str>,
    /// What people did about its results; none where nobody looked it up.
    pub evidence: Option<&'a Evidence>,
}

impl<'a> Asked<'a> {
    /// Of a mined example.
    #[must_use]
    pub fn of(row: &'a ExampleRow) -> Self {
        Self {
            context: &row.context,
            query: &row.query,
            time_ms: row.time_ms,
            satisfied_doc: row.satisfied_doc.as_deref(),
            rewrote: Some(row.target.is_some()),
            target: row.target.as_deref(),
            evidence: None,
        }
    }

    /// The same with what people did about its results.
    #[must_use]
    pub fn with(self, evidence: &'a Evidence) -> Self {
        Self { evidence: Some(evidence), ..self }
    }
}

/// What a policy said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Another query.
    Rewrite(String),
    /// That the query is best left alone.
    Reject,
    /// Nothing that can be served: no end, or no words.
    Faulty,
}

impl Said {
    /// The other query.
    #[must_use]
    pub fn rewrite(&self) -> Option<&str> {
        match self {
            Self::Rewrite(text) => Some(text),
            Self::Reject | Self::Faulty => None,
        }
    }
}

/// One reward a part, in the order of [`PARTS`]; `None` where a part does not apply or could not be had.
pub type Parts = [Option<f64>; PARTS.len()];

/// Everything that rewards are taken from.
pub struct Rewarder {
    demand: Demand,
    engine: Engine,
    scorer: Scorer,
    pages: Pages,
    recipe: Recipe,
}

impl Rewarder {
    /// Reads what training may see of the recipe's log, and opens its index.
    ///
    /// # Errors
    /// No such log, or no index of it.
    pub fn open(workspace: &Path, recipe: &Recipe) -> Result<Self> {
        let demand = Demand::read(&Store::open_existing(workspace)?, recipe)?;
        let engine = Engine::of_log(workspace, recipe, &recipe.name)?;
        let scorer = Scorer::open(workspace, &engine, recipe, &Source::of_ratio(&recipe.ratio))?;
        let pages = Pages::open(workspace, &engine, recipe)?;
        Ok(Self { demand, engine, scorer, pages, recipe: recipe.clone() })
    }

    /// Weights of the parts, in the order of [`PARTS`].
    #[must_use]
    pub fn weights(&self) -> [f64; PARTS.len()] {
        let r = &self.recipe.reward;
        [r.posterior, r.relevance, r.hit, r.decision, r.format, r.ratio, r.exact]
    }

    /// What people did about the results of mined searches, in their order.
    ///
    /// # Errors
    /// No such log; SQLite's.
    pub fn evidence(&self, workspace: &Path, rows: &[ExampleRow]) -> Result<Vec<Evidence>> {
        let store = Store::open_existing(workspace)?;
        Evidence::gather(&store, &self.recipe, rows, &self.engine.numbers()?)
    }

    /// At most `most` searches of one side of the split, a share of `mended` mended by typing anew, with what people did about
    /// their results.
    ///
    /// # Errors
    /// No such log; SQLite's.
    pub fn searched(&self, workspace: &Path, side: Side, most: usize, mended: f64) -> Result<Vec<Searched>> {
        let store = Store::open_existing(workspace)?;
        Searched::draw(&store, &self.recipe, side, most, mended, &self.engine.numbers()?)
    }

    /// The ratio of every answer, in their order, none where the evidence does not speak; and how many pairs of a text and a
    /// document had to be scored for it.
    ///
    /// # Errors
    /// An index or a store that cannot be read.
    pub fn ratios(&self, answers: &[(&Evidence, &str, &Said)]) -> Result<(Vec<Option<Ratio>>, usize)> {
        let mut wanted = Wanted::default();
        for (evidence, query, said) in answers.iter().filter(|(evidence, ..)| evidence.speaks()) {
            if let Some(text) = ratio::text_of(query, said) {
                wanted.add(text, evidence.documents());
            }
        }
        let (scoring, asked) = self.scorer.score(&self.engine, &wanted)?;
        let of = |(evidence, query, said): &(&Evidence, &str, &Said)| self.ratio(evidence, query, said, &scoring);
        Ok((answers.iter().map(of).collect(), asked))
    }

    fn ratio(&self, evidence: &Evidence, query: &str, said: &Said, scoring: &Scoring) -> Option<Ratio> {
        scorer::ratio(evidence, query, said, scoring, &self.demand, &self.recipe)
    }

    /// What the log says of a text as a query.
    #[must_use]
    pub fn posterior(&self, text: &str) -> Posterior {
        self.demand.of(text, &self.recipe.reward)
    }

    /// The parts of every answer to a search. Parts of weight 0 are not asked for. An answer that could not be judged has none: one
    /// page that fails does not end a run, and is counted by whoever asks.
    ///
    /// # Errors
    /// No answer at all could be judged.
    pub fn judge(&self, answers: &[(Asked, &Said)]) -> Result<Vec<Parts>> {
        let ratios = if self.recipe.reward.ratio > 0.0 { self.ratios_of(answers)? } else { vec![None; answers.len()] };
        let answered = answers.iter().zip(ratios).zip(self.worths(answers)?);
        let of = |(((asked, said), ratio), page): ((&(Asked, &Said), _), Result<_>)| {
            Ok(self.parts(asked, said, ratio, page?))
        };
        those_judged(answered.map(of).collect())
    }

    /// The values of the ratios, where there is evidence.
    fn ratios_of(&self, answers: &[(Asked, &Said)]) -> Result<Vec<Option<f64>>> {
        let silent = Evidence::default();
        let asked: Vec<_> =
            answers.iter().map(|(asked, said)| (asked.evidence.unwrap_or(&silent), asked.query, *said)).collect();
        Ok(self.ratios(&asked)?.0.into_iter().map(|ratio| Some(ratio?.value)).collect())
    }

    /// The pages of the answers, where some part wants them.
    fn worths(&self, answers: &[(Asked, &Said)]) -> Result<Vec<Result<Option<Worth>>>> {
        if !page::wanted(&self.recipe.reward) {
            return Ok(answers.iter().map(|_| Ok(None)).collect());
        }
        let asked: Vec<_> = answers.iter().map(|(asked, said)| (*asked, said.rewrite())).collect();
        let worths = self.pages.of(&self.engine, &self.recipe, &asked)?;
        Ok(worths.into_iter().map(|worth| worth.map(Some)).collect())
    }

    fn parts(&self, asked: &Asked, said: &Said, ratio: Option<f64>, page: Option<Worth>) -> Parts {
        let (settings, rewrite) = (&self.recipe.reward, said.rewrite());
        let posterior = match said {
            Said::Rewrite(text) => {
                let gated = page.is_some_and(|page| page.relevance < settings.relevance_gate);
                if gated { -settings.invalid } else { self.posterior(text).value(settings) }
            }
            Said::Reject => 0.0,
            Said::Faulty => -settings.invalid,
        };
        let form = rewrite.map_or(0.0, |text| Form::of(asked.context, asked.query, text, settings).value(settings));
        let all = [
            Some(posterior),
            page.map(|page| page.relevance),
            page.and_then(|page| page.hit),
            decision(asked.rewrote, said),
            Some(if *said == Said::Faulty { -1.0 } else { form }),
            ratio,
            exact(asked, said),
        ];
        counted(all, &self.weights())
    }
}

/// No parts in the place of what failed; an error where everything did.
fn those_judged(judged: Vec<Result<Parts>>) -> Result<Vec<Parts>> {
    if judged.iter().all(Result::is_err) {
        return judged.into_iter().collect();
    }
    Ok(judged.into_iter().map(|parts| parts.unwrap_or([None; PARTS.len()])).collect())
}

/// What is left of the parts: those with a weight that are numbers.
fn counted(parts: Parts, weights: &[f64; PARTS.len()]) -> Parts {
    std::array::from_fn(|place| parts[place].filter(|x| weights[place] > 0.0 && x.is_finite()))
}

/// +1 for leaving alone what contented the person, 0 for rewriting what the person typed anew (what it is worth, other parts
/// say), −1 for the opposite of either.
fn decision(rewrote: Option<bool>, said: &Said) -> Option<f64> {
    let value = match (rewrote?, said) {
        (false, Said::Reject) => 1.0,
        (true, Said::Rewrite(_)) => 0.0,
        (_, Said::Faulty) | (true, Said::Reject) | (false, Said::Rewrite(_)) => -1.0,
    };
    Some(value)
}

/// 1 for the example's own answer, whatever its spelling; else 0.
fn exact(asked: &Asked, said: &Said) -> Option<f64> {
    let same = match (asked.rewrote?, said) {
        (false, said) => *said == Said::Reject,
        (true, Said::Rewrite(text)) => asked.target.is_some_and(|target| words(target).eq(words(text))),
        (true, Said::Reject | Said::Faulty) => false,
    };
    Some(f64::from(u8::from(same)))
}

/// Weighted sum of the parts that are there; none where none is.
#[must_use]
pub fn total(parts: &[Option<f64>], weights: &[f64]) -> Option<f64> {
    let known = parts.iter().zip(weights).filter_map(|(part, weight)| Some((*part)? * weight));
    known.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstaining_pays_only_where_the_person_was_content() {
        let rewrite = Said::Rewrite("x".into());
        let of = |rewrote, said: &Said| decision(Some(rewrote), said).unwrap();
        assert_eq!([of(false, &Said::Reject), of(true, &Said::Reject)], [1.0, -1.0]);
        assert_eq!([of(false, &rewrite), of(true, &rewrite)], [-1.0, 0.0]);
        assert_eq!([of(false, &Said::Faulty), of(true, &Said::Faulty)], [-1.0, -1.0]);
        assert_eq!(decision(None, &rewrite), None);
    }

    #[test]
    fn the_answer_of_the_example_is_worth_one_and_everything_else_nothing() {
        let context = Context::default();
        let of = |rewrote, target, said: &Said| {
            let asked = Asked {
                context: &context,
                query: "q",
                time_ms: 0,
                satisfied_doc: None,
                rewrote,
                target,
                evidence: None,
            };
            exact(&asked, said)
        };
        let said = |text: &str| Said::Rewrite(text.into());
        assert_eq!(of(Some(true), Some("jaguar car"), &said("Jaguar  car!")), Some(1.0));
        for other in [said("jaguar"), Said::Reject, Said::Faulty] {
            assert_eq!(of(Some(true), Some("jaguar car"), &other), Some(0.0), "{other:?}");
        }
        assert_eq!([of(Some(false), None, &Said::Reject), of(Some(false), None, &said("x"))], [Some(1.0), Some(0.0)]);
        assert_eq!(of(None, None, &Said::Reject), None);
    }

    #[test]
    fn parts_that_are_missing_add_nothing_and_are_no_zero() {
        let weights = [1.0, 0.0, 2.0, 1.0, 0.5, 3.0];
        assert_eq!(total(&[Some(0.5), None, Some(0.25), None, Some(-1.0), None], &weights), Some(0.5));
        assert_eq!(total(&[None; 6], &weights), None);
    }

    #[test]
    fn what_is_no_number_or_failed_is_missing_and_everything_failing_is_an_error() {
        let parts = [None, Some(1.0), Some(f64::INFINITY), Some(2.0), Some(f64::NAN), Some(3.0), None];
        let left = counted(parts, &[1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        assert_eq!(left, [None, None, None, Some(2.0), None, None, None]);
        let failed = || Err(anyhow::anyhow!("the index is gone"));
        let some = those_judged(vec![Ok(parts), failed()]).unwrap();
        assert_eq!((some[0][1], some[1]), (Some(1.0), [None; PARTS.len()]));
        assert!(those_judged(vec![failed(), failed()]).unwrap_err().to_string().contains("index is gone"));
        assert_eq!(those_judged(Vec::new()).unwrap(), Vec::<Parts>::new());
    }
}
