//! The times real files hold: ISO 8601 with or without an offset, and numbers.

use serde_json::Value;

/// Last millisecond of the year 9999: later times are taken for damage, and sums of times stay far from overflow.
const LAST_MS: i64 = 253_402_300_799_999;
/// Numbers below this are seconds. As milliseconds they would lie before March 1973, as seconds it is the year 5138.
const SECONDS_BELOW: f64 = 1e11;

/// Unix milliseconds of a `timestamp`; `None` when it cannot be told.
///
/// ISO 8601 text with `T` or a space, optional seconds and fraction, and `Z`, `+hh:mm`, `+hhmm`, `+hh` or nothing
/// (UTC is assumed then); or a number of milliseconds (below 10^11: of seconds), also as text.
pub(super) fn parse(value: &Value) -> Option<i64> {
    let ms = match value {
        Value::Number(n) => number(n.as_f64()?)?,
        Value::String(s) => match s.trim().parse::<f64>() {
            Ok(n) => number(n)?,
            Err(_) => iso(s.trim())?,
        },
        _ => return None,
    };
    (0..=LAST_MS).contains(&ms).then_some(ms)
}

fn number(n: f64) -> Option<i64> {
    let ms = if n.abs() < SECONDS_BELOW { n * 1e3 } else { n };
    (ms.is_finite() && ms.abs() <= LAST_MS as f64).then(|| ms.round() as i64)
}

fn iso(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let (clock, offset_min) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (&rest[..at], offset(&rest[at..])?),
        None => (rest, 0),
    };
    let (clock, fraction_ms) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, millis(fraction)?),
        None => (clock, 0),
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |s| digits(s, 2))?;
    // 60 is a leap second; it counts as the first second of the next minute.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - offset_min;
    Some((minutes * 60 + second) * 1_000 + fraction_ms)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn millis(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{fraction:0<3}");
    padded[..3].parse().ok()
}

/// Minutes east of UTC.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'Z' | b'z' => return (text.len() == 1).then_some(0),
        b'+' => 1,
        _ => -1,
    };
    let text = &text[1..];
    let (hours, minutes) = match text.split_once(':') {
        Some((h, m)) => (digits(h, 2)?, digits(m, 2)?),
        None if text.len() == 4 && text.is_ascii() => (digits(&text[..2], 2)?, digits(&text[2..], 2)?),
        None => (digits(text, 2)?, 0),
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let of_years = before * 365 + before / 4 - before / 100 + before / 400;
    let of_months: i64 = (1..month).map(|m| days_in(year, m)).sum();
    of_years + of_months + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_of_one_moment_is_one_number() {
        let moment = 1_737_703_890_699_i64;
        for text in [
            "2025-01-24T07:31:30.699Z",
            "2025-01-24T07:31:30.699+0000",
            "2025-01-24T08:31:30.699+01:00",
            "2025-01-24T02:31:30,699-05",
            "2025-01-24 07:31:30.6990001",
            "1737703890699",
        ] {
            assert_eq!(parse(&json!(text)), Some(moment), "{text}");
        }
        assert_eq!(parse(&json!(moment)), Some(moment));
        assert_eq!(parse(&json!(1_737_703_890.699)), Some(moment));
        assert_eq!(parse(&json!("2024-02-29T00:00Z")), Some(1_709_164_800_000));
        assert_eq!(parse(&json!("1970-01-01T00:00:00Z")), Some(0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let texts = ["", "now", "2025-01-24", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-01-01T25:00:00Z"];
        for text in
            texts.into_iter().chain(["2025-01-01T00:00:00+9", "2025-01-01T0é:00", "2025-01-01T00:00:00+é0é", "nan"])
        {
            assert_eq!(parse(&json!(text)), None, "{text}");
        }
        for value in [json!(null), json!(-5), json!(1e300), json!([1]), json!(true)] {
            assert_eq!(parse(&value), None, "{value}");
        }
    }
}
