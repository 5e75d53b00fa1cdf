//! `core bench decoding`: one model on held-out searches, its answers decoded freely, constrained and mixed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::machine::{Times, percentile};
use crate::journal::{Cell, Progress, Table, stop, words};
use crate::judge::{cells, share_interval};
use crate::model::Cancel;
use crate::recipe::{Decoding, Recipe};
use crate::rewriter::{Answerable, Decoder, MAX_NEW_TOKENS, Rewriter, Whose, vocabulary};
use crate::store::{Split, Store};
use crate::task::{Target, Template};

/// Searches answered in each mode before the clock starts.
const WARM_UP: usize = 8;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The model.
    pub model: String,
    /// The log.
    pub log: String,
    /// Held-out searches of both halves (test, then validation), each answered alone.
    pub searches: usize,
    /// Valid queries that the training split gives.
    pub valid_queries: usize,
    /// The completions that may be said: their spellings and `<reject>`.
    pub completions: usize,
    /// Spellings left out because an answer may not be so long.
    pub too_long: usize,
    /// Memory of the trie, bytes.
    pub trie_bytes: usize,
    /// Seconds to read the valid queries from the store.
    pub read_s: f64,
    /// Seconds to make a trie of them.
    pub build_s: f64,
    /// Of the rewrites that held-out people typed next, the share that is among the valid queries: no constrained model
    /// gets more of them right.
    pub reachable: Option<f64>,
    /// One a mode.
    pub rows: Vec<Row>,
    /// Share of the machine's processors that other programs took meanwhile; only where `/proc` tells.
    pub other_cpu: Option<f64>,
}

/// One mode. Shares are of all searches where nothing else is said.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// `free`, `constrained` or `mixed`.
    pub decoding: Decoding,
    /// Of the rewrites, the share that is a valid query of the whole log, as its fake index has them.
    pub index_hits: Option<f64>,
    /// Its 95 % interval, as if the rewrites were independent draws.
    pub index_hits_ci95: Option<[f64; 2]>,
    /// Answers equal to what the person did next, rejects included.
    pub exact_match: f64,
    /// Queries left alone.
    pub reject_rate: f64,
    /// Milliseconds that half of the answers stay within.
    pub p50_ms: f64,
    /// Milliseconds that 99 % of them stay within.
    pub p99_ms: f64,
    /// Their mean.
    pub mean_ms: f64,
    /// Forward passes of the model an answer, its prompt's among them.
    pub forwards: f64,
}

impl Report {
    /// One row a mode.
    #[must_use]
    pub fn table(&self) -> Table {
        let title = format!(
            "{} on {} held-out searches; {} valid queries of the training split: {} completions in {}, read in {:.2} s, \
             built in {:.2} s, {} too long\nof the rewrites people typed next {} are among them; hits: rewrites that are \
             valid in the whole log; forwards: of the model, an answer",
            self.model,
            self.searches,
            self.valid_queries,
            self.completions,
            words::bytes(self.trie_bytes as u64),
            self.read_s,
            self.build_s,
            self.too_long,
            self.reachable.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        );
        let columns = ["decoding", "hits", "ci95", "exact", "reject", "p50_ms", "p99_ms", "mean_ms", "forwards"];
        let mut table = Table::new("decoding", title, &columns);
        for row in &self.rows {
            let between =
                |ci: [f64; 2]| Cell::shown(ci.to_vec(), format!("[{:.0}, {:.0}]", 100.0 * ci[0], 100.0 * ci[1]));
            let two = |x: f64| Cell::shown(x, format!("{x:.2}"));
            table.row([
                row.decoding.name().into(),
                cells::percent(row.index_hits),
                row.index_hits_ci95.map_or(Cell::from(None::<f64>), between),
                cells::percent(Some(row.exact_match)),
                cells::percent(Some(row.reject_rate)),
                two(row.p50_ms),
                two(row.p99_ms),
                two(row.mean_ms),
                two(row.forwards),
            ]);
        }
        table
    }
}

/// What one mode answered.
#[derive(Default)]
struct Tally {
    times_ms: Vec<f64>,
    rewrites: usize,
    hits: usize,
    right: usize,
    forwards: usize,
}

