//! Numbers, times and people's text as words on a screen: one way of writing them for every view.

/// Text on one line that a terminal only shows: control characters (so escape sequences too), line breaks and
/// marks that turn the direction of writing become spaces.
#[must_use]
pub fn one_line(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { ' ' } else { c }).collect()
}

/// Text in lines of at most `width` characters, broken between words.
#[must_use]
pub fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        if used > 0 {
            let fits = used + 1 + long <= width;
            out.push(if fits { ' ' } else { '\n' });
            used = if fits { used + 1 } else { 0 };
        }
        out.push_str(word);
        used += long;
    }
    out
}

/// An argument as a shell reads it back.
#[must_use]
pub fn shell(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// A number with four significant digits, or what it is instead of one.
#[must_use]
pub fn number(x: f64) -> String {
    match x.abs() {
        _ if x.is_nan() => "NaN".into(),
        _ if x.is_infinite() => if x > 0.0 { "inf" } else { "-inf" }.into(),
        0.0 => "0".into(),
        a if a >= 1e9 => format!("{x:.2e}"),
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 100.0 => format!("{x:.1}"),
        a if a >= 10.0 => format!("{x:.2}"),
        a if a >= 1.0 => format!("{x:.3}"),
        a if a >= 0.001 => format!("{x:.4}"),
        _ => format!("{x:.2e}"),
    }
}

/// A stretch of time: `0.4 s`, `12 s`, `3:07` (minutes), `1:02:09` (hours), `2 d 3 h`.
#[must_use]
pub fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        _ if ms < 9_950 => format!("{:.1} s", ms as f64 / 1000.0),
        _ if s < 60 => format!("{s} s"),
        _ if s < 3_600 => format!("{}:{:02}", s / 60, s % 60),
        _ if s < 86_400 => format!("{}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// A size in decimal units: `812 B`, `1.2 GB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "B" && value < 9.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A time of day in UTC, `2026-02-01 13:05`, from Unix milliseconds.
///
/// The date is Howard Hinnant's `civil_from_days` (chrono-compatible low-level date algorithms).
#[must_use]
pub fn utc(unix_ms: i64) -> String {
    let minutes = unix_ms.div_euclid(60_000);
    let days = minutes.div_euclid(1_440) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let minute = minutes.rem_euclid(1_440);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc\u{202e}d\u{9b}1m 猫"), "a [2Jb c d 1m 猫");
    }

    #[test]
    fn text_is_broken_between_words_and_arguments_survive_a_shell() {
        assert_eq!(wrap("one two  three\nfour", 8), "one two\nthree\nfour");
        assert_eq!(wrap("unbreakable", 3), "unbreakable");
        assert_eq!(
            [shell("a/b-1.db"), shell("a b"), shell("it's"), shell("$x"), shell("")],
            ["a/b-1.db", "'a b'", r"'it'\''s'", "'$x'", "''"]
        );
    }

    #[test]
    fn numbers_keep_four_digits() {
        let wanted = [
            (0.0, "0"),
            (0.000_123_4, "1.23e-4"),
            (0.123_45, "0.1235"),
            (-2.34567, "-2.346"),
            (123.45, "123.5"),
            (54_321.0, "54321"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (x, text) in wanted {
            assert_eq!(number(x), text);
        }
    }

    #[test]
    fn times_and_sizes() {
        assert_eq!(
            [400, 12_000, 187_000, 3_729_000, 183_600_000].map(duration),
            ["0.4 s", "12 s", "3:07", "1:02:09", "2 d 3 h"]
        );
        assert_eq!([999, 1_000, 1_234_567_890, 999_700].map(bytes), ["999 B", "1.0 kB", "1.2 GB", "1.0 MB"]);
        assert_eq!(utc(0), "1970-01-01 00:00");
        // `date -u -d '2024-02-29 23:59' +%s` and `date -u -d '1969-12-31 23:59' +%s`
        assert_eq!(utc(1_709_251_140_000), "2024-02-29 23:59");
        assert_eq!(utc(-60_000), "1969-12-31 23:59");
    }
}
