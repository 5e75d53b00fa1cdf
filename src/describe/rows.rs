//! Which figures are told, in which order, and what each one counts.

use anyhow::Result;

use super::drift::Queries;
use super::hidden::Hidden;
use super::people::People;
use super::sheet::{Row, Sheet, Unit};
use crate::store::LogInfo;

const DAYS_OF_A_MONTH: f64 = 365.25 / 12.0;

/// Everything that was measured.
pub(super) struct Measured<'a> {
    pub log: &'a LogInfo,
    pub days: f64,
    pub people: &'a People,
    pub queries: &'a Queries,
    pub half_life_days: Option<f64>,
    pub hidden: Option<&'a Hidden>,
}

pub(super) fn rows(m: &Measured) -> Result<Vec<Row>> {
    Ok(sheet(m)?.finish().0)
}

fn sheet(m: &Measured) -> Result<Sheet> {
    let mut sheet = Sheet::new()?;
    sizes(&mut sheet, m);
    sessions(&mut sheet, m);
    queries(&mut sheet, m.people, m.queries);
    pages(&mut sheet, m.people);
    plays(&mut sheet, m.people);
    drift(&mut sheet, m);
    if let Some(hidden) = m.hidden {
        needs(&mut sheet, hidden);
        context(&mut sheet, hidden);
        looks(&mut sheet, hidden);
        senses(&mut sheet, hidden, m.people.weeks.len());
    }
    elsewhere(&mut sheet);
    Ok(sheet)
}

fn sizes(sheet: &mut Sheet, m: &Measured) {
    sheet.section("log");
    sheet.count("people", "people who searched", m.people.people);
    sheet.count("docs", "documents", m.log.docs as u64);
    sheet.count("weeks", "weeks", m.people.weeks.len() as u64);
    sheet.count("sessions", "sessions as logged", m.people.sessions);
    sheet.count("searches", "searches", m.people.searches);
    let per_week = m.people.searches as f64 / m.people.people.max(1) as f64 / (m.days / 7.0);
    sheet.value("searches_per_week", "searches per person and week", Some(per_week), Unit::Number);
}

fn sessions(sheet: &mut Sheet, m: &Measured) {
    sheet.section("sessions");
    let p = m.people;
    let sittings: u64 = p.sittings.iter().sum();
    let per_month = sittings as f64 / p.people.max(1) as f64 / (m.days / DAYS_OF_A_MONTH);
    sheet.value("sessions_per_month", "sittings per person and month", Some(per_month), Unit::Number);
    let per = |n: u64| (sittings > 0).then(|| n as f64 / sittings as f64);
    sheet.count("sittings", "sittings, cut at 5 minutes without a query", sittings);
    sheet.value("queries_per_session", "queries per sitting", per(p.searches), Unit::Number);
    sheet.share("one_query_sessions", "sittings of one query", p.sittings[0], sittings);
    sheet.share("reformulated_sessions", "sittings with a reformulation", p.sittings_reformulated, sittings);
    sheet.share("reformulations_among_changed", "reformulations among changed queries", p.reformulated, p.changed);
    sheet.value(
        "failed_dwell",
        "longest dwell before a reformulation, median",
        p.before_reformulation.quantile(0.5),
        Unit::Seconds,
    );
    sheet.share("failed_share", "of these, failed for mining", p.failed, p.before_reformulation.len());
    // A log without any purchase is of no shop.
    let shop = if p.sittings_bought > 0 { sittings } else { 0 };
    sheet.share("converted_sessions", "sittings with a purchase", p.sittings_bought, shop);
}

fn queries(sheet: &mut Sheet, p: &People, q: &Queries) {
    sheet.section("queries");
    sheet.share("unique_share", "distinct queries among searches", q.distinct, p.searches);
    sheet.share("seen_more_than_once", "distinct queries seen more than once", q.more_than_once, q.distinct);
    sheet.share("seen_more_than_thrice", "distinct queries seen more than three times", q.more_than_thrice, q.distinct);
    sheet.share("repeats_by_person", "searches that repeat a query of the same person", p.repeated_queries, p.searches);
    sheet.share(
        "refinding_searches",
        "searches with a click that find a document of one's own again",
        p.searches_refinding,
        p.searches_clicked,
    );
    sheet.share("repeated_clicks", "clicks on what the same person clicked before", p.repeated_clicks, p.clicks);
}

fn pages(sheet: &mut Sheet, p: &People) {
    sheet.section("pages");
    sheet.share("no_click", "searches without a click", p.no_click, p.searches);
    // A log that never says what it showed does not say either when it showed nothing.
    let told = if p.pages_told > 0 { p.searches } else { 0 };
    sheet.share("zero_results", "searches without a result", told.saturating_sub(p.pages_told), told);
    for (key, rank) in [("ctr_1", 1), ("ctr_2", 2), ("ctr_3", 3), ("ctr_10", 10)] {
        let what = format!("pages clicked at rank {rank}");
        sheet.share(key, &what, p.clicks_by_rank[rank - 1], p.shown_by_rank[rank - 1]);
    }
}

