//! Working memory that is used again: fresh pages cost more than what is computed into them.
//!
//! Each thread keeps the buffers it is done with. A layer's activations come and go in the same sizes, so after the
//! first pack hardly anything is asked of the allocator, and nothing is cleared that will be overwritten anyway.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Floats that a thread keeps at most: 1 GiB.
const KEPT: usize = 256 << 20;

#[derive(Default)]
struct Free {
    buffers: Vec<Vec<f32>>,
    floats: usize,
}

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
}

/// Floats of a fixed number; goes back to its thread when dropped.
#[derive(Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// For a destination that will be written whole: holds whatever an earlier use left there.
    pub fn stale(n: usize) -> Self {
        let found = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, but not one that would waste more than it holds.
            let fits = free.buffers.iter().enumerate().filter(|(_, b)| (n..=2 * n).contains(&b.capacity()));
            let at = fits.min_by_key(|(_, b)| b.capacity())?.0;
            let buffer = free.buffers.swap_remove(at);
            free.floats -= buffer.capacity();
            Some(buffer)
        });
        let mut buffer = found.unwrap_or_else(|| Vec::with_capacity(size_class(n)));
        buffer.resize(n, 0.0);
        Self(buffer)
    }

    /// Zeros.
    pub fn zeros(n: usize) -> Self {
        let mut buffer = Self::stale(n);
        buffer.fill(0.0);
        buffer
    }

    /// A copy.
    pub fn of(x: &[f32]) -> Self {
        let mut buffer = Self::stale(x.len());
        buffer.copy_from_slice(x);
        buffer
    }
}

/// A little more than `n`, so that nearly equal sizes can use each other's buffers.
fn size_class(n: usize) -> usize {
    n.next_multiple_of((n.next_power_of_two() / 16).max(16))
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() == 0 {
            return;
        }
        // A thread that is ending keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.floats + buffer.capacity() <= KEPT {
                free.floats += buffer.capacity();
                free.buffers.push(buffer);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
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
        // One of very different size is not.
        assert_ne!(Buffer::stale(10).as_ptr(), at);
        assert_eq!(*Buffer::of(&[1.0, 2.0]), [1.0, 2.0]);
    }
}
