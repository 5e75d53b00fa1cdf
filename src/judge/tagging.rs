//! How well labels of relevance are told: accuracy, macro-F1, calibration, and what is fitted on annotated pairs.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::stats::{self, Ratio};
use crate::model::calibrated;
use crate::task::Label;

/// Bands of equal width in which calibration is looked at.
const BANDS: usize = 10;
/// Labels.
const N: usize = Label::ALL.len();

/// A label with what a tagger said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tag {
    /// The annotator's.
    pub truth: Label,
    /// The tagger's.
    pub said: Label,
    /// Its probability that the document is relevant (L3 or L4).
    pub relevant: f64,
}

impl Tag {
    /// The likeliest label and P(L3 or L4), of the labels' probabilities.
    #[must_use]
    pub fn of(truth: Label, p: [f64; N]) -> Self {
        let likelier = |a: Label, b: Label| if p[b.place()] > p[a.place()] { b } else { a };
        let relevant = Label::ALL.into_iter().filter(|l| l.relevant()).map(|l| p[l.place()]).sum();
        Self { truth, said: Label::ALL.into_iter().fold(Label::L1, likelier), relevant }
    }
}

/// What is needed of a query's tags for every metric; tallies add up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Pairs by true and by said label.
    confusion: [[f64; N]; N],
    /// In each band of probability: pairs, sum of probabilities, relevant ones.
    bands: [[f64; 3]; BANDS],
}

impl Tally {
    /// Of the tags of one query.
    pub fn of<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Self {
        let mut tally = Self::default();
        for tag in tags {
            tally.confusion[tag.truth.place()][tag.said.place()] += 1.0;
            let band = &mut tally.bands[((tag.relevant * BANDS as f64) as usize).min(BANDS - 1)];
            let sums = [1.0, tag.relevant, f64::from(u8::from(tag.truth.relevant()))];
            band.iter_mut().zip(sums).for_each(|(sum, x)| *sum += x);
        }
        tally
    }

    fn add(&mut self, other: &Self) {
        let cells = self.confusion.as_flattened_mut().iter_mut().zip(other.confusion.as_flattened());
        cells.for_each(|(sum, x)| *sum += x);
        self.bands.as_flattened_mut().iter_mut().zip(other.bands.as_flattened()).for_each(|(sum, x)| *sum += x);
    }

    fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        tallies.into_iter().for_each(|tally| sum.add(tally));
        sum
    }

    /// Pairs.
    #[must_use]
    pub fn pairs(&self) -> f64 {
        self.confusion.as_flattened().iter().sum()
    }

    /// Pairs rightly told relevant or not, out of how many.
    #[must_use]
    pub fn relevant_or_not(&self) -> Ratio {
        Ratio { num: self.right()[1], den: self.pairs() }
    }

    /// Pairs whose labels agree: of four labels, and of relevant or not.
    fn right(&self) -> [f64; 2] {
        let relevant = |label: usize| Label::ALL[label].relevant();
        let places = (0..N).flat_map(|t| (0..N).map(move |s| (t, s)));
        let count = |right: &dyn Fn(usize, usize) -> bool| {
            places.clone().filter(|(t, s)| right(*t, *s)).map(|(t, s)| self.confusion[t][s]).sum()
        };
        [count(&|t, s| t == s), count(&|t, s| relevant(t) == relevant(s))]
    }

    /// The unweighted mean of the labels' F1; a label that neither was true nor was said does not count (as scikit-learn).
    fn macro_f1(&self) -> f64 {
        let of_label = |l: usize| {
            let truth: f64 = self.confusion[l].iter().sum();
            let said: f64 = self.confusion.iter().map(|row| row[l]).sum();
            (truth + said > 0.0).then(|| 2.0 * self.confusion[l][l] / (truth + said))
        };
        let known: Vec<f64> = (0..N).filter_map(of_label).collect();
        known.iter().sum::<f64>() / known.len() as f64
    }

    /// Expected calibration error of the probability to be relevant: the gap between its mean and the share that is, in ten
    /// bands of equal width, weighted by their pairs.
    fn ece(&self) -> f64 {
        self.bands.iter().map(|[_, p, relevant]| (p - relevant).abs()).sum::<f64>() / self.pairs()
    }

    fn metrics(&self) -> [f64; 4] {
        let [four, two] = self.right();
        [four / self.pairs(), two / self.pairs(), self.macro_f1(), self.ece()]
    }
}

