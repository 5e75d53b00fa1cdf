//! Whatever becomes of rewriting, the plain page goes out.

use anyhow::bail;

use super::super::nearline::Nearline;
use super::*;
use crate::journal::Journal;
use crate::rewriter::Rewriter;

/// Requests of each arm: eight arms make ten thousand.
const REQUESTS: usize = 1_250;

/// Requests of many kinds, the same in every arm.
fn requests() -> Vec<String> {
    let queries =
        ["jaguar", "puma wild", "LYNX race!", "nothing at all", "title:car AND (", "光良 jaguar", "😀", "jagaur"];
    let titles = ["best cat of the zoo", "race car engine", "", "猫"];
    let one = |i: usize| {
        let context = json!({"watched": [{"title": titles[i % 4]}], "queries": [queries[i % 7]]});
        json!({
            "query": format!("{} {}", queries[i % 8], ["", "review", "cat"][i / 8 % 3]),
            "context": context, "size": 1 + i % 12, "query_id": format!("q{i}"),
        })
        .to_string()
    };
    (0..REQUESTS).map(one).collect()
}

async fn all(paths: &Arc<Paths>, requests: &[String]) -> Vec<Reply> {
    let mut replies = Vec::new();
    // Several at once, as a server has them.
    for chunk in requests.chunks(25) {
        let tasks: Vec<_> = chunk
            .iter()
            .map(|body| {
                let (paths, body) = (paths.clone(), body.clone());
                tokio::spawn(async move { post(&paths, "/v1/search", body).await })
            })
            .collect();
        for task in tasks {
            replies.push(task.await.unwrap());
        }
    }
    replies
}

/// A rewriter whose files are gone: as `core serve` opens it.
fn gone(workspace: &Path) -> Source {
    let folder = workspace.join("runs/gone/step-00000001");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let recipe = Recipe::default();
    let opened = Rewriter::open(workspace, &recipe, folder.to_str().unwrap());
    assert!(opened.is_err());
    let journal = Journal::start(workspace, "serve", "t", "").unwrap();
    let (cancel, complaints) = (Cancel::default(), Arc::new(Complaints::default()));
    super::super::source(workspace, &recipe, opened, &cancel, &complaints, &journal).unwrap().1
}

#[test]
fn whatever_becomes_of_rewriting_the_plain_page_goes_out_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (workspace, requests, runtime) = (dir.path(), requests(), runtime());
    let plain = runtime.block_on(all(&paths(workspace, Source::Off, |_| ()), &requests));
    assert!(plain.iter().all(|reply| reply.status == 200 && reply.rewriting == "off"));
    let broken = gone(workspace);
    let stuck = Cancel::default();
    let waits = stuck.clone();
    let never = each(move |_, _, _| {
        until_nobody_waits(&waits);
        Ok(outcome(Some("jaguar cat")))
    });
    let complaints = Arc::new(Complaints::default());
    let missing = Nearline::start(workspace, "m", never, stuck.clone(), complaints).unwrap();
    let late = |_: &Context, _: &str, cancel: &Cancel| {
        until_nobody_waits(cancel);
        Ok(outcome(Some("jaguar cat")))
    };
    let arms: [(&str, Source, Recall); 8] = [
        ("rejected", live(|_, _, _| Ok(outcome(None))), Recall::Index),
        ("unchanged", live(|_, query, _| Ok(outcome(Some(&query.to_uppercase())))), Recall::Index),
        ("missed", Source::Nearline(missing), Recall::Index),
        ("missed", live(|_, _, _| Ok(outcome(Some("a query that no list has")))), Recall::Fake),
        ("late", live(late), Recall::Index),
        // Unwinds as a panic does, without its lines on the terminal.
        ("error", live(|_, _, _| std::panic::resume_unwind(Box::new("broken"))), Recall::Index),
        ("error", live(|_, _, _| bail!("no memory left")), Recall::Index),
        ("error", broken, Recall::Index),
    ];
    let mut served = 0;
    for (at, (fate, source, recall)) in arms.into_iter().enumerate() {
        let arm = paths(workspace, source, |recipe| {
            recipe.serve.recall = recall;
            recipe.serve.deadline_ms = if fate == "late" { 1 } else { 60_000 };
        });
        let replies = runtime.block_on(all(&arm, &requests));
        for ((reply, plain), request) in replies.iter().zip(&plain).zip(&requests) {
            assert_eq!((reply.status, &reply.body), (plain.status, &plain.body), "arm {at}: {request}");
            assert_eq!(reply.rewriting, fate, "arm {at}: {request}");
            served += 1;
        }
    }
    stuck.set();
    assert_eq!(served, 10_000);
}
