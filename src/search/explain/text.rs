//! An explanation as a person reads it: the formulas once, then each document's numbers put into them.

use std::fmt::Write;

use super::{B, Explanation, HitNote, K1, MatchNote, TermNote};
use crate::journal::words::{number, one_line};
use crate::search::rank::{FEATURES, relevance};

impl Explanation {
    /// The whole algebra as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("query    {}\n", one_line(&self.query));
        terms(&mut out, &self.terms);
        if let Some(rewrite) = &self.rewrite {
            let _ = writeln!(out, "rewrite  {}", one_line(rewrite));
            terms(&mut out, &self.rewrite_terms);
        }
        self.formulas(&mut out);
        for (place, hit) in self.hits.iter().enumerate() {
            self.hit(&mut out, place + 1, hit);
        }
        if self.hits.is_empty() {
            out.push_str("\nnothing found\n");
        }
        out
    }

    fn formulas(&self, out: &mut String) {
        let (r, w, raw) = (&self.recall, &self.weights, self.weights.rawrank.to_array());
        let cover = relevance::COVERAGE;
        let terms: Vec<String> = raw.iter().zip(FEATURES).map(|(w, name)| format!("{}·{name}", number(*w))).collect();
        let fitted = w.fitted_on.as_ref().map_or("the program's own".into(), |log| format!("fitted on log {log}"));
        let _ = write!(
            out,
            "
recall   {} by BM25, {} by vectors, {} by the rewrite alone, of N = {} documents
         bm25 = Σ over terms and fields of idf · {:.1} · tf / (tf + {K1} · ({} + {B} · length / average)),
                idf = ln(1 + (N − n + ½) / (n + ½))
         coverage = Σ rarity · worth of the best field / Σ rarity
                    (title {}, tags {}, creator {}, visual {})
         relevance = {cover} · coverage + {} · max(0, (cosine − {near}) / {:.1})
rawrank  {} + {}·r    ({fitted}; r: relevance to the rewrite)
         {} kept
finerank ({eps} + {rest}·relevance)^{} · popularity^{} · satisfaction^{} · (1 + r)^{}
",
            r.by_text,
            r.by_vector,
            r.by_rewrite,
            r.docs,
            K1 + 1.0,
            1.0 - B,
            relevance::WORTH[0],
            relevance::WORTH[1],
            relevance::WORTH[2],
            relevance::WORTH[3],
            1.0 - cover,
            1.0 - relevance::NEAR,
            terms.join(" + "),
            number(w.rewrite_rawrank),
            r.kept,
            number(w.relevance),
            number(w.popularity),
            number(w.satisfaction),
            number(w.rewrite_finerank),
            near = relevance::NEAR,
            eps = super::rank::LEAST_RELEVANCE,
            rest = 1.0 - super::rank::LEAST_RELEVANCE,
        );
        if let Some(model) = &self.relevance_by {
            let _ = writeln!(
                out,
                "         relevance and r are P(L3 or L4) of the model {}, to query and rewrite",
                one_line(model)
            );
        }
    }

    fn hit(&self, out: &mut String, place: usize, note: &HitNote) {
        let (s, hit) = (&note.hit.signals, &note.hit);
        let _ = writeln!(out, "\n{place:>2}. {}  {}", hit.doc, one_line(&hit.title));
        matched(out, "bm25     ", s.bm25, &note.matches);
        let (from, feature) = match self.relevance_by {
            Some(_) => (" by the model; ", number(note.features[1])),
            None => ("", String::new()),
        };
        let _ = writeln!(
            out,
            "    relevance {}{from}{feature} from coverage {} and cosine {}; visual {}",
            number(s.relevance),
            number(note.coverage),
            number(s.cosine),
            number(s.visual)
        );
        if self.rewrite.is_some() {
            let early = if from.is_empty() { String::new() } else { number(note.rewrite_at_rawrank) };
            let _ = writeln!(
                out,
                "    r         {}{from}{early} from coverage {} and cosine {}",
                number(s.rewrite),
                number(note.rewrite_coverage),
                number(note.rewrite_cosine)
            );
            let fields: Vec<String> = note.rewrite_matches.iter().map(|m| format!("{}:{}", m.field, m.term)).collect();
            let _ = writeln!(out, "              {}", fields.join(" "));
        }
        let parts = note.features.iter().zip(self.weights.rawrank.to_array());
        let parts: Vec<String> = parts.map(|(x, w)| format!("{}·{}", number(w), number(*x))).collect();
        let _ = writeln!(
            out,
            "    rawrank   {} = {} + {}·{}",
            number(s.rawrank),
            parts.join(" + "),
            number(self.weights.rewrite_rawrank),
            number(note.rewrite_at_rawrank)
        );
        let _ = writeln!(
            out,
            "    score     {} = {}    (popularity {}, satisfaction {})",
            number(hit.score),
            note.factors.map(number).join(" · "),
            number(s.popularity),
            number(s.satisfaction)
        );
    }
}

fn terms(out: &mut String, terms: &[TermNote]) {
    for t in terms {
        let [title, tags, creator, visual] = t.docs;
        let _ = writeln!(
            out,
            "         {:16} rarity {:7} in {title} titles, {tags} tags, {creator} creators, {visual} visual codes",
            t.term,
            number(t.rarity)
        );
    }
    if terms.is_empty() {
        out.push_str("         no words\n");
    }
}

fn matched(out: &mut String, name: &str, sum: f64, matches: &[MatchNote]) {
    let parts = matches.iter().map(|m| format!("{}:{} {}", m.field, m.term, number(m.bm25)));
    let _ = writeln!(out, "    {name} {} = {}", number(sum), parts.collect::<Vec<_>>().join(" + "));
    for m in matches.iter().filter(|m| m.bm25 > 0.0) {
        let _ = writeln!(
            out,
            "              {}:{} idf {}, tf {}, length {} of {}",
            m.field,
            m.term,
            number(m.idf),
            m.frequency,
            m.length,
            number(m.average_length)
        );
    }
}
