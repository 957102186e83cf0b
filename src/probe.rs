//! Probe: what polls the work of a task once in the place of its executor, to see where it is parked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::entry::Entry;

/// How often somebody has asked about some task. Each `run` compares it with the last one it knew: a flag of the task would be
/// eaten by the first of several.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// What looks at a poll.
pub(crate) trait Probe: Send + Sync {
    /// Calls `poll`, which polls the work of `entry`, with contexts that wake `waker`, until it is ready or the probe has
    /// seen enough. It tells whether it was ready.
    fn poll(&self, entry: &Entry, waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) -> bool;
}

/// Where a task was parked when somebody looked.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) ago: Duration,
    /// What was parked at each place, and the line that awaits it.
    pub(crate) places: Vec<String>,
}

#[inline]
pub(crate) fn asked() -> u32 {
    ASKED.load(Ordering::Relaxed)
}

/// Lets each `run` look whether it is meant. Returns which time this is.
#[cfg_attr(not(feature = "stack"), allow(dead_code))]
pub(crate) fn ask() -> u32 {
    ASKED.fetch_add(1, Ordering::Release).wrapping_add(1)
}

/// Whether one time came after another one.
pub(crate) fn is_later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}
