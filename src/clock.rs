//! Clock: when a status was entered, read in a third of the time that an `Instant` takes.
//!
//! A [`Tick`] is a reading of the processor's counter. The counter is calibrated at its first use
//! and may drift by some parts in a million, so it times the steps between statuses only, and always
//! back from now: what was entered last is told most exactly. The start of a task, its age and
//! its end are `Instant`s. Where there is no counter to be relied on, quanta reads the system's clock.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quanta::Clock;

static COUNTER: LazyLock<Clock> = LazyLock::new(Clock::new);

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
    /// The counter was read so much later.
    lag: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Moment { at: Instant::now(), tick: Tick::now(), lag: Duration::ZERO }
    }

    /// What this was when it was `at`, not long ago.
    pub(crate) fn back_to(self, at: Instant) -> Self {
        Moment { at, lag: self.lag + self.since(at), ..self }
    }

    pub(crate) fn since_tick(self, earlier: Tick) -> Duration {
        self.tick.since(earlier).saturating_sub(self.lag)
    }

    pub(crate) fn since_coarse(self, earlier: CoarseTick) -> Duration {
        let now = CoarseTick((self.tick.0.get() >> CoarseTick::SHIFT) as u32);
        now.since(earlier).saturating_sub(self.lag)
    }

    pub(crate) fn since(self, earlier: Instant) -> Duration {
        self.at.saturating_duration_since(earlier)
    }
}
