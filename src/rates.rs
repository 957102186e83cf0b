//! Rates: what started and ended in the last minute, and how long it took. In fixed memory.

use std::time::{Duration, Instant};

use crate::entry::End;
use crate::proc::Outcome;
use crate::sketch::Sketch;

/// A slot is so many seconds.
const SLOT: u64 = 2;

/// The last minute, and the slot that is not over.
const SLOTS: usize = 31;

/// What started and ended in some seconds.
///
/// ```
/// let list = pm::ProcList::new();
/// drop(list.start("req1"));
/// let minute = list.stats().last_minute;
/// assert_eq!((minute.started, minute.ended), (1, 1));
/// assert!(minute.per_second(minute.ended) > 0.0);
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// So many seconds: up to two more than asked for, or the age of a younger list.
    pub span: Duration,
    /// Tasks that were started.
    pub started: u64,
    /// Tasks that ended by themselves.
    pub ended: u64,
    /// Tasks that a kill ended.
    pub killed: u64,
    /// Tasks that a panic ended.
    pub panicked: u64,
    /// Half of those that ended, in whatever way, took no longer than this; within an eighth.
    pub p50: Duration,
    /// 99 of 100 took no longer than this; within an eighth.
    pub p99: Duration,
    /// The longest that one of them took.
    pub max: Duration,
}

impl Rates {
    /// How many a second these are.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.span.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What some of the threads ended.
pub(crate) struct Recent {
    slots: Box<[Slot]>,
}

#[derive(Default)]
struct Slot {
    /// Which slot since the list was made; 0 if it is empty, because they are counted from 1.
    number: u64,
    counts: Counts,
    took: Sketch,
    max: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    started: u64,
    ended: u64,
    killed: u64,
    panicked: u64,
}

/// The sum of several.
pub(crate) struct Window {
    first: u64,
    now: u64,
    counts: Counts,
    took: Sketch,
    max: Duration,
    /// When it began.
    pub(crate) began: Instant,
    span: Duration,
}

impl Default for Recent {
    fn default() -> Self {
        Recent { slots: (0..SLOTS).map(|_| Slot::default()).collect() }
    }
}

impl Recent {
    /// Takes in an end, by the time since the list was made.
    #[inline]
    pub(crate) fn record(&mut self, epoch: Instant, end: &End) {
        let number = number(end.at.saturating_duration_since(epoch));
        let begun = number_at(epoch, end);
        let slot = self.slot(number);
        match end.outcome {
            Outcome::Ended => slot.counts.ended += 1,
            Outcome::Killed => slot.counts.killed += 1,
            Outcome::Panicked => slot.counts.panicked += 1,
        }
        slot.took.add(end.ran);
        slot.max = slot.max.max(end.ran);
        if begun + (SLOTS as u64) > number {
            self.slot(begun).counts.started += 1;
        }
    }

    #[inline]
    fn slot(&mut self, number: u64) -> &mut Slot {
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.number < number {
            slot.begin(number);
        }
        slot
    }

    pub(crate) fn memory() -> usize {
        SLOTS * size_of::<Slot>()
    }
}

impl Slot {
    #[cold]
    fn begin(&mut self, number: u64) {
        self.number = number;
        self.counts = Counts::default();
        self.took.clear();
        self.max = Duration::ZERO;
    }
}

/// When a task that ended so was started. A task that is older than the list is not.
#[inline]
fn number_at(epoch: Instant, end: &End) -> u64 {
    let started = end.at.checked_sub(end.ran).unwrap_or(epoch);
    number(started.saturating_duration_since(epoch))
}

#[inline]
fn number(since: Duration) -> u64 {
    since.as_secs() / SLOT + 1
}

impl Window {
    /// The last so many seconds before `now`, up to a slot more.
    pub(crate) fn new(seconds: u64, epoch: Instant, now: Instant) -> Self {
        let age = now.saturating_duration_since(epoch);
        let last = number(age);
        let first = last.saturating_sub(seconds / SLOT).max(1);
        let began = epoch + Duration::from_secs((first - 1) * SLOT);
        Window {
            first,
            now: last,
            counts: Counts::default(),
            took: Sketch::default(),
            max: Duration::ZERO,
            began,
            span: now.saturating_duration_since(began),
        }
    }

    pub(crate) fn add(&mut self, recent: &Recent) {
        for slot in recent.slots.iter().filter(|slot| (self.first..=self.now).contains(&slot.number)) {
            self.counts.started += slot.counts.started;
            self.counts.ended += slot.counts.ended;
            self.counts.killed += slot.counts.killed;
            self.counts.panicked += slot.counts.panicked;
            self.took.merge(&slot.took);
            self.max = self.max.max(slot.max);
        }
    }

    /// With so many that were started and are running.
    pub(crate) fn rates(&self, running: u64) -> Rates {
        let Counts { started, ended, killed, panicked } = self.counts;
        let [p50, p99] = [50, 99].map(|percent| self.took.percentile(percent, self.max));
        Rates { span: self.span, started: started + running, ended, killed, panicked, p50, p99, max: self.max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_window_is_not_in_it() {
        let (epoch, mut recent) = (Instant::now(), Recent::default());
        let second = Duration::from_secs;
        let mut end = |at: u64, ran: u64, outcome| {
            let end = End { outcome, at: epoch + second(at), ran: second(ran), spilled: 0, extra: None };
            recent.record(epoch, &end);
        };
        end(1, 1, Outcome::Ended);
        end(50, 40, Outcome::Killed);
        end(99, 3, Outcome::Ended);
        end(100, 90, Outcome::Panicked);
        let rates = |seconds, now| {
            let mut window = Window::new(seconds, epoch, epoch + second(now));
            window.add(&recent);
            window.rates(0)
        };
        let short = rates(10, 101);
        assert_eq!((short.span, short.started, short.ended, short.killed, short.panicked), (second(11), 1, 1, 0, 1));
        assert_eq!(short.max, second(90));
        let long = rates(60, 101);
        assert_eq!((long.span, long.started, long.ended, long.killed), (second(61), 1, 1, 1));
        assert_eq!((rates(60, 500).ended, rates(60, 500).max), (0, Duration::ZERO));
        assert!((short.per_second(short.ended) - 1.0 / 11.0).abs() < 1e-9);
    }
}
