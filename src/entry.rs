//! Entry: all that is known of one live task.
//!
//! # Invariants
//!
//! - `Life` goes running -> killing -> ended, or running -> ended, never back,
//!   and changes only under the lock of its entry. So a kill that comes after
//!   the end is refused, and of two kills one is the first.
//! - A kill that has been accepted is reported for ever, also after the end:
//!   helpers of a task may look only when its guard is gone.
//! - `signals` tells a kill point whether there is anything to look at. It is
//!   only a hint that saves the lock: the decision is made under the lock.
//! - Who waits for the kill or the end leaves a waker under the lock, and the
//!   kill and the end take all wakers out under the lock. So none is lost.
//!
//! # Deadlock safety
//!
//! The lock is a leaf: under it nothing is formatted, no value of the
//! program's is made or dropped but strings, no waker is cloned, woken or
//! dropped, and no other lock is taken.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use compact_str::CompactString;

use crate::clock::Moment;
use crate::columns::Columns;
use crate::escape;
use crate::history::History;
use crate::killed::{self, Ending, Kill, Killed};
use crate::limits::{self, Cuts};
use crate::proc::{Killing, Outcome, Proc};
use crate::value::Text;
use crate::waiters::{Key, Waiters, Woken};

/// A bit of [`Entry::signals`]: a kill has been accepted.
const KILL: u8 = 1;

/// A bit of [`Entry::signals`]: a pending `run` has been dropped.
const ABANDONED: u8 = 2;

/// All that is known of one task. Shared by its guard, its handles and the list.
///
/// In this order, because to look at a hundred thousand of them is to wait for
/// memory: what a filter needs lies side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    started: Instant,
    /// [`KILL`] and [`ABANDONED`].
    signals: AtomicU8,
    /// There is a history that takes memory of its own.
    has_past: AtomicBool,
    state: Mutex<State>,
    id: CompactString,
    /// The hash of the id, for the map.
    hash: u64,
}

/// The id of a task, and its hash: what the map is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Id<'a> {
    pub(crate) hash: u64,
    pub(crate) id: &'a str,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    life: Life,
    columns: Columns,
    history: History,
    forbidden: bool,
    /// Who waits for the kill, or the end.
    waiters: Waiters,
    note: Note,
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
        /// How many kill points it has passed since.
        passed: u32,
    },
    Ended {
        outcome: Outcome,
        kill: Option<Arc<Kill>>,
        at: Instant,
    },
}

/// A word on how a task ends.
#[derive(Debug, Clone, Default)]
pub(crate) enum Note {
    #[default]
    None,
    /// A pending `run` was dropped, and nothing shows that the task goes on.
    Abandoned,
    /// The kill of another task ended it.
    Unwound(Arc<Kill>),
    /// It saw its kill, and passed so many kill points.
    Passed(u32),
}

impl Note {
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Note::None => None,
            Note::Abandoned => Some("abandoned".to_string()),
            Note::Unwound(kill) => Some(format!("unwound by the kill of {}", escape::id(&kill.id))),
            Note::Passed(kill_points) => Some(killed::passed(*kill_points)),
        }
    }
}

/// What ends a task.
pub(crate) enum Cause {
    /// `done` was called.
    Done,
    /// Its guard was dropped.
    Dropped,
    /// Its guard was dropped while a panic unwinds.
    Panic,
    /// Its guard was dropped by a kill, its own or that of another task.
    Kill(Killed),
}

/// What a future waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Kill,
    End,
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
    /// A word on how it ends or ended.
    pub(crate) note: &'a Note,
}

/// How a task ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) at: Instant,
    /// How long it ran.
    pub(crate) ran: Duration,
    /// The bytes that its entry holds besides itself, without its past.
    pub(crate) spilled: usize,
    /// What most tasks do not have.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What is to be done about some ends.
pub(crate) struct Extra {
    /// The kill that was under way and how it came out: to be announced when
    /// the task has left the list.
    pub(crate) kill: Option<(Arc<Kill>, Ending)>,
    pub(crate) cuts: Option<Cuts>,
    /// Who waits for the end: to be woken when the task has left the list.
    pub(crate) woken: Woken,
}

