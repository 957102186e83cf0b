//! Finished: the tasks that ended last, the slowest of all, and how many there were.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{End, Entry};
use crate::limits::Cuts;
use crate::proc::Outcome;

/// How many of the last are kept unless told otherwise.
pub(crate) const KEPT: usize = 256;

/// The most that can be asked for.
pub(crate) const KEPT_AT_MOST: usize = 1024;

/// How many of the slowest are kept.
pub(crate) const SLOWEST: usize = 64;

/// What became of the tasks that some of the threads ended.
#[derive(Default)]
pub(crate) struct Finished {
    /// In the order of their ends.
    last: VecDeque<Arc<Entry>>,
    slowest: Vec<(Duration, Arc<Entry>)>,
    /// What a task must exceed to be one of the slowest.
    threshold: Duration,
    counts: Counts,
}

/// How many tasks ended, and how.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) ended: u64,
    pub(crate) killed: u64,
    pub(crate) panicked: u64,
    pub(crate) cuts: Cuts,
}

impl Finished {
    /// Takes in a task that has ended, and keeps the last `keep` of them.
    /// Returns who had to go: to be dropped when no lock is held.
    pub(crate) fn record(&mut self, entry: Arc<Entry>, end: &End, keep: usize) -> Option<Arc<Entry>> {
        match end.outcome {
            Outcome::Ended => self.counts.ended += 1,
            Outcome::Killed => self.counts.killed += 1,
            Outcome::Panicked => self.counts.panicked += 1,
        }
        if let Some(cuts) = &end.cuts {
            self.counts.cuts.add(cuts);
        }
        if keep == 0 {
            self.last.clear();
            self.slowest.clear();
            self.threshold = Duration::ZERO;
            return Some(entry);
        }
        if end.ran > self.threshold {
            self.record_slow(&entry, end.ran);
        }
        // Usually one at most; more when fewer are to be kept than before.
        while self.last.len() > keep {
            self.last.pop_front();
        }
        let evicted = if self.last.len() == keep { self.last.pop_front() } else { None };
        self.last.push_back(entry);
        evicted
    }

    #[cold]
    fn record_slow(&mut self, entry: &Arc<Entry>, ran: Duration) {
        let fastest = |slowest: &[(Duration, _)]| {
            let ranked = slowest.iter().map(|(ran, _)| *ran).enumerate();
            ranked.min_by_key(|(_, ran)| *ran).unwrap_or_default()
        };
        if self.slowest.len() == SLOWEST {
            let (at, _) = fastest(&self.slowest);
            self.slowest.swap_remove(at);
        }
        self.slowest.push((ran, Arc::clone(entry)));
        if self.slowest.len() == SLOWEST {
            (_, self.threshold) = fastest(&self.slowest);
        }
    }

    pub(crate) fn last(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.last.iter()
    }

    pub(crate) fn slowest(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slowest.iter().map(|(_, entry)| entry)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.ended += other.ended;
        self.killed += other.killed;
        self.panicked += other.panicked;
        self.cuts.add(&other.cuts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcList;
    use crate::waiters::Woken;

    /// Ends tasks that ran for so many seconds, each named after its time.
    fn end(finished: &mut Finished, keep: usize, seconds: impl IntoIterator<Item = u64>) {
        let list = ProcList::new();
        for seconds in seconds {
            let ran = Duration::from_secs(seconds);
            let end = End { outcome: Outcome::Ended, ran, kill: None, cuts: None, woken: Woken::default() };
            finished.record(list.insert(seconds.to_string()), &end, keep);
        }
    }

    fn ids<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Vec<u64> {
        entries.map(|entry| entry.id().parse().expect("a number")).collect()
    }

    #[test]
    fn the_last_are_kept_in_the_order_of_their_ends() {
        let mut finished = Finished::default();
        end(&mut finished, 3, [5, 1, 4, 2, 3]);
        assert_eq!(ids(finished.last()), [4, 2, 3]);
        end(&mut finished, 2, [9]);
        assert_eq!(ids(finished.last()), [3, 9]);
        end(&mut finished, 1, [8]);
        assert_eq!(ids(finished.last()), [8]);
        assert_eq!(finished.counts().ended, 7);
    }

    #[test]
    fn the_slowest_of_all_are_kept_however_long_ago_they_were() {
        let mut finished = Finished::default();
        end(&mut finished, 3, (1..=1000).rev().chain(1..=50));
        let mut slowest = ids(finished.slowest());
        slowest.sort_unstable();
        assert_eq!(slowest, (937..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn to_keep_none_lets_go_of_all_and_still_counts() {
        let mut finished = Finished::default();
        end(&mut finished, 3, [1, 2]);
        end(&mut finished, 0, [3]);
        assert_eq!((ids(finished.last()), ids(finished.slowest()), finished.counts().ended), (vec![], vec![], 3));
    }
}
