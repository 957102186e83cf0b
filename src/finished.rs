//! Finished: the tasks that ended last, the slowest of all, and how many there were.
//!
//! Those that somebody will ask for are kept [apart]. Each stripe has a shelf of its own, so that threads do not meet.
//! What all shelves hold together is bounded in bytes: each reports what it holds when that has changed by a grain, and
//! the thread that finds it to be too much puts the oldest away, on whichever shelf they are.
//!
//! # Deadlock safety
//!
//! The lock of a shelf is a leaf, and no two are held at a time.

mod apart;

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use compact_str::CompactString;

use crate::entry::{End, Entry};
use crate::kinds::{Kinds, Learned, Sum};
use crate::limits::Truncations;
use crate::proc::Outcome;
use crate::rates::{Recent, Window};
use apart::{Apart, PART, RINGS, Reason};

/// How many of the last are kept unless told otherwise.
const KEPT: usize = 256;

/// The most that can be asked for.
const KEPT_AT_MOST: usize = 1024;

/// How many of the slowest are kept.
pub(crate) const SLOWEST: usize = 64;

/// How many bytes they may hold unless told otherwise.
const BYTES: usize = 8 << 20;

/// The shelves of one list.
pub(crate) struct Finished {
    shelves: Box<[Shelf]>,
    apart: Apart,
    /// When the list was made.
    epoch: Instant,
    /// How many of the last each shelf keeps.
    keep: AtomicUsize,
    /// How many bytes may be held in all.
    limit: AtomicUsize,
    /// How many a shelf may hold unreported: a part of the limit.
    grain: AtomicUsize,
    /// How many they have reported. Below zero for a moment, when reports overtake each other.
    reported: AtomicIsize,
    is_trimming: AtomicBool,
}

/// Alone on its cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Shelf(Mutex<Held>);

/// What became of the tasks that some of the threads ended.
#[derive(Default)]
struct Held {
    /// In the order of their ends, until as many are there as are kept; then a ring.
    last: Vec<Kept>,
    /// The index of the oldest of the ring.
    oldest: usize,
    slowest: Vec<Kept>,
    /// What a task must exceed to be one of the slowest.
    threshold: Duration,
    counts: Counts,
    recent: Option<Box<Recent>>,
    kinds: Option<Box<Learned>>,
    /// What all this holds; one that is among the last and the slowest counts twice.
    bytes: usize,
    reported: usize,
}

struct Kept {
    entry: Arc<Entry>,
    at: Instant,
    ran: Duration,
    bytes: usize,
}

/// How many tasks ended, and how.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) ended: u64,
    pub(crate) killed: u64,
    pub(crate) panicked: u64,
    pub(crate) truncations: Truncations,
}

impl Finished {
    pub(crate) fn new(shelves: usize) -> Self {
        let finished = Finished {
            shelves: (0..shelves).map(|_| Shelf::default()).collect(),
            apart: Apart::default(),
            epoch: Instant::now(),
            keep: AtomicUsize::new(KEPT),
            limit: AtomicUsize::new(0),
            grain: AtomicUsize::new(0),
            reported: AtomicIsize::new(0),
            is_trimming: AtomicBool::new(false),
        };
        finished.set_limit(BYTES);
        finished
    }

    fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        self.grain.store(bytes / 64 / self.shelves.len(), Ordering::Relaxed);
    }

    /// Takes in a task that has ended, and what kind of work it was. Returns one that had to go and that has no other
    /// holder, if it holds nothing but itself.
    #[inline]
    pub(crate) fn record(
        &self,
        shelf: usize,
        entry: Arc<Entry>,
        end: &End,
        kind: Option<(CompactString, bool)>,
    ) -> Option<Arc<Entry>> {
        let keep = self.keep.load(Ordering::Relaxed);
        let reason = end.extra.as_deref().filter(|_| keep > 0).and_then(|extra| Reason::of(end, extra));
        let kept_apart = reason.map(|reason| (reason, Kept::new(Arc::clone(&entry), end)));
        let mut held = self.shelves[shelf].lock();
        held.count(self.epoch, entry.started(), end, kind);
        let evicted = held.record(entry, end, keep, reason.is_some());
        let is_news = held.bytes.abs_diff(held.reported) > self.grain.load(Ordering::Relaxed);
        let change = if is_news { held.report() } else { 0 };
        drop(held);
        if is_news {
            self.add(change);
        }
        if let Some((reason, kept)) = kept_apart {
            self.apart.record(reason, kept, self.apart_at_most());
        }
        evicted.and_then(|(entry, bytes)| (bytes == size_of::<Entry>()).then_some(entry))
    }

    #[cold]
    fn add(&self, change: isize) {
        self.reported.fetch_add(change, Ordering::Relaxed);
        while self.is_over() && !self.is_trimming.swap(true, Ordering::AcqRel) {
            self.trim();
            // What others have added meanwhile, and left to this thread, is seen by the next look.
            self.is_trimming.swap(false, Ordering::AcqRel);
        }
    }

    fn is_over(&self) -> bool {
        self.reported.load(Ordering::Relaxed) > self.reported_at_most().cast_signed()
    }

    fn reported_at_most(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed) - RINGS * self.apart_at_most();
        limit - limit / 64
    }

    /// How many bytes each ring of those that are kept apart may hold.
    fn apart_at_most(&self) -> usize {
        self.limit.load(Ordering::Relaxed) / PART
    }

    /// Puts the oldest away, and those that are not the slowest, until an eighth is free: not to
    /// come back at the next end.
    fn trim(&self) {
        let room = self.reported_at_most() / 8 * 7;
        let slowest = self.collect(|held| held.slowest.iter().map(|kept| (kept.ran, kept.bytes)).collect());
        let (threshold, used) = smallest_that_fits(slowest, room / 4, SLOWEST);
        let last = self.collect(|held| held.last.iter().map(|kept| (kept.at, kept.bytes)).collect());
        let (oldest, _) = smallest_that_fits(last, room - used, usize::MAX);
        for shelf in &self.shelves {
            let garbage = shelf.lock().forget(oldest, threshold);
            drop(garbage);
            let change = shelf.lock().report();
            self.reported.fetch_add(change, Ordering::Relaxed);
        }
    }

    fn collect<T>(&self, of: impl Fn(&Held) -> Vec<T>) -> Vec<T> {
        self.shelves.iter().flat_map(|shelf| of(&shelf.lock())).collect()
    }

    /// Keeps the last `tasks` of each shelf from now on; with 0 not the slowest either.
    pub(crate) fn keep(&self, tasks: usize) {
        let keep = tasks.min(KEPT_AT_MOST);
        self.keep.store(keep, Ordering::Relaxed);
        if keep == 0 {
            self.apart.clear();
        }
        for shelf in &self.shelves {
            let garbage = shelf.lock().shrink(keep);
            drop(garbage);
            let change = shelf.lock().report();
            self.add(change);
        }
    }

    /// Keeps no more than so many bytes.
    pub(crate) fn keep_bytes(&self, bytes: usize) {
        self.set_limit(bytes);
        self.apart.trim(self.apart_at_most());
        for shelf in &self.shelves {
            let mut held = shelf.lock();
            // With more room, tasks are kept that would have been put away before.
            held.threshold = held.fastest_kept();
            let change = held.report();
            drop(held);
            self.add(change);
        }
    }

    /// How many of the last can be asked for.
    pub(crate) fn kept(&self) -> usize {
        self.keep.load(Ordering::Relaxed)
    }

    /// How many of the last are held.
    pub(crate) fn len(&self) -> usize {
        self.apart.len() + self.shelves.iter().map(|shelf| shelf.lock().last.len()).sum::<usize>()
    }

    /// The tasks that ended last and are not kept apart, in no order.
    pub(crate) fn last(&self) -> Vec<Arc<Entry>> {
        self.collect(|held| held.last.iter().map(|kept| Arc::clone(&kept.entry)).collect())
    }

    /// The killed, the panicked and those that ended with a note, in no order.
    pub(crate) fn apart(&self) -> Vec<Arc<Entry>> {
        self.apart.all()
    }

    /// All that are kept, each once.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.last().into_iter().chain(self.apart()).chain(self.slowest()).collect();
        all.sort_unstable_by_key(Arc::as_ptr);
        all.dedup_by(|a, b| Arc::ptr_eq(a, b));
        all
    }

    /// What started and ended in the last so many seconds, but for what is running.
    pub(crate) fn window(&self, seconds: u64, now: Instant) -> Window {
        let mut window = Window::new(seconds, self.epoch, now);
        for shelf in &self.shelves {
            if let Some(recent) = &shelf.lock().recent {
                window.add(recent);
            }
        }
        window
    }

    /// What was learned of the kinds of work that the column of that name tells apart.
    pub(crate) fn kinds(&self, column: &str) -> Kinds {
        let mut sum = Sum::new(self.epoch, Instant::now());
        for shelf in &self.shelves {
            if let Some(learned) = &shelf.lock().kinds {
                sum.add(learned);
            }
        }
        sum.finish(column)
    }

    /// The slowest of those that ended, in no order.
    pub(crate) fn slowest(&self) -> Vec<Arc<Entry>> {
        self.collect(|held| held.slowest.iter().map(|kept| Arc::clone(&kept.entry)).collect())
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.shelves.iter().for_each(|shelf| counts.add(&shelf.lock().counts));
        counts
    }

    /// The bytes that the shelves take, but for what they hold.
    pub(crate) fn overhead(&self) -> usize {
        let places = self.collect(|held| vec![held.last.capacity() + held.slowest.capacity()]);
        let learned = self.collect(|held| {
            let recent = if held.recent.is_some() { Recent::memory() } else { 0 };
            vec![recent + held.kinds.as_deref().map_or(0, Learned::memory)]
        });
        size_of_val(&*self.shelves)
            + places.iter().sum::<usize>() * size_of::<Kept>()
            + learned.iter().sum::<usize>()
            + self.apart.overhead()
    }
}

