//! Text in terminal cells: folding, cutting, bars.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text in at most `rows` rows of `width` cells, broken at spaces where there are any; what does not fit ends in `…`.
pub(super) fn fold(text: &str, width: usize, rows: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && out.len() < rows {
        if out.len() + 1 == rows {
            out.push(cut(rest, width));
            break;
        }
        let fits = fitting(rest, width);
        if fits == rest.len() {
            out.push(rest.to_owned());
            break;
        }
        // A space right after what fits is a break as well.
        let through_space = fits + rest[fits..].chars().next().filter(|c| *c == ' ').map_or(0, char::len_utf8);
        let at = rest[..through_space].rfind(' ').filter(|&at| at > 0).unwrap_or(fits);
        out.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    if out.is_empty() && rows > 0 {
        out.push(String::new());
    }
    out
}

/// The text in at most `width` cells; what does not fit ends in `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end())
}

/// Bytes of the text that fit in `width` cells: at least one character, so that folding always gets on.
fn fitting(text: &str, width: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > width && at > 0 {
            return at;
        }
    }
    text.len()
}

/// `[####------]  40 %` in all of `width` cells for `done` of `total`; nothing where there is no room or no total.
pub(super) fn bar(done: u64, total: u64, width: usize) -> String {
    let inner = width.saturating_sub(8);
    if total == 0 || inner < 3 {
        return String::new();
    }
    let share = done.min(total) as f64 / total as f64;
    let full = (share * inner as f64) as usize;
    format!("[{}{}] {:3.0} %", "#".repeat(full), "-".repeat(inner - full), (share * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_at_spaces_and_inside_words_that_are_too_long() {
        assert_eq!(fold("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(fold("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
        assert_eq!(fold("猫猫猫猫", 5, 9), ["猫猫", "猫猫"]);
        assert_eq!(fold("one two three four", 7, 2), ["one two", "three…"]);
        assert_eq!(fold("", 7, 2), [""]);
        assert_eq!(fold("猫", 1, 2), ["猫"]);
        assert!(fold("a b", 0, 3).len() <= 3);
    }

    #[test]
    fn cuts_to_cells_not_characters() {
        assert_eq!([cut("猫猫猫", 6), cut("猫猫猫", 5), cut("abc", 2), cut("abc", 0)], ["猫猫猫", "猫猫…", "a…", ""]);
    }

    #[test]
    fn a_bar_is_full_at_the_end_only() {
        assert_eq!(bar(999, 1000, 18), "[#########-]  99 %");
        assert_eq!(bar(5000, 1000, 18), "[##########] 100 %");
        assert_eq!([bar(1, 0, 18), bar(1, 2, 9)], ["", ""]);
    }
}