fn plays(sheet: &mut Sheet, p: &People) {
    sheet.section("plays");
    sheet.value("dwell_median", "dwell on a click, median", p.dwells.quantile(0.5), Unit::Seconds);
    sheet.value("dwell_p90", "dwell on a click, nine in ten below", p.dwells.quantile(0.9), Unit::Seconds);
    sheet.value("dwell_shape", "shape of the Weibull that fits", p.dwells.weibull().map(|w| w.0), Unit::Number);
    sheet.share("valid_plays", "clicks played for more than 7 s", p.valid_plays, p.dwells.len());
    sheet.share("long_plays", "clicks played for 18 s or more", p.long_plays, p.dwells.len());
}

fn drift(sheet: &mut Sheet, m: &Measured) {
    sheet.section("drift");
    let bits = &m.queries.divergence.bits;
    let last = m.queries.weeks.len();
    sheet.value(
        "new_queries",
        "a day's searches by a query never seen before, last week",
        m.queries.new_a_day(),
        Unit::Share,
    );
    if let Some([searches, new]) = m.queries.weeks.last().filter(|_| last > 1) {
        sheet.share("new_in_last_week", "last week's searches by a query of no week before", *new, *searches);
    }
    let apart = bits.last().copied().filter(|_| last > 1);
    sheet.value("query_drift", "queries: last week from the first (JSD)", apart, Unit::Bits);
    sheet.value("query_noise", "the same between two halves of the first week", bits.first().copied(), Unit::Bits);
    sheet.value("half_life", "half of the clicks on what came out meanwhile", m.half_life_days, Unit::Days);
}

fn needs(sheet: &mut Sheet, h: &Hidden) {
    sheet.section("needs (hidden)");
    sheet.count("needs", "needs", h.needs);
    sheet.share("ambiguous", "first queries that leave the sense open", h.ambiguous().all(), h.needs);
    sheet.share("colloquial", "by a word that no title has", h.colloquial, h.needs);
    sheet.share("functional", "functional", h.functional, h.needs);
    sheet.share("known", "for one known video", h.known, h.needs);
    sheet.share("habits", "habits, in the same words each time", h.habits, h.needs);
    sheet.share("against_history", "against the history", h.against_history, h.needs);
    sheet.share("new_pairs", "for a (head, sense) pair held back at first", h.new_pairs, h.needs);
    sheet.share("typos", "with a typing error", h.typos, h.needs);
    sheet.share("met_at_once", "met by the first query", h.met_at_once, h.needs);
    sheet.share("met", "met in the end", h.met, h.needs);
    sheet.share("good_abandonment", "searches without a click that met the need", h.no_click_satisfied, h.no_click);
}

fn context(sheet: &mut Sheet, h: &Hidden) {
    sheet.section("context (hidden)");
    let sides = h.ambiguous();
    let all = sides.all();
    sheet.share("context_resolves", "ambiguous: the wanted sense was watched, no rival", sides.resolves, all);
    sheet.share("context_resolves_in_words", "of these, title or tags say so", sides.resolves_in_words, sides.resolves);
    sheet.share("context_misleads", "ambiguous: a rival sense was watched, not the wanted one", sides.misleads, all);
    sheet.share("context_mixed", "ambiguous: both were watched", sides.mixed, all);
    sheet.share("context_silent", "ambiguous: neither was watched", sides.silent, all);
}

fn looks(sheet: &mut Sheet, h: &Hidden) {
    sheet.section("looks (hidden)");
    for (key, rank) in [("examined_1", 1), ("examined_3", 3), ("examined_10", 10)] {
        let what = format!("pages looked at, at rank {rank}");
        sheet.share(key, &what, h.seen_by_rank[rank - 1], h.shown_by_rank[rank - 1]);
    }
    sheet.share("good_rate", "shown documents that answer the need", h.good, h.shown);
}

fn senses(sheet: &mut Sheet, h: &Hidden, weeks: usize) {
    sheet.section("drift (hidden)");
    let bits = h.senses.divergence(weeks).bits;
    let apart = bits.last().copied().filter(|_| weeks > 1);
    sheet.value("sense_drift", "wanted senses: last week from the first (JSD)", apart, Unit::Bits);
    sheet.value("sense_noise", "the same between two halves of the first week", bits.first().copied(), Unit::Bits);
}

/// Published figures that another command measures.
fn elsewhere(sheet: &mut Sheet) {
    sheet.section("experiments (core ab)");
    sheet.value("launch_effect", "lift of a launched rewriter, relative", None, Unit::Share);
    sheet.value("personalising", "personalising", None, Unit::Share);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_figure_has_its_row_and_keys_are_told_apart() {
        let log = LogInfo {
            id: 1,
            name: "l".into(),
            kind: "world".into(),
            origin: "x".into(),
            rows_read: 0,
            sessions: 0,
            searches: 0,
            docs: 0,
        };
        let (people, queries, hidden) = (People::new(0, 2.4), Queries::new(&[]), Hidden::new(0));
        let (people, queries, hidden) = (&people, &queries, Some(&hidden));
        let nothing = Measured { log: &log, days: 1.0, people, queries, half_life_days: None, hidden };
        let (rows, left) = sheet(&nothing).unwrap().finish();
        assert_eq!(left, [], "these stand beside no row");
        let mut keys: Vec<_> = rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), rows.len());
        assert!(rows.iter().all(|row| row.value.is_none_or(|value| value == 0.0)), "nothing is nothing");
    }
}
