//! Progress: how far a task has come, kept apart from its status.

use std::time::Duration;

use crate::clock::{CoarseTick, Moment};

/// How far a task has come: what [`Handle::progress`](crate::Handle::progress) said last.
///
/// ```
/// let list = pm::ProcList::new();
/// let task = list.start("export1");
/// task.set_status("exporting");
/// task.progress(16, 50);
/// let progress = list.get("export1").unwrap().progress.unwrap();
/// assert_eq!((progress.done, progress.total, progress.percent()), (16, 50, 32));
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do in all. Never 0.
    pub total: u64,
    /// How much of it was done since the task said its progress for the first time ..
    pub made: u64,
    /// .. and how long ago that was. When it goes back, it begins again.
    pub since: Duration,
}

impl Progress {
    /// How much is done, in whole percent: 100 only if all is.
    pub fn percent(&self) -> u64 {
        percent(self.done, self.total)
    }

    /// How much is done in a second; `None` as long as nothing tells.
    pub fn rate(&self) -> Option<f64> {
        let is_known = self.made > 0 && !self.since.is_zero();
        is_known.then(|| self.made as f64 / self.since.as_secs_f64())
    }

    /// How long the rest takes at that rate; `None` as long as nothing tells, and when nothing is left.
    pub fn time_to_go(&self) -> Option<Duration> {
        if self.done >= self.total {
            return None;
        }
        let rest = self.total.saturating_sub(self.done) as f64;
        self.rate().and_then(|rate| Duration::try_from_secs_f64(rest / rate).ok())
    }
}

fn percent(done: u64, total: u64) -> u64 {
    u64::try_from(u128::from(done) * 100 / u128::from(total.max(1))).unwrap_or(u64::MAX)
}

/// A first progress that has no room: the pace is not told then.
const UNKNOWN: u32 = u32::MAX;

/// What a task has said of its progress. Kept small, because each task has one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    done: u64,
    /// 0 if nothing was said.
    total: u64,
    /// What was done when it was said first ..
    first: u32,
    /// .. and when.
    begun: CoarseTick,
}

impl Meter {
    /// Notes a progress. What goes back has begun again.
    #[inline]
    pub(crate) fn set(&mut self, done: u64, total: u64) {
        if total > 0 && (self.total == 0 || done < self.done) {
            (self.first, self.begun) = (u32::try_from(done).unwrap_or(UNKNOWN), CoarseTick::now());
        }
        (self.done, self.total) = (done, total);
    }

    /// As new.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.total = 0;
    }

    /// How much is done, and of how much.
    #[inline]
    pub(crate) fn parts(self) -> Option<(u64, u64)> {
        (self.total > 0).then_some((self.done, self.total))
    }

    pub(crate) fn percent(self) -> Option<u64> {
        self.parts().map(|(done, total)| percent(done, total))
    }

    /// What a snapshot tells.
    pub(crate) fn at(self, now: Moment) -> Option<Progress> {
        let (done, total) = self.parts()?;
        let made = if self.first == UNKNOWN { 0 } else { done.saturating_sub(u64::from(self.first)) };
        Some(Progress { done, total, made, since: now.since_coarse(self.begun) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_whole_and_100_is_all() {
        for (done, total, expected) in [(0, 50, 0), (16, 50, 32), (999, 1000, 99), (7, 7, 100), (8, 7, 114)] {
            assert_eq!(percent(done, total), expected, "{done}/{total}");
        }
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(u64::MAX, 1), u64::MAX, "more than there is");
    }

    #[test]
    fn the_pace_is_that_of_what_was_done_since_the_first_word() {
        let progress = |made, seconds| Progress { done: 30, total: 50, made, since: Duration::from_secs(seconds) };
        assert_eq!(progress(10, 5).rate(), Some(2.0));
        assert_eq!(progress(10, 5).time_to_go(), Some(Duration::from_secs(10)));
        assert_eq!((progress(0, 5).rate(), progress(10, 0).time_to_go()), (None, None));
        let over = Progress { done: 51, ..progress(10, 5) };
        assert_eq!(over.time_to_go(), None);
    }

    #[test]
    fn work_that_was_resumed_or_began_again_is_not_counted_as_done_now() {
        let mut meter = Meter::default();
        let made = |meter: Meter| meter.at(Moment::now()).map(|progress| progress.made);
        assert_eq!(made(meter), None);
        meter.set(1000, 5000);
        meter.set(1200, 5000);
        assert_eq!(made(meter), Some(200));
        meter.set(3, 60);
        meter.set(5, 70);
        assert_eq!(made(meter), Some(2));
        meter.set(0, 0);
        assert_eq!(made(meter), None);
        meter.set(1 << 40, 1 << 41);
        meter.set((1 << 40) + 5, 1 << 41);
        assert_eq!(made(meter), Some(0), "it is not known");
    }
}
