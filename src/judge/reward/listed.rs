//! The fake index as it would be of what training may see: rewards read rewrites from it where people are served so.

use std::path::Path;

use anyhow::Result;

use crate::journal::stop;
use crate::recipe::Recipe;
use crate::search::fake::{FakeIndex, Gather, People, training_path, write};
use crate::store::Store;

const ADVICE: &str = "nothing was changed; run the same command again";

/// Makes it anew of the recipe's log: what the training split's people did until training ended, and documents of that time.
///
/// # Errors
/// No log; SQLite's; a full disk; `Stopped` after Ctrl-C.
pub(super) fn training(workspace: &Path, recipe: &Recipe) -> Result<FakeIndex> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    let mut people = People::default();
    store.for_each_training_session(recipe, &log, |session| {
        stop::check(ADVICE)?;
        people.add(&session);
        Ok(())
    })?;
    let (valid, docs) = (people.valid(recipe.fake.min_people), store.training_docs(recipe, &log)?);
    let mut gather = Gather::new(&recipe.fake, recipe.mine.success_dwell_s, valid, docs);
    store.for_each_training_session(recipe, &log, |session| {
        stop::check(ADVICE)?;
        gather.add(&session);
        Ok(())
    })?;
    let (cards, lists) = gather.finish();
    let path = training_path(workspace, &recipe.name);
    write(&path, &[log.name], &cards, lists.into_iter(), |_| ())?;
    FakeIndex::open(&path)
}

#[cfg(test)]
mod tests {
    use super::super::Asked;
    use super::super::page::{Pages, Worth};
    use super::*;
    use crate::logs::{Click, Context, Doc, Search, Session};
    use crate::recipe::Recall;
    use crate::search::{Engine, index_dir};
    use crate::store::{LogKind, Split, person_split};

    const DAY_MS: i64 = 86_400_000;

    /// Somebody searches on a day, and stays with the second of two documents.
    fn session(user: usize, day: i64, query: &str) -> Session {
        let time_ms = day * DAY_MS;
        let click = Click { doc: "cat".into(), rank: 2, time_ms, dwell_s: Some(20.0), ..Click::default() };
        let search = Search {
            id: format!("{user} {day}"),
            query: query.into(),
            time_ms,
            shown: vec!["car".into(), "cat".into()],
            clicks: vec![click],
        };
        Session {
            id: format!("s{user} {day}"),
            user: format!("u{user}"),
            start_ms: time_ms,
            searches: vec![search],
            ..Session::default()
        }
    }

    #[test]
    fn pages_are_those_of_the_index_that_training_people_made_in_their_time() {
        let (dir, mut recipe) = (tempfile::tempdir().unwrap(), Recipe::load("tiny").unwrap());
        (recipe.fake.min_people, recipe.mine.held_out_time, recipe.search.vector_recall) = (2, 0.5, 0);
        // Two clicks are enough to put what was clicked first.
        (recipe.serve.recall, recipe.fake.head_clicks) = (Recall::Fake, 2);
        let doc = |id: &str, title: &str| Doc { id: id.into(), title: title.into(), popularity: 0.5, ..Doc::default() };
        let docs = [doc("car", "jaguar road test"), doc("cat", "jaguar jungle hunt")];
        let side = |user: &usize| person_split(&recipe, &format!("u{user}"));
        let learnt: Vec<usize> = (0..).filter(|user| side(user) == Split::Train).take(2).collect();
        let held_out: Vec<usize> = (0..).filter(|user| side(user) == Split::Test).take(2).collect();
        let sessions = |users: &[usize], day, query| users.iter().map(|u| session(*u, day, query)).collect::<Vec<_>>();
        let all = [
            sessions(&learnt, 1, "jaguar animal"),
            sessions(&held_out, 2, "jaguar beast"),
            sessions(&learnt, 9, "jaguar cub"),
        ];
        Store::open(dir.path())
            .unwrap()
            .write_log(&recipe.name, LogKind::World, "x", |w| {
                docs.iter().try_for_each(|doc| w.doc(doc))?;
                all.iter().flatten().try_for_each(|session| w.session(session))
            })
            .unwrap();
        let index = training(dir.path(), &recipe).unwrap();
        let known = ["jaguar animal", "jaguar beast", "jaguar cub"].map(|query| index.get(query).is_some());
        assert_eq!(known, [true, false, false], "held-out people's and the held-out time's are not to be learnt from");

        let engine = Engine::build(&index_dir(dir.path(), &recipe.name), &docs, &recipe.search, |_| ()).unwrap();
        let context = Context::default();
        let worth = |rewrite: Option<&str>, recipe: &Recipe| -> Worth {
            let asked = Asked {
                context: &context,
                query: "jaguar",
                time_ms: i64::MAX,
                satisfied_doc: Some("cat"),
                rewrote: None,
                target: None,
                evidence: None,
            };
            let pages = Pages::open(dir.path(), &engine, recipe).unwrap();
            pages.of(&engine, recipe, &[(asked, rewrite)]).unwrap().pop().unwrap().unwrap()
        };
        let plain = worth(None, &recipe);
        assert_eq!(plain.hit, Some(0.5));
        assert_eq!(worth(Some("jaguar animal"), &recipe).hit, Some(1.0));
        // A search would find this one by its words; the fake index does not have it.
        assert_eq!(worth(Some("jungle hunt"), &recipe), plain);
        recipe.serve.recall = Recall::Index;
        assert_eq!(worth(Some("jungle hunt"), &recipe).hit, Some(1.0));
    }
}
