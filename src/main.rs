//! The `core` binary: parse, run, print one error, exit code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use core_rewriter::cli::{self, Cli, Command, Format, IndexJob, Objective, Size};
use core_rewriter::journal::stop::{self, Stopped};
use core_rewriter::journal::{Table, say};
use core_rewriter::judge::{Design, Verdict, Weeks, reward};
use core_rewriter::model::device;
use core_rewriter::recipe::{Flaw, Precision, Recall, Recipe, Usage};
use core_rewriter::report::What;
use core_rewriter::rewrite::Question;
use core_rewriter::rewriter::{in_use_or_newest, newest_run};
use core_rewriter::train::{Existing, Options, Task};
use core_rewriter::{
    ab, base, bench, demo, describe, doctor, evaluate, fake, find, gate, index, mine, release, report, rewrite,
    rewriter, serve, simulate, train, watch, weekly,
};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0 done, 1 failed, 2 called wrongly, 3 refused by the gate, 130 stopped by Ctrl-C.
fn main() -> ExitCode {
    let cli = Cli::parse();
    match stop::install().and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("core: {error:#}");
            if error.is::<Stopped>() {
                ExitCode::from(130)
            } else if error.is::<Usage>() {
                ExitCode::from(2)
            } else if error.is::<gate::Refused>() {
                ExitCode::from(3)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn train_command(workspace: &Path, recipe: &Recipe, asked: cli::Train, json: bool) -> Result<()> {
    let cli::Train { objective, task, name, log, init, resume, fresh } = asked;
    let log = log.unwrap_or_else(|| recipe.name.clone());
    let (task, ending) = match (objective, task) {
        (Objective::Sft, cli::Task::Rewriting) => (Task::Sft { log: &log }, "sft"),
        (Objective::Sft, cli::Task::Relevance) => (Task::Tagging { log: &log }, "relevance"),
        (Objective::Mpo, cli::Task::Rewriting) => (Task::Mpo { log: &log }, "mpo"),
        (Objective::Mpo, cli::Task::Relevance) => {
            let text = "pairs are made of rewrites: --task relevance is for `core train sft` and `core train grpo`";
            return Err(Usage(text.into()).into());
        }
        (Objective::Grpo, cli::Task::Rewriting) => (Task::Grpo { log: &log, tags: false }, "grpo"),
        (Objective::Grpo, cli::Task::Relevance) => (Task::Grpo { log: &log, tags: true }, "relevance-grpo"),
    };
    let name = name.unwrap_or_else(|| format!("{log}-{ending}"));
    let options = Options { name: &name, task, init: init.as_deref(), existing: existing(resume, fresh) };
    show(&train::run(workspace, recipe, &options)?, train::Summary::table, json)
}

fn judge(workspace: &Path, recipe: &Recipe, what: cli::Judge, json: bool) -> Result<()> {
    let cli::Judge::Explain { asked, rewrite, satisfied, skipped } = what;
    let question = question(asked);
    let (query, context) = (question.query()?, question.context()?);
    let outcome = reward::Outcome { satisfied: satisfied.as_deref(), skipped: &skipped };
    let found = reward::explain(workspace, recipe, &context, query, rewrite.as_deref(), outcome)?;
    show(&found, reward::Explained::table, json)
}

fn question(asked: cli::Asked) -> Question {
    let cli::Asked { query, watched, searched, place, context } = asked;
    Question { query, file: context, watched, searched, place }
}

fn run(cli: Cli) -> Result<()> {
    let (global, json) = (&cli.global, cli.global.json);
    device::choose(match global.device {
        cli::Device::Auto => device::Wish::Auto,
        cli::Device::Cpu => device::Wish::Cpu,
        cli::Device::Cuda => device::Wish::Cuda,
    })?;
    let workspace = global.workspace.as_path();
    let recipe = || Recipe::load(source(global));
    match cli.command {
        Command::Demo { size, fresh, from_scratch } => {
            let source = match (size, source(global)) {
                (None | Some(Size::Demo), recipe) => recipe,
                (Some(Size::Tiny), "demo" | "tiny") => "tiny",
                (Some(Size::Tiny), other) => {
                    let text = format!("--size and --recipe {other} are two answers to one question: give one of them");
                    return Err(Usage(text).into());
                }
            };
            demo::run(workspace, source, demo::Flags { fresh, from_scratch }, json)
        }
        Command::Simulate { people, weeks, fresh } => {
            let part = simulate::Part { people: people.map(|n| n as usize), weeks, without: 0 };
            show(&simulate::run(workspace, &recipe()?, part, fresh)?, simulate::Summary::table, json)
        }
        Command::World { what } => world(workspace, &recipe()?, what, json),
        Command::Mine { from, path, log } => {
            let recipe = recipe()?;
            let (source, name) = match (from, &path) {
                (Some(Format::Ubi), Some(path)) => (mine::Source::Ubi(path), log_name(path)),
                _ => (mine::Source::Store, recipe.name.clone()),
            };
            let log = log.unwrap_or(name);
            show(&mine::run(workspace, &recipe, &log, source)?, mine::Summary::table, json)
        }
        Command::Pretrain { name, resume, fresh } => {
            let recipe = Recipe::load(global.recipe.as_deref().unwrap_or("base"))?;
            let name = name.unwrap_or_else(|| recipe.name.clone());
            let options = Options { name: &name, task: Task::Pretrain, init: None, existing: existing(resume, fresh) };
            show(&train::run(workspace, &recipe, &options)?, train::Summary::table, json)
        }
        Command::Train(asked) => train_command(workspace, &recipe()?, asked, json),
        Command::Base { what } => {
            let what = match what {
                cli::Base::Restore => base::What::Restore,
                cli::Base::Export { run, folder } => base::What::Export { run, folder },
            };
            show(&base::run(workspace, &what)?, base::Summary::table, json)
        }
        Command::Eval { rewriters } => {
            let names: Vec<_> = rewriters.iter().map(String::as_str).collect();
            show(&evaluate::run(workspace, &recipe()?, &names)?, evaluate::Report::table, json)
        }
        Command::Ab(flags) => experiment(global, flags),
        Command::Rewrite { asked, model: name } => {
            let recipe = recipe()?;
            let name = name.map_or_else(|| in_use_or_newest(workspace, &recipe.name), Ok)?;
            show(&rewrite::run(workspace, &recipe, &name, &question(asked))?, rewrite::Answer::table, json)
        }
        Command::Judge { what } => judge(workspace, &recipe()?, what, json),
        Command::Weekly(cli::Weekly { weeks, fresh, plot }) => {
            let found = weekly::run(workspace, &recipe()?, &weekly::Plan { weeks, fresh, plot })?;
            show(&found, Weeks::table, json)
        }
        Command::Gate(asked) => gate_command(workspace, &recipe()?, asked, json),
        Command::Release(what) => releases(workspace, &recipe()?, what, json),
        Command::Fake { what } => fake_index(workspace, &recipe()?, what, json),
        Command::Search { query, rewrite, log, size, explain } => {
            let recipe = recipe()?;
            let log = log.unwrap_or_else(|| recipe.name.clone());
            let answer = find::run(workspace, &recipe, &find::Question { query, rewrite, log, size, explain })?;
            say(&if json { format!("{}\n", serde_json::to_string(&answer)?) } else { answer.to_text() })
        }
        Command::Index { job } => {
            let recipe = recipe()?;
            let (job, log) = match job {
                IndexJob::Build { log, anew } => (index::Job::Build { anew }, log),
                IndexJob::Stats { log } => (index::Job::Stats, log),
            };
            let log = log.unwrap_or_else(|| recipe.name.clone());
            show(&index::run(workspace, &recipe, &log, job)?, index::Report::table, json)
        }
        Command::Serve { port, host, model: name } => serve::run(workspace, &recipe()?, name.as_deref(), host, port),
        Command::Bench { work, steps } => measure(global, work, steps.map(|n| n as usize)),
        Command::Watch => watch::run(workspace),
        Command::Runs => report::run(workspace, &What::Runs, json),
        Command::Logs => report::run(workspace, &What::Logs, json),
        Command::Report { html } => report::run(workspace, &What::Page(html), json),
        Command::Doctor => doctor::run(workspace, json),
    }
}

/// The recipe's name or file.
fn source(global: &cli::Global) -> &str {
    global.recipe.as_deref().unwrap_or("demo")
}

/// What two flags say about checkpoints that are there.
fn existing(resume: bool, fresh: bool) -> Existing {
    match (resume, fresh) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    }
}

/// Runs an experiment, or many without a difference.
fn experiment(global: &cli::Global, flags: cli::Ab) -> Result<()> {
    let (workspace, json) = (global.workspace.as_path(), global.json);
    let source = match flags.size {
        None => source(global),
        Some(Size::Tiny) => "tiny",
        Some(Size::Demo) => "demo",
    };
    let recipe = with_flags(Recipe::load(source)?, &flags)?;
    if let Some(runs) = flags.aa {
        return show(&ab::rejections(workspace, &recipe, runs)?, ab::null_table, json);
    }
    let design = match flags.design {
        cli::Design::Hashed => Design::Hashed,
        cli::Design::Paired => Design::Paired,
    };
    let treatments = match (flags.all, flags.treatment.is_empty()) {
        (true, _) => ab::everything(workspace, &recipe.name, &flags.control),
        (false, true) => vec![ab::model(workspace, &recipe.name, &flags.control)?],
        (false, false) => flags.treatment,
    };
    let plan = ab::Plan { control: &flags.control, treatments, design, weeks: flags.weeks };
    let experiment = ab::run(workspace, &recipe, &plan)?;
    say(&if json { format!("{}\n", serde_json::to_string(&experiment)?) } else { ab::text(&experiment) })
}

/// A recipe whose experiments are as the flags say.
fn with_flags(mut recipe: Recipe, flags: &cli::Ab) -> Result<Recipe> {
    recipe.ab.looks = flags.looks.unwrap_or(recipe.ab.looks);
    recipe.ab.lives = flags.lives.unwrap_or(recipe.ab.lives);
    if let Some(recall) = flags.recall {
        recipe.serve.recall = match recall {
            cli::Recall::Index => Recall::Index,
            cli::Recall::Fake => Recall::Fake,
        };
    }
    Recipe::parse(&recipe.to_toml(), "with the flags of core ab")
}

/// Shows a log as far as it can be told, and ends in an error where hidden tables are missing.
fn world(workspace: &Path, recipe: &Recipe, what: cli::World, json: bool) -> Result<()> {
    let cli::World::Describe { log, plot } = what;
    let log = log.unwrap_or_else(|| recipe.name.clone());
    let report = describe::run(workspace, recipe, &log, plot.as_deref())?;
    show(&report, describe::Report::table, json)?;
    report.whole()
}

fn gate_command(workspace: &Path, recipe: &Recipe, asked: cli::Gate, json: bool) -> Result<()> {
    let plan = match (<[_; 2]>::try_from(asked.runs), asked.qrels) {
        (Ok([incumbent, candidate]), Some(qrels)) => gate::Plan::Runs { incumbent, candidate, qrels },
        _ => {
            let in_use = || match rewriter::release::in_use(workspace, &recipe.name)? {
                Some(now) => Ok(rewriter::release::name_of(&now)),
                None => bail!(
                    "nothing of log {:?} is in use that a candidate could be held against: name something with --incumbent, \
                     or put a first release in use with `core release RUN`",
                    recipe.name
                ),
            };
            let candidate = asked.candidate.map_or_else(|| newest_run(workspace), Ok)?;
            let incumbent = asked.incumbent.map_or_else(in_use, Ok)?;
            gate::Plan::Models { incumbent, candidate, release: !asked.dry_run }
        }
    };
    let verdict = gate::run(workspace, recipe, &plan)?;
    show(&verdict, Verdict::table, json)?;
    gate::Refused::unless_promoted(&verdict)
}

fn releases(workspace: &Path, recipe: &Recipe, what: cli::Release, json: bool) -> Result<()> {
    let own = |log: Option<String>| log.unwrap_or_else(|| recipe.name.clone());
    let what = match what {
        cli::Release::Releases { log } => release::What::List { log },
        cli::Release::Release { run, log, why } => release::What::Release { log: own(log), run, why },
        cli::Release::Rollback { to, log, why } => release::What::Rollback { log: own(log), to, why },
    };
    show(&release::run(workspace, &what)?, release::Report::table, json)
}

fn fake_index(workspace: &Path, recipe: &Recipe, what: cli::Fake, json: bool) -> Result<()> {
    let what = match what {
        cli::Fake::Build { log } => fake::Do::Build(log),
        cli::Fake::Stats => fake::Do::Stats,
        cli::Fake::Show { query } => fake::Do::Show(query),
    };
    show(&fake::run(workspace, recipe, &what)?, fake::Report::table, json)
}

/// Measures what a subcommand of `bench` names, or lays a run of many side by side.
fn measure(global: &cli::Global, work: cli::Bench, steps: Option<usize>) -> Result<()> {
    let json = global.json;
    let job = match work {
        cli::Bench::Sft(setting) => step(bench::Work::Sft, setting, steps),
        cli::Bench::Grpo(setting) => step(bench::Work::Grpo, setting, steps),
        cli::Bench::Mpo { layout, setting } => {
            let layout = match layout {
                cli::Layout::Pairs => bench::Layout::Pairs,
                cli::Layout::Shared => bench::Layout::Shared,
            };
            step(bench::Work::Mpo(layout), setting, steps)
        }
        cli::Bench::Sample(setting) => step(bench::Work::Sample, setting, steps),
        cli::Bench::Rewrite(setting) => step(bench::Work::Rewrite, setting, steps),
        cli::Bench::Stages => bench::Job::Stages,
        cli::Bench::Search { docs, queries } => {
            bench::Job::Search { docs: docs.map(|n| n as usize), queries: queries as usize }
        }
        cli::Bench::Compare { run, page } => {
            let comparison = bench::compare(&run)?;
            if let Some(page) = page {
                std::fs::write(&page, comparison.page()).with_context(|| format!("cannot write {}", page.display()))?;
            }
            return show(&comparison, bench::Comparison::table, json);
        }
        cli::Bench::Base { model, seeds, no_scratch, beside } => {
            let plan = bench::base::Plan { model, seeds, scratch: !no_scratch, beside };
            let report = bench::base::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return show(&report, bench::base::Report::table, json);
        }
        cli::Bench::Aging { taught, seeds } => {
            let plan = bench::aging::Plan { taught, seeds };
            let report = bench::aging::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return show(&report, bench::aging::Report::table, json);
        }
        cli::Bench::Rewards { rows, seeds, only, no_ab } => {
            let set = match rows {
                cli::Rows::Rewards => bench::rewards::Set::Rewards,
                cli::Rows::Settings => bench::rewards::Set::Settings,
                cli::Rows::Relevance => bench::rewards::Set::Relevance,
                cli::Rows::Core => bench::rewards::Set::Core,
            };
            let plan = bench::rewards::Plan { seeds, set, only, no_ab };
            let report = bench::rewards::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return show(&report, bench::rewards::Report::table, json);
        }
        cli::Bench::Economy { sync, plot } => {
            let plan = bench::economy::Plan { sync, plot };
            let report = bench::economy::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return show(&report, bench::economy::Report::table, json);
        }
        cli::Bench::Incident { flaw: asked_flaws, rounds } => {
            let flaw = |flaw| match flaw {
                cli::Flaw::Verbosity => Flaw::Verbosity,
                cli::Flaw::Popularity => Flaw::Popularity,
                cli::Flaw::Abstention => Flaw::Abstention,
            };
            let plan = bench::incident::Plan { flaws: asked_flaws.into_iter().map(flaw).collect(), rounds };
            let report = bench::incident::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return show(&report, bench::incident::Report::table, json);
        }
        cli::Bench::Decoding { model, examples } => {
            let workspace = global.workspace.as_path();
            let model = model.map_or_else(|| newest_run(workspace), Ok)?;
            let recipe = Recipe::load(source(global))?;
            let report = bench::decoding::run(workspace, &recipe, &model, examples as usize)?;
            return show(&report, bench::decoding::Report::table, json);
        }
        cli::Bench::Relevance { data, annotate, init } => {
            let data = data.map(|file| (file.clone(), log_name(&file)));
            let plan = bench::relevance::Plan { data, annotate_only: annotate, init };
            let report = bench::relevance::run(&global.workspace, &Recipe::load(source(global))?, &plan)?;
            return say(&if json { format!("{}\n", serde_json::to_string(&report)?) } else { report.to_text() });
        }
        cli::Bench::Fake { keys } => {
            let report = bench::fake::run(keys as usize, steps.unwrap_or(200_000))?;
            return show(&report, bench::fake::Report::table, json);
        }
        cli::Bench::Serve { videos } => {
            let report = bench::serving::run(videos as usize, steps.unwrap_or(5_000))?;
            return show(&report, bench::serving::Report::table, json);
        }
    };
    show(&bench::run(&global.workspace, &Recipe::load(source(global))?, job)?, bench::Report::table, json)
}

fn step(work: bench::Work, setting: cli::Setting, steps: Option<usize>) -> bench::Job {
    let shape = match setting.shape {
        cli::Shape::Tiny => bench::Shape::Tiny,
        cli::Shape::Small => bench::Shape::Small,
        cli::Shape::Qwen3_4b => bench::Shape::Qwen3_4b,
    };
    let precision = match setting.precision {
        None => Precision::Auto,
        Some(cli::Precision::F32) => Precision::F32,
        Some(cli::Precision::Bf16) => Precision::Bf16,
    };
    bench::Job::Step(bench::Case { work, shape, precision, recompute: setting.recompute }, steps)
}

/// A file's or folder's own name, without its ending.
fn log_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_stem().map_or_else(|| "log".into(), |stem| stem.to_string_lossy().into_owned())
}

/// A verb's result: a table for a person, the whole of it as JSON for a program.
fn show<T: Serialize>(result: &T, table: impl Fn(&T) -> Table, json: bool) -> Result<()> {
    say(&if json { format!("{}\n", serde_json::to_string(result)?) } else { table(result).to_text() })
}
