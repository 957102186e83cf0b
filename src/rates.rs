//! Rates: what started and ended in the last minute, and how long it took. In fixed memory.

use std::time::{Duration, Instant};

use crate::entry::End;
use crate::proc::Outcome;
use crate::sketch::Sketch;

/// A slot is so many seconds.
const SLOT: u64 = 2;

/// The last minute, without the slot that is not over.
const SLOTS: usize = 30;

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
    /// Half of those that ended, in whatever way, took no longer than this; within an eighth, from 16 µs on.
    pub p50: Duration,
    /// 99 of 100 took no longer than this; within an eighth, from 16 µs on.
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
#[repr(C)]
pub(crate) struct Recent {
    /// When the slot that is not over begins and ends: most ends are of it, and are counted without a division.
    began: Instant,
    ends: Instant,
    current: Slot,
    over: [Slot; SLOTS],
}

#[derive(Default)]
#[repr(C)]
struct Slot {
    max: Duration,
    counts: Counts,
    /// Which slot since the list was made; 0 if it is empty, because they are counted from 1.
    number: u64,
    took: Sketch,
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

impl Recent {
    /// Not inline: it would make the stack of every end so large that it has to be probed.
    #[cold]
    #[inline(never)]
    pub(crate) fn boxed(epoch: Instant) -> Box<Self> {
        Box::new(Recent::new(epoch))
    }

    fn new(epoch: Instant) -> Self {
        Recent { began: epoch, ends: epoch, current: Slot::default(), over: std::array::from_fn(|_| Slot::default()) }
    }

    /// Takes in the end of a task that had started then.
    #[inline]
    pub(crate) fn record(&mut self, epoch: Instant, started: Instant, end: &End) {
        if end.at >= self.ends {
            self.turn_to(epoch, end.at);
        }
        let is_of_this_slot = started >= self.began;
        let slot = &mut self.current;
        match end.outcome {
            Outcome::Ended => slot.counts.ended += 1,
            Outcome::Killed => slot.counts.killed += 1,
            Outcome::Panicked => slot.counts.panicked += 1,
        }
        slot.took.add(end.ran);
        slot.max = slot.max.max(end.ran);
        if is_of_this_slot {
            slot.counts.started += 1;
        } else {
            self.record_start(epoch, started);
        }
    }

    #[cold]
    fn turn_to(&mut self, epoch: Instant, at: Instant) {
        let number = number(at.saturating_duration_since(epoch));
        let over = std::mem::take(&mut self.current);
        let place = &mut self.over[(over.number % SLOTS as u64) as usize];
        *place = over;
        self.began = epoch + Duration::from_secs((number - 1) * SLOT);
        self.ends = self.began + Duration::from_secs(SLOT);
        self.current.number = number;
    }

    /// Counts the start of a task that was started in an earlier slot.
    #[cold]
    fn record_start(&mut self, epoch: Instant, started: Instant) {
        let number = number(started.saturating_duration_since(epoch));
        if number + SLOTS as u64 >= self.current.number {
            let slot = &mut self.over[(number % SLOTS as u64) as usize];
            if slot.number < number {
                *slot = Slot { number, ..Slot::default() };
            }
            slot.counts.started += 1;
        }
    }

    pub(crate) fn memory() -> usize {
        size_of::<Self>()
    }
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
        let slots = recent.over.iter().chain([&recent.current]);
        for slot in slots.filter(|slot| (self.first..=self.now).contains(&slot.number)) {
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
        let epoch = Instant::now();
        let mut recent = Recent::new(epoch);
        let second = Duration::from_secs;
        let mut end = |at: u64, ran: u64, outcome| {
            let end = End { outcome, at: epoch + second(at), ran: second(ran), spilled: 0, extra: None };
            recent.record(epoch, end.at - end.ran, &end);
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
