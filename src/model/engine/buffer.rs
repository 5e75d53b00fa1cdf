//! Working memory that is used again: fresh pages cost more than what is computed into them.
//!
//! Each thread keeps the buffers it made and is done with. A layer's activations come and go in the same sizes, so after
//! the first pack hardly anything is asked of the allocator, and nothing is cleared that will be overwritten anyway.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Floats that a thread keeps at most: 1 GiB.
const KEPT: usize = 256 << 20;

/// Buffers by the class of their size.
#[derive(Default)]
struct Free {
    classes: Vec<Vec<Vec<f32>>>,
    floats: usize,
}

/// Threads that have made buffers so far.
static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
    /// This thread's number, from 1.
    static THREAD: u32 = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
}

/// Floats of a fixed number; kept for the next one when the thread that made it drops it.
#[derive(Default)]
pub(super) struct Buffer {
    floats: Vec<f32>,
    /// The thread that made it: one that only ever got what others made would keep more and more.
    maker: u32,
}

/// The size that is allocated for `n` floats, at most an eighth more, and its class: nearly equal sizes share buffers.
fn class(n: usize) -> (usize, usize) {
    let power = n.next_power_of_two().max(256);
    let step = power / 16;
    let size = n.next_multiple_of(step);
    (size, 17 * power.trailing_zeros() as usize + size / step)
}

impl Buffer {
    /// For a destination that will be written whole: holds whatever an earlier use left there.
    pub fn stale(n: usize) -> Self {
        let (size, class) = class(n);
        let found = FREE.with_borrow_mut(|free| {
            let buffer = free.classes.get_mut(class)?.pop()?;
            free.floats -= buffer.capacity();
            Some(buffer)
        });
        let mut buffer = found.unwrap_or_else(|| Vec::with_capacity(size));
        buffer.resize(n, 0.0);
        Self { floats: buffer, maker: THREAD.with(|own| *own) }
    }

    /// Zeros.
    pub fn zeros(n: usize) -> Self {
        let mut buffer = Self::stale(n);
        buffer.fill(0.0);
        buffer
    }

    /// One behind the other.
    pub fn joined(a: &Self, b: &Self) -> Self {
        let mut buffer = Self::stale(a.len() + b.len());
        let (first, second) = buffer.split_at_mut(a.len());
        first.copy_from_slice(a);
        second.copy_from_slice(b);
        buffer
    }

    /// A copy.
    pub fn of(x: &[f32]) -> Self {
        let mut buffer = Self::stale(x.len());
        buffer.copy_from_slice(x);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.floats);
        let (size, class) = class(buffer.capacity());
        // One whose room is not its class's would be too small for the next that asks.
        if size != buffer.capacity() || !THREAD.try_with(|own| *own == self.maker).unwrap_or(false) {
            return;
        }
        // A thread that is ending keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.classes.len() <= class {
                free.classes.resize_with(class + 1, Vec::new);
            }
            if free.floats + size <= KEPT {
                free.floats += size;
                free.classes[class].push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_zeros_are_zeros() {
        let mut first = Buffer::stale(1_000);
        first.fill(7.0);
        let at = first.as_ptr();
        drop(first);
        let again = Buffer::stale(990);
        assert_eq!((again.as_ptr(), again.len(), again[989]), (at, 990, 7.0));
        drop(again);
        let zeros = Buffer::zeros(1_000);
        assert!(zeros.as_ptr() == at && zeros.iter().all(|x| *x == 0.0));
        drop(zeros);
        // One of very different size is not.
        assert_ne!(Buffer::stale(10).as_ptr(), at);
        assert_eq!(*Buffer::of(&[1.0, 2.0]), [1.0, 2.0]);
    }

    #[test]
    fn what_others_made_does_not_pile_up() {
        let made: Vec<Buffer> = (0..10).map(|_| Buffer::stale(100)).collect();
        std::thread::spawn(move || {
            drop(made);
            drop(Buffer::stale(100));
            FREE.with_borrow(|free| assert_eq!(free.classes.iter().map(Vec::len).sum::<usize>(), 1));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn sizes_of_one_class_fit_each_other() {
        for n in (0..5_000).chain([100_000, 1 << 20, (1 << 20) + 1, 12_345_678]) {
            let (size, of_n) = class(n);
            assert!(size >= n && size - n <= (n / 8).max(16), "{n} in {size}");
            assert_eq!(class(size), (size, of_n), "{n}");
        }
    }
}