impl<'a> Facts<'a> {
    pub(crate) fn status(&self) -> &'a str {
        self.history.current()
    }

    /// How long it has been running, or ran.
    #[inline]
    pub(crate) fn age(&self, now: Moment) -> Duration {
        self.until(now).since(self.started)
    }

    /// For how long it has been in this status, or was at its end.
    #[inline]
    pub(crate) fn in_status(&self, now: Moment) -> Duration {
        self.history.in_status(self.started, self.until(now))
    }

    /// The time of those that have ended has stopped.
    #[inline]
    fn until(&self, now: Moment) -> Moment {
        self.end.map_or(now, |(_, at)| now.back_to(at))
    }
}

impl Entry {
    pub(crate) fn new(id: Id<'_>, started: Instant, forbidden: bool) -> Self {
        Entry {
            id: CompactString::new(id.id),
            hash: id.hash,
            started,
            signals: AtomicU8::new(0),
            has_past: AtomicBool::new(false),
            state: Mutex::new(State {
                history: History::new(),
                columns: Columns::default(),
                life: Life::Running,
                forbidden,
                waiters: Waiters::default(),
                note: Note::None,
                wall: None,
                site: None,
                cuts: None,
            }),
        }
    }

    /// Makes the entry of a task that nobody remembers that of a new one, in its place: half a
    /// kilobyte that is neither allocated, moved nor freed.
    pub(crate) fn reuse(&mut self, id: Id<'_>, started: Instant, forbidden: bool) {
        // Named one by one, so that a new field is not left as it was.
        let Entry { id: old_id, hash: old_hash, started: old_start, signals, has_past, state } = self;
        let state = state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let State { life, columns, history, forbidden: was_forbidden, waiters, note, wall, site, cuts } = state;
        *old_id = CompactString::new(id.id);
        *old_hash = id.hash;
        *old_start = started;
        *signals.get_mut() = 0;
        *has_past.get_mut() = false;
        *life = Life::Running;
        columns.reset();
        history.reset();
        *was_forbidden = forbidden;
        *waiters = Waiters::default();
        *note = Note::None;
        *wall = None;
        *site = None;
        *cuts = None;
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
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
            self.goes_on(&mut state);
            if state.history.enter(status, self.started) {
                self.has_past.store(true, Ordering::Relaxed);
            }
            state.site = Some(site);
            if is_over {
                state.cuts().statuses += 1;
            }
        }
    }

    pub(crate) fn set_col(&self, name: &str, value: &Text, is_secret: bool) {
        let name = limits::name(name);
        if let Some(mut state) = self.live() {
            self.goes_on(&mut state);
            let fits = state.columns.set(name, value, is_secret);
            if !fits {
                state.cuts().columns += 1;
            } else if value.is_cut() {
                state.cuts().values += 1;
            }
        }
    }

    pub(crate) fn set_col_as(&self, name: &str, value: &Text, shown: &Text) {
        let name = limits::name(name);
        if let Some(mut state) = self.live() {
            self.goes_on(&mut state);
            let fits = state.columns.set_as(name, value, shown);
            if !fits {
                state.cuts().columns += 1;
            } else if shown.is_cut() {
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
            self.goes_on(&mut state);
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
        let kill = Arc::new(Kill::new(id, message, by));
        let status = state.history.current().clone();
        state.life = Life::Killing { kill: Arc::clone(&kill), seen: false, passed: 0 };
        self.signals.fetch_or(KILL, Ordering::Release);
        if is_over {
            state.cuts().messages += 1;
        }
        let woken = state.waiters.take();
        drop(state);
        woken.wake();
        Verdict::Killing(kill, status)
    }

    /// Whether a kill has been accepted, be it before the end or not.
    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.signals.load(Ordering::Acquire) & KILL != 0
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.lock().life, Life::Ended { .. })
    }

    /// A kill point of the program's: looks whether the task has been killed,
    /// and if so reports it. From then on its end is a death by that kill, and
    /// the kill points that it passes are counted.
    #[inline]
    pub(crate) fn kill_point(&self, location: &'static Location<'static>) -> Option<Killed> {
        killed::clear_mark();
        match self.signals.load(Ordering::Acquire) {
            0 => None,
            _ => self.see_kill(location, true),
        }
    }

    /// The same for code of ours that looks on behalf of a task: it is not counted.
    #[inline]
    pub(crate) fn look_for_kill(&self, location: &'static Location<'static>) -> Option<Killed> {
        match self.signals.load(Ordering::Acquire) {
            0 => None,
            _ => self.see_kill(location, false),
        }
    }

    #[cold]
    fn see_kill(&self, location: &'static Location<'static>, counts: bool) -> Option<Killed> {
        // What is done while unwinding is cleaning up.
        let counts = counts && !thread::panicking();
        let mut state = self.lock();
        self.goes_on(&mut state);
        let status = state.history.current().clone();
        match &mut state.life {
            Life::Killing { kill, seen, passed } => {
                *passed = passed.saturating_add(u32::from(*seen && counts));
                *seen = true;
                Some(Killed::new(Arc::clone(kill), status, location))
            }
            Life::Ended { kill: Some(kill), .. } => Some(Killed::new(Arc::clone(kill), status, location)),
            Life::Running | Life::Ended { kill: None, .. } => None,
        }
    }

    /// Whether `killed` comes from a kill of this task.
    pub(crate) fn is_killed_by(&self, killed: &Killed) -> bool {
        self.lock().life.kill().is_some_and(|kill| killed.is_of(kill))
    }

    /// A pending `run` has been dropped: so ends work that was given up, unless the task goes on.
    pub(crate) fn abandon(&self) {
        if let Some(mut state) = self.live() {
            state.note = Note::Abandoned;
            self.signals.fetch_or(ABANDONED, Ordering::Relaxed);
        }
    }

    /// A verb shows that the task goes on.
    #[inline]
    fn goes_on(&self, state: &mut State) {
        if matches!(state.note, Note::Abandoned) && !matches!(state.life, Life::Ended { .. }) {
            state.note = Note::None;
            self.signals.fetch_and(!ABANDONED, Ordering::Relaxed);
        }
    }

    /// A `run` begins.
    pub(crate) fn runs(&self) {
        if self.signals.load(Ordering::Relaxed) & ABANDONED != 0 {
            self.goes_on(&mut self.lock());
        }
    }

    /// Whether `awaited` has come; else `waker` is woken when it does.
    ///
    /// `key` names the future that waits, from its first call on, which must
    /// [forget](Self::forget_waiter) it in the end.
    pub(crate) fn has_come(&self, awaited: Awaited, key: &mut Option<Key>, waker: &Waker) -> bool {
        let mut waker = Some(waker);
        let mut clone = None;
        loop {
            let mut state = self.lock();
            let (has_come, never) = match (&state.life, awaited) {
                (Life::Ended { kill: None, .. }, Awaited::Kill) => (false, true),
                (life, Awaited::Kill) => (life.kill().is_some(), false),
                (life, Awaited::End) => (matches!(life, Life::Ended { .. }), false),
            };
            if has_come || never {
                return has_come;
            }
            if let Some(clone) = clone.take() {
                let replaced = state.waiters.set(key, clone);
                drop(state);
                drop(replaced);
                return false;
            }
            match waker.take() {
                Some(waker) if !state.waiters.has(*key, waker) => {
                    drop(state);
                    clone = Some(waker.clone());
                }
                _ => return false,
            }
        }
    }

    /// The future known by `key` waits no more.
    pub(crate) fn forget_waiter(&self, key: Key) {
        let waker = self.lock().waiters.remove(key);
        drop(waker);
    }

    /// The status, and whether the task has seen its kill.
    pub(crate) fn standing(&self) -> (Cow<'static, str>, bool) {
        let state = self.lock();
        let seen = matches!(state.life, Life::Killing { seen: true, .. });
        (state.history.current().clone(), seen)
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
    pub(crate) fn end(&self, cause: Cause) -> Option<End> {
        let at = Instant::now();
        let mut state = self.live()?;
        let ran = at.saturating_duration_since(self.started);
        let unseen = if matches!(cause, Cause::Panic) { Outcome::Panicked } else { Outcome::Ended };
        let mut ending = None;
        let (outcome, kill) = match &state.life {
            Life::Killing { kill, seen, passed } => {
                let (outcome, passed) = if *seen { (Outcome::Killed, *passed) } else { (unseen, 0) };
                let after = at.saturating_duration_since(kill.at);
                let status = state.history.current().clone();
                ending = Some((Arc::clone(kill), Ending { outcome, after, status, passed }));
                (outcome, Some(Arc::clone(kill)))
            }
            Life::Running | Life::Ended { .. } => (unseen, None),
        };
        let passed = ending.as_ref().map_or(0, |(_, ending)| ending.passed);
        let note = match cause {
            Cause::Kill(other) if outcome != Outcome::Killed => Note::Unwound(Arc::clone(other.kill())),
            _ if passed > 0 => Note::Passed(passed),
            Cause::Done => Note::None,
            Cause::Dropped | Cause::Panic | Cause::Kill(_) => std::mem::take(&mut state.note),
        };
        state.note = note;
        state.life = Life::Ended { outcome, kill, at };
        let is_plain = ending.is_none() && state.waiters.is_empty() && state.cuts.is_none();
        let extra = if is_plain {
            None
        } else {
            let (cuts, woken) = (state.cuts.as_deref().copied(), state.waiters.take());
            Some(Box::new(Extra { kill: ending, cuts, woken }))
        };
        let spilled = self.spilled(&state, is_plain);
        Some(End { outcome, at, ran, spilled, extra })
    }

    /// The bytes that the entry holds besides itself, but for the past of the task.
    #[inline]
    fn spilled(&self, state: &State, is_plain: bool) -> usize {
        let id = if self.id.is_heap_allocated() { self.id.capacity() } else { 0 };
        let status = match state.history.current() {
            Cow::Borrowed(_) => 0,
            Cow::Owned(status) => status.capacity(),
        };
        let spilled = id + status + state.columns.spilled();
        if is_plain {
            return spilled;
        }
        let kill = state.life.kill().map_or(0, |kill| size_of::<Kill>() + kill.id.len() + kill.message.len());
        let cuts = state.cuts.as_ref().map_or(0, |_| size_of::<Cuts>());
        spilled + kill + cuts + state.waiters.spilled()
    }

    /// A snapshot, in which secrets are masked unless they are to be revealed.
    pub(crate) fn proc(&self, reveal: bool) -> Proc {
        let mut state = self.lock();
        let now = Moment::now();
        let (now, outcome) = match &state.life {
            Life::Running | Life::Killing { .. } => (now, None),
            Life::Ended { outcome, at, .. } => (now.back_to(*at), Some(*outcome)),
        };
        let killing = state.life.kill().map(|kill| Killing {
            message: kill.message.clone(),
            by: kill.by.as_deref().map(str::to_string),
            since: now.since(kill.at),
        });
        let elapsed = now.since(self.started);
        let started = *state.wall.get_or_insert_with(|| {
            let wall = SystemTime::now();
            wall.checked_sub(self.started.elapsed()).unwrap_or(wall)
        });
        let note = state.note.clone();
        let proc = Proc {
            id: self.id.to_string(),
            status: state.history.current().to_string(),
            site: state.site,
            cols: state
                .columns
                .iter()
                .map(|(name, value)| (name.to_string(), value.shown(reveal).to_string()))
                .collect(),
            started,
            elapsed,
            in_status: state.history.in_status(self.started, now),
            history: state.history.steps(self.started, now),
            profile: state.history.profile(self.started, now),
            killing,
            outcome,
            note: None,
        };
        drop(state);
        Proc { note: note.text(), ..proc }
    }

    /// Makes the processor fetch what a lock will need. A lock waits for its
    /// memory all by itself, and these waits can be had at the same time.
    #[inline]
    pub(crate) fn approach(&self) {
        std::hint::black_box(self.signals.load(Ordering::Relaxed));
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
        let end = match &state.life {
            Life::Running | Life::Killing { .. } => None,
            Life::Ended { outcome, at, .. } => Some((*outcome, *at)),
        };
        Facts {
            id: &self.id,
            started: self.started,
            history: &state.history,
            columns: &state.columns,
            kill: state.life.kill(),
            end,
            cuts,
            note: &state.note,
        }
    }

    /// The bytes that it holds.
    pub(crate) fn memory(&self) -> usize {
        let state = self.lock();
        size_of::<Self>() + self.spilled(&state, false) + state.history.past()
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

impl Life {
    /// The kill that has been accepted.
    fn kill(&self) -> Option<&Arc<Kill>> {
        match self {
            Life::Killing { kill, .. } | Life::Ended { kill: Some(kill), .. } => Some(kill),
            Life::Running | Life::Ended { kill: None, .. } => None,
        }
    }
}

impl State {
    #[cold]
    fn cuts(&mut self) -> &mut Cuts {
        self.cuts.get_or_insert_default()
    }
}
