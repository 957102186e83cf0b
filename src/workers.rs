//! Workers: threads for what may block or panic. They are few, and end when they are idle.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::unwinding::contain;

/// How many there are at most. What comes when all are busy waits.
const MOST: usize = 8;

/// How long one stays without work.
const IDLE: Duration = Duration::from_secs(5);

static WORKERS: Workers =
    Workers { state: Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0 }), more: Condvar::new() };

type Job = Box<dyn FnOnce() + Send>;

struct Workers {
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Has `job` done on a thread of ours; or here, if there is none and the system has no more.
pub(crate) fn run(job: Job) {
    let mut state = WORKERS.lock();
    state.jobs.push_back(job);
    if state.jobs.len() > state.idle && state.threads < MOST {
        let thread = thread::Builder::new().name("pm-on-kill".to_string()).spawn(|| WORKERS.work());
        state.threads += usize::from(thread.is_ok());
    }
    let ours = if state.threads == 0 { state.jobs.pop_back() } else { None };
    drop(state);
    match ours {
        Some(job) => contain(job),
        None => WORKERS.more.notify_one(),
    }
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                contain(job);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.more.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.idle -= 1;
            if waited.1.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
