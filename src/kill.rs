//! Kill: one kill, from the request to the outcome.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use crate::columns::Printed;
use crate::peer::Peer;
use crate::proc::Outcome;
use crate::timer;
use crate::waiters::{Key, Waiters};

/// What is asked for.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) message: String,
    /// The operator; `None` if the program itself asks.
    pub(crate) by: Option<Arc<Peer>>,
    /// The kill of a task that this one is below, which it comes with.
    pub(crate) above: Option<Arc<Kill>>,
    /// It stands only as long as this is the deadline of the task.
    pub(crate) deadline: Option<timer::Key>,
    /// What the table prints of the task, without secrets. None of a task that is below: it is not in the audit.
    pub(crate) columns: Printed,
}

impl Request {
    /// Of a task below one that `kill` has killed.
    pub(crate) fn below(kill: Arc<Kill>) -> Self {
        Request { message: kill.message.clone(), by: kill.by.clone(), above: Some(kill), ..Request::default() }
    }
}

/// One kill. The victim shares it with all who wait for the outcome. A task has at most one.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) message: String,
    /// The operator; `None` if the program itself asked.
    pub(crate) by: Option<Arc<Peer>>,
    pub(crate) at: Instant,
    pub(crate) time: SystemTime,
    /// The age and the status of the task at that time.
    pub(crate) age: Duration,
    pub(crate) status: Cow<'static, str>,
    /// See [`Request`].
    pub(crate) columns: Printed,
    /// The kill that somebody asked for, if that was of a task that this one is below.
    first: Option<Arc<Kill>>,
    /// How many tasks below it have taken the kill.
    below: AtomicUsize,
    /// A call of `on_kill` has been begun.
    is_called: AtomicBool,
    /// Whether its request has been sent to the log: its end comes after that.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    pub(crate) is_logged: Mutex<bool>,
    /// Set once, when the task has left the list.
    ending: OnceLock<Ending>,
    /// The lock is a leaf.
    waiters: Mutex<Waiters>,
}

/// How a killed task ended.
///
/// [`PendingKill::outcome`](crate::PendingKill::outcome) returns it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whether the kill ended it.
    pub outcome: Outcome,
    /// The time from the kill to the end.
    pub after: Duration,
    /// The last status.
    pub status: String,
    /// How it ended, in the words of the program or of this crate: see [`Proc::note`](crate::Proc::note).
    pub note: Option<String>,
    /// What the port prints behind the line that tells the outcome.
    pub(crate) suffix: String,
}

impl Kill {
    pub(crate) fn new(request: Request, id: String, started: Instant, status: Cow<'static, str>) -> Self {
        let Request { message, by, above, columns, .. } = request;
        let first = above.map(|above| above.first.clone().unwrap_or(above));
        let at = Instant::now();
        Kill {
            id,
            message,
            by,
            at,
            time: SystemTime::now(),
            age: at.saturating_duration_since(started),
            status,
            columns,
            first,
            below: AtomicUsize::new(0),
            is_called: AtomicBool::new(false),
            is_logged: Mutex::default(),
            ending: OnceLock::new(),
            waiters: Mutex::default(),
        }
    }

    /// Whether it came with the kill of a task that this one is below.
    pub(crate) fn is_below(&self) -> bool {
        self.first.is_some()
    }

    /// The kill that somebody asked for.
    fn first(&self) -> &Kill {
        self.first.as_deref().unwrap_or(self)
    }

    /// Whether somebody asked for both at once, by the kill of a task that is above theirs.
    pub(crate) fn is_of_family(&self, other: &Kill) -> bool {
        std::ptr::eq(self.first(), other.first())
    }

    pub(crate) fn set_called(&self) {
        self.is_called.store(true, Ordering::Release);
    }

    /// Whether the program has been told by a call.
    pub(crate) fn is_called(&self) -> bool {
        self.is_called.load(Ordering::Acquire)
    }

    /// So many tasks below this one have taken it.
    pub(crate) fn reaches(&self, below: usize) {
        self.first().below.fetch_add(below, Ordering::Relaxed);
    }

    pub(crate) fn below(&self) -> usize {
        self.below.load(Ordering::Relaxed)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the outcome to all who wait for it.
    pub(crate) fn announce(&self, ending: Ending) {
        let first = self.ending.set(ending);
        debug_assert!(first.is_ok(), "a task ends once");
        let woken = self.waiters().take();
        woken.wake();
    }

    /// How the task ended, if it has left the list.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// Whether the task has left the list; else `waker` is woken when it does.
    pub(crate) fn poll_ending(&self, key: &mut Option<Key>, waker: &Waker) -> Poll<()> {
        let has_come = |_: &Waiters| if self.ending.get().is_some() { Poll::Ready(()) } else { Poll::Pending };
        Waiters::poll(|| self.waiters(), |waiters| waiters, has_come, key, waker, false)
    }

    pub(crate) fn forget_waiter(&self, key: Key) {
        let waker = self.waiters().remove(key);
        drop(waker);
    }
}
