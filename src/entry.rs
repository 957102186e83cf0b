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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use compact_str::CompactString;
use tokio_util::sync::CancellationToken;

use crate::columns::Columns;
use crate::history::History;
use crate::killed::{Ending, Kill, Killed};
use crate::proc::{Killing, Outcome, Proc};

/// The longest message that a kill carries, in bytes.
const MESSAGE: usize = 512;

/// The most bytes of a cell that the table reads: always more than the 80
/// columns that it shows, even if each is four bytes with four marks on it.
const READ: usize = 2048;

/// All that is known of one task. Shared by its guard, its handles and the list.
#[derive(Debug)]
pub(crate) struct Entry {
    id: CompactString,
    started: Instant,
    kill_pending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    history: History,
    columns: Columns,
    life: Life,
    forbidden: bool,
    /// Made when somebody first waits for the kill: it costs more than a status.
    wakeup: Option<CancellationToken>,
    /// The start by the wall clock, from the first snapshot on. Not read at
    /// the start, because a clock is half of what a start costs.
    wall: Option<SystemTime>,
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
        /// `None` when nobody can ask for it any more.
        at: Option<Instant>,
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

impl Entry {
    pub(crate) fn new(id: CompactString, started: Instant, forbidden: bool) -> Self {
        Entry {
            id,
            started,
            kill_pending: AtomicBool::new(false),
            state: Mutex::new(State {
                history: History::new(started),
                columns: Columns::default(),
                life: Life::Running,
                forbidden,
                wakeup: None,
                wall: None,
            }),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
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
    pub(crate) fn set_status(&self, status: Cow<'static, str>) {
        if let Some(mut state) = self.live() {
            state.history.enter(status, Instant::now);
        }
    }

    pub(crate) fn set_col(&self, name: &str, value: &str) {
        if let Some(mut state) = self.live() {
            state.columns.set(name, value);
        }
    }

    pub(crate) fn remove_col(&self, name: &str) {
        if let Some(mut state) = self.live() {
            state.columns.remove(name);
        }
    }

    pub(crate) fn forbid_kill(&self) {
        self.lock().forbidden = true;
    }

    /// Asks for the death of the task and wakes it if it waits for that.
    pub(crate) fn kill(&self, mut message: String) -> Verdict {
        crate::escape::shorten(&mut message, MESSAGE);
        let id = self.id.to_string();
        let mut state = self.lock();
        match &state.life {
            Life::Ended { .. } => return Verdict::Ended,
            Life::Killing { kill, .. } => return Verdict::Already(Arc::clone(kill)),
            Life::Running if state.forbidden => return Verdict::Forbidden,
            Life::Running => {}
        }
        let kill = Arc::new(Kill { id, message, at: Instant::now(), ending: Default::default() });
        let status = state.history.current().0.clone();
        state.life = Life::Killing { kill: Arc::clone(&kill), seen: false };
        self.kill_pending.store(true, Ordering::Release);
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

    /// Ends the task. `None` if it had ended before; else the kill that was
    /// under way, if any, and how it came out: to be announced when the task
    /// has left the list. `at` is the time, if a snapshot is going to ask for it.
    pub(crate) fn end(&self, panicking: bool, at: Option<Instant>) -> Option<Option<(Arc<Kill>, Ending)>> {
        let unseen = if panicking { Outcome::Aborted } else { Outcome::Ended };
        let mut state = self.live()?;
        let Life::Killing { kill, seen } = &state.life else {
            state.life = Life::Ended { outcome: unseen, kill: None, at };
            return Some(None);
        };
        let outcome = if *seen { Outcome::Killed } else { unseen };
        let kill = Arc::clone(kill);
        let after = at.unwrap_or_else(Instant::now).saturating_duration_since(kill.at);
        let ending = Ending { outcome, after, status: state.history.current().0.clone() };
        self.kill_pending.store(false, Ordering::Release);
        state.life = Life::Ended { outcome, kill: Some(Arc::clone(&kill)), at };
        Some(Some((kill, ending)))
    }

    /// A snapshot.
    pub(crate) fn proc(&self) -> Proc {
        let mut state = self.lock();
        let (now, kill, outcome) = match &state.life {
            Life::Running => (Instant::now(), None, None),
            Life::Killing { kill, .. } => (Instant::now(), Some(kill), None),
            Life::Ended { outcome, kill, at } => (at.unwrap_or_else(Instant::now), kill.as_ref(), Some(*outcome)),
        };
        let killing =
            kill.map(|kill| Killing { message: kill.message.clone(), since: now.saturating_duration_since(kill.at) });
        let elapsed = now.saturating_duration_since(self.started);
        let started = *state.wall.get_or_insert_with(|| {
            let wall = SystemTime::now();
            wall.checked_sub(self.started.elapsed()).unwrap_or(wall)
        });
        let (status, entered) = state.history.current();
        Proc {
            id: self.id.to_string(),
            status: status.to_string(),
            cols: state.columns.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            started,
            elapsed,
            in_status: now.saturating_duration_since(entered),
            history: state.history.steps(self.started),
            profile: state.history.profile(now),
            killing,
            outcome,
        }
    }

    /// What the table prints of the task: the status and the named columns
    /// are copied to `into`, the rest is returned. `None` if it has ended.
    pub(crate) fn read(&self, columns: &[String], into: &mut Cells) -> Option<Option<Instant>> {
        into.clear();
        let state = self.live()?;
        into.push(state.history.current().0);
        for column in columns {
            into.push(state.columns.get(column).unwrap_or_default());
        }
        Some(match &state.life {
            Life::Killing { kill, .. } => Some(kill.at),
            Life::Running | Life::Ended { .. } => None,
        })
    }
}

/// The texts of one row, one after the other in one buffer that serves all
/// rows: to copy them is all that is done under the lock of an entry.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn push(&mut self, cell: &str) {
        self.text.push_str(&cell[..cell.floor_char_boundary(READ)]);
        self.ends.push(self.text.len());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}