/// Asks a model, by the name that [`Rewriter::open`] takes, at most `limit` held-out searches in each mode by turns,
/// the test half first.
///
/// # Errors
/// Nothing held out; no valid query; a rule instead of a model; those of the model. `Stopped` after Ctrl-C.
pub fn run(workspace: &Path, recipe: &Recipe, model: &str, limit: usize) -> Result<Report> {
    let store = Store::open_existing(workspace)?;
    let log = store.log(&recipe.name)?;
    // Nothing is chosen by the validation half, so both say what held-out people are answered.
    let mut rows = [store.examples(&log, Split::Test)?, store.examples(&log, Split::Validation)?].concat();
    rows.truncate(limit);
    ensure!(!rows.is_empty(), "log {:?} has no held-out searches: run `core mine`, with a longer log", log.name);
    let Rewriter::Policy(mut rewriter) = Rewriter::open(workspace, recipe, model)? else {
        bail!("{model} is a rule, and only a model decodes: name a run or a checkpoint folder");
    };
    let started = Instant::now();
    let valid = Answerable::read(&store, recipe, &log, Whose::Training)?;
    let read_s = started.elapsed().as_secs_f64();
    let index = Answerable::read(&store, recipe, &log, Whose::Everyone)?;
    let (mut decoders, mut build_s) = (Vec::new(), 0.0);
    let plain = rewriter.tokenizer().task_template()? == Template::Plain;
    for decoding in Decoding::ALL.into_iter().filter(|decoding| plain || *decoding != Decoding::Words) {
        let started = Instant::now();
        decoders.push(match decoding {
            Decoding::Words => Decoder::words(rewriter.tokenizer(), vocabulary(workspace, recipe)?)?,
            _ => Decoder::new(decoding, rewriter.tokenizer(), valid.spellings(), MAX_NEW_TOKENS)?,
        });
        if decoding == Decoding::Constrained {
            build_s = started.elapsed().as_secs_f64();
        }
    }
    let before = Times::now();
    let mut tallies: Vec<Tally> = decoders.iter().map(|_| Tally::default()).collect();
    let progress = Progress::on_screen("rewrite", rows.len() as u64);
    for (at, row) in rows.iter().take(WARM_UP).chain(&rows).enumerate() {
        stop::check("nothing of a benchmark is kept")?;
        let target = Target::from_option(row.target.as_deref());
        for (decoder, tally) in decoders.iter().zip(&mut tallies) {
            rewriter.decode_by(decoder.clone());
            let started = Instant::now();
            let outcome = rewriter.rewrite(&[(&row.context, &row.query)], &Cancel::default())?.remove(0);
            let took_ms = started.elapsed().as_secs_f64() * 1e3;
            if at < WARM_UP.min(rows.len()) {
                continue;
            }
            tally.times_ms.push(took_ms);
            tally.rewrites += usize::from(outcome.rewrite.is_some());
            tally.hits += usize::from(outcome.rewrite.as_ref().is_some_and(|rewrite| index.holds(rewrite)));
            tally.right += usize::from(outcome.target() == target);
            tally.forwards += outcome.forwards;
        }
        progress.inc(u64::from(at >= WARM_UP.min(rows.len())));
    }
    progress.finish(&format!("{} searches, {} ways", rows.len(), decoders.len()));
    let typed: Vec<&str> = rows.iter().filter_map(|row| row.target.as_deref()).collect();
    let reached = typed.iter().filter(|text| valid.holds(text)).count();
    let (trie, too_long) = (decoders.iter().find_map(Decoder::valid), decoders.iter().map(Decoder::too_long).max());
    Ok(Report {
        model: model.to_owned(),
        log: log.name,
        searches: rows.len(),
        valid_queries: valid.len(),
        completions: trie.map_or(0, |trie| trie.len()),
        too_long: too_long.unwrap_or(0),
        trie_bytes: trie.map_or(0, |trie| trie.bytes()),
        read_s,
        build_s,
        reachable: share(reached, typed.len()),
        rows: decoders.iter().zip(tallies).map(|(decoder, tally)| tally.row(decoder.decoding())).collect(),
        other_cpu: before.zip(Times::now()).and_then(|(before, now)| before.others_until(&now)),
    })
}

impl Tally {
    fn row(mut self, decoding: Decoding) -> Row {
        self.times_ms.sort_by(f64::total_cmp);
        let n = self.times_ms.len();
        Row {
            decoding,
            index_hits: share(self.hits, self.rewrites),
            index_hits_ci95: share_interval(self.hits, self.rewrites),
            exact_match: self.right as f64 / n as f64,
            reject_rate: (n - self.rewrites) as f64 / n as f64,
            p50_ms: percentile(&self.times_ms, 0.5),
            p99_ms: percentile(&self.times_ms, 0.99),
            mean_ms: self.times_ms.iter().sum::<f64>() / n as f64,
            forwards: self.forwards as f64 / n as f64,
        }
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, Policy, Tokenizer, device};
    use crate::search::fake::{FakeIndex, fake_path};
    use crate::task::SPECIAL_TOKENS;
    use crate::{fake, index, mine, simulate};

