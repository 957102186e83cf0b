//! Entry: all that is known of one live task.
//!
//! # Invariants
//!
//! - `Life` goes running -> killing -> ended, or running -> ended, never back,
//!   and changes only under the lock of its entry. So a kill that comes after
//!   the end is refused, and of two kills one is the first.
//! - `kill_pending` is true exactly while `Life` is killing. It is only a hint
//!   that saves the lock at a kill point: the decision is made under the lock.
//! - Whoever asks for the `wakeup` of a task that is being killed gets it
//!   triggered; whoever asked before has it triggered by the kill. Both go
//!   through the lock, so no wake-up is lost.
//!
//! # Deadlock safety
//!
//! The lock is a leaf: under it nothing is formatted, no value of the
//! program's is made or dropped but strings, no waker is woken, and no other
//! lock is taken.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use compact_str::CompactString;
use tokio_util::sync::CancellationToken;

use crate::columns::Columns;
use crate::history::History;
use crate::killed::{Ending, Kill, Killed};
use crate::limits::{self, Cuts};
use crate::proc::{Killing, Outcome, Proc};

/// All that is known of one task. Shared by its guard, its handles and the list.
///
/// In this order, because to look at a hundred thousand of them is to wait for
/// memory: what a filter needs lies side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    started: Instant,
    kill_pending: AtomicBool,
    /// There is a history that takes memory of its own.
    has_past: AtomicBool,
    state: Mutex<State>,
    id: CompactString,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    life: Life,
    columns: Columns,
    history: History,
    forbidden: bool,
    /// Made when somebody first waits for the kill: it costs more than a status.
    wakeup: Option<CancellationToken>,
    /// The start by the wall clock, from the first snapshot on. Not read at
    /// the start, because a clock is half of what a start costs.
    wall: Option<SystemTime>,
    /// Where the program last set the status.
    site: Option<&'static Location<'static>>,
    /// What was over a limit, if anything ever was.
    cuts: Option<Box<Cuts>>,
}

#[derive(Debug)]
enum Life {
    Running,
    Killing {
        kill: Arc<Kill>,
        /// A kill point has reported it.
        seen: bool,
    },
    Ended {
        outcome: Outcome,
        kill: Option<Arc<Kill>>,
        at: Instant,
    },
}

/// The answer to a request to kill.
pub(crate) enum Verdict {
    /// It was accepted, when the task was in this status.
    Killing(Arc<Kill>, Cow<'static, str>),
    /// Somebody was first: this is their kill.
    Already(Arc<Kill>),
    Forbidden,
    Ended,
}

/// What is known of a task, to be looked at under its lock: read, copy and
/// compare, and nothing else.
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a str,
    pub(crate) started: Instant,
    history: &'a History,
    pub(crate) columns: &'a Columns,
    /// The kill that it has been asked for, or died of.
    pub(crate) kill: Option<&'a Arc<Kill>>,
    /// How and when it ended.
    pub(crate) end: Option<(Outcome, Instant)>,
    /// What was over a limit, if anything ever was.
    pub(crate) cuts: Option<&'a Cuts>,
}

/// How a task ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    /// How long it ran.
    pub(crate) ran: Duration,
    /// The kill that was under way and how it came out: to be announced when
    /// the task has left the list.
    pub(crate) kill: Option<(Arc<Kill>, Ending)>,
    pub(crate) cuts: Option<Cuts>,
}

impl<'a> Facts<'a> {
    pub(crate) fn status(&self) -> &'a str {
        self.history.current().0
    }

    /// When it entered this status.
    pub(crate) fn entered(&self) -> Instant {
        self.history.current().1
    }
}

