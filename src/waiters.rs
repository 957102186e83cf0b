//! Waiters: the wakers of the futures that wait for the kill or the end of one task.
//!
//! A waker is foreign code. It is cloned before the lock of the entry is taken,
//! compared and moved under it, and woken or dropped after it.

use std::ops::DerefMut;
use std::task::{Poll, Waker};

use smallvec::SmallVec;

use crate::unwinding::contain;

/// What a future is known by once it waits.
pub(crate) type Key = u32;

/// In the key of a `run`.
const RUN: Key = 1;

/// None is left of one that was [called in](Waiters::call_in).
type Wakers = SmallVec<[(Key, Option<Waker>); 1]>;

/// Usually one: the `run` of a request. Each future takes its own out when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    wakers: Wakers,
    last_key: Key,
}

impl Waiters {
    /// Whether `waker` would wake the future known by `key` as it is.
    pub(crate) fn has(&self, key: Option<Key>, waker: &Waker) -> bool {
        let known = key.and_then(|key| self.position(key)).and_then(|at| self.wakers[at].1.as_ref());
        known.is_some_and(|known| known.will_wake(waker))
    }

    /// Keeps `waker` for the future known by `key`, or for a new one. Returns
    /// the waker that it replaces: to be dropped when no lock is held.
    pub(crate) fn set(&mut self, key: &mut Option<Key>, waker: Waker, is_run: bool) -> Option<Waker> {
        if let Some(at) = key.and_then(|key| self.position(key)) {
            return self.wakers[at].1.replace(waker);
        }
        let key = *key.get_or_insert_with(|| {
            self.last_key = self.last_key.wrapping_add(2) & !RUN | if is_run { RUN } else { 0 };
            self.last_key
        });
        self.wakers.push((key, Some(waker)));
        None
    }

    /// Forgets the future known by `key`. Returns its waker: to be dropped when no lock is held.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        self.position(key).and_then(|at| self.wakers.swap_remove(at).1)
    }

    /// Takes all of them out: to be [woken](Woken) when no lock is held.
    pub(crate) fn take(&mut self) -> Woken {
        Woken(std::mem::take(&mut self.wakers))
    }

    /// Takes their wakers. Each of them keeps its place, and is [absent](Self::absent) until it waits again.
    pub(crate) fn call_in(&mut self) -> Woken {
        Woken(self.wakers.iter_mut().map(|(key, waker)| (*key, waker.take())).collect())
    }

    /// How many runs have not been polled since. Another future may be set aside, and nothing waits there.
    pub(crate) fn absent(&self) -> usize {
        self.wakers.iter().filter(|(key, waker)| key & RUN != 0 && waker.is_none()).count()
    }

    /// As new.
    #[inline]
    pub(crate) fn reset(&mut self) {
        if !self.wakers.is_empty() || self.wakers.spilled() {
            *self = Waiters::default();
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Whether what a future waits for has come, as `has_come` tells of what `lock` guards; else its
    /// `waker` is kept among the waiters that `of` finds there; `is_run` if it is one. `key` names the future from its first call
    /// on, and must be [removed](Self::remove) in the end.
    pub(crate) fn poll<T, G: DerefMut<Target = T>>(
        lock: impl Fn() -> G,
        of: impl Fn(&mut T) -> &mut Waiters,
        has_come: impl Fn(&T) -> Poll<()>,
        key: &mut Option<Key>,
        waker: &Waker,
        is_run: bool,
    ) -> Poll<()> {
        // Who waits for the first time is not known yet.
        let mut clone = key.is_none().then(|| waker.clone());
        loop {
            let mut state = lock();
            if has_come(&state).is_ready() {
                return Poll::Ready(());
            }
            let waiters = of(&mut state);
            if let Some(clone) = clone.take() {
                let replaced = waiters.set(key, clone, is_run);
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            if waiters.has(*key, waker) {
                return Poll::Pending;
            }
            drop(state);
            clone = Some(waker.clone());
        }
    }

    fn position(&self, key: Key) -> Option<usize> {
        self.wakers.iter().position(|(known, _)| *known == key)
    }

    /// The bytes that they take outside of the entry.
    pub(crate) fn spilled(&self) -> usize {
        if self.wakers.spilled() { self.wakers.capacity() * size_of::<(Key, Option<Waker>)>() } else { 0 }
    }
}

/// Futures that are about to be woken.
#[derive(Default)]
#[must_use = "the futures that wait go on waiting"]
pub(crate) struct Woken(Wakers);

impl Woken {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn wake(self) {
        // One that panics is not to keep the others waiting.
        self.0.into_iter().filter_map(|(_, waker)| waker).for_each(|waker| contain(|| waker.wake()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_woken_once_and_one_that_left_is_not() {
        let counts: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
        let mut waiters = Waiters::default();
        let mut keys = [None; 3];
        for (key, count) in keys.iter_mut().zip(&counts) {
            assert!(waiters.set(key, Waker::from(Arc::clone(count)), false).is_none());
        }
        assert!(waiters.has(keys[1], &Waker::from(Arc::clone(&counts[1]))));
        assert!(!waiters.has(keys[1], &Waker::from(Arc::clone(&counts[2]))));
        assert!(waiters.remove(keys[0].expect("is set")).is_some());
        assert!(
            waiters.set(&mut keys[1], Waker::from(Arc::clone(&counts[2])), false).is_some(),
            "a future may change its waker"
        );
        waiters.take().wake();
        let woken: Vec<_> = counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [0, 0, 2]);
        assert!(waiters.remove(keys[2].expect("is set")).is_none() && waiters.spilled() == 0);
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a bug"));
        }
    }

    #[test]
    fn one_that_panics_does_not_keep_the_others_waiting() {
        let mut waiters = Waiters::default();
        let count = Arc::new(Count::default());
        waiters.set(&mut None, Arc::new(Panics).into(), false);
        waiters.set(&mut None, Arc::clone(&count).into(), false);
        waiters.take().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
