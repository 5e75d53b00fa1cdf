//! Releases through the binary: into use, back again, and what happens when something is half there, gone or damaged.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common::server::Server;
use crate::common::{core, fails, json, ok};
use serde_json::{Value, json as j};

/// A small world whose models are trained for a few steps.
const RECIPE: &str = "
name = 'small'
seed = 7
[world]
videos = 800
people = 150
weeks = 2
heads = 40
[mine]
held_out_people = 0.4
[model]
vocab = 400
hidden = 32
layers = 1
heads = 2
kv_heads = 1
ffn = 64
[train]
steps = 4
eval_every = 4
save_every = 4
";

/// A workspace with a log and what was mined from it, and the recipe's file.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        shop.recipe("");
        ok(&mut shop.command(&["simulate"]));
        ok(&mut shop.command(&["mine"]));
        shop
    }

    fn at(&self, inside: &str) -> std::path::PathBuf {
        self.dir.path().join(inside)
    }

    /// Writes the recipe, with more behind it.
    fn recipe(&self, more: &str) {
        std::fs::write(self.at("small.toml"), format!("{RECIPE}{more}")).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = core(self.dir.path());
        command.args(args).arg("--recipe").arg(self.at("small.toml"));
        command
    }

    /// A run that learns for `lr`: another model for another one.
    fn train(&self, name: &str, lr: &str) {
        self.recipe(&format!("lr = {lr}\n"));
        ok(&mut self.command(&["train", "sft", "--name", name]));
    }

    /// Name of the rewriter that answers, and its answer with the log-probability, which tells weights apart.
    fn answer(&self, more: &[&str]) -> (String, Value) {
        let answer = json(&mut self.command(&[&["rewrite", "mercury", "--watched", "Planet"], more].concat()));
        (answer["rewriter"].as_str().unwrap().to_owned(), j!([answer["rewrite"], answer["reason"], answer["logprob"]]))
    }

    /// Ids of the releases, oldest first, and the one in use.
    fn listed(&self) -> (Vec<i64>, Option<i64>) {
        let report = json(&mut self.command(&["releases"]));
        let releases = report["releases"].as_array().unwrap();
        let id = |release: &Value| release["id"].as_i64().unwrap();
        (releases.iter().map(id).collect(), releases.iter().find(|release| release["in_use"] == true).map(id))
    }
}

