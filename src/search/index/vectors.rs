//! The vectors of the documents, and the graphs (HNSW) in which the nearest are found.
//!
//! Documents are numbered in the order they came. A shard holds a run of numbers and one graph, in one file. A graph is built
//! on one thread with a fixed seed, so that the same documents give the same graph; shards are built side by side.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use instant_distance::{Builder, Hnsw, Point, PointId, Search};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Documents of a shard at most.
const SHARD: usize = 1 << 17;
/// Shards built side by side: bounds what a build holds in memory, on a machine of many cores too.
const AT_ONCE: usize = 4;
/// Breadth of the search in a graph when it is asked: no more neighbours than this come back.
const BREADTH: usize = 64;
/// Breadth when it is built.
const BUILD_BREADTH: usize = 50;
const SEED: u64 = 7;
/// What a file of vectors starts with; the number is the version of its layout.
const MAGIC: &[u8; 8] = b"corevec1";
/// 127² times the cosine is what integers of one byte give.
const SCALE: f32 = 127.0;

/// A vector of length 1 in steps of 1/127.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vector(Box<[i8]>);

impl Vector {
    /// Scales to length 1 and rounds. All zeros stay zeros, and are near nothing.
    pub(crate) fn new(values: &[f32]) -> Self {
        let length = values.iter().map(|x| x * x).sum::<f32>().sqrt();
        let factor = if length > 0.0 && length.is_finite() { SCALE / length } else { 0.0 };
        Self(values.iter().map(|x| (x * factor).round() as i8).collect())
    }

    /// Cosine of the angle between two vectors, to about 0.01; at most 1.
    pub(crate) fn cosine(&self, other: &Self) -> f64 {
        let dot: i32 = self.0.iter().zip(&other.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        (f64::from(dot) / f64::from(SCALE * SCALE)).min(1.0)
    }
}

impl Point for Vector {
    fn distance(&self, other: &Self) -> f32 {
        1.0 - self.cosine(other) as f32
    }
}

/// A run of documents and their vectors.
#[derive(Serialize, Deserialize)]
struct Shard {
    /// Number of the first document.
    first: u32,
    body: Body,
}

/// Vectors, to be found by nearness or only compared.
#[derive(Serialize, Deserialize)]
enum Body {
    /// In a graph.
    Graph {
        /// Place of each document's vector in the graph.
        places: Vec<PointId>,
        /// Document at each place of the graph, counted from the shard's first: the other way round.
        docs: Vec<u32>,
        graph: Hnsw<Vector>,
    },
    /// By document. A graph takes as much memory again, and most of an index's time to build.
    Alone(Vec<Vector>),
}

/// One shard's file, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardFile {
    pub file: String,
    /// Documents in it.
    pub docs: usize,
}

impl Shard {
    fn build(first: u32, vectors: Vec<Vector>, graph: bool) -> Result<Self> {
        if !graph {
            return Ok(Self { first, body: Body::Alone(vectors) });
        }
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
        // Neighbours are kept by nearness alone: choosing them for spread as well takes ten times as long, and on these vectors
        // finds no more.
        let builder = Builder::default().select_heuristic(None).ef_construction(BUILD_BREADTH).ef_search(BREADTH);
        let builder = builder.seed(SEED ^ u64::from(first));
        let (graph, places) = alone.install(|| builder.build_hnsw(vectors));
        let mut docs = vec![0; places.len()];
        places.iter().zip(0..).for_each(|(place, doc)| docs[place.into_inner() as usize] = doc);
        Ok(Self { first, body: Body::Graph { places, docs, graph } })
    }

    fn len(&self) -> usize {
        match &self.body {
            Body::Graph { places, .. } => places.len(),
            Body::Alone(vectors) => vectors.len(),
        }
    }

    fn vector(&self, place: usize) -> &Vector {
        match &self.body {
            Body::Graph { places, graph, .. } => &graph[places[place]],
            Body::Alone(vectors) => &vectors[place],
        }
    }

    fn has_graph(&self) -> bool {
        matches!(self.body, Body::Graph { .. })
    }

    /// Keeps the vectors alone.
    fn without_graph(self) -> Self {
        let vectors = (0..self.len()).map(|place| self.vector(place).clone()).collect();
        Self { body: Body::Alone(vectors), ..self }
    }

    /// Numbers and cosines of the nearest; none where there is no graph.
    fn nearest(&self, asked: &Vector, floor: f64, search: &mut Search) -> Vec<(u32, f64)> {
        let Body::Graph { docs, graph, .. } = &self.body else { return Vec::new() };
        let near = graph.search(asked, search).map(|item| (item.pid, item.point.cosine(asked)));
        let near = near.filter(|(_, cosine)| *cosine >= floor);
        near.map(|(place, cosine)| (self.first + docs[place.into_inner() as usize], cosine)).collect()
    }

