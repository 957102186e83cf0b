//! Stats: counts of a list. Adds `ProcList::stats`.

use std::time::{Duration, Instant};

use crate::limits::Truncations;
use crate::list::ProcList;
use crate::rates::Rates;

/// Counts of a list. While tasks start and end, they are those of about one moment.
///
/// ```
/// let list = pm::ProcList::new();
/// let running = list.start("req1");
/// drop(list.start("req2"));
///
/// let stats = list.stats();
/// assert_eq!((stats.running, stats.started, stats.ended), (1, 2, 1));
/// assert_eq!(stats.oldest.unwrap().0, "req1");
/// # drop(running);
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Tasks that are running.
    pub running: u64,
    /// Tasks that were started since the list was made. Never less than it was.
    pub started: u64,
    /// Tasks that ended by themselves: [`Outcome::Ended`](crate::Outcome::Ended).
    pub ended: u64,
    /// Tasks that a kill ended.
    pub killed: u64,
    /// Tasks that a panic ended.
    pub panicked: u64,
    /// Tasks that are running and have been asked to stop.
    pub being_killed: u64,
    /// The id and the age of the task that has been running for longest.
    pub oldest: Option<(String, Duration)>,
    /// The bytes that the list holds: its tasks, those that have ended and are kept, and itself.
    pub memory: usize,
    /// What started and ended in the last 10 s ..
    pub last_10_seconds: Rates,
    /// .. and in the last minute.
    pub last_minute: Rates,
    pub(crate) truncations: Truncations,
}

impl ProcList {
    /// Counts its tasks. It looks at each of them: with 100,000 it takes some 20 ms.
    pub fn stats(&self) -> Stats {
        let now = Instant::now();
        // First, so that nobody is counted twice.
        let counts = self.finished().counts();
        let entries = self.entries();
        let mut truncations = counts.truncations;
        let (mut running, mut being_killed, mut memory) = (0, 0, self.overhead());
        for task in &entries {
            let live = task.with_live(|row| (row.kill.is_some(), row.truncations.copied()));
            if let Some((is_killed, cut)) = live {
                running += 1;
                being_killed += u64::from(is_killed);
                // Those of the finished are in the counts.
                truncations.add(&cut.unwrap_or_default());
            }
            memory += task.memory();
        }
        memory += self.finished().all().iter().map(|task| task.memory()).sum::<usize>();
        let [last_10_seconds, last_minute] = [10, 60].map(|seconds| {
            let window = self.finished().window(seconds, now);
            window.rates(entries.iter().filter(|task| task.started() >= window.began).count() as u64)
        });
        let oldest = entries.iter().min_by(|a, b| a.by_age(b));
        Stats {
            running,
            started: self.at_least_started(running + counts.ended + counts.killed + counts.panicked),
            ended: counts.ended,
            killed: counts.killed,
            panicked: counts.panicked,
            being_killed,
            oldest: oldest.map(|task| (task.id().to_string(), now.saturating_duration_since(task.started()))),
            memory,
            last_10_seconds,
            last_minute,
            truncations,
        }
    }
}
