//! Where an index takes its documents from: one at a time, so that a catalogue need not lie in memory as documents.

use std::borrow::Cow;

use crate::logs::Doc;

/// Documents by place: a slice of them, or something that makes each one when it is asked for.
pub trait Docs: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// The document at a place below [`Docs::count`].
    fn doc(&self, place: usize) -> Cow<'_, Doc>;
}

impl<T: AsRef<[Doc]> + Sync + ?Sized> Docs for T {
    fn count(&self) -> usize {
        self.as_ref().len()
    }

    fn doc(&self, place: usize) -> Cow<'_, Doc> {
        Cow::Borrowed(&self.as_ref()[place])
    }
}

/// Some documents of a source, in an order of their own.
pub(super) struct Chosen<'a, D: ?Sized> {
    docs: &'a D,
    places: Vec<usize>,
}

impl<'a, D: Docs + ?Sized> Chosen<'a, D> {
    /// One document an id, by id: a tie then falls the same way in every build. Of two with one id the later counts.
    pub fn in_order(docs: &'a D) -> Self {
        let ids: Vec<String> = (0..docs.count()).map(|place| docs.doc(place).id.clone()).collect();
        let mut places: Vec<usize> = (0..ids.len()).collect();
        places.sort_by_key(|place| &ids[*place]);
        let one_each = places.chunk_by(|a, b| ids[*a] == ids[*b]).map(|same| same[same.len() - 1]);
        Self { docs, places: one_each.collect() }
    }

    /// Those that `keep` says yes to.
    pub fn filtered(&self, keep: impl Fn(&Doc) -> bool) -> Self {
        let places = self.places.iter().copied().filter(|place| keep(&self.docs.doc(*place)));
        Self { docs: self.docs, places: places.collect() }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The documents from one position of the order to another.
    pub fn range(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = Cow<'a, Doc>> {
        self.places[range].iter().map(|place| self.docs.doc(*place))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, Doc>> {
        self.range(0..self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_with_one_id_counts_and_ids_make_the_order() {
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), ..Doc::default() };
        let docs = vec![doc("c", "1"), doc("a", "2"), doc("c", "3"), doc("b", "4")];
        let chosen = Chosen::in_order(&docs);
        let titles = |chosen: &Chosen<Vec<Doc>>| chosen.iter().map(|doc| doc.title.clone()).collect::<Vec<_>>();
        assert_eq!(titles(&chosen), ["2", "4", "3"]);
        assert_eq!(titles(&chosen.filtered(|doc| doc.id != "b")), ["2", "3"]);
        assert_eq!(chosen.range(1..2).next().unwrap().id, "b");
    }
}
