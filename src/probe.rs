//! Probe: what polls the work of a task once in the place of its executor, to see where it is parked.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

/// How often somebody has asked about some task. Each `run` compares it with the last one it knew: a flag of the task would be
/// eaten by the first of several.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// What looks at a poll.
pub(crate) trait Probe: Send + Sync {
    /// Calls `poll` once, with a context that wakes `waker`. It tells whether it was ready.
    fn poll(&self, waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) -> bool;
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

/// Lets each `run` look whether it is meant.
#[cfg_attr(not(feature = "stack"), allow(dead_code))]
pub(crate) fn ask() {
    ASKED.fetch_add(1, Ordering::Release);
}
