//! The relevance task as text: query and document in, a label out, and behind it the reasoning where it is asked for.
//!
//! The query comes first, so that many documents of one query share it; the label is one digit and the first token of the
//! answer, so that scoring reads no reasoning (LORE; the order is AFRL's).

use serde::{Deserialize, Serialize};

use super::rewriting::{IM_END, Message, PLACE, Piece, Prompt, QUERY, REWRITE, Template, WATCHED, spaced};
use crate::logs::Doc;
use crate::recipe::Reason;
use crate::store::Notes;

/// Begins what is seen in a document's picture. The markers of a shipped base are fixed; a place stands nowhere else in
/// these prompts.
const SEEN: &str = PLACE;

const INSTRUCTION: &str = "Judge how well a search result answers a query. Output one digit: 4 it is what was asked for; \
    3 the right thing, but of another kind than asked; 2 the same field, or another meaning of the same word; 1 nothing to \
    do with it.";

/// How well a document answers a query (LORE, RAIR); [`Label::L3`] and [`Label::L4`] count as relevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Label {
    /// Nothing to do with it.
    L1,
    /// The same field, or another meaning of the same word.
    L2,
    /// The right thing, of another kind than asked.
    L3,
    /// What was asked for.
    L4,
}

impl Label {
    /// From the worst to the best.
    pub const ALL: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::L4];

    /// From 1 to 4; none for another number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// 1 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Place in [`Label::ALL`].
    #[must_use]
    pub fn place(self) -> usize {
        self as usize
    }

    /// Whether the document is worth showing.
    #[must_use]
    pub fn relevant(self) -> bool {
        self >= Self::L3
    }

    /// What a model says first: one digit, which every tokenizer of Qwen's pieces keeps as one token.
    #[must_use]
    pub fn digit(self) -> &'static str {
        ["1", "2", "3", "4"][self.place()]
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "L{}", self.number())
    }
}

impl Template {
    /// The prompt for one document of a query; with `visual` it says what is seen in the picture.
    #[must_use]
    pub fn tagging(self, query: &str, doc: &Doc, visual: bool) -> Prompt {
        let seen = if visual { seen(doc) } else { String::new() };
        if self == Self::Chat {
            let tags = doc.tags.join(", ");
            let mut text = format!("Query: {query}\nTitle: {}\nTags: {tags}\n", doc.title);
            if visual {
                text += &format!("Picture: {seen}\n");
            }
            return Prompt::Messages(vec![
                Message { role: "system".into(), content: INSTRUCTION.into() },
                Message { role: "user".into(), content: text },
            ]);
        }
        let title = doc.tags.iter().fold(doc.title.clone(), |text, tag| text + " " + tag);
        let mut parts = vec![(QUERY, query.to_owned()), (WATCHED, title)];
        if visual {
            parts.push((SEEN, seen));
        }
        let pieces = parts.into_iter().flat_map(|(marker, text)| [Piece::Marker(marker), Piece::Text(spaced(&text))]);
        Prompt::Pieces(pieces.chain([Piece::Marker(REWRITE)]).collect())
    }

    /// The answer that a model is taught: the label, then the steps of the reasoning that the annotator wrote, then the end.
    #[must_use]
    pub fn tag(self, label: Label, notes: &Notes, reasoning: &[Reason]) -> Vec<Piece> {
        let said = reasoning.iter().filter_map(|step| notes.get(step)).map(|text| Piece::Text(spaced(text)));
        let label = Piece::Text(label.digit().to_owned());
        [label].into_iter().chain(said).chain([Piece::Marker(IM_END)]).collect()
    }
}

/// Visual codes as words: `see:chrome_grille` is a chrome grille.
fn seen(doc: &Doc) -> String {
    let words = doc.visual.iter().map(|code| code.split_once(':').map_or(code.as_str(), |(_, thing)| thing));
    words.map(|thing| thing.replace('_', " ")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc() -> Doc {
        let visual = vec!["cat:cars".into(), "see:chrome_grille".into()];
        Doc { title: "Mercury Review".into(), tags: vec!["car".into()], visual, ..Doc::default() }
    }

    #[test]
    fn the_query_comes_first_and_the_picture_only_where_it_is_wanted() {
        let Prompt::Pieces(pieces) = Template::Plain.tagging("mercury  car", &doc(), true) else { panic!("pieces") };
        let text = |t: &str| Piece::Text(t.into());
        let wanted = [
            Piece::Marker(QUERY),
            text(" mercury car"),
            Piece::Marker(WATCHED),
            text(" mercury review car"),
            Piece::Marker(SEEN),
            text(" cars chrome grille"),
            Piece::Marker(REWRITE),
        ];
        assert_eq!(pieces, wanted);
        let Prompt::Pieces(pieces) = Template::Plain.tagging("mercury car", &doc(), false) else { panic!("pieces") };
        assert_eq!(pieces, [&wanted[..4], &wanted[6..]].concat());
        let Prompt::Messages(chat) = Template::Chat.tagging("mercury car", &doc(), true) else { panic!("messages") };
        assert!(chat[1].content.starts_with("Query: mercury car\n") && chat[1].content.contains("chrome grille"));
    }

    #[test]
    fn the_label_is_said_first_and_the_reasoning_in_the_order_asked_for() {
        let notes = Notes::from([(Reason::Knowledge, "asks cars".into()), (Reason::Rules, "sense same".into())]);
        let answer = Template::Plain.tag(Label::L3, &notes, &[Reason::Rules, Reason::Picture, Reason::Knowledge]);
        let text = |t: &str| Piece::Text(t.into());
        assert_eq!(answer, [text("3"), text(" sense same"), text(" asks cars"), Piece::Marker(IM_END)]);
        assert_eq!(Template::Plain.tag(Label::L1, &notes, &[]), [text("1"), Piece::Marker(IM_END)]);
    }

    #[test]
    fn labels_are_numbers_from_one_to_four() {
        assert_eq!(Label::ALL.map(|l| Label::of_number(l.number())), Label::ALL.map(Some));
        assert_eq!([0, 5, 255].map(Label::of_number), [None; 3]);
        assert_eq!(Label::ALL.map(Label::relevant), [false, false, true, true]);
    }
}
