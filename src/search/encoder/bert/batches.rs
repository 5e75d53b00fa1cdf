//! Which texts go through the network together, and doing batches on all cores.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};

/// Numbers that a layer may hold for a batch, 128 MiB of float32: 14 texts of 256 tokens in BERT-base. Memory grows with it, and
/// speed does not.
const MOST_FLOATS: usize = 1 << 25;

/// Texts of `lengths` tokens in batches of at most `most`, by their places; a layer holds `floats(n)` numbers for a text of `n`
/// tokens, and no batch more than memory is meant for, unless it is a single text. The longest first, so that a batch holds texts of
/// one length, little is padded, and the short ones even out the cores at the end.
pub(super) fn plan(lengths: &[usize], most: usize, floats: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(lengths[*place]));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let rows = most.min(MOST_FLOATS / floats(lengths[*first]).max(1)).clamp(1, rest.len());
        let (batch, others) = rest.split_at(rows);
        batches.push(batch.to_vec());
        rest = others;
    }
    batches
}

/// Does `jobs` pieces of work, a worker a core, and gives back what they made, in order. The first error ends it.
///
/// Each worker is alone in a pool of threads: matrix products inside would else spread over all cores, and a worker that waits
/// for its product's parts would take up another batch meanwhile, and another.
pub(super) fn on_all_cores<T: Send>(jobs: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one = || -> Result<Vec<(usize, T)>> {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
        alone.install(|| {
            let mut done = Vec::new();
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs || failed.load(Ordering::Relaxed) {
                    return Ok(done);
                }
                done.push((job, work(job).inspect_err(|_| failed.store(true, Ordering::Relaxed))?));
            }
        })
    };
    let workers = rayon::current_num_threads().min(jobs);
    let done: Vec<Result<Vec<(usize, T)>>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(one)).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, _>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().map(join).collect()
    });
    let mut all: Vec<(usize, T)> = done.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    all.sort_by_key(|(job, _)| *job);
    Ok(all.into_iter().map(|(_, made)| made).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_text_once_longest_first_and_few_long_ones() {
        let lengths: Vec<usize> = (0..300).map(|i| 1 + (i * 37) % 512).collect();
        let floats = |tokens: usize| 12 * tokens * tokens;
        let batches = plan(&lengths, 32, floats);
        let mut all: Vec<usize> = batches.concat();
        assert!(all.windows(2).all(|w| lengths[w[0]] >= lengths[w[1]]));
        for batch in &batches {
            assert!(batch.len() <= 32 && batch.len() * floats(lengths[batch[0]]) <= MOST_FLOATS);
        }
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<_>>());
        assert_eq!(plan(&[0, 0], 1, floats), [[0], [1]]);
        assert_eq!(plan(&[5, 9], 8, |_| usize::MAX), [[1], [0]]);
        assert!(plan(&[], 4, floats).is_empty());
    }

    #[test]
    fn work_comes_back_in_order_and_an_error_ends_it() {
        assert_eq!(on_all_cores(100, |job| Ok(job * 2)).unwrap(), (0..100).map(|j| j * 2).collect::<Vec<_>>());
        let begun = AtomicUsize::new(0);
        let failing = |job| {
            begun.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(job < 3, "job {job}");
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(())
        };
        assert!(on_all_cores(10_000, failing).is_err());
        assert!(begun.into_inner() < 1_000);
    }
}
