//! The library in one page: open a rewriter of a workspace and ask it what to do with a query.
//!
//!     cargo run --release -- demo --size tiny
//!     cargo run --release --example rewrite -- workspace tiny jaguar "Big cats of the rain forest"
//!
//! Arguments: workspace folder, recipe, query, titles watched before (newest first).

use std::path::Path;

use anyhow::{Context as _, Result};
use core_rewriter::logs::{Context, Seen};
use core_rewriter::recipe::Recipe;
use core_rewriter::rewriter::{RULES, Rewriter, newest_run};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("give the {what}; see the top of this file"));
    let (workspace, recipe, query) = (next("workspace")?, Recipe::load(&next("recipe")?)?, next("query")?);
    let watched = arguments.map(|title| Seen { title, tags: Vec::new() }).collect();
    let context = Context { watched, ..Context::default() };

    // Rules and models answer through the same call; the newest run is the model that was trained last.
    let workspace = Path::new(&workspace);
    let model = newest_run(workspace)?;
    for name in RULES.into_iter().chain([model.as_str()]) {
        let rewriter = Rewriter::open(workspace, &recipe, name)?;
        for outcome in rewriter.rewrite(&[(&context, query.as_str())])? {
            println!("{:<24} {} ({:?})", rewriter.name(), outcome.target(), outcome.reason);
        }
    }
    Ok(())
}