/// A number with its 95 % bootstrap interval over queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The number.
    pub value: f64,
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// How well a set of pairs was tagged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TagScores {
    /// Pairs.
    pub pairs: usize,
    /// Queries.
    pub queries: usize,
    /// Share of labels that are right (RAIR's Acc@4).
    pub acc4: Measure,
    /// Share of pairs rightly told relevant or not (Acc@2: L1, L2 against L3, L4).
    pub acc2: Measure,
    /// Mean F1 of the four labels.
    pub macro_f1: Measure,
    /// Expected calibration error.
    pub ece: Measure,
}

/// Scores of tallies, one a query; none without a pair.
#[must_use]
pub fn tag_scores(queries: &[Tally], resamples: usize, seed: u64) -> Option<TagScores> {
    let queries: Vec<&Tally> = queries.iter().filter(|tally| tally.pairs() > 0.0).collect();
    let whole = Tally::sum(queries.iter().copied());
    if queries.is_empty() {
        return None;
    }
    let draws: Vec<[f64; 4]> = (0..resamples)
        .into_par_iter()
        .map(|i| Tally::sum(stats::resampled(queries.len(), seed, i).map(|q| queries[q])).metrics())
        .collect();
    let values = whole.metrics();
    let measure = |metric: usize| {
        let mut of_metric: Vec<f64> = draws.iter().map(|draw| draw[metric]).collect();
        let (low, high) = stats::interval(&mut of_metric);
        Measure { value: values[metric], low, high }
    };
    Some(TagScores {
        pairs: whole.pairs() as usize,
        queries: queries.len(),
        acc4: measure(0),
        acc2: measure(1),
        macro_f1: measure(2),
        ece: measure(3),
    })
}

/// The temperature under which annotated labels are likeliest, in [0.05, 20] (Guo et al. 2017); 1 without a pair.
///
/// The likelihood has one peak over the inverse temperature, so a golden-section search finds it.
#[must_use]
pub fn fit_temperature(pairs: &[([f64; N], Label)]) -> f64 {
    if pairs.is_empty() {
        return 1.0;
    }
    let loss = |log_t: f64| -> f64 {
        pairs.iter().map(|(logits, label)| -calibrated(*logits, log_t.exp())[label.place()].max(1e-300).ln()).sum()
    };
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.05_f64.ln(), 20.0_f64.ln());
    for _ in 0..60 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if loss(a) <= loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

/// Labels by a score: three thresholds, and the share of relevant pairs that each label then held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// The least score of L2, L3 and L4.
    least: [f64; N - 1],
    /// Share of relevant pairs among those that got each label.
    relevant: [f64; N],
}

