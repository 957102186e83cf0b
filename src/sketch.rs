//! Sketch: how long tasks took, in 480 bytes however many there were.
//!
//! A histogram whose buckets are a quarter of a power of two wide, so that a percentile is off by an eighth at most. A
//! library would be as good, but those that fit are either larger or bring procedural macros along.

use std::time::Duration;

/// From 16 µs to 2.4 hours, and what is longer in the last one.
const BUCKETS: usize = 120;

/// So many seconds have their place in the last bucket.
const LONG: u64 = 9000;

/// A unit is 2^12 ns.
const UNIT: u32 = 12;

/// Durations, counted by their length.
#[derive(Debug, Clone)]
pub(crate) struct Sketch([u32; BUCKETS]);

impl Default for Sketch {
    fn default() -> Self {
        Sketch([0; BUCKETS])
    }
}

impl Sketch {
    #[inline]
    pub(crate) fn add(&mut self, duration: Duration) {
        let count = &mut self.0[bucket(duration)];
        *count = count.saturating_add(1);
    }

    pub(crate) fn merge(&mut self, other: &Sketch) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Halves all counts: what is new weighs more than what was.
    pub(crate) fn halve(&mut self) {
        self.0.iter_mut().for_each(|count| *count /= 2);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// The duration that so many percent do not exceed, by nearest rank; never more than `longest`, which is the longest
    /// that was added. Zero if there is none.
    pub(crate) fn percentile(&self, percent: u64, longest: Duration) -> Duration {
        let count = self.count();
        let rank = (count * percent).div_ceil(100).max(1);
        if rank == count {
            return longest;
        }
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return if at + 1 == BUCKETS { longest } else { middle(at).min(longest) };
            }
        }
        Duration::ZERO
    }
}

#[inline]
fn bucket(duration: Duration) -> usize {
    if duration.as_secs() >= LONG {
        return BUCKETS - 1;
    }
    let units = (duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())) >> UNIT;
    if units < 4 {
        return units as usize;
    }
    let power = units.ilog2();
    let quarter = (units >> (power - 2)) & 3;
    ((power as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let (least, width) = match bucket {
        0..4 => (bucket, 1),
        _ => ((4 + bucket % 4) << (bucket / 4 - 1), 1 << (bucket / 4 - 1)),
    };
    Duration::from_nanos((least << UNIT) + (width << UNIT) / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_about_right_and_never_longer_than_the_longest() {
        let mut sketch = Sketch::default();
        (1..=1000).for_each(|millis| sketch.add(Duration::from_millis(millis)));
        let at = |percent| sketch.percentile(percent, Duration::from_secs(1)).as_secs_f64();
        assert!((0.44..0.57).contains(&at(50)) && (0.87..=1.0).contains(&at(99)), "{} {}", at(50), at(99));
        assert_eq!((sketch.count(), at(100) <= 1.0), (1000, true));
        let mut other = Sketch::default();
        other.merge(&sketch);
        other.halve();
        other.halve();
        assert!((200..=250).contains(&other.count()));
        let mut one = Sketch::default();
        one.add(Duration::from_millis(300));
        assert_eq!(one.percentile(50, Duration::from_millis(300)).as_millis(), 300);
        assert_eq!(Sketch::default().percentile(99, Duration::ZERO), Duration::ZERO);
        let mut long = Sketch::default();
        long.add(Duration::from_secs(100_000));
        assert_eq!(long.percentile(50, Duration::from_secs(100_000)).as_secs(), 100_000);
        long.add(Duration::MAX);
    }

    proptest! {
        #[test]
        fn a_duration_is_known_within_an_eighth(nanos in 16_400_u64..8_000_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            let found = middle(bucket(duration)).as_nanos() as f64;
            prop_assert!((found / nanos as f64 - 1.0).abs() <= 0.126, "{nanos} {found}");
        }
    }
}
