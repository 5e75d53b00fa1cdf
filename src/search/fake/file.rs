//! The file of a fake index: written beside and renamed, checked whole when it is opened, then read through a memory map.
//!
//! `COREFAKE`, length of the header (u32), header (JSON), then four parts: the fst of keys (key → place of its list),
//! the lists, places of the cards (u64 each), the cards. Numbers are little-endian.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use tantivy::directory::{Directory, MmapDirectory, OwnedBytes};
use tantivy_fst::raw::Fst;
use tantivy_fst::{Map, MapBuilder};

use super::{Card, Listed};
use crate::journal::now_ms;

const MAGIC: &[u8] = b"COREFAKE";
/// Changes with the layout, so that an older file is built anew.
const FORMAT: u32 = 1;
/// Keys between two reports of progress.
const TICK: usize = 10_000;

/// What a fake index says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    format: u32,
    /// Counts the builds of this file, from 1.
    pub version: u64,
    /// When it was built, Unix milliseconds.
    pub made_ms: i64,
    /// The logs it was built from.
    pub logs: Vec<String>,
    /// Queries in it.
    pub keys: u64,
    /// Of these, those ordered by clicks and dwell.
    pub head_keys: u64,
    /// Documents named in it.
    pub docs: u64,
    /// Lengths of the four parts, bytes.
    parts: [u64; 4],
    /// CRC-32 of all four.
    crc: u32,
}

/// The list of one query, as the writer takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// A key, see [`super::key`].
    pub key: String,
    /// Whether it is ordered by clicks and dwell.
    pub head: bool,
    /// Places among the cards and weights in (0, 1], best first.
    pub docs: Vec<(u32, f32)>,
}

/// Writes a fake index in place of the one at `path`, whole or not at all. `lists` come in the order of their keys, each
/// key once. `tick(n)` hears of every `n` keys done.
///
/// # Errors
/// A full disk, a folder that cannot be written; the earlier index is then still there.
pub fn write(
    path: &Path,
    logs: &[String],
    cards: &[Card],
    lists: impl Iterator<Item = List>,
    tick: impl Fn(u64),
) -> Result<Info> {
    let (mut map, mut records) = (MapBuilder::memory(), Vec::new());
    let (mut keys, mut head_keys) = (0, 0);
    for list in lists {
        map.insert(&list.key, records.len() as u64).map_err(|e| anyhow!("key {:?}: {e}", list.key))?;
        records.push(u8::from(list.head));
        records.extend((list.docs.len() as u32).to_le_bytes());
        for (doc, weight) in list.docs {
            records.extend(doc.to_le_bytes());
            records.extend(weight.to_le_bytes());
        }
        keys += 1;
        head_keys += u64::from(list.head);
        if keys % TICK as u64 == 0 {
            tick(TICK as u64);
        }
    }
    tick(keys % TICK as u64);
    let map = map.into_inner().map_err(|e| anyhow!("the keys do not end: {e}"))?;
    let (mut places, mut texts) = (Vec::new(), Vec::new());
    for card in cards {
        places.extend((texts.len() as u64).to_le_bytes());
        texts.extend((2 + card.tags.len() as u32).to_le_bytes());
        for text in [&card.doc, &card.title].into_iter().chain(&card.tags) {
            texts.extend((text.len() as u32).to_le_bytes());
            texts.extend(text.as_bytes());
        }
    }
    let parts = [map, records, places, texts];
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    // What cannot be read any more is counted as the first.
    let earlier = FakeIndex::open(path).map_or(0, |index| index.info.version);
    let info = Info {
        format: FORMAT,
        version: earlier + 1,
        made_ms: now_ms(),
        logs: logs.to_vec(),
        keys,
        head_keys,
        docs: cards.len() as u64,
        parts: parts.each_ref().map(|part| part.len() as u64),
        crc: crc.finalize(),
    };
    publish(path, &info, &parts).with_context(|| {
        format!("cannot write {}: check the folder's permissions and the disk's space", path.display())
    })?;
    Ok(info)
}