    /// A small log, mined, and a model with random weights.
    fn workspace(dir: &Path) -> (Recipe, String) {
        let mut recipe = Recipe::load("tiny").unwrap();
        (recipe.world.people, recipe.world.videos, recipe.fake.min_people) = (300, 600, 2);
        simulate::run(dir, &recipe, simulate::Part::default(), false).unwrap();
        index::run(dir, &recipe, &recipe.name, index::Job::Build { anew: false }).unwrap();
        mine::run(dir, &recipe, &recipe.name, mine::Source::Store).unwrap();
        let tokenizer = Tokenizer::train([" jaguar car", " jaguar cat"].iter(), 400, &SPECIAL_TOKENS).unwrap();
        let config = Config::scratch(&recipe.model, tokenizer.size());
        let folder = dir.join("random");
        std::fs::create_dir(&folder).unwrap();
        let policy = Policy::from_scratch(config, tokenizer, 3, &device::open().unwrap()).unwrap();
        policy.save(&folder, None).unwrap();
        (recipe, folder.display().to_string())
    }

    #[test]
    fn what_is_constrained_always_hits_the_index_and_costs_fewer_forwards() {
        let dir = tempfile::tempdir().unwrap();
        let (recipe, model) = workspace(dir.path());
        let report = run(dir.path(), &recipe, &model, 40).unwrap();
        let [free, constrained, mixed, words] = &report.rows[..] else { panic!("{report:?}") };
        assert!(constrained.reject_rate < 1.0, "random weights rewrite something: {report:?}");
        assert_eq!(constrained.index_hits, Some(1.0));
        assert!(mixed.index_hits.is_none_or(|hits| hits == 1.0));
        assert!(free.index_hits.is_none_or(|hits| hits < 1.0), "random weights say no valid query: {free:?}");
        assert!(words.forwards < free.forwards, "{report:?}");
        assert!(constrained.forwards < free.forwards && free.forwards < mixed.forwards, "{report:?}");
        assert!(
            report.trie_bytes > 0
                && report.completions + report.too_long > report.valid_queries
                && report.table().rows.len() == 4
        );
        // The recipe's mode and a name's own are one thing.
        let answer = |recipe: &Recipe, name: &str| {
            let rewriter = Rewriter::open(dir.path(), recipe, name).unwrap();
            let outcome = rewriter.rewrite(&[(&crate::logs::Context::default(), "jaguar")]).unwrap().remove(0);
            (outcome, rewriter.identity().to_owned())
        };
        let mut set = recipe.clone();
        set.rewriting.decoding = Decoding::Constrained;
        let named = answer(&recipe, &format!("{model}:constrained"));
        assert_eq!(answer(&set, &model), named);
        assert_eq!(answer(&set, &format!("{model}:free")), answer(&recipe, &model));
        assert_ne!(answer(&recipe, &model).1, named.1, "kept answers of one mode are not those of another");
        assert_ne!(answer(&recipe, &format!("{model}:words")).1, answer(&recipe, &model).1);
        // So are the recipe's share for leaving alone and a name's own.
        set.rewriting.reject_at = 0.5;
        assert_eq!(answer(&set, &model), answer(&recipe, &format!("{model}:constrained@0.5")));
        assert_ne!(answer(&set, &model).1, named.1);
        assert!(run(dir.path(), &recipe, "copy-rule", 9).unwrap_err().to_string().contains("is a rule"));
    }

    #[test]
    fn both_held_out_halves_are_asked_the_test_half_first() {
        let dir = tempfile::tempdir().unwrap();
        let (recipe, model) = workspace(dir.path());
        let store = Store::open_existing(dir.path()).unwrap();
        let log = store.log(&recipe.name).unwrap();
        let half = |split| store.examples(&log, split).unwrap();
        let (test, validation) = (half(Split::Test), half(Split::Validation));
        assert!(!test.is_empty() && !validation.is_empty());
        let asked = |limit| run(dir.path(), &recipe, &model, limit).unwrap();
        assert_eq!(asked(usize::MAX).searches, test.len() + validation.len());
        let typed: Vec<&str> = test.iter().filter_map(|row| row.target.as_deref()).collect();
        let valid = Answerable::read(&store, &recipe, &log, Whose::Training).unwrap();
        let reached = typed.iter().filter(|text| valid.holds(text)).count();
        assert_eq!(asked(test.len()).reachable, share(reached, typed.len()));
    }

    #[test]
    fn a_fake_index_of_the_log_answers_every_query_that_may_be_said() {
        let dir = tempfile::tempdir().unwrap();
        let (recipe, _) = workspace(dir.path());
        fake::run(dir.path(), &recipe, &fake::Do::Build(vec![])).unwrap();
        let index = FakeIndex::open(&fake_path(dir.path(), &recipe.name)).unwrap();
        let store = Store::open_existing(dir.path()).unwrap();
        let log = store.log(&recipe.name).unwrap();
        let of = |whose| Answerable::read(&store, &recipe, &log, whose).unwrap();
        let (training, everyone) = (of(Whose::Training), of(Whose::Everyone));
        assert!(training.len() > 20 && training.len() < everyone.len());
        for query in training.spellings().iter().chain(everyone.spellings()) {
            assert!(index.get(query).is_some_and(|docs| !docs.is_empty()), "{query}");
        }
        assert_eq!(index.info().keys, everyone.len() as u64, "and there are no others");
    }
}
