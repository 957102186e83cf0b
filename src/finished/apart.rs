//! Apart: the endings that somebody will ask for, kept apart from those of all others.
//!
//! Where thousands end in a second, the last few hundred are a fraction of it. So the killed, the panicked and those
//! that ended with a note have a ring each, which the others do not push out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Kept;
use crate::entry::{End, Entry, Extra};
use crate::proc::Outcome;

/// How many of each are kept.
const KEPT: usize = 256;

/// Each may hold so small a part of all bytes.
pub(super) const PART: usize = 16;

/// Why an ending is kept apart.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    Killed,
    Panicked,
    Noted,
    /// With a task that it is below: one kill of a large family is not to push out all others.
    KilledBelow,
}

impl Reason {
    #[cold]
    pub(super) fn of(end: &End, extra: &Extra) -> Option<Self> {
        match end.outcome {
            Outcome::Killed if extra.kill.as_ref().is_some_and(|(kill, _)| kill.is_below()) => {
                Some(Reason::KilledBelow)
            }
            Outcome::Killed => Some(Reason::Killed),
            Outcome::Panicked => Some(Reason::Panicked),
            Outcome::Ended => extra.is_noted.then_some(Reason::Noted),
        }
    }
}

/// The lock is a leaf.
#[derive(Default)]
pub(super) struct Apart(Mutex<[Ring; RINGS]>);

/// How many rings there are.
pub(super) const RINGS: usize = 4;

#[derive(Default)]
struct Ring {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Apart {
    fn lock(&self) -> MutexGuard<'_, [Ring; RINGS]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a task, in a ring that may hold so many bytes.
    pub(super) fn record(&self, reason: Reason, kept: Kept, bytes: usize) {
        // One that is too large by itself would push out all others.
        if kept.bytes > bytes {
            return;
        }
        let garbage = self.lock()[reason as usize].push(kept, bytes);
        drop(garbage);
    }

    /// Forgets what is over so many bytes in each ring.
    pub(super) fn trim(&self, bytes: usize) {
        let garbage: Vec<_> = self.lock().iter_mut().map(|ring| ring.trim(bytes)).collect();
        drop(garbage);
    }

    pub(super) fn clear(&self) {
        let garbage = std::mem::take(&mut *self.lock());
        drop(garbage);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().iter().map(|ring| ring.kept.len()).sum()
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().iter().flat_map(|ring| &ring.kept).map(|kept| Arc::clone(&kept.entry)).collect()
    }

    pub(super) fn overhead(&self) -> usize {
        self.lock().iter().map(|ring| ring.kept.capacity()).sum::<usize>() * size_of::<Kept>()
    }
}

impl Ring {
    fn push(&mut self, kept: Kept, bytes: usize) -> Vec<Kept> {
        self.bytes += kept.bytes;
        self.kept.push_back(kept);
        self.trim(bytes)
    }

    fn trim(&mut self, bytes: usize) -> Vec<Kept> {
        let mut garbage = Vec::new();
        while self.kept.len() > KEPT || self.bytes > bytes {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes;
            garbage.push(oldest);
        }
        garbage
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ProcList;

    #[test]
    fn a_ring_is_bounded_in_number_and_in_bytes_and_does_not_push_out_others() {
        let (list, apart) = (ProcList::new(), Apart::default());
        let end = |reason, id: usize, spilled, bytes| {
            let end = End { outcome: Outcome::Killed, at: Instant::now(), ran: Duration::ZERO, spilled, extra: None };
            apart.record(reason, Kept::new(list.insert(&id.to_string()), &end), bytes);
        };
        end(Reason::Panicked, 0, 0, usize::MAX);
        (1..=300).for_each(|id| end(Reason::Killed, id, 0, usize::MAX));
        assert_eq!(apart.len(), KEPT + 1);
        assert!(
            apart.all().iter().any(|entry| entry.id() == "0") && !apart.all().iter().any(|entry| entry.id() == "44")
        );
        (301..=310).for_each(|id| end(Reason::Killed, id, 100_000, 350_000));
        assert_eq!(apart.len(), 3 + 1);
        apart.trim(0);
        assert_eq!(apart.len(), 0);
    }
}