/// The smallest of the largest `ranked`, at most `most` of them, that hold no more than `room`
/// bytes together; and the bytes that these hold. `None` if all of them fit.
fn smallest_that_fits<T: Ord + Copy>(
    mut ranked: Vec<(T, usize)>,
    room: usize,
    most: usize,
) -> (Option<Bound<T>>, usize) {
    ranked.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    let mut used = 0;
    for (n, (rank, bytes)) in ranked.iter().enumerate() {
        if n == most || used + bytes > room {
            return (Some(Bound(*rank)), used);
        }
        used += bytes;
    }
    (None, used)
}

/// Who ranks so, or lower, has to go.
#[derive(Clone, Copy)]
struct Bound<T>(T);

impl Shelf {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Counts an end.
    #[inline]
    fn count(&mut self, epoch: Instant, started: Instant, end: &End, kind: Option<(CompactString, bool)>) {
        match end.outcome {
            Outcome::Ended => self.counts.ended += 1,
            Outcome::Killed => self.counts.killed += 1,
            Outcome::Panicked => self.counts.panicked += 1,
        }
        if let Some(truncations) = end.extra.as_deref().and_then(|extra| extra.truncations) {
            self.counts.truncations.add(&truncations);
        }
        self.recent.get_or_insert_with(|| Recent::boxed(epoch)).record(epoch, started, end);
        if let Some(kind) = kind {
            self.kinds.get_or_insert_default().record(&kind, epoch, end);
        }
    }

    /// Takes in a task, and keeps the last `keep` of those that are not kept apart. Returns who had to go, and what it
    /// held: to be dropped when no lock is held.
    #[inline]
    fn record(&mut self, entry: Arc<Entry>, end: &End, keep: usize, is_apart: bool) -> Option<(Arc<Entry>, usize)> {
        let bytes = size_of::<Entry>() + end.spilled;
        if keep == 0 {
            return Some((entry, bytes));
        }
        if end.ran > self.threshold {
            self.record_slow(&entry, end, bytes);
        }
        if is_apart {
            return None;
        }
        self.bytes += bytes;
        if self.last.len() < keep {
            self.straighten();
            self.last.push(Kept { entry, at: end.at, ran: end.ran, bytes });
            return None;
        }
        // In its place, and field by field: to move it about costs more.
        let oldest = &mut self.last[self.oldest];
        let evicted = (std::mem::replace(&mut oldest.entry, entry), oldest.bytes);
        (oldest.at, oldest.ran, oldest.bytes) = (end.at, end.ran, bytes);
        self.oldest = if self.oldest + 1 == self.last.len() { 0 } else { self.oldest + 1 };
        self.bytes -= evicted.1;
        Some(evicted)
    }

