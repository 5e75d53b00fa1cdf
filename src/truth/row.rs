//! One search's truth as a row, there and back.

use anyhow::{Context, Result};
use rusqlite::{Connection, Row, params};

use super::{Hints, Need, SearchTruth, Want};

pub(super) fn insert(conn: &Connection, session: &str, number: usize, t: &SearchTruth) -> Result<()> {
    let (sense, facet, video, entry, place) = match t.need.want {
        Want::Sense { sense, facet } => (Some(sense), facet, None, None, None),
        Want::Video { video } => (None, None, Some(video), None, None),
        Want::Functional { entry, place } => (None, None, None, Some(entry), Some(place)),
    };
    let phrasing = serde_json::to_string(&t.phrasing)?;
    conn.prepare_cached("INSERT INTO search VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?.execute(params![
        session,
        number,
        sense,
        facet,
        video,
        entry,
        place,
        t.need.against_history,
        t.need.new_pair,
        t.need.habit,
        phrasing.trim_matches('"'),
        t.typo,
        t.step,
        t.rewritten,
        serde_json::to_string(&t.grades)?,
        t.satisfied,
        // SQLite's integers are signed: the same 64 bits.
        t.seen.cast_signed(),
        t.hints.wanted,
        t.hints.wanted_in_words,
        t.hints.rival
    ])?;
    Ok(())
}

pub(super) fn select(conn: &Connection, session: &str) -> Result<Vec<SearchTruth>> {
    let mut stmt = conn.prepare_cached(
        "SELECT sense, facet, video, entry, place, against_history, new_pair, habit, phrasing, typo, step, rewritten,
                grades_json, satisfied, seen, wanted, wanted_in_words, rival
         FROM search WHERE session = ? ORDER BY number",
    )?;
    let mut rows = stmt.query([session])?;
    let mut all = Vec::new();
    while let Some(r) = rows.next()? {
        all.push(read(r).with_context(|| format!("session {session}"))?);
    }
    Ok(all)
}

fn read(r: &Row) -> Result<SearchTruth> {
    let want = match (r.get(0)?, r.get(2)?, r.get(3)?, r.get(4)?) {
        (Some(sense), ..) => Want::Sense { sense, facet: r.get(1)? },
        (None, Some(video), ..) => Want::Video { video },
        (None, None, Some(entry), Some(place)) => Want::Functional { entry, place },
        _ => anyhow::bail!("a search that nothing was wanted of"),
    };
    let phrasing = serde_json::from_value(serde_json::Value::String(r.get(8)?))?;
    let grades: String = r.get(12)?;
    Ok(SearchTruth {
        need: Need { want, against_history: r.get(5)?, new_pair: r.get(6)?, habit: r.get(7)? },
        phrasing,
        typo: r.get(9)?,
        step: r.get(10)?,
        rewritten: r.get(11)?,
        grades: serde_json::from_str(&grades)?,
        satisfied: r.get(13)?,
        seen: r.get::<_, i64>(14)?.cast_unsigned(),
        hints: Hints { wanted: r.get(15)?, wanted_in_words: r.get(16)?, rival: r.get(17)? },
    })
}
