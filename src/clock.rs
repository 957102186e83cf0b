//! Clock: when a status was entered, read in a third of the time that an `Instant` takes.
//!
//! A [`Tick`] is a reading of the processor's counter. The counter is calibrated at its first use and may drift by some
//! parts in a million, so it times the steps between statuses only, and always back from now, or from the end of the
//! task: what was entered last is told most exactly. The start of a task, its age and its end are `Instant`s. Where
//! there is no counter to be relied on, quanta reads the system's clock.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quanta::Clock;

static COUNTER: LazyLock<Counter> = LazyLock::new(|| {
    let clock = Clock::new();
    Counter { at: Instant::now(), raw: clock.raw(), clock }
});

struct Counter {
    clock: Clock,
    /// A moment by both clocks, at its first use.
    at: Instant,
    raw: u64,
}

impl Counter {
    fn raw(&self) -> u64 {
        self.clock.raw()
    }

    fn delta(&self, start: u64, end: u64) -> Duration {
        self.clock.delta(start, end)
    }
}

/// How often something counts in `ago`, if it has counted so often in a `time` that was longer.
fn share(count: u64, time: Duration, ago: Duration) -> u64 {
    let share = u128::from(count) * ago.as_nanos() / time.as_nanos().max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// A moment on the processor's counter. Never zero, so that one that may be missing takes no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(NonZeroU64);

impl Tick {
    #[inline]
    pub(crate) fn now() -> Self {
        Tick(NonZeroU64::new(COUNTER.raw()).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn since(self, earlier: Tick) -> Duration {
        COUNTER.delta(earlier.0.get(), self.0.get().max(earlier.0.get()))
    }
}

/// A moment on the counter in a quarter of the room: to about a millisecond, for some weeks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CoarseTick(u32);

impl CoarseTick {
    const SHIFT: u32 = 20;

    #[inline]
    pub(crate) fn now() -> Self {
        CoarseTick((Tick::now().0.get() >> Self::SHIFT) as u32)
    }

    fn since(self, earlier: CoarseTick) -> Duration {
        COUNTER.delta(0, u64::from(self.0.wrapping_sub(earlier.0)) << Self::SHIFT)
    }
}

/// A time by the wall clock, in half the room: nanoseconds since 1970, up to the year 2554.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallTime(NonZeroU64);

impl WallTime {
    pub(crate) fn of(at: Instant) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(at.elapsed());
        WallTime(u64::try_from(since.as_nanos()).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.0.get())
    }
}

/// Now, by both clocks: what ages are counted from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    at: Instant,
    tick: Tick,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Moment { at: Instant::now(), tick: Tick::now() }
    }

    /// What this was when it was `at`. By what the counter has made of the time since its first use, and not by its
    /// calibration: so the past stays what it was, however long ago it is.
    pub(crate) fn back_to(self, at: Instant) -> Self {
        let (raw, ago) = (self.tick.0.get(), self.since(at));
        let back = share(raw.saturating_sub(COUNTER.raw), self.at.saturating_duration_since(COUNTER.at), ago);
        Moment { at, tick: Tick(NonZeroU64::new(raw.saturating_sub(back)).unwrap_or(NonZeroU64::MIN)) }
    }

    pub(crate) fn since_tick(self, earlier: Tick) -> Duration {
        self.tick.since(earlier)
    }

    pub(crate) fn since_coarse(self, earlier: CoarseTick) -> Duration {
        let now = CoarseTick((self.tick.0.get() >> CoarseTick::SHIFT) as u32);
        now.since(earlier)
    }

    pub(crate) fn since(self, earlier: Instant) -> Duration {
        self.at.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_where_the_counter_was_then() {
        // A counter that goes wrong by a hundredth is right about what it counted itself.
        let day = Duration::from_secs(86_400);
        assert_eq!(share(1_010_000_000, Duration::from_secs(1), Duration::from_millis(500)), 505_000_000);
        assert_eq!(share(u64::MAX, day, day), u64::MAX);
        assert_eq!(share(7, Duration::ZERO, Duration::ZERO), 0);

        // Read one after the other, many times: at least once nothing came in between.
        let then: Vec<_> = (0..1000).map(|_| Moment::now()).collect();
        let far = |then: &Moment| {
            let back = Moment::now().back_to(then.at).tick;
            back.since(then.tick).max(then.tick.since(back))
        };
        assert!(then.iter().map(far).min() < Some(Duration::from_micros(20)));
    }
}
