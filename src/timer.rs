//! Timer: a thread that tells what is due. It ends when there is nothing to wait for.
//!
//! # Deadlock safety
//!
//! The lock is a leaf: what is due is told when it is not held.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::unwinding::contain;

/// How long the thread stays when there is nothing to wait for: programs that set deadlines set many.
const IDLE: Duration = Duration::from_secs(10);

static TIMER: Timer =
    Timer { state: Mutex::new(State { due: BTreeMap::new(), last: 0, is_running: false }), earlier: Condvar::new() };

/// What is told that its time is over.
pub(crate) trait Timed: Send + Sync {
    fn time_is_over(&self, key: Key, after: Duration);
}

/// By what something that will be due is known.
pub(crate) type Key = (Instant, u64);

struct Timer {
    state: Mutex<State>,
    /// Something is due earlier than all that was known.
    earlier: Condvar,
}

struct State {
    due: BTreeMap<Key, Due>,
    last: u64,
    is_running: bool,
}

struct Due {
    whom: Weak<dyn Timed>,
    after: Duration,
}

/// Tells `whom` at that time, `after` which it will be over. None if the system has no more threads.
pub(crate) fn set(at: Instant, whom: Weak<dyn Timed>, after: Duration) -> Option<Key> {
    let mut state = TIMER.lock();
    if !state.is_running {
        let thread = thread::Builder::new().name("pm-timer".to_string()).spawn(|| TIMER.run());
        thread.ok()?;
        state.is_running = true;
    }
    state.last += 1;
    let key = (at, state.last);
    state.due.insert(key, Due { whom, after });
    let is_first = state.due.first_key_value().is_some_and(|(first, _)| *first == key);
    drop(state);
    if is_first {
        TIMER.earlier.notify_one();
    }
    Some(key)
}

/// Does not tell it any more. Returns after which time it would have been over, if it was not.
pub(crate) fn forget(key: Key) -> Option<Duration> {
    let due = TIMER.lock().due.remove(&key);
    due.map(|due| due.after)
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let wait = match state.due.first_key_value() {
                Some(((at, _), _)) => at.saturating_duration_since(now),
                None => IDLE,
            };
            if wait.is_zero() {
                let first = state.due.pop_first();
                drop(state);
                if let Some((key, due)) = first {
                    due.tell(key);
                }
                state = self.lock();
                continue;
            }
            let waited = self.earlier.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && state.due.is_empty() {
                state.is_running = false;
                return;
            }
        }
    }
}

impl Due {
    fn tell(&self, key: Key) {
        if let Some(whom) = self.whom.upgrade() {
            // Whom it wakes is the program's.
            contain(|| whom.time_is_over(key, self.after));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Told(Sender<Duration>);

    impl Timed for Told {
        fn time_is_over(&self, _: Key, after: Duration) {
            self.0.send(after).expect("somebody listens");
            std::panic::resume_unwind(Box::new("a bug"));
        }
    }

    #[test]
    fn each_is_told_at_its_time_and_what_was_forgotten_or_is_gone_is_not() {
        let (sender, told) = channel();
        let (whom, gone) = (Arc::new(Told(sender.clone())), Arc::new(Told(sender)));
        let whom: Arc<dyn Timed> = whom;
        let set = |millis| {
            let after = Duration::from_millis(millis);
            set(Instant::now() + after, Arc::downgrade(&whom), after).expect("a thread")
        };
        let forgotten = set(1);
        set(40);
        set(20);
        let long = set(3_600_000);
        let weak = Arc::downgrade(&(Arc::clone(&gone) as Arc<dyn Timed>));
        drop(gone);
        super::set(Instant::now(), weak, Duration::ZERO).expect("a thread");
        forget(forgotten);
        let next = || told.recv_timeout(Duration::from_secs(20)).expect("it is told");
        let first = next();
        assert!(first == Duration::from_millis(20) || first == Duration::from_millis(1), "{first:?}");
        while next() != Duration::from_millis(40) {}
        forget(long);
        assert!(!TIMER.lock().due.contains_key(&long));
    }
}