    /// Brings the ring into the order of time.
    fn straighten(&mut self) {
        if self.oldest > 0 {
            self.last.rotate_left(self.oldest);
            self.oldest = 0;
        }
    }

    #[cold]
    fn record_slow(&mut self, entry: &Arc<Entry>, end: &End, bytes: usize) {
        if self.slowest.len() == SLOWEST {
            let fastest = (0..SLOWEST).min_by_key(|at| self.slowest[*at].ran).unwrap_or_default();
            self.bytes -= self.slowest.swap_remove(fastest).bytes;
        }
        self.bytes += bytes;
        self.slowest.push(Kept::new(Arc::clone(entry), end));
        if self.slowest.len() == SLOWEST {
            self.threshold = self.fastest_kept();
        }
    }

    /// What the fastest of the slowest ran, if there is no room for more.
    fn fastest_kept(&self) -> Duration {
        let fastest = self.slowest.iter().map(|kept| kept.ran).min().filter(|_| self.slowest.len() == SLOWEST);
        fastest.unwrap_or_default()
    }

    /// Forgets those that ended as long ago as `oldest`, and those of the slowest that ran no
    /// longer than `threshold`.
    fn forget(&mut self, oldest: Option<Bound<Instant>>, threshold: Option<Bound<Duration>>) -> Vec<Kept> {
        let mut garbage = Vec::new();
        self.straighten();
        if let Some(Bound(oldest)) = oldest {
            let gone = self.last.partition_point(|kept| kept.at <= oldest);
            garbage.extend(self.last.drain(..gone));
        }
        if let Some(Bound(threshold)) = threshold {
            // What was put away is not to be followed by faster ones.
            self.threshold = self.threshold.max(threshold);
            garbage.extend(self.slowest.extract_if(.., |kept| kept.ran <= threshold));
        }
        self.bytes -= garbage.iter().map(|kept| kept.bytes).sum::<usize>();
        garbage
    }

    /// Leaves the last `keep`, and none at all if that is 0.
    fn shrink(&mut self, keep: usize) -> Vec<Kept> {
        self.straighten();
        let gone = self.last.len().saturating_sub(keep);
        let mut garbage: Vec<_> = self.last.drain(..gone).collect();
        if keep == 0 {
            garbage.append(&mut self.slowest);
            self.threshold = Duration::ZERO;
            self.last = Vec::new();
            self.slowest = Vec::new();
        }
        self.bytes -= garbage.iter().map(|kept| kept.bytes).sum::<usize>();
        garbage
    }

    /// How many bytes more it holds than it has reported.
    fn report(&mut self) -> isize {
        let before = std::mem::replace(&mut self.reported, self.bytes);
        self.bytes.cast_signed() - before.cast_signed()
    }
}

