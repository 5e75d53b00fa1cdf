//! Work that several hands take from one queue: a piece is waiting, in one hand, or answered, and never two of these.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces of work by number, and their answers.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<usize>,
    answers: Vec<Option<T>>,
    unanswered: usize,
}

impl<T> Queue<T> {
    pub fn new(pieces: usize) -> Self {
        let answers = (0..pieces).map(|_| None).collect();
        let state = State { waiting: (0..pieces).collect(), answers, unanswered: pieces };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece. While others hold all that is left it waits, for they may give it back. None once everything is
    /// answered, or when whoever asks must not take any more.
    pub fn take(&self, gone: impl Fn() -> bool) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.unanswered == 0 || gone() {
                return None;
            }
            if let Some(piece) = state.waiting.pop_front() {
                return Some(piece);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers a piece that was taken.
    pub fn answer(&self, piece: usize, answer: T) {
        let mut state = self.lock();
        state.answers[piece] = Some(answer);
        state.unanswered -= 1;
        self.changed.notify_all();
    }

    /// Gives back a piece that was taken; it is the next to be taken.
    pub fn give_back(&self, piece: usize) {
        self.lock().waiting.push_front(piece);
        self.changed.notify_all();
    }

    /// The answers in order; none where a piece has none.
    pub fn answers(self) -> Option<Vec<T>> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).answers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_piece_is_answered_once_though_a_hand_gives_back_and_leaves() {
        let (queue, given) = (Queue::new(50), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for hand in 0..4 {
                let (queue, given) = (&queue, &given);
                scope.spawn(move || {
                    while let Some(piece) = queue.take(|| false) {
                        if hand == 0 {
                            queue.give_back(piece);
                            return;
                        }
                        given.fetch_add(1, Ordering::Relaxed);
                        queue.answer(piece, piece * 10);
                    }
                });
            }
        });
        assert_eq!(given.into_inner(), 50);
        assert_eq!(queue.answers().unwrap(), (0..50).map(|piece| piece * 10).collect::<Vec<_>>());
    }

    #[test]
    fn a_hand_that_is_gone_takes_nothing_and_leaves_no_answers() {
        let queue = Queue::<()>::new(1);
        assert_eq!(queue.take(|| true), None);
        assert_eq!(queue.answers(), None);
        assert_eq!(Queue::<()>::new(0).take(|| false), None);
    }
}