fn publish(path: &Path, info: &Info, parts: &[Vec<u8>]) -> Result<()> {
    let dir = path.parent().context("a file has a folder")?;
    fs::create_dir_all(dir)?;
    let beside = path.with_extension("fake.new");
    let header = serde_json::to_vec(info)?;
    let write = || -> Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(MAGIC)?;
        file.write_all(&(header.len() as u32).to_le_bytes())?;
        file.write_all(&header)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(fs::File::open(dir)?.sync_all()?)
    };
    write().inspect_err(|_| {
        // On a full disk what cannot be used is the first that should go.
        let _ = fs::remove_file(&beside);
    })
}

/// An open fake index; share it between threads by reference.
pub struct FakeIndex {
    info: Info,
    bytes: u64,
    keys: Map<OwnedBytes>,
    lists: OwnedBytes,
    places: OwnedBytes,
    cards: OwnedBytes,
}

impl FakeIndex {
    /// Opens a file and checks it whole.
    ///
    /// # Errors
    /// No such file; a damaged one, or one of another version. The sentence names the command that builds it.
    pub fn open(path: &Path) -> Result<Self> {
        ensure!(path.exists(), "no fake index at {}: build it with `core fake build`", path.display());
        let damaged = || format!("the fake index {} is damaged: build it anew with `core fake build`", path.display());
        // A new directory each time: one directory keeps giving out the map of the file that had this name before.
        let open = || -> Result<OwnedBytes> {
            let (dir, name) = (path.parent().context("a file has a folder")?, path.file_name().context("a name")?);
            Ok(MmapDirectory::open(dir)?.open_read(Path::new(name))?.read_bytes()?)
        };
        let whole = open().with_context(|| format!("cannot read {}: check its permissions", path.display()))?;
        Self::read(whole).with_context(damaged)
    }

