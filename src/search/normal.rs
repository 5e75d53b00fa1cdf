//! A query as the search path reads it: one spelling of what looks alike, nothing that cannot be seen, a bounded length.

use unicode_normalization::UnicodeNormalization;

use crate::logs::words;

/// Bytes of a query that are read: a pasted page must not cost a second.
const LONGEST_BYTES: usize = 4_096;

/// The readable part of a query: as [`whole`], and no longer than the bound.
pub(super) fn normal(text: &str) -> String {
    whole(&text[..text.floor_char_boundary(LONGEST_BYTES)])
}

/// The readable part of a text: compatibility forms composed (NFKC, so that full-width letters are letters), control
/// characters turned into spaces, invisible ones dropped, the rest kept.
pub(super) fn whole(text: &str) -> String {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return text.to_owned();
    }
    let seen = text.nfkc().filter(|c| !invisible(*c)).map(|c| if c.is_control() { ' ' } else { c });
    seen.collect()
}

/// Whether a rewrite says what the query says already: the same words in the same order once both are normal. Such a rewrite
/// counts as a rejection, and so does one without words.
pub(super) fn adds_nothing(query: &str, rewrite: &str) -> bool {
    let rewrite = normal(rewrite);
    let mut said = words(&rewrite).peekable();
    said.peek().is_none() || said.eq(words(&normal(query)))
}

/// Characters that take no room: soft hyphen, joiners, marks of direction, variation selectors, tags.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::recipe::stream;

    #[test]
    fn what_cannot_be_seen_goes_and_what_looks_alike_is_one() {
        assert_eq!(normal("ja\u{200b}gu\u{ad}ar\u{feff}"), "jaguar");
        assert_eq!(normal("ＪＡＧＵＡＲ\u{0}car\n"), "JAGUAR car ");
        assert_eq!(normal("光良 😀"), "光良 😀");
        assert_eq!(normal(&"é".repeat(100_000)).len(), LONGEST_BYTES);
    }

    #[test]
    fn a_rewrite_equal_to_the_query_after_normalisation_adds_nothing_whatever_it_looks_like() {
        let mut rng = stream(11, "same text", &[]);
        let queries = ["jaguar car", "Spring Boot 3", "光良 第一次", "f-type 2024", "café au lait"];
        for round in 0..2_000 {
            let query = queries[round % queries.len()];
            let other: String = query
                .chars()
                .flat_map(|c| {
                    let c = match rng.random_range(0..8) {
                        0 => c.to_uppercase().next().unwrap_or(c),
                        1 if c.is_ascii_graphic() => char::from_u32(c as u32 + 0xfee0).unwrap_or(c),
                        2 if c == ' ' => '\t',
                        _ => c,
                    };
                    let after = match rng.random_range(0..8) {
                        0 => "\u{200b}",
                        1 if c == ' ' => " , ",
                        _ => "",
                    };
                    std::iter::once(c).chain(after.chars())
                })
                .collect();
            assert!(adds_nothing(query, &other), "{query:?} {other:?}");
        }
        for empty in ["", "  ", "?!", "\u{200b}", "😀"] {
            assert!(adds_nothing("jaguar", empty), "{empty:?}");
        }
        for more in ["jaguar cars", "car jaguar", "jaguar"] {
            assert!(!adds_nothing("jaguar car", more), "{more:?}");
        }
    }
}