impl Kept {
    fn new(entry: Arc<Entry>, end: &End) -> Self {
        Kept { entry, at: end.at, ran: end.ran, bytes: size_of::<Entry>() + end.spilled }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.ended += other.ended;
        self.killed += other.killed;
        self.panicked += other.panicked;
        self.truncations.add(&other.truncations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcList;

    /// Ends tasks on a shelf that ran for so many seconds, each named after its time and so large.
    fn end_large(finished: &Finished, shelf: usize, spilled: usize, seconds: impl IntoIterator<Item = u64>) {
        let list = ProcList::new();
        for seconds in seconds {
            let (at, ran) = (Instant::now(), Duration::from_secs(seconds));
            let end = End { outcome: Outcome::Ended, at, ran, spilled, extra: None };
            finished.record(shelf, list.insert(&seconds.to_string()), &end, None);
        }
    }

    fn end(finished: &Finished, seconds: impl IntoIterator<Item = u64>) {
        end_large(finished, 0, 0, seconds);
    }

    fn ids(entries: Vec<Arc<Entry>>) -> Vec<u64> {
        entries.iter().map(|entry| entry.id().parse().expect("a number")).collect()
    }

    /// The last of the first shelf, by the order of their ends.
    fn in_order(finished: &Finished) -> Vec<u64> {
        let mut last =
            finished.collect(|held| held.last.iter().map(|kept| (kept.at, Arc::clone(&kept.entry))).collect());
        last.sort_by_key(|(at, _)| *at);
        ids(last.into_iter().map(|(_, entry)| entry).collect())
    }

    #[test]
    fn the_last_are_kept_in_the_order_of_their_ends() {
        let finished = Finished::new(1);
        finished.keep(3);
        end(&finished, [5, 1, 4, 2, 3]);
        assert_eq!(in_order(&finished), [4, 2, 3]);
        finished.keep(2);
        assert_eq!(in_order(&finished), [2, 3], "at once");
        end(&finished, [9]);
        assert_eq!((in_order(&finished), finished.counts().ended), (vec![3, 9], 6));
        finished.keep(4);
        end(&finished, [7, 8, 6]);
        assert_eq!(in_order(&finished), [9, 7, 8, 6]);
    }

    #[test]
    fn the_slowest_of_all_are_kept_however_long_ago_they_were() {
        let finished = Finished::new(1);
        finished.keep(3);
        end(&finished, (1..=1000).rev().chain(1..=50));
        let mut slowest = ids(finished.slowest());
        slowest.sort_unstable();
        assert_eq!(slowest, (937..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn to_keep_none_lets_go_of_all_at_once_and_still_counts() {
        let finished = Finished::new(1);
        end(&finished, [1, 2]);
        finished.keep(0);
        assert_eq!((finished.len(), finished.slowest().len()), (0, 0), "at once");
        end(&finished, [3]);
        assert_eq!((finished.len(), finished.slowest().len(), finished.counts().ended), (0, 0, 3));
    }

    #[test]
    fn all_shelves_together_hold_no_more_bytes_than_they_may() {
        const LARGE: usize = 32 << 10;
        let finished = Finished::new(32);
        for round in 0..40 {
            for shelf in 0..32 {
                end_large(&finished, shelf, LARGE, [round * 32 + shelf as u64]);
            }
            let bytes: usize = finished.collect(|held| vec![held.bytes]).iter().sum();
            assert!(bytes <= BYTES, "{bytes} bytes in round {round}");
        }
        // The last of all are still there, and the slowest.
        let (mut last, mut slowest) = (ids(finished.last()), ids(finished.slowest()));
        last.sort_unstable();
        slowest.sort_unstable();
        assert!(last.len() > 100 && last.iter().copied().eq(1280 - last.len() as u64..1280), "{last:?}");
        assert!(slowest.len() > 30 && slowest.ends_with(&[1278, 1279]), "{slowest:?}");
        assert!(slowest.iter().copied().eq(1280 - slowest.len() as u64..1280), "no gap: {slowest:?}");

        finished.keep_bytes(1 << 20);
        let bytes: usize = finished.collect(|held| vec![held.bytes]).iter().sum();
        assert!(bytes <= 1 << 20 && finished.len() > 10, "{bytes}");
        finished.keep_bytes(0);
        assert_eq!((finished.len(), finished.slowest().len()), (0, 0));
        end(&finished, [1]);
        assert_eq!(finished.len(), 0);
        finished.keep_bytes(BYTES);
        end(&finished, [2, 1]);
        assert_eq!((finished.len(), finished.slowest().len()), (2, 2), "as if nothing had been put away");
    }

    #[test]
    fn small_tasks_are_all_kept_whatever_thread_ended_them() {
        let finished = Finished::new(32);
        (0..32).for_each(|shelf| end_large(&finished, shelf, 0, 0..300));
        assert_eq!(finished.len(), 32 * KEPT);
    }
}