    fn write(&self, path: &Path) -> Result<()> {
        let body = postcard::to_stdvec(self).context("cannot lay out the vectors")?;
        let put = || -> std::io::Result<()> {
            let mut file = fs::File::create(path)?;
            [&MAGIC[..], &check(&body).to_le_bytes(), &body].into_iter().try_for_each(|part| file.write_all(part))
        };
        put().with_context(|| format!("cannot write {}: check the disk's space", path.display()))
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let damaged = || format!("{} is damaged", path.display());
        ensure!(bytes.len() >= 16 && bytes[..8] == MAGIC[..], damaged());
        let (sum, body) = bytes[8..].split_at(8);
        ensure!(sum == check(body).to_le_bytes(), damaged());
        postcard::from_bytes(body).with_context(damaged)
    }
}

/// FNV-1a over eight bytes at a time: finds a file that a disk or a copy changed, in little time.
pub(crate) fn check(body: &[u8]) -> u64 {
    body.chunks(8).fold(0xcbf2_9ce4_8422_2325 ^ body.len() as u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}

/// All shards of an index, opened.
pub(crate) struct Vectors {
    shards: Vec<Shard>,
    graphs: bool,
    /// Working memory of searches, kept between them.
    idle: Mutex<Vec<Search>>,
}

impl Vectors {
    /// Reads the shards that a manifest lists; every vector must have `dimension` numbers. Without `graphs` nothing is near
    /// anything, and vectors can only be compared.
    pub(super) fn open(folder: &Path, files: &[ShardFile], dimension: usize, graphs: bool) -> Result<Self> {
        let read = |file: &ShardFile| {
            let path = folder.join(&file.file);
            let shard = Shard::read(&path)?;
            ensure!(
                shard.has_graph() || !graphs,
                "{} has no graph of its vectors: the index was built with search.vector_recall = 0",
                path.display()
            );
            Ok(if graphs { shard } else { shard.without_graph() })
        };
        let shards: Vec<Shard> = files.par_iter().map(read).collect::<Result<_>>()?;
        for (shard, file) in shards.iter().zip(files) {
            let path = folder.join(&file.file);
            ensure!(shard.len() == file.docs, "{} is damaged", path.display());
            let mut widths = (0..file.docs).map(|place| shard.vector(place).0.len());
            if let Some(width) = widths.find(|width| *width != dimension) {
                bail!("{} holds vectors of {width} dimensions, its manifest names {dimension}", path.display());
            }
        }
        Ok(Self { shards, graphs, idle: Mutex::default() })
    }

    /// Whether the nearest can be found.
    pub(crate) fn graphs(&self) -> bool {
        self.graphs
    }

    /// Documents that have a vector here.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// A document's vector.
    pub(crate) fn get(&self, number: u32) -> Option<&Vector> {
        let shard = self.shards.partition_point(|shard| shard.first <= number).checked_sub(1)?;
        let shard = &self.shards[shard];
        let place = (number - shard.first) as usize;
        (place < shard.len()).then(|| shard.vector(place))
    }

    /// At most `most` documents whose cosine with `asked` is at least `floor`, nearest first, of equals the smaller number.
    ///
    /// Approximate: the graph may miss one. At most [`BREADTH`] come from each shard.
    pub(crate) fn nearest(&self, asked: &Vector, most: usize, floor: f64) -> Vec<(u32, f64)> {
        if most == 0 {
            return Vec::new();
        }
        let mut search = self.idle.lock().map(|mut idle| idle.pop()).ok().flatten().unwrap_or_default();
        let mut found: Vec<(u32, f64)> = Vec::new();
        for shard in &self.shards {
            found.extend(shard.nearest(asked, floor, &mut search));
        }
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(search);
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }
}

/// Writes the vectors of `new` documents behind those of `old` files, which lie in the same folder; the list of files then.
/// `embed` makes the vectors of a range of the new documents; with `graphs` the nearest can be found among them.
///
/// Shards no larger than what is added are taken into it, as in a log-structured merge tree: there are few of them however
/// often the catalogue grows. Vectors are made shard by shard, so that memory holds those of [`AT_ONCE`] shards at most.
pub(super) fn append(
    folder: &Path,
    mut old: Vec<ShardFile>,
    new: usize,
    graphs: bool,
    embed: impl Fn(Range<usize>) -> Result<Vec<Vector>> + Sync,
    tick: impl Fn(u64) -> Result<()> + Sync,
) -> Result<Vec<ShardFile>> {
    let mut taken_in: Vec<Vector> = Vec::new();
    while let Some(last) = old.last().filter(|last| {
        let block = taken_in.len() + new;
        last.docs <= block && last.docs + block <= SHARD
    }) {
        let path = folder.join(&last.file);
        let shard = Shard::read(&path)?;
        let before = (0..shard.len()).map(|place| shard.vector(place).clone());
        taken_in = before.chain(taken_in).collect();
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        old.pop();
    }
    let (start, older) = (old.iter().map(|file| file.docs).sum::<usize>(), taken_in.len());
    let block = older + new;
    let Ok(total) = u32::try_from(start + block) else {
        bail!("an index holds at most {} documents", u32::MAX);
    };
    let write = |from: usize| -> Result<ShardFile> {
        let to = (from + SHARD).min(block);
        let mut vectors = taken_in[from.min(older)..to.min(older)].to_vec();
        // What was taken in from older shards is work, but no new document.
        let made = from.max(older) - older..to.max(older) - older;
        vectors.extend(embed(made.clone())?);
        let first = start + from;
        let file = format!("vectors-{first:010}-{total:010}");
        Shard::build(first as u32, vectors, graphs)?.write(&folder.join(&file))?;
        tick(made.len() as u64)?;
        Ok(ShardFile { file, docs: to - from })
    };
    for group in (0..block).step_by(SHARD).collect::<Vec<_>>().chunks(AT_ONCE) {
        let made: Vec<ShardFile> = group.par_iter().map(|from| write(*from)).collect::<Result<_>>()?;
        old.extend(made);
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::recipe::stream;

    fn random(n: usize, seed: u64) -> Vec<Vector> {
        let mut rng = stream(seed, "vectors", &[]);
        (0..n).map(|_| Vector::new(&(0..16).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>())).collect()
    }

    fn put(folder: &Path, old: Vec<ShardFile>, new: &[Vector]) -> Result<Vec<ShardFile>> {
        append(folder, old, new.len(), true, |range| Ok(new[range].to_vec()), |_| Ok(()))
    }

    fn exact(all: &[Vector], asked: &Vector, most: usize) -> Vec<u32> {
        let mut order: Vec<(f64, u32)> = all.iter().zip(0..).map(|(v, n)| (v.cosine(asked), n)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        order.into_iter().take(most).map(|(_, n)| n).collect()
    }

    #[test]
    fn the_nearest_are_found_and_nearly_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let all = random(2_000, 1);
        let files = put(dir.path(), vec![], &all).unwrap();
        let vectors = Vectors::open(dir.path(), &files, 16, true).unwrap();
        let (mut hits, mut wanted) = (0, 0);
        for asked in random(50, 2) {
            let found: Vec<u32> = vectors.nearest(&asked, 10, -1.0).into_iter().map(|(n, _)| n).collect();
            let truth = exact(&all, &asked, 10);
            wanted += truth.len();
            hits += truth.iter().filter(|n| found.contains(n)).count();
        }
        assert!(hits as f64 >= 0.95 * wanted as f64, "{hits} of {wanted}");
    }

    #[test]
    fn growing_keeps_numbers_and_vectors_and_few_files() {
        let dir = tempfile::tempdir().unwrap();
        let all = random(700, 3);
        let mut files = Vec::new();
        for part in all.chunks(50) {
            files = put(dir.path(), files, part).unwrap();
            assert!(files.len() <= 5, "{files:?}");
        }
        let vectors = Vectors::open(dir.path(), &files, 16, true).unwrap();
        assert_eq!(vectors.len(), 700);
        assert!(all.iter().zip(0..).all(|(v, n)| vectors.get(n) == Some(v)));
        let bare = Vectors::open(dir.path(), &files, 16, false).unwrap();
        assert!(all.iter().zip(0..).all(|(v, n)| bare.get(n) == Some(v)));
        assert!(bare.nearest(&all[0], 5, -1.0).is_empty() && !vectors.nearest(&all[0], 5, -1.0).is_empty());
        assert_eq!(vectors.get(700), None);
        for (number, v) in all.iter().enumerate().step_by(70) {
            assert_eq!(vectors.nearest(v, 1, 0.9)[0].0, number as u32);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), files.len(), "nothing is left over");
    }

    #[test]
    fn vectors_without_a_graph_can_be_compared_and_are_refused_to_who_wants_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let all = random(100, 6);
        let files = append(dir.path(), vec![], 100, false, |range| Ok(all[range].to_vec()), |_| Ok(())).unwrap();
        let vectors = Vectors::open(dir.path(), &files, 16, false).unwrap();
        assert!(all.iter().zip(0..).all(|(v, n)| vectors.get(n) == Some(v)));
        let error = Vectors::open(dir.path(), &files, 16, true).err().unwrap().to_string();
        assert!(error.contains("vector_recall"), "{error}");
    }

    #[test]
    fn the_same_vectors_give_the_same_file_and_a_changed_byte_is_found() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = put(a.path(), vec![], &random(300, 4)).unwrap();
        put(b.path(), vec![], &random(300, 4)).unwrap();
        let path = a.path().join(&files[0].file);
        let mut bytes = fs::read(&path).unwrap();
        assert_eq!(bytes, fs::read(b.path().join(&files[0].file)).unwrap());
        bytes[1_000] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Vectors::open(a.path(), &files, 16, true).err().unwrap().to_string();
        assert!(error.contains(&files[0].file) && error.contains("damaged"), "{error}");
    }

    #[test]
    fn nothing_is_near_nothing() {
        let zero = Vector::new(&[0.0; 16]);
        assert_eq!(zero.cosine(&random(1, 5)[0]), 0.0);
        let dir = tempfile::tempdir().unwrap();
        let files = put(dir.path(), vec![], &[]).unwrap();
        assert!(Vectors::open(dir.path(), &files, 16, true).unwrap().nearest(&zero, 5, 0.1).is_empty());
    }
}