impl Entry {
    pub(crate) fn new(id: CompactString, started: Instant, forbidden: bool) -> Self {
        Entry {
            id,
            started,
            kill_pending: AtomicBool::new(false),
            has_past: AtomicBool::new(false),
            state: Mutex::new(State {
                history: History::new(started),
                columns: Columns::default(),
                life: Life::Running,
                forbidden,
                wakeup: None,
                wall: None,
                site: None,
                cuts: None,
            }),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The order of the list: longest running first, ties by id.
    pub(crate) fn by_age(&self, other: &Self) -> std::cmp::Ordering {
        (self.started, self.id()).cmp(&(other.started, other.id()))
    }

    /// Nothing panics under the lock but for want of memory, and what it
    /// guards is whole between any two statements.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if the task is still running.
    #[inline]
    fn live(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        match state.life {
            Life::Ended { .. } => None,
            Life::Running | Life::Killing { .. } => Some(state),
        }
    }

    #[inline]
    pub(crate) fn set_status(&self, status: Cow<'static, str>, site: &'static Location<'static>) {
        let is_over = status.len() > limits::STATUS;
        let status = limits::cut(status, limits::STATUS);
        if let Some(mut state) = self.live() {
            state.history.enter(status, Instant::now);
            state.site = Some(site);
            if state.history.has_spilled() {
                self.has_past.store(true, Ordering::Relaxed);
            }
            if is_over {
                state.cuts().statuses += 1;
            }
        }
    }

    pub(crate) fn set_col(&self, name: &str, value: &str, is_secret: bool) {
        let name = limits::name(name);
        let is_over = value.len() > limits::VALUE;
        let value = limits::cut(value.into(), limits::VALUE);
        if let Some(mut state) = self.live() {
            let fits = state.columns.set(name, &value, is_secret);
            if !fits {
                state.cuts().columns += 1;
            } else if is_over {
                state.cuts().values += 1;
            }
        }
    }

    /// Notes that the id is not whole.
    pub(crate) fn id_was_cut(&self) {
        self.lock().cuts().ids += 1;
    }

    pub(crate) fn remove_col(&self, name: &str) {
        if let Some(mut state) = self.live() {
            state.columns.remove(limits::name(name));
        }
    }

    pub(crate) fn forbid_kill(&self) {
        self.lock().forbidden = true;
    }

    /// Asks for the death of the task and wakes it if it waits for that. `by`
    /// says who asks: nobody, if it is the program itself.
    pub(crate) fn kill(&self, message: String, by: Option<Arc<str>>) -> Verdict {
        let is_over = message.len() > limits::MESSAGE;
        let message = limits::cut(message.into(), limits::MESSAGE).into_owned();
        let id = self.id.to_string();
        let mut state = self.lock();
        match &state.life {
            Life::Ended { .. } => return Verdict::Ended,
            Life::Killing { kill, .. } => return Verdict::Already(Arc::clone(kill)),
            Life::Running if state.forbidden => return Verdict::Forbidden,
            Life::Running => {}
        }
        let kill = Arc::new(Kill { id, message, by, at: Instant::now(), ending: Default::default() });
        let status = state.history.current().0.clone();
        state.life = Life::Killing { kill: Arc::clone(&kill), seen: false };
        self.kill_pending.store(true, Ordering::Release);
        if is_over {
            state.cuts().messages += 1;
        }
        let wakeup = state.wakeup.clone();
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.cancel();
        }
        Verdict::Killing(kill, status)
    }

    /// Whether a [`kill_point`](Self::kill_point) has something to report.
    #[inline]
    pub(crate) fn is_kill_pending(&self) -> bool {
        self.kill_pending.load(Ordering::Acquire)
    }

    /// Looks whether the task is being killed, and if so reports it: from
    /// then on its end is a death by that kill.
    pub(crate) fn kill_point(&self, location: &'static Location<'static>) -> Option<Killed> {
        if !self.is_kill_pending() {
            return None;
        }
        let mut state = self.lock();
        let status = state.history.current().0.clone();
        match &mut state.life {
            Life::Killing { kill, seen } => {
                *seen = true;
                Some(Killed::new(Arc::clone(kill), status, location))
            }
            Life::Running | Life::Ended { .. } => None,
        }
    }

    /// Whether `killed` comes from a kill of this task.
    pub(crate) fn is_killed_by(&self, killed: &Killed) -> bool {
        match &self.lock().life {
            Life::Killing { kill, .. } | Life::Ended { kill: Some(kill), .. } => killed.is_of(kill),
            Life::Running | Life::Ended { kill: None, .. } => false,
        }
    }

    /// What is triggered by the kill of this task.
    pub(crate) fn wakeup(&self) -> CancellationToken {
        let mut state = self.lock();
        let wakeup = state.wakeup.get_or_insert_default().clone();
        let killing = matches!(state.life, Life::Killing { .. });
        drop(state);
        if killing {
            wakeup.cancel();
        }
        wakeup
    }

    /// The status, and whether the task has seen its kill.
    pub(crate) fn standing(&self) -> (Cow<'static, str>, bool) {
        let state = self.lock();
        let seen = matches!(state.life, Life::Killing { seen: true, .. });
        (state.history.current().0.clone(), seen)
    }

    /// Gives back what nobody can ask for any more once the guard is gone.
    #[inline]
    pub(crate) fn forget_past(&self) {
        if !self.has_past.load(Ordering::Relaxed) {
            return;
        }
        let past = self.lock().history.forget_past();
        drop(past);
    }

    /// Ends the task. `None` if it had ended before.
    pub(crate) fn end(&self, panicking: bool) -> Option<End> {
        let unseen = if panicking { Outcome::Aborted } else { Outcome::Ended };
        let at = Instant::now();
        let mut state = self.live()?;
        let ran = at.saturating_duration_since(self.started);
        let cuts = state.cuts.as_deref().copied();
        let Life::Killing { kill, seen } = &state.life else {
            state.life = Life::Ended { outcome: unseen, kill: None, at };
            return Some(End { outcome: unseen, ran, kill: None, cuts });
        };
        let outcome = if *seen { Outcome::Killed } else { unseen };
        let kill = Arc::clone(kill);
        let after = at.saturating_duration_since(kill.at);
        let ending = Ending { outcome, after, status: state.history.current().0.clone() };
        self.kill_pending.store(false, Ordering::Release);
        state.life = Life::Ended { outcome, kill: Some(Arc::clone(&kill)), at };
        Some(End { outcome, ran, kill: Some((kill, ending)), cuts })
    }

    /// A snapshot, in which secrets are masked unless they are to be revealed.
    pub(crate) fn proc(&self, reveal: bool) -> Proc {
        let mut state = self.lock();
        let (now, kill, outcome) = match &state.life {
            Life::Running => (Instant::now(), None, None),
            Life::Killing { kill, .. } => (Instant::now(), Some(kill), None),
            Life::Ended { outcome, kill, at } => (*at, kill.as_ref(), Some(*outcome)),
        };
        let killing = kill.map(|kill| Killing {
            message: kill.message.clone(),
            by: kill.by.as_deref().map(str::to_string),
            since: now.saturating_duration_since(kill.at),
        });
        let elapsed = now.saturating_duration_since(self.started);
        let started = *state.wall.get_or_insert_with(|| {
            let wall = SystemTime::now();
            wall.checked_sub(self.started.elapsed()).unwrap_or(wall)
        });
        let (status, entered) = state.history.current();
        Proc {
            id: self.id.to_string(),
            status: status.to_string(),
            site: state.site,
            cols: state
                .columns
                .iter()
                .map(|(name, value)| (name.to_string(), value.shown(reveal).to_string()))
                .collect(),
            started,
            elapsed,
            in_status: now.saturating_duration_since(entered),
            history: state.history.steps(self.started),
            profile: state.history.profile(now),
            killing,
            outcome,
        }
    }

    /// Makes the processor fetch what a lock will need. A lock waits for its
    /// memory all by itself, and these waits can be had at the same time.
    #[inline]
    pub(crate) fn approach(&self) {
        std::hint::black_box(self.kill_pending.load(Ordering::Relaxed));
    }

    /// Locks the entry to look at it, unless somebody else is at it.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<Held<'_>> {
        match self.state.try_lock() {
            Ok(state) => Some(Held { entry: self, state }),
            Err(TryLockError::Poisoned(state)) => Some(Held { entry: self, state: state.into_inner() }),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Looks at the task. `None` if it has ended.
    #[inline]
    pub(crate) fn look<R>(&self, at: impl FnOnce(&Facts<'_>) -> R) -> Option<R> {
        self.live().map(|state| at(&self.facts(&state)))
    }

    /// Looks at the task, whether or not it has ended.
    pub(crate) fn look_back<R>(&self, at: impl FnOnce(&Facts<'_>) -> R) -> R {
        at(&self.facts(&self.lock()))
    }

    #[inline]
    fn facts<'a>(&'a self, state: &'a State) -> Facts<'a> {
        let cuts = state.cuts.as_deref();
        let (kill, end) = match &state.life {
            Life::Running => (None, None),
            Life::Killing { kill, .. } => (Some(kill), None),
            Life::Ended { outcome, kill, at } => (kill.as_ref(), Some((*outcome, *at))),
        };
        Facts { id: &self.id, started: self.started, history: &state.history, columns: &state.columns, kill, end, cuts }
    }

    /// The bytes that it holds.
    pub(crate) fn memory(&self) -> usize {
        let state = self.lock();
        let id = if self.id.is_heap_allocated() { self.id.capacity() } else { 0 };
        let kill = match &state.life {
            Life::Running | Life::Ended { kill: None, .. } => 0,
            Life::Killing { kill, .. } | Life::Ended { kill: Some(kill), .. } => {
                size_of::<Kill>() + kill.id.len() + kill.message.len()
            }
        };
        size_of::<Self>() + id + state.history.spilled() + state.columns.spilled() + kill
    }
}

/// An entry that is locked to be looked at.
pub(crate) struct Held<'a> {
    entry: &'a Entry,
    state: MutexGuard<'a, State>,
}

impl Held<'_> {
    /// Makes the processor fetch what a look will need.
    #[inline]
    pub(crate) fn approach(&self) {
        std::hint::black_box(self.state.columns.edges());
    }

    /// Looks at the task. `None` if it has ended.
    #[inline]
    pub(crate) fn look<R>(&self, at: impl FnOnce(&Facts<'_>) -> R) -> Option<R> {
        match self.state.life {
            Life::Ended { .. } => None,
            Life::Running | Life::Killing { .. } => Some(at(&self.entry.facts(&self.state))),
        }
    }
}

impl State {
    #[cold]
    fn cuts(&mut self) -> &mut Cuts {
        self.cuts.get_or_insert_default()
    }
}
