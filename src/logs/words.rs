//! Words of a text: the unit of gain terms and of the copy rule. Chinese is cut by jieba.

use std::sync::LazyLock;

use jieba_rs::Jieba;

/// jieba's dictionary; read when the first Chinese character is met, since that takes a fifth of a second.
static JIEBA: LazyLock<Jieba> = LazyLock::new(|| {
    let mut dictionary = include_str!("../../datasets/jieba/dict.txt").as_bytes();
    Jieba::with_dict(&mut dictionary).expect("the embedded dictionary has a word and a count on each line")
});

/// Words of a text, lower-cased.
///
/// Splits at everything that is neither letter nor digit, and where Chinese begins or ends; runs of Chinese are cut into
/// words that do not overlap.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let whole = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    whole.flat_map(|word| if word.contains(is_han) { of_mixed(word) } else { vec![word.to_lowercase()] })
}

fn of_mixed(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let han = is_han(first);
        let end = rest.find(|c| is_han(c) != han).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        match han {
            true => words.extend(JIEBA.cut(run, true).iter().map(|token| token.word.to_owned())),
            false => words.push(run.to_lowercase()),
        }
        rest = after;
    }
    words
}

/// Words of a run of Chinese, parts of long words too: 清华大学 is found by 清华 and by 大学.
#[must_use]
pub fn cut_for_search(run: &str) -> Vec<&str> {
    JIEBA.cut_for_search(run, true).iter().map(|token| token.word).collect()
}

/// Whether a character is written without spaces between words and is in jieba's dictionary.
#[must_use]
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_split_at_punctuation() {
        assert_eq!(words("Jaguar F-Type, 2024!").collect::<Vec<_>>(), ["jaguar", "f", "type", "2024"]);
        assert_eq!(words("光良 第一次").collect::<Vec<_>>(), ["光良", "第一次"]);
    }

    #[test]
    fn chinese_is_cut_without_overlap_and_beside_other_scripts() {
        assert_eq!(words("苹果手机评测Live2024").collect::<Vec<_>>(), ["苹果", "手机", "评测", "live2024"]);
        assert_eq!(words("我来到北京清华大学").collect::<Vec<_>>(), ["我", "来到", "北京", "清华大学"]);
        let cut: Vec<&str> = JIEBA.cut("我们中出了一个叛徒", false).iter().map(|t| t.word).collect();
        assert_eq!(cut, ["我们", "中", "出", "了", "一个", "叛徒"]);
    }
}
