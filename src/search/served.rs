//! Pages as people are served them: a rewrite searched for, or its documents read from a fake index (`serve.recall`).

use anyhow::Result;

use super::Engine;
use super::fake::{FakeIndex, Ranked, merge};
use crate::recipe::Recipe;

/// Where pages come from.
#[derive(Clone, Copy)]
pub struct ServedPages<'a> {
    /// The search path.
    pub engine: &'a Engine,
    /// What the documents of rewrites are read from; with none rewrites are searched for.
    pub fake: Option<&'a FakeIndex>,
}

impl ServedPages<'_> {
    /// The page of a query, of what the search path knew at a time (Unix milliseconds).
    ///
    /// A rewrite that the fake index does not have, or whose documents have nothing to do with the query, changes nothing.
    ///
    /// # Errors
    /// An index whose files went away.
    pub fn page(&self, time_ms: i64, query: &str, rewrite: Option<&str>, recipe: &Recipe) -> Result<Vec<Ranked>> {
        let searched = rewrite.filter(|_| self.fake.is_none());
        let found = self.engine.search_as_of(time_ms, query, searched, &recipe.search)?;
        let list = self.fake.zip(rewrite).and_then(|(fake, rewrite)| fake.get(rewrite));
        let merged = list.and_then(|list| merge(query, &found, &list, &recipe.fake, recipe.search.page));
        Ok(merged.unwrap_or_else(|| found.into_iter().map(Ranked::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Doc;
    use crate::recipe::SearchPath;
    use crate::search::fake::{Card, List, write};

    #[test]
    fn what_the_fake_index_does_not_have_is_not_found_and_what_it_has_is() {
        let dir = tempfile::tempdir().unwrap();
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), popularity: 0.5, ..Doc::default() };
        let docs = [doc("car", "jaguar road test"), doc("cat", "jaguar jungle hunt"), doc("puma", "puma jungle")];
        let engine = Engine::build(&dir.path().join("index"), &docs, &SearchPath::default(), |_| ()).unwrap();
        let cards = ["car", "cat"].map(|id| {
            let title = docs.iter().find(|doc| doc.id == id).unwrap().title.clone();
            Card { doc: id.into(), title, tags: vec![] }
        });
        let lists = [("jaguar cat", 1), ("jaguar car", 0)];
        let mut lists = lists.map(|(key, doc)| List { key: key.into(), head: true, docs: vec![(doc, 1.0)] });
        lists.sort_by(|a, b| a.key.cmp(&b.key));
        let path = dir.path().join("t.fake");
        write(&path, &["t".into()], &cards, lists.into_iter(), |_| ()).unwrap();
        let fake = FakeIndex::open(&path).unwrap();

        let mut recipe = Recipe::load("tiny").unwrap();
        // By words alone: among three documents everything is near to everything.
        recipe.search.vector_recall = 0;
        let page = |fake, rewrite| -> Vec<String> {
            let page = ServedPages { engine: &engine, fake }.page(0, "jaguar", rewrite, &recipe).unwrap();
            page.into_iter().map(|place| place.doc).collect()
        };
        let plain = page(None, None);
        assert_eq!(page(Some(&fake), None), plain);
        for (rewrite, first) in [("jaguar cat", "cat"), ("Jaguar CAR", "car")] {
            assert_eq!(page(Some(&fake), Some(rewrite))[0], first);
        }
        // A search finds what nobody typed; the fake index does not.
        assert!(page(None, Some("puma jungle")).contains(&"puma".to_owned()));
        assert_eq!(page(Some(&fake), Some("puma jungle")), plain);
        assert!(!plain.contains(&"puma".to_owned()), "{plain:?}");
    }
}
