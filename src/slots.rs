//! Slots: requests, which are listed by their place and not by their id.
//!
//! A map that all threads share costs a request more than all the rest of its start, not by what it
//! computes, but because its memory is never at hand: each id is somewhere else. Nobody reports on a
//! request by its id, so it needs no map; an operator who names one can wait for a search.
//!
//! Each stripe has slots of its own. The place that was left last is taken first, so a thread works on
//! the same few.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::entry::Entry;
use crate::numbers::Numbers;
use crate::request::PREFIX;

/// How many slots are looked at under one lock: as many as there are in a shard of a large map.
const PIECE: usize = 256;

/// The requests of a stripe.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: Vec<Option<Arc<Entry>>>,
    /// The places that are free, the one that was left last at the end.
    free: Vec<u32>,
    /// Numbers for ids that are not taken yet.
    numbers: Range<u64>,
}

impl Slots {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what `make` makes of the next number into a slot, and tells it which. `None` if `is_closed` says so when
    /// nobody else can look.
    #[cfg_attr(not(feature = "tower"), allow(dead_code))]
    #[inline]
    pub(crate) fn insert(
        &self,
        numbers: &Numbers,
        is_closed: impl FnOnce() -> bool,
        make: impl FnOnce(u64, u32) -> Arc<Entry>,
    ) -> Option<Arc<Entry>> {
        let mut inner = self.lock();
        if is_closed() {
            return None;
        }
        let slot = inner.free.pop().unwrap_or_else(|| inner.add());
        let number = inner.next_number(numbers);
        let entry = make(number, slot);
        inner.requests[slot as usize] = Some(Arc::clone(&entry));
        Some(entry)
    }

    #[inline]
    pub(crate) fn remove(&self, slot: u32) -> Option<Arc<Entry>> {
        let mut inner = self.lock();
        let entry = inner.requests.get_mut(slot as usize)?.take()?;
        inner.free.push(slot);
        Some(entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Keeps it as it is, as long as this is held.
    pub(crate) fn look(&self) -> Look<'_> {
        Look(self.lock())
    }

    /// What `read` makes of the first for which it makes something. It runs under the lock, which is
    /// given up between pieces.
    pub(crate) fn find_map<T>(&self, mut read: impl FnMut(&Arc<Entry>) -> Option<T>) -> Option<T> {
        let mut start = 0;
        loop {
            let inner = self.lock();
            let piece = inner.requests.get(start..)?;
            let found = piece.iter().take(PIECE).flatten().find_map(&mut read);
            if found.is_some() || piece.len() <= PIECE {
                return found;
            }
            start += PIECE;
        }
    }

    /// The bytes that the slots take.
    pub(crate) fn overhead(&self) -> usize {
        let inner = self.lock();
        inner.requests.capacity() * size_of::<Option<Arc<Entry>>>() + inner.free.capacity() * size_of::<u32>()
    }
}

/// Slots that nobody takes or leaves.
pub(crate) struct Look<'a>(MutexGuard<'a, Inner>);

impl Look<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

impl Inner {
    fn len(&self) -> usize {
        self.requests.len() - self.free.len()
    }

    #[cold]
    fn add(&mut self) -> u32 {
        let slot = self.requests.len() as u32;
        self.requests.push(None);
        // So that to leave a slot needs no memory.
        self.free.reserve(self.requests.len());
        slot
    }

    #[inline]
    fn next_number(&mut self, numbers: &Numbers) -> u64 {
        self.numbers.next().unwrap_or_else(|| {
            self.numbers = numbers.take(PREFIX).1;
            self.numbers.next().unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::ProcList;
    use crate::entry::{Cause, Guards};

    #[test]
    fn more_than_a_piece_of_them_are_found_and_their_places_are_taken_again() {
        let list = ProcList::new();
        let requests: Vec<_> = (0..700).map(|_| list.insert_request(|_| {})).collect();
        assert_eq!((list.len(), list.entries().len(), list.procs().len()), (700, 700, 700));
        assert_eq!(list.filter_map(true, |_, row| Some(row.id.to_string())).len(), 700);
        for request in &requests {
            assert!(list.find(request.id()).is_some(), "{}", request.id());
        }
        assert!(list.any(|row| row.id == "req700") && !list.any(|row| row.id == "req701"));
        requests.iter().for_each(|request| assert!(request.give_up(Guards::All, Cause::Dropped, None)));
        assert!(list.is_empty() && list.find("req700").is_none());
        let again: Vec<_> = (0..700).map(|_| list.insert_request(|_| {})).collect();
        assert_eq!((list.len(), again[0].id()), (700, "req701"));
        assert!(again.iter().all(|request| request.slot() < Some(700)));
        again.iter().for_each(|request| _ = request.give_up(Guards::All, Cause::Dropped, None));
    }
}
