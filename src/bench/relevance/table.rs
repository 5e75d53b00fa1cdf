//! The report as a table, and in words.

use super::systems::{OfQuery, PICTURE, REASONING, WORDS};
use super::{Report, System};
use crate::journal::{Cell, Table};
use crate::judge::Comparison;
use crate::judge::cells::p_text;
use crate::judge::tagging::{Measure, TagScores, Tally, tag_scores};
use crate::recipe::Recipe;
use crate::store::Part;

impl Report {
    /// What `core bench relevance` prints: the table and what it comes to, or what was annotated.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = if self.systems.is_empty() { self.annotated() } else { self.table() }.to_text();
        for row in &self.unused {
            text += &format!("not used: {} rows: {}, first in line {}\n", row.rows, row.reason, row.first_line);
        }
        self.verdict.iter().for_each(|sentence| text += &format!("\n{sentence}\n"));
        text
    }

    /// Annotated pairs by side and set.
    #[must_use]
    pub fn annotated(&self) -> Table {
        let columns = ["split", "set", "queries", "l1", "l2", "l3", "l4"];
        let mut table = Table::new("annotations", format!("annotated pairs of log {}", self.log), &columns);
        for count in &self.counts {
            let [l1, l2, l3, l4] = count.labels.map(Cell::from);
            let (split, part) = (count.split.as_str().into(), count.part.as_str().into());
            table.row([split, part, count.queries.into(), l1, l2, l3, l4]);
        }
        table
    }

    /// A row for each set and tagger.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = "shares with 95 % intervals over queries; ece: expected calibration error of P(L3 or L4)";
        let columns = ["set", "tagger", "pairs", "acc_4", "acc_2", "macro_f1", "ece", "train_s", "docs_per_s"];
        let mut table = Table::new("relevance", title, &columns);
        for part in Part::ALL {
            for system in &self.systems {
                let Some(scores) = of_part(&system.scores, part) else { continue };
                let [acc4, acc2, f1] = [scores.acc4, scores.acc2, scores.macro_f1].map(percent);
                let ece = Cell::shown(scores.ece.value, format!("{:.3}", scores.ece.value));
                let (name, pairs) = (system.name.as_str().into(), scores.pairs.into());
                let train = system.train_s.map(|s| Cell::shown(s, format!("{s:.0}"))).into();
                let speed = system.docs_per_s.map(|s| Cell::shown(s, format!("{s:.0}"))).into();
                table.row([part.as_str().into(), name, pairs, acc4, acc2, f1, ece, train, speed]);
            }
        }
        table
    }
}

fn percent(measure: Measure) -> Cell {
    let [value, low, high] = [measure.value, measure.low, measure.high].map(|x| 100.0 * x);
    Cell::shown(measure.value, format!("{value:.1} [{low:.1}, {high:.1}]"))
}

fn of_part<T>(all: &[(Part, T)], part: Part) -> Option<&T> {
    all.iter().find(|(of, _)| *of == part).map(|(_, found)| found)
}

/// Scores on each set that has pairs.
pub(super) fn scores(tallies: &[OfQuery], recipe: &Recipe) -> Vec<(Part, TagScores)> {
    let of = |part: Part| {
        let queries: Vec<Tally> = tallies.iter().filter(|(of, _)| *of == part).map(|(_, tally)| *tally).collect();
        Some((part, tag_scores(&queries, recipe.ab.resamples, recipe.seed)?))
    };
    Part::ALL.into_iter().filter_map(of).collect()
}

/// Whether what is seen, and what is reasoned, helps where words do not tell.
pub(super) fn verdict(report: &Report) -> Vec<String> {
    let found = |name: &str| report.systems.iter().find(|system| system.name == name);
    let mut sentences = Vec::new();
    if found(WORDS).is_none() || report.counts.iter().all(|count| count.part != Part::Salient) {
        return sentences;
    }
    match found(PICTURE).and_then(|system| of_part(&system.over_words, Part::Salient)) {
        None => sentences.push("No document has visual codes, so nothing can be said about pictures.".into()),
        Some(over) => sentences.push(sentence("With the picture", over)),
    }
    if let Some(over) = found(REASONING).and_then(|system: &System| of_part(&system.over_words, Part::Salient)) {
        sentences.push(sentence("With the picture and reasoning", over));
    }
    sentences
}

fn sentence(who: &str, over: &Comparison) -> String {
    let Comparison { control, treatment, difference, low, high, p, people } = over;
    let [control, treatment] = [control, treatment].map(|x| 100.0 * x);
    let [difference, low, high] = [difference, low, high].map(|x| 100.0 * x);
    let says = match () {
        () if low > 0.0 => "the model beats the one from words alone",
        () if high < 0.0 => "the model is worse than the one from words alone",
        () => "the model does not measurably beat the one from words alone",
    };
    let p = p_text(*p);
    format!(
        "{who} {says} on Visually Salient: Acc@2 {control:.1} % → {treatment:.1} %, {difference:+.1} \
         [{low:+.1}, {high:+.1}], p = {p}, {people} queries."
    )
}
