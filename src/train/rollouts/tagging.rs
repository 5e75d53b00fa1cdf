//! Tagging for rewards (LORE stage 2): the exact label, the right side of relevance, and an answer in the form that was taught.

use anyhow::Result;

use super::Parts;
use crate::judge::reward::Said;
use crate::model::{Completion, TaggerSettings, Tokenizer};
use crate::recipe::Relevance;
use crate::task::Label;

pub(super) const PARTS: [&str; 3] = ["exact", "binary", "format"];

/// An annotated pair.
pub(in crate::train) struct Pair {
    /// The query.
    pub query: String,
    /// The document's title, for people.
    pub title: String,
    /// The right label.
    pub label: Label,
    /// The prompt.
    pub prompt: Vec<u32>,
}

/// Annotated pairs, and what a label earns.
pub(in crate::train) struct Tags {
    pairs: Vec<Pair>,
    weights: [f64; PARTS.len()],
}

impl Tags {
    /// Of annotated pairs.
    pub fn new(pairs: Vec<Pair>, settings: &Relevance) -> Self {
        Self { pairs, weights: [settings.exact_reward, settings.binary_reward, settings.format_reward] }
    }

    /// The prompts, one for each pair.
    pub fn prompts(&self) -> Vec<Vec<u32>> {
        self.pairs.iter().map(|pair| pair.prompt.clone()).collect()
    }

    pub(super) fn weights(&self) -> Vec<f64> {
        self.weights.to_vec()
    }

    pub(super) fn judge(&self, answers: &[(usize, &Said)]) -> Vec<Parts> {
        answers.iter().map(|(place, said)| earned(self.pairs[*place].label, said)).collect()
    }

    pub(super) fn shown(&self, place: usize) -> [String; 3] {
        let pair = &self.pairs[place];
        [pair.query.clone(), pair.title.clone(), pair.label.digit().to_owned()]
    }
}

/// 1 for what is right, 0 for what is not: the label, the side, the form.
fn earned(truth: Label, said: &Said) -> Parts {
    let label = match said {
        Said::Rewrite(text) => Label::ALL.into_iter().find(|label| text.starts_with(label.digit())),
        Said::Reject | Said::Faulty => None,
    };
    let one = |is: bool| Some(f64::from(u8::from(is)));
    let side = label.is_some_and(|label| label.relevant() == truth.relevant());
    vec![one(label == Some(truth)), one(side), one(label.is_some())]
}

/// A completion that begins with a label and ends; the label's token, not a digit of some number.
pub(super) fn read(tokenizer: &Tokenizer, completion: &Completion) -> Result<Said> {
    let begins = completion.ids.first().is_some_and(|id| tokenizer.label_ids().is_ok_and(|ids| ids.contains(id)));
    if !completion.finished || !begins {
        return Ok(Said::Faulty);
    }
    Ok(Said::Rewrite(tokenizer.decode(&completion.ids, true)?.trim().to_owned()))
}

/// A pair and its prompt.
///
/// # Errors
/// A budget too small for any prompt.
pub(in crate::train) fn pair(
    tokenizer: &Tokenizer,
    query: &str,
    doc: &crate::logs::Doc,
    label: Label,
    settings: &TaggerSettings,
) -> Result<Pair> {
    let prompt = tokenizer.tagging_prompt(query, doc, settings)?;
    Ok(Pair { query: query.to_owned(), title: doc.title.clone(), label, prompt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::SPECIAL_TOKENS;

    #[test]
    fn the_label_the_side_and_the_form_are_earned_apart() {
        let of = |said: &str| earned(Label::L3, &Said::Rewrite(said.into()));
        assert_eq!(of("3 sense same"), [Some(1.0); 3]);
        assert_eq!(of("4"), [Some(0.0), Some(1.0), Some(1.0)]);
        assert_eq!(of("1"), [Some(0.0), Some(0.0), Some(1.0)]);
        assert_eq!(earned(Label::L1, &Said::Faulty), [Some(0.0); 3]);
    }

    #[test]
    fn what_does_not_begin_with_a_label_or_does_not_end_is_faulty() {
        let tokenizer = Tokenizer::train(["a b 1 2"].iter(), 300, &SPECIAL_TOKENS).unwrap();
        let end = tokenizer.end_tokens()[0];
        let [one, ..] = tokenizer.label_ids().unwrap();
        let word = tokenizer.encode_plain(" a").unwrap();
        let say = |ids: &[u32], finished| {
            let completion = Completion { ids: ids.to_vec(), logprobs: vec![], finished, forwards: 1 };
            read(&tokenizer, &completion).unwrap()
        };
        assert_eq!(say(&[one, end], true), Said::Rewrite("1".into()));
        assert_eq!(say(&[&[one], &word[..], &[end]].concat(), true), Said::Rewrite("1 a".into()));
        assert_eq!(say(&[one], false), Said::Faulty);
        assert_eq!(say(&[&word[..], &[end]].concat(), true), Said::Faulty);
        assert_eq!(say(&[end], true), Said::Faulty);
    }
}
