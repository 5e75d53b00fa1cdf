//! The `core` binary: parse, run, print one error, exit code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use core_rewriter::cli::{self, Cli, Command, Format, IndexJob, Objective, Size};
use core_rewriter::journal::stop::{self, Stopped};
use core_rewriter::journal::{Table, say};
use core_rewriter::recipe::{Recipe, Usage};
use core_rewriter::report::List;
use core_rewriter::rewrite::Question;
use core_rewriter::rewriter::newest_run;
use core_rewriter::train::{Existing, Options};
use core_rewriter::{
    ab, bench, demo, doctor, evaluate, find, index, mine, report, rewrite, serve, simulate, train, watch,
};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C.
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
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let (global, json) = (&cli.global, cli.global.json);
    let workspace = global.workspace.as_path();
    let recipe = || Recipe::load(&global.recipe);
    let model = |name: Option<String>| name.map_or_else(|| newest_run(workspace), Ok);
    match cli.command {
        Command::Demo { size, fresh } => {
            let source = match (size, global.recipe.as_str()) {
                (None | Some(Size::Demo), recipe) => recipe,
                (Some(Size::Tiny), "demo" | "tiny") => "tiny",
                (Some(Size::Tiny), other) => {
                    let text = format!("--size and --recipe {other} are two answers to one question: give one of them");
                    return Err(Usage(text).into());
                }
            };
            demo::run(workspace, source, fresh, json)
        }
        Command::Simulate { fresh } => {
            show(&simulate::run(workspace, &recipe()?, fresh)?, simulate::Summary::table, json)
        }
        Command::Mine { from, path, log } => {
            let recipe = recipe()?;
            let (source, name) = match (from, &path) {
                (Some(Format::Ubi), Some(path)) => (mine::Source::Ubi(path), log_name(path)),
                _ => (mine::Source::Store, recipe.name.clone()),
            };
            let log = log.unwrap_or(name);
            show(&mine::run(workspace, &recipe, &log, source)?, mine::Summary::table, json)
        }
        Command::Train { objective: Objective::Sft, name, log, init, resume, fresh } => {
            let recipe = recipe()?;
            let log = log.unwrap_or_else(|| recipe.name.clone());
            let name = name.unwrap_or_else(|| format!("{log}-sft"));
            let existing = match (resume, fresh) {
                (true, _) => Existing::Resume,
                (_, true) => Existing::Replace,
                _ => Existing::Refuse,
            };
            let options = Options { name: &name, log: &log, init: init.as_deref(), existing };
            show(&train::run(workspace, &recipe, &options)?, train::Summary::table, json)
        }
        Command::Eval { rewriters } => {
            let names: Vec<_> = rewriters.iter().map(String::as_str).collect();
            show(&evaluate::run(workspace, &recipe()?, &names)?, evaluate::Report::table, json)
        }
        Command::Ab { treatment } => {
            show(&ab::run(workspace, &recipe()?, &model(treatment)?)?, ab::Report::table, json)
        }
        Command::Rewrite { query, watched, searched, place, context, model: name } => {
            let question = Question { query, file: context, watched, searched, place };
            show(&rewrite::run(workspace, &recipe()?, &model(name)?, &question)?, rewrite::Answer::table, json)
        }
        Command::Serve { port, host, model: name } => serve::run(workspace, &recipe()?, &model(name)?, host, port),
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
        Command::Bench { work } => {
            show(&bench::run(workspace, &recipe()?, measured(work))?, bench::Report::table, json)
        }
        Command::Watch => watch::run(workspace),
        Command::Runs => report::run(workspace, List::Runs, json),
        Command::Logs => report::run(workspace, List::Logs, json),
        Command::Doctor => doctor::run(workspace, json),
    }
}

/// What a subcommand of `bench` measures.
fn measured(work: cli::Bench) -> bench::Job {
    let trained = |cli::TrainShape::Tiny| bench::Shape::Tiny;
    let decoded = |shape| match shape {
        cli::Shape::Tiny => bench::Shape::Tiny,
        cli::Shape::Small => bench::Shape::Small,
    };
    let steps = |cli::Steps { steps }: cli::Steps| steps.map(|n| n as usize);
    match work {
        cli::Bench::Sft { shape, n } => bench::Job::Step(bench::Work::Sft, trained(shape), steps(n)),
        cli::Bench::Grpo { shape, n } => bench::Job::Step(bench::Work::Grpo, trained(shape), steps(n)),
        cli::Bench::Mpo { shape, layout, n } => {
            let layout = match layout {
                cli::Layout::Pairs => bench::Layout::Pairs,
                cli::Layout::Shared => bench::Layout::Shared,
            };
            bench::Job::Step(bench::Work::Mpo(layout), trained(shape), steps(n))
        }
        cli::Bench::Sample { shape, n } => bench::Job::Step(bench::Work::Sample, decoded(shape), steps(n)),
        cli::Bench::Rewrite { shape, n } => bench::Job::Step(bench::Work::Rewrite, decoded(shape), steps(n)),
        cli::Bench::Stages => bench::Job::Stages,
        cli::Bench::Search { docs, queries } => {
            bench::Job::Search { docs: docs.map(|n| n as usize), queries: queries as usize }
        }
    }
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