impl Thresholds {
    /// Those under which most annotated labels are right. No other rule that follows the score does better on these pairs.
    #[must_use]
    pub fn fit(pairs: &[(f64, Label)]) -> Self {
        let mut sorted: Vec<(f64, Label)> = pairs.iter().copied().filter(|(score, _)| !score.is_nan()).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        // best[l]: most that can be right of the pairs so far when the last of them is labelled l, and where labels begin.
        let mut best = [(f64::NEG_INFINITY, [f64::INFINITY; N - 1]); N];
        best[0].0 = 0.0;
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            // From above, since each label goes on from itself or one below it, as they stood before this score.
            for l in (0..N).rev() {
                let from = (0..=l).rev().fold(l, |a, b| if best[b].0 > best[a].0 { b } else { a });
                let right = same.iter().filter(|(_, label)| label.place() == l).count();
                let (before, mut least) = best[from];
                least[from..l].fill(same[0].0);
                best[l] = (before + right as f64, least);
            }
        }
        let least = best.iter().fold(&best[0], |a, b| if b.0 > a.0 { b } else { a }).1;
        let mut fitted = Self { least, relevant: [0.0; N] };
        let mut counts = [[0.0; 2]; N];
        for (score, label) in &sorted {
            let count = &mut counts[fitted.label(*score).place()];
            count[0] += 1.0;
            count[1] += f64::from(u8::from(label.relevant()));
        }
        fitted.relevant = counts.map(|[all, relevant]| if all > 0.0 { relevant / all } else { 0.0 });
        fitted
    }

    /// The label of a score.
    #[must_use]
    pub fn label(&self, score: f64) -> Label {
        Label::ALL[self.least.iter().filter(|least| score >= **least).count()]
    }

    /// The label of a score, and how likely a document with it is relevant.
    #[must_use]
    pub fn tag(&self, score: f64) -> (Label, f64) {
        let label = self.label(score);
        (label, self.relevant[label.place()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Label::{L1, L2, L3, L4};

    fn tag(truth: Label, said: Label, relevant: f64) -> Tag {
        Tag { truth, said, relevant }
    }

    #[test]
    fn metrics_are_those_worked_out_by_hand() {
        let first = [tag(L4, L4, 0.95), tag(L3, L4, 0.95), tag(L1, L2, 0.25)];
        let second = [tag(L1, L1, 0.25), tag(L2, L3, 0.55)];
        let tallies = [Tally::of(&first), Tally::default(), Tally::of(&second)];
        let s = tag_scores(&tallies, 200, 1).unwrap();
        assert_eq!((s.pairs, s.queries), (5, 2));
        // Right: L4, L1. Rightly relevant or not: all but the last.
        assert_eq!((s.acc4.value, s.acc2.value), (0.4, 0.8));
        // F1: L1 2·1/(2+1), L2 0, L3 0, L4 2·1/(1+2).
        assert!((s.macro_f1.value - (2.0 / 3.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        // Bands: two at 0.95 all relevant, two at 0.25 none, one at 0.55 that is not.
        assert!((s.ece.value - (0.1 + 0.5 + 0.55) / 5.0).abs() < 1e-12, "{}", s.ece.value);
        // A resample holds the first query twice (1/3), the second (1/2), or both (2/5).
        assert_eq!((s.acc4.low, s.acc4.high), (1.0 / 3.0, 0.5));
        assert_eq!(tag_scores(&[Tally::default()], 10, 1), None);
    }

    #[test]
    fn a_label_that_is_neither_true_nor_said_does_not_count() {
        let s = tag_scores(&[Tally::of(&[tag(L1, L1, 0.0), tag(L4, L4, 1.0)])], 10, 1).unwrap();
        assert_eq!((s.macro_f1.value, s.ece.value), (1.0, 0.0));
    }

    #[test]
    fn a_model_that_is_too_sure_gets_the_temperature_that_mends_it() {
        // Logits of ±a between two labels, right three times in four: the likeliest probability is 3/4, so a/T = ln 3.
        let a = 4.0;
        let logits = [0.0, -1e9, -1e9, a];
        let pairs = [(logits, L4), (logits, L4), (logits, L4), (logits, L1)];
        let t = fit_temperature(&pairs);
        assert!((t - a / 3.0_f64.ln()).abs() < 1e-4, "{t}");
        assert!((calibrated(logits, t)[3] - 0.75).abs() < 1e-5);
        assert_eq!(fit_temperature(&[]), 1.0);
        // Always right: as sure as can be, and no further.
        assert!((fit_temperature(&[(logits, L4)]) - 0.05).abs() < 1e-3);
        assert!(fit_temperature(&[([f64::NAN; 4], L1)]).is_finite());
    }

    #[test]
    fn thresholds_are_the_best_that_follow_the_score() {
        let pairs = [(0.1, L1), (0.2, L1), (0.3, L2), (0.4, L1), (0.5, L3), (0.6, L3), (0.9, L4)];
        let t = Thresholds::fit(&pairs);
        let said: Vec<Label> = pairs.iter().map(|(score, _)| t.label(*score)).collect();
        // Either of 0.3 and 0.4 has to be wrong; L2 is then not worth a threshold of its own, or begins at 0.3.
        let right = said.iter().zip(&pairs).filter(|(said, (_, truth))| *said == truth).count();
        assert_eq!(right, 6);
        assert!(said.is_sorted());
        assert_eq!((t.label(-5.0), t.label(7.0)), (L1, L4));
        // Brute force over all triples of thresholds agrees on a case without order.
        let mixed = [(1.0, L4), (2.0, L1), (3.0, L1), (4.0, L3), (5.0, L2), (6.0, L2), (6.0, L3)];
        let count = |label: &dyn Fn(f64) -> Label| mixed.iter().filter(|(s, l)| label(*s) == *l).count();
        let cuts = || (0..8).map(|i| f64::from(i) + 0.5);
        let triples = cuts().flat_map(|a| cuts().flat_map(move |b| cuts().map(move |c| [a, b, c])));
        let most = triples
            .filter(|t| t.is_sorted())
            .map(|least| count(&|score| Label::ALL[least.iter().filter(|l| score >= **l).count()]));
        let fitted = Thresholds::fit(&mixed);
        assert_eq!(count(&|score| fitted.label(score)), most.max().unwrap());
    }

    #[test]
    fn a_label_by_threshold_is_as_likely_relevant_as_its_pairs_were() {
        let t = Thresholds::fit(&[(0.0, L1), (0.0, L1), (0.0, L4), (1.0, L4), (1.0, L4)]);
        assert_eq!(t.tag(0.0), (L1, 1.0 / 3.0));
        assert_eq!(t.tag(1.0), (L4, 1.0));
        assert_eq!(Thresholds::fit(&[]).tag(0.5), (L1, 0.0));
    }
}