#[test]
fn into_use_and_back_again() {
    let shop = Shop::open();
    let (code, said) = fails(&mut shop.command(&["rollback"]));
    assert!(code == 1 && said.contains("core release RUN"), "{said}");
    let (_, said) = fails(&mut shop.command(&["rewrite", "mercury", "--model", "release"]));
    assert!(said.contains("no release of log \"small\" is in use"), "{said}");
    shop.train("one", "1e-3");
    shop.train("two", "1e-2");
    let (one, two) = (shop.answer(&["--model", "one"]).1, shop.answer(&["--model", "two"]).1);
    assert_ne!(one, two, "two models");
    assert_eq!(shop.answer(&[]), ("two".into(), two.clone()), "without a release the newest run answers");

    // What a process that was killed while it released leaves behind means nothing.
    for folder in ["releases/1", "releases/.1.new-99999999"] {
        std::fs::create_dir_all(shop.at(folder)).unwrap();
        std::fs::write(shop.at(folder).join("model.safetensors"), "half").unwrap();
    }
    assert_eq!(shop.listed(), (vec![], None));
    assert_eq!(shop.answer(&[]).0, "two");

    let report = json(&mut shop.command(&["release", "one"]));
    let first = &report["releases"][0];
    assert_eq!(
        (&first["id"], &first["run"], &first["step"], &first["in_use"]),
        (&j!(1), &j!("one"), &j!(4), &j!(true))
    );
    assert_eq!((&first["reason"], &first["verdict"]), (&j!("by hand, without a gate"), &Value::Null));
    assert!(!shop.at("releases/.1.new-99999999").exists() && !shop.at("releases/1/optimizer.safetensors").exists());
    assert_eq!(shop.answer(&[]), ("release:1".into(), one.clone()), "the release, though another run is newer");
    assert_eq!(json(&mut shop.command(&["release", "one"])), report, "once more is no more");

    let server = Server::start(shop.dir.path(), &["--recipe", shop.at("small.toml").to_str().unwrap()]);
    ok(&mut shop.command(&["release", "two", "--why", "it was trained longer"]));
    assert_eq!((shop.listed(), shop.answer(&[])), ((vec![1, 2], Some(2)), ("release:2".into(), two.clone())));
    assert_eq!(shop.answer(&["--model", "release:1"]), ("release:1".into(), one.clone()));
    assert_eq!(shop.answer(&["--model", "release:free"]), ("release:2:free".into(), two));
    let health = server.get("/healthz").1;
    assert!(health.contains("\"release:1\""), "a running server keeps what it opened: {health}");
    server.stop();

    // The runs may go: a release has weights of its own.
    std::fs::remove_dir_all(shop.at("runs")).unwrap();
    let report = json(&mut shop.command(&["rollback", "--why", "it was worse"]));
    let changes: Vec<_> = report["changes"].as_array().unwrap().iter().map(|c| (&c["release"], &c["why"])).collect();
    let by_hand = j!("by hand, without a gate");
    let longer = j!("by hand, without a gate: it was trained longer");
    assert_eq!(changes, [(&j!(1), &by_hand), (&j!(2), &longer), (&j!(1), &j!("it was worse"))]);
    assert_eq!((shop.listed().1, shop.answer(&[])), (Some(1), ("release:1".into(), one)));
    let (code, said) = fails(&mut shop.command(&["rollback"]));
    assert!(code == 1 && said.contains("release 1 is the first of log \"small\""), "{said}");
    let (_, said) = fails(&mut shop.command(&["rollback", "--to", "7"]));
    assert!(said.contains("no release 7: it has 1, 2"), "{said}");
    let (_, said) = fails(&mut shop.command(&["release", "one", "--log", "smal"]));
    assert!(said.contains("it holds small"), "{said}");
    let table = ok(&mut shop.command(&["releases"]));
    assert!(table.starts_with("Last change: release 1 in use for small since 20"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn killed_at_any_moment_the_old_release_is_in_use_or_the_new_one() {
    let shop = Shop::open();
    shop.train("one", "1e-3");
    shop.train("two", "1e-2");
    ok(&mut shop.command(&["release", "one"]));
    let (mut now, mut cut) = (1, 0);
    // From the start of the process to after its end.
    for ms in (0..120).step_by(4) {
        let run = if json(&mut shop.command(&["releases"]))["releases"][now as usize - 1]["run"] == "one" {
            "two"
        } else {
            "one"
        };
        let mut child = shop.command(&["release", run]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        cut += usize::from(!done);
        let (ids, in_use) = shop.listed();
        let newest = *ids.last().unwrap();
        assert!(newest == now + 1 || newest == now && !done, "after {ms} ms: {ids:?}, {now} before");
        assert_eq!((in_use, ids.len() as i64), (Some(newest), newest), "after {ms} ms");
        assert_eq!(shop.answer(&[]).0, format!("release:{newest}"), "after {ms} ms");
        now = newest;
    }
    assert!(cut > 0, "no process was killed before it was done");
    ok(&mut shop.command(&["release", "one"]));
    ok(&mut shop.command(&["release", "two"]));
    let left = std::fs::read_dir(shop.at("releases")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_folder_that_is_damaged_or_gone_is_named_with_the_remedy() {
    let shop = Shop::open();
    shop.train("one", "1e-3");
    shop.train("two", "1e-2");
    ok(&mut shop.command(&["release", "one"]));
    ok(&mut shop.command(&["release", "two"]));
    let weights = shop.at("releases/1/model.safetensors");
    flip_a_bit(&weights);
    let named = |said: &str| {
        for part in ["release 1 ", "releases/1", "core rollback --to ID", "core release one"] {
            assert!(said.contains(part), "{part} not in {said}");
        }
    };
    for gone in [false, true] {
        if gone {
            std::fs::remove_dir_all(shop.at("releases/1")).unwrap();
        }
        let (code, said) = fails(&mut shop.command(&["rollback"]));
        assert!(code == 1 && said.contains("release 2 of log \"small\" stays in use"), "{said}");
        named(&said);
        assert_eq!(shop.listed().1, Some(2));
        let (code, said) = fails(&mut shop.command(&["rewrite", "mercury", "--model", "release:1"]));
        assert_eq!(code, 1);
        named(&said);
    }
    // The one in use: no other model takes its place in silence, and the remedy works.
    flip_a_bit(&shop.at("releases/2/model.safetensors"));
    let (code, said) = fails(&mut shop.command(&["rewrite", "mercury"]));
    assert!(code == 1 && said.contains("release 2 ") && said.contains("core release two"), "{said}");
    ok(&mut shop.command(&["release", "two"]));
    assert_eq!((shop.listed(), shop.answer(&[]).0), ((vec![1, 2, 3], Some(3)), "release:3".into()));
}

#[test]
fn an_adapter_is_released_beside_the_base_it_names() {
    let shop = Shop::open();
    shop.recipe("[lora]\nrank = 2\n");
    ok(&mut shop.command(&["train", "sft", "--name", "adapter", "--init", "base"]));
    let own = shop.answer(&[]);
    assert_eq!(own.0, "adapter");
    ok(&mut shop.command(&["release", "adapter"]));
    assert!(shop.at("releases/1/adapter_model.safetensors").exists());
    assert!(!shop.at("releases/1/model.safetensors").exists() && !shop.at("releases/1/optimizer.safetensors").exists());
    assert_eq!(shop.answer(&[]), ("release:1".into(), own.1));
    flip_a_bit(&shop.at("base/model.safetensors"));
    let (_, said) = fails(&mut shop.command(&["rewrite", "mercury"]));
    assert!(said.contains("release 1 ") && said.contains("base that its adapter stands on"), "{said}");
}