    fn read(whole: OwnedBytes) -> Result<Self> {
        let bytes = whole.len() as u64;
        let start = MAGIC.len() + 4;
        ensure!(whole.len() > start && whole[..MAGIC.len()] == *MAGIC, "it does not start as a fake index does");
        let header_end = start + number(&whole, MAGIC.len()).context("no header")? as usize;
        let header = whole.get(start..header_end).context("it ends within its header")?;
        let info: Info = serde_json::from_slice(header).context("its header cannot be read")?;
        ensure!(info.format == FORMAT, "it has format {}, this program reads {FORMAT}", info.format);
        let ends = info.parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
        ensure!(ends == Some((whole.len() - header_end) as u64), "it is not as long as it says");
        let body = whole.slice(header_end..whole.len());
        ensure!(crc32fast::hash(&body) == info.crc, "its check sum is another");
        let [map, lists, places, cards] = cut(body, info.parts.map(|part| part as usize));
        let keys = Map::from(Fst::new(map).map_err(|e| anyhow!("its keys cannot be read: {e}"))?);
        Ok(Self { info, bytes, keys, lists, places, cards })
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The documents of a query, best first; none when it is no key. Costs microseconds.
    #[must_use]
    pub fn get(&self, query: &str) -> Option<Vec<Listed>> {
        let at = self.keys.get(super::key(query)?)? as usize;
        let n = number(&self.lists, at + 1)? as usize;
        let entries = self.lists.get(at + 5..at + 5 + n * 8)?;
        let listed = |entry: &[u8]| {
            let weight = f32::from_le_bytes(entry[4..].try_into().ok()?);
            Some(Listed { card: self.card(number(entry, 0)?)?, weight: f64::from(weight) })
        };
        entries.chunks_exact(8).map(listed).collect()
    }

    /// Whether a query's list is ordered by clicks and dwell; none when it is no key.
    #[must_use]
    pub fn is_head(&self, query: &str) -> Option<bool> {
        let at = self.keys.get(super::key(query)?)? as usize;
        Some(*self.lists.get(at)? == 1)
    }

    fn card(&self, doc: u32) -> Option<Card> {
        let at = doc as usize * 8;
        let mut at = u64::from_le_bytes(self.places.get(at..at + 8)?.try_into().ok()?) as usize;
        let texts = number(&self.cards, at)? as usize;
        at += 4;
        let mut next = || {
            let end = at + 4 + number(&self.cards, at)? as usize;
            let text = std::str::from_utf8(self.cards.get(at + 4..end)?).ok()?;
            at = end;
            Some(text.to_owned())
        };
        let (doc, title) = (next()?, next()?);
        let tags = (2..texts).map(|_| next()).collect::<Option<_>>()?;
        Some(Card { doc, title, tags })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn cut(mut body: OwnedBytes, lengths: [usize; 4]) -> [OwnedBytes; 4] {
    lengths.map(|length| {
        let (part, rest) = body.clone().split(length);
        body = rest;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(doc: &str) -> Card {
        Card { doc: doc.into(), title: format!("Title of {doc}, 光良"), tags: vec!["a".into(), String::new()] }
    }

    fn list(key: &str, docs: &[(u32, f32)]) -> List {
        List { key: key.into(), head: docs.len() > 1, docs: docs.to_vec() }
    }

    fn build(path: &Path, lists: &[List]) -> Result<Info> {
        let cards = [card("v1"), card("v2"), card("v3")];
        write(path, &["log".into()], &cards, lists.iter().cloned(), |_| ())
    }

    #[test]
    fn lists_come_back_as_they_were_and_versions_count_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/x.fake");
        let lists = [list("jaguar", &[]), list("jaguar car", &[(2, 1.0), (0, 0.25)]), list("光良", &[(1, 1.0)])];
        let info = build(&path, &lists).unwrap();
        assert_eq!((info.version, info.keys, info.head_keys, info.docs), (1, 3, 1, 3));
        let index = FakeIndex::open(&path).unwrap();
        let listed = |doc, weight| Listed { card: card(doc), weight };
        assert_eq!(index.get("Jaguar, CAR!"), Some(vec![listed("v3", 1.0), listed("v1", 0.25)]));
        assert_eq!((index.get("光良"), index.get("jaguar")), (Some(vec![listed("v2", 1.0)]), Some(vec![])));
        assert_eq!(["jaguar cars", "jagua", "", "?!"].map(|q| index.get(q)), [None, None, None, None]);
        assert_eq!([index.is_head("jaguar car"), index.is_head("jaguar")], [Some(true), Some(false)]);
        assert_eq!(build(&path, &lists[..1]).unwrap().version, 2);
        // The one that is open still reads the file it opened.
        assert_eq!(index.get("光良").unwrap().len(), 1);
        assert!(FakeIndex::open(&path).unwrap().get("光良").is_none());
    }

    #[test]
    fn keys_out_of_order_are_refused_and_the_earlier_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.fake");
        build(&path, &[list("a", &[(0, 1.0)])]).unwrap();
        assert!(build(&path, &[list("b", &[]), list("a", &[])]).is_err());
        assert!(FakeIndex::open(&path).unwrap().get("a").is_some());
    }

    #[test]
    fn any_damage_is_named_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.fake");
        let said = |path: &Path| format!("{:#}", FakeIndex::open(path).err().unwrap());
        assert!(said(&path).contains("no fake index at") && said(&path).contains("core fake build"));
        build(&path, &[list("a", &[(0, 1.0)]), list("b", &[(1, 1.0)])]).unwrap();
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            // A header may still say the same in other words; everything else is found out.
            if FakeIndex::open(&path).is_err() {
                assert!(said(&path).contains("x.fake is damaged") && said(&path).contains("core fake build"));
            } else {
                assert!(at < 12 + number(&good, 8).unwrap() as usize, "byte {at}");
            }
        }
        for length in [0, 5, 11, 40, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            assert!(said(&path).contains("damaged"), "{length} bytes: {}", said(&path));
        }
        // A build mends it.
        assert_eq!(build(&path, &[list("a", &[])]).unwrap().version, 1);
    }
}
