//! Entry: all that is known of one task.
//!
//! # Invariants
//!
//! - `Life` goes from running to killing to ended, or from running to ended, never back. It changes
//!   only under the lock of its entry. So a kill that comes after the end is refused, and of two
//!   kills one is the first.
//! - A kill that has been accepted is reported for ever, also after the end: helpers of a task may
//!   look only when its guard is gone.
//! - `signals` tells a kill point whether there is anything to look at. It is only a hint that saves
//!   the lock: the decision is made under the lock.
//! - A future that waits for the kill or the end leaves a waker under the lock, and the kill and the
//!   end take all wakers out under the lock. So none is lost.
//!
//! # Deadlock safety
//!
//! The lock is a leaf. Under it nothing of the program's is formatted, no value of the program's is made or dropped
//! but strings, no waker is cloned, woken or dropped, and no other lock is taken.

mod alarm;
mod end;
mod family;
mod home;
mod rare;
mod snapshot;

use std::borrow::Cow;
#[cfg(feature = "tower")]
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use compact_str::CompactString;

use crate::clock::{Moment, WallTime};
use crate::columns::Columns;
use crate::history::History;
use crate::kill::{Kill, Request};
use crate::killed::Killed;
use crate::limits::{self, Truncations};
use crate::proc::Outcome;
use crate::progress::Meter;
use crate::request;
use crate::timer;
use crate::unwinding;
use crate::value::Text;
use crate::waiters::{Key, Waiters};
use alarm::Alarm;
pub(crate) use end::{Cause, End, Extra, Guards, Note};
pub(crate) use family::FamilyReply;
use home::Home;
pub(crate) use home::List;
pub(crate) use rare::Parent;
use rare::Rare;
pub(crate) use snapshot::{Depth, EntryRef, Snapshot, Tie};

/// A bit of [`Entry::signals`]: a kill has been accepted.
const KILL: u8 = 1;

/// A bit of [`Entry::signals`]: a pending `run` has been dropped.
const ABANDONED: u8 = 2;

/// A bit of [`Entry::signals`]: no kill point unwinds.
const QUIET: u8 = 4;

/// A bit of [`Entry::signals`]: its parent was being killed when it was born. It is killed when it looks.
const INHERITED: u8 = 8;

/// A bit of [`Entry::signals`]: it was started by a destructor, while its thread was unwinding already.
const UNWINDING: u8 = 16;

/// A bit of [`Entry::signals`]: it is no task. See [`Entry::nobody`].
const NOBODY: u8 = 32;

/// A bit of [`Entry::signals`]: there is a history that takes memory of its own.
const PAST: u8 = 64;

/// Kinds of kill points: a future of ours that notices a kill whenever it is polled; a call of the program's.
const AWAIT: u8 = 1;
const OWN: u8 = 2;

/// The signals for which a kill point looks.
const LOOK: u8 = KILL | ABANDONED | INHERITED;

/// What ran for so long keeps the time that it spent in each status.
const LONG: Duration = Duration::from_millis(100);

/// The slot of a task that is in the map.
const IN_MAP: u32 = u32::MAX;

/// All that is known of one task. Its guard, its handles and the list share it.
///
/// In this order, because to look at a hundred thousand of them is to wait for memory: what a filter
/// needs lies side by side.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    started: Instant,
    /// [`KILL`], [`ABANDONED`] and so on.
    signals: AtomicU8,
    /// The best kind of kill point that it has passed: [`AWAIT`] or [`OWN`].
    kill_points: AtomicU8,
    /// How often its status was set, up to a multiple of 65,536. It changes under the lock.
    statuses: AtomicU16,
    /// Where it is, if it is not in the map; else [`IN_MAP`].
    slot: u32,
    state: Mutex<State>,
    /// That of a request is formatted when somebody asks for it.
    id: OnceLock<CompactString>,
    /// The hash of the id, for the map; the number of a request.
    hash: u64,
}

/// The id of a task, and its hash: what the map is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Id<'a> {
    pub(crate) hash: u64,
    pub(crate) id: &'a str,
}

/// What a task is called, and where it is.
pub(crate) enum Name<'a> {
    /// In the map.
    Id(Id<'a>),
    #[cfg_attr(not(feature = "tower"), allow(dead_code))]
    Request { number: u64, slot: u32 },
}

impl Name<'_> {
    #[inline]
    fn parts(self) -> (OnceLock<CompactString>, u64, u32) {
        match self {
            Name::Id(Id { hash, id }) => (OnceLock::from(CompactString::new(id)), hash, IN_MAP),
            Name::Request { number, slot } => (OnceLock::new(), number, slot),
        }
    }
}

/// What is known of a task when it starts.
pub(crate) struct Start<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) started: Instant,
    pub(crate) forbidden: bool,
    pub(crate) list: Arc<dyn List>,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    life: Life,
    columns: Columns,
    history: History,
    forbidden: bool,
    /// A panic has left a part of its work, or dropped a guard that was not the last.
    has_panicked: bool,
    /// How many guards it has, one of which may have been detached.
    guards: u32,
    /// The futures that wait for the kill, or the end.
    waiters: Waiters,
    home: Home,
    note: Note,
    progress: Meter,
    /// The start by the wall clock, from the first snapshot on. Not read at the start, because a
    /// clock is half of what a start costs.
    wall: Option<WallTime>,
    /// Where the program last set the status. Not known of a span's.
    site: Option<&'static Location<'static>>,
    /// What few tasks have.
    rare: Option<Box<Rare>>,
}

/// A task that nobody else knows yet: its columns are set without a lock.
pub(crate) struct Fresh<'a>(&'a mut State);

#[cfg(feature = "tower")]
impl Fresh<'_> {
    /// Sets a column that has not been set.
    #[inline]
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        if value.len() <= limits::VALUE {
            self.0.columns.add(name, value.as_bytes());
        } else {
            self.0.columns.add(name, Text::new().copy(value).bytes());
            self.0.truncations().values += 1;
        }
    }

    /// The same with an address.
    #[inline]
    pub(crate) fn set_addr(&mut self, name: &'static str, addr: SocketAddr) {
        match addr {
            SocketAddr::V4(addr) => self.0.columns.add_addr(name, addr),
            SocketAddr::V6(addr) => self.set(name, &addr.to_string()),
        }
    }
}

#[derive(Debug)]
enum Life {
    /// No task: what runs outside of any. It never ends.
    Nobody,
    Running,
    Killing {
        kill: Arc<Kill>,
        /// A kill point has reported it.
        seen: bool,
        /// How many of its guards may still see it for the first time.
        unseen: u32,
        /// How many kill points it has passed since.
        passed: u32,
    },
    Ended {
        outcome: Outcome,
        kill: Option<Arc<Kill>>,
        at: Instant,
    },
}

/// What a future waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Kill,
    /// The same, by a `run`.
    KillOfRun,
    End,
}

/// How far a kill has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The task has passed no kill point so far.
    NoKillPoint,
    /// It has passed some, and none since the kill.
    Unseen,
    /// The same, and all of them were awaits.
    UnseenAtAwait,
    Seen,
    /// It has several guards, and not each of them may have seen it.
    SeenInPart,
}

/// The answer to a request to kill.
pub(crate) enum KillReply {
    Accepted(Arc<Kill>),
    /// An earlier kill stands: this one.
    Already(Arc<Kill>),
    Forbidden,
    /// A kill from above does not reach it.
    Independent,
    Ended,
}

impl Entry {
    pub(crate) fn new(start: Start<'_>) -> Self {
        let Start { name, started, forbidden, list } = start;
        Entry::with_life(name, started, forbidden, Life::Running, Home::Kept(list))
    }

    /// A child of a task that is in no list. It is in none either.
    pub(crate) fn unlisted(id: &str, birth: Parent) -> Self {
        let mut child = Entry::in_no_list(id);
        Fresh(child.state.get_mut().unwrap_or_else(PoisonError::into_inner)).set_parent(birth);
        child
    }

    /// A child of a task that has ended. It is in no list.
    pub(crate) fn orphan(id: &str, parent: &Arc<Entry>) -> Self {
        let child = Entry::in_no_list(id);
        child.be_orphan_of(parent);
        child
    }

    fn in_no_list(id: &str) -> Self {
        let id = &limits::cut(id.to_string().into(), limits::ID);
        let name = Name::Id(Id { hash: 0, id });
        Entry::with_life(name, Instant::now(), false, Life::Running, Home::Gone)
    }

    /// What stands for a task where there is none: it has no id, and its verbs do nothing.
    pub(crate) fn nobody() -> Self {
        let name = Name::Id(Id { hash: 0, id: "" });
        let signals = AtomicU8::new(NOBODY);
        Entry { signals, ..Entry::with_life(name, Instant::now(), false, Life::Nobody, Home::Gone) }
    }

    fn with_life(name: Name<'_>, started: Instant, forbidden: bool, life: Life, home: Home) -> Self {
        let (id, hash, slot) = name.parts();
        Entry {
            id,
            hash,
            slot,
            started,
            signals: AtomicU8::new(signals_at_start()),
            kill_points: AtomicU8::new(0),
            statuses: AtomicU16::new(0),
            state: Mutex::new(State {
                history: History::new(),
                columns: Columns::default(),
                life,
                forbidden,
                waiters: Waiters::default(),
                home,
                guards: 1,
                has_panicked: false,
                note: Note::None,
                progress: Meter::default(),
                wall: None,
                site: None,
                rare: None,
            }),
        }
    }

    /// Makes the entry of a task that is forgotten that of a new one, in its place: half a kilobyte
    /// that is neither allocated, moved nor freed.
    pub(crate) fn reuse(&mut self, start: Start<'_>) {
        let Start { name, started, forbidden, list } = start;
        let (id, hash, slot) = name.parts();
        // Named one by one, so that a new field is not left as it was.
        let Entry {
            id: old_id,
            hash: old_hash,
            slot: old_slot,
            started: old_start,
            signals,
            kill_points,
            statuses,
            state,
        } = self;
        let state = state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let State {
            life,
            columns,
            history,
            forbidden: was_forbidden,
            waiters,
            home,
            guards,
            has_panicked,
            note,
            progress,
            wall,
            site,
            rare,
        } = state;
        *old_id = id;
        *old_hash = hash;
        *old_slot = slot;
        *old_start = started;
        *signals.get_mut() = signals_at_start();
        *kill_points.get_mut() = 0;
        *statuses.get_mut() = 0;
        *life = Life::Running;
        columns.reset();
        history.reset();
        *was_forbidden = forbidden;
        waiters.reset();
        *home = Home::Kept(list);
        *guards = 1;
        *has_panicked = false;
        *note = Note::None;
        progress.reset();
        *wall = None;
        *site = None;
        *rare = None;
    }

    /// The task, as long as nobody else knows it.
    #[inline]
    pub(crate) fn fresh(&mut self) -> Fresh<'_> {
        Fresh(self.state.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn id(&self) -> &str {
        self.id.get_or_init(|| request::id(self.hash))
    }

    #[inline]
    pub(crate) fn is_nobody(&self) -> bool {
        self.has(NOBODY)
    }

    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    pub(crate) fn slot(&self) -> Option<u32> {
        (self.slot != IN_MAP).then_some(self.slot)
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The order of the list: longest running first, ties by id.
    pub(crate) fn by_age(&self, other: &Self) -> std::cmp::Ordering {
        (self.started, self.id()).cmp(&(other.started, other.id()))
    }

    #[inline]
    fn has(&self, signal: u8) -> bool {
        self.signals.load(Ordering::Relaxed) & signal != 0
    }

    /// Nothing panics under the lock but for want of memory, and what it guards is whole between any
    /// two statements.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if the task is still running.
    #[inline]
    fn live(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        match state.life {
            Life::Nobody | Life::Ended { .. } => None,
            Life::Running | Life::Killing { .. } => Some(state),
        }
    }

    #[inline]
    pub(crate) fn set_status(&self, status: Cow<'static, str>, site: Option<&'static Location<'static>>) {
        let is_over = status.len() > limits::STATUS;
        let status = limits::cut(status, limits::STATUS);
        if let Some(mut state) = self.live() {
            self.clear_abandoned(&mut state);
            if state.history.enter(status, self.started) && !self.has(PAST) {
                self.signals.fetch_or(PAST, Ordering::Relaxed);
            }
            state.site = site;
            self.statuses.store(self.statuses.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            if is_over {
                state.truncations().statuses += 1;
            }
        }
    }

    #[inline]
    pub(crate) fn set_progress(&self, done: u64, total: u64) {
        if let Some(mut state) = self.live() {
            self.clear_abandoned(&mut state);
            state.progress.set(done, total);
        }
    }

    pub(crate) fn set_col(&self, name: &str, value: &Text, is_secret: bool) {
        self.change_columns(value.is_cut(), |columns| columns.set(limits::name(name), value, is_secret));
    }

    pub(crate) fn set_col_as(&self, name: &str, value: &Text, shown: &Text) {
        let is_cut = shown.is_cut() || value.bytes().len() > limits::ALIAS;
        self.change_columns(is_cut, |columns| columns.set_as(limits::name(name), value, shown));
    }

    /// Makes a change that tells whether there was room for it.
    #[inline]
    fn change_columns(&self, is_cut: bool, change: impl FnOnce(&mut Columns) -> bool) {
        if let Some(mut state) = self.live() {
            self.clear_abandoned(&mut state);
            if !change(&mut state.columns) {
                state.truncations().columns += 1;
            } else if is_cut {
                state.truncations().values += 1;
            }
        }
    }

    /// Notes that the id is not whole.
    pub(crate) fn id_was_cut(&self) {
        self.lock().truncations().ids += 1;
    }

    pub(crate) fn remove_col(&self, name: &str) {
        if let Some(mut state) = self.live() {
            self.clear_abandoned(&mut state);
            state.columns.remove(limits::name(name));
        }
    }

    /// One guard more. `None` if the task has ended: it comes back no more.
    pub(crate) fn add_guard(&self) -> Option<()> {
        let mut state = self.live()?;
        self.clear_abandoned(&mut state);
        state.guards += 1;
        Some(())
    }

    /// One of its guards is not going to end it, so no guard does.
    pub(crate) fn detach(&self) {
        let held = self.lock().home.detach();
        drop(held);
    }

    /// The list that it is in. `None` if it has left, or there is no such list any more.
    pub(crate) fn list(&self) -> Option<Arc<dyn List>> {
        self.lock().home.list()
    }

    /// A panic leaves a part of its work.
    #[cfg_attr(not(feature = "tracing-layer"), allow(dead_code))]
    pub(crate) fn panics(&self) {
        if unwinding::in_progress().is_none()
            && let Some(mut state) = self.live()
        {
            state.has_panicked = true;
        }
    }

    /// Notes something about a task that goes on.
    pub(crate) fn set_note(&self, note: String) {
        let note = limits::cut(note.into(), limits::NOTE);
        if let Some(mut state) = self.live() {
            state.note = Note::Text(Arc::from(note));
        }
    }

    /// Refuses kills from now on. Returns the deadline that it had.
    pub(crate) fn forbid_kill(&self) -> Option<timer::Key> {
        let mut state = self.lock();
        state.forbidden = true;
        let is_running = matches!(state.life, Life::Running);
        let deadline = state.rare.as_mut().filter(|_| is_running).and_then(|rare| rare.deadline.take());
        drop(state);
        // One that it was born under is refused as well.
        drop(self.disinherit(None));
        deadline
    }

    /// Requests that the task stop. Who is to be woken, and called, comes into `alarm`. Only
    /// [`kill_family`](Self::kill_family) calls it.
    fn kill(&self, request: Request, alarm: &mut Alarm) -> KillReply {
        let is_over = request.message.len() > limits::MESSAGE;
        let message = limits::cut(request.message.into(), limits::MESSAGE).into_owned();
        let request = Request { message, ..request };
        let id = self.id().to_string();
        let mut state = self.lock();
        let is_with = |kill: &Kill| request.above.as_ref().is_some_and(|above| above.is_of_family(kill));
        match &state.life {
            Life::Ended { kill: Some(kill), .. } if is_with(kill) => return KillReply::Already(Arc::clone(kill)),
            Life::Nobody | Life::Ended { .. } => return KillReply::Ended,
            Life::Killing { kill, .. } => return KillReply::Already(Arc::clone(kill)),
            Life::Running if request.deadline.is_some() && state.deadline() != request.deadline => {
                // It may have been over when the task began to refuse.
                let is_refused = state.forbidden && state.deadline().is_none();
                return if is_refused { KillReply::Forbidden } else { KillReply::Ended };
            }
            Life::Running if request.above.is_some() && state.is_independent() => return KillReply::Independent,
            Life::Running if state.forbidden => return KillReply::Forbidden,
            Life::Running => {}
        }
        let status = state.history.current().clone();
        let kill = Arc::new(Kill::new(request, id, self.started, status));
        if is_over {
            state.truncations().messages += 1;
        }
        self.accept(&mut state, &kill, alarm);
        KillReply::Accepted(kill)
    }

    fn accept(&self, state: &mut State, kill: &Arc<Kill>, alarm: &mut Alarm) {
        state.life = Life::Killing { kill: Arc::clone(kill), seen: false, unseen: 0, passed: 0 };
        self.signals.fetch_or(KILL, Ordering::Release);
        let hooks = state.rare.as_mut().map(|rare| std::mem::take(&mut rare.hooks)).unwrap_or_default();
        alarm.add(kill, hooks, state.waiters.take());
    }

    /// Whether a kill has been accepted, be it before the end or not.
    #[inline]
    pub(crate) fn is_killed(&self) -> bool {
        self.signals.load(Ordering::Acquire) & (KILL | INHERITED) != 0
    }

    /// The call of a status is no kill point from now on: the code that reports may not be that of the task.
    #[cfg(feature = "tracing-layer")]
    pub(crate) fn never_unwinds(&self) {
        self.signals.fetch_or(QUIET, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.has(QUIET)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.lock().life, Life::Ended { .. })
    }

    /// A kill point of the program's: looks whether the task has been killed, and if so reports it.
    /// From then on the kill is what ends the task, and the kill points that it passes are counted.
    #[inline]
    pub(crate) fn kill_point(&self, location: &'static Location<'static>) -> Option<Killed> {
        unwinding::clear_mark();
        self.pass_kill_point(OWN);
        match self.signals.load(Ordering::Acquire) & LOOK {
            0 => None,
            _ => self.see_kill(location, None, true),
        }
    }

    /// A future of the task that notices a kill is polled.
    #[inline]
    pub(crate) fn awaits(&self) {
        self.pass_kill_point(AWAIT);
    }

    /// Notes that it has one of this kind.
    #[inline]
    fn pass_kill_point(&self, kind: u8) {
        if self.kill_points.load(Ordering::Relaxed) < kind {
            self.kill_points.store(kind, Ordering::Relaxed);
        }
    }

    /// How often its status was set.
    #[inline]
    pub(crate) fn statuses(&self) -> u16 {
        self.statuses.load(Ordering::Relaxed)
    }

    /// The same for code of ours that looks on behalf of a task, since so many of its statuses were set: it is not
    /// counted.
    #[inline]
    pub(crate) fn look_for_kill(&self, location: &'static Location<'static>, since: u16) -> Option<Killed> {
        self.awaits();
        match self.signals.load(Ordering::Acquire) & LOOK {
            0 => None,
            _ => self.see_kill(location, Some(since), false),
        }
    }

    #[inline]
    pub(crate) fn look_at_inheritance(&self) {
        if self.signals.load(Ordering::Acquire) & INHERITED != 0 {
            self.inherit();
        }
    }

    #[cold]
    fn see_kill(&self, location: &'static Location<'static>, since: Option<u16>, counts: bool) -> Option<Killed> {
        self.look_at_inheritance();
        // A kill point that is passed while unwinding is part of the cleanup.
        let counts = counts && !thread::panicking();
        let mut state = self.lock();
        self.clear_abandoned(&mut state);
        let (status, guards) = (state.history.current().clone(), state.guards);
        // Where it has told its status since is nearer to where it is.
        let is_later = since.is_some_and(|since| since != self.statuses());
        let location = state.site.filter(|_| is_later).unwrap_or(location);
        match &mut state.life {
            Life::Killing { kill, seen, unseen, passed } => {
                match *seen {
                    // Each guard stands for work of its own.
                    false => *unseen = guards - 1,
                    true if counts && *unseen > 0 => *unseen -= 1,
                    true => *passed = passed.saturating_add(u32::from(counts)),
                }
                *seen = true;
                Some(Killed::new(Arc::clone(kill), status, location))
            }
            Life::Ended { kill: Some(kill), .. } => Some(Killed::new(Arc::clone(kill), status, location)),
            Life::Nobody | Life::Running | Life::Ended { kill: None, .. } => None,
        }
    }

    /// Whether `killed` comes from a kill of this task.
    pub(crate) fn is_killed_by(&self, killed: &Killed) -> bool {
        self.lock().life.kill().is_some_and(|kill| killed.is_of(kill))
    }

    /// Notes that a pending `run` has been dropped by a kill: if that was of a task above this one, it is this one's as
    /// well.
    #[cold]
    pub(crate) fn is_cut_off_by(&self, killed: &Killed) {
        self.let_kill_pass();
        let mut state = self.lock();
        let guards = state.guards;
        if let Life::Killing { kill, seen: seen @ false, unseen, .. } = &mut state.life
            && kill.is_below()
            && killed.is_of_family(kill)
        {
            (*seen, *unseen) = (true, guards - 1);
        }
    }

    /// Notes that a pending `run` has been dropped: the work was given up, unless the task goes on.
    pub(crate) fn abandon(&self) {
        if let Some(mut state) = self.live() {
            state.note = Note::Abandoned;
            self.signals.fetch_or(ABANDONED, Ordering::Relaxed);
        }
    }

    /// A verb shows that the task goes on.
    #[inline]
    fn clear_abandoned(&self, state: &mut State) {
        if matches!(state.note, Note::Abandoned) && !matches!(state.life, Life::Ended { .. }) {
            state.note = Note::None;
            self.signals.fetch_and(!ABANDONED, Ordering::Relaxed);
        }
    }

    /// A `run` or a wait of the task begins: it goes on.
    #[inline]
    pub(crate) fn goes_on(&self) {
        if self.has(ABANDONED) {
            self.clear_abandoned(&mut self.lock());
        }
    }

    /// Whether `awaited` has come; else `waker` is woken when it does.
    ///
    /// `key` names the future that waits, from its first call on. It must
    /// [forget](Self::forget_waiter) it in the end.
    pub(crate) fn poll(&self, awaited: Awaited, key: &mut Option<Key>, waker: &Waker) -> Poll<()> {
        if self.is_nobody() {
            return Poll::Pending;
        }
        if awaited != Awaited::End {
            self.look_at_inheritance();
        }
        let has_come = |state: &State| if state.life.has_come(awaited) { Poll::Ready(()) } else { Poll::Pending };
        let is_run = awaited == Awaited::KillOfRun;
        Waiters::poll(|| self.lock(), |state| &mut state.waiters, has_come, key, waker, is_run)
    }

    /// The future known by `key` waits no more.
    pub(crate) fn forget_waiter(&self, key: Key) {
        let waker = self.lock().waiters.remove(key);
        drop(waker);
    }

    /// The status, and how far the kill has come.
    pub(crate) fn status_and_reach(&self) -> (Cow<'static, str>, Reach) {
        let state = self.lock();
        let reach = match state.life {
            Life::Killing { seen: true, unseen: 0, .. } => Reach::Seen,
            Life::Killing { seen: true, .. } => Reach::SeenInPart,
            _ => match self.kill_points.load(Ordering::Relaxed) {
                0 => Reach::NoKillPoint,
                AWAIT => Reach::UnseenAtAwait,
                _ => Reach::Unseen,
            },
        };
        (state.history.current().clone(), reach)
    }

    /// Gives back the history, which is never asked for once the guard is gone. What somebody may ask for keeps the
    /// time that it spent in each status.
    #[inline]
    pub(crate) fn forget_past(&self) {
        if !self.has(PAST) {
            return;
        }
        let mut state = self.lock();
        let past = match (state.keeps_profile(self.started), state.life.end()) {
            (true, Some((_, at))) => state.history.fold_past(self.started, Moment::now().back_to(at)),
            _ => state.history.forget_past(),
        };
        drop(state);
        drop(past);
    }

    /// The bytes of its past that are kept when it has ended.
    #[inline]
    fn kept_past(&self, state: &State) -> usize {
        if self.has(PAST) && state.keeps_profile(self.started) { state.history.past() } else { 0 }
    }

    /// The bytes that it holds.
    pub(crate) fn memory(&self) -> usize {
        let state = self.lock();
        size_of::<Self>() + self.spilled(&state, false) + state.history.past()
    }

    /// The bytes that the entry holds besides itself, but for the past of the task.
    #[inline]
    fn spilled(&self, state: &State, is_plain: bool) -> usize {
        let id = self.id.get().filter(|id| id.is_heap_allocated()).map_or(0, CompactString::capacity);
        let status = match state.history.current() {
            Cow::Borrowed(_) => 0,
            Cow::Owned(status) => status.capacity(),
        };
        let spilled = id + status + state.columns.spilled();
        if is_plain {
            return spilled;
        }
        let kill = state.life.kill().map_or(0, |kill| size_of::<Kill>() + kill.id.len() + kill.message.len());
        let has_ended = matches!(state.life, Life::Ended { .. });
        let rare = state.rare.as_deref().map_or(0, |rare| rare.memory(has_ended));
        spilled + kill + rare + state.note.spilled() + state.waiters.spilled()
    }
}

#[inline]
fn signals_at_start() -> u8 {
    if unwinding::is_under_way() { UNWINDING } else { 0 }
}

impl Life {
    /// The kill that has been accepted.
    fn kill(&self) -> Option<&Arc<Kill>> {
        match self {
            Life::Killing { kill, .. } | Life::Ended { kill: Some(kill), .. } => Some(kill),
            Life::Nobody | Life::Running | Life::Ended { kill: None, .. } => None,
        }
    }

    fn has_come(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Kill | Awaited::KillOfRun => self.kill().is_some(),
            Awaited::End => matches!(self, Life::Ended { .. }),
        }
    }
}

impl State {
    /// Whether somebody may ask where it spent its time, when it has ended.
    fn keeps_profile(&self, started: Instant) -> bool {
        let Life::Ended { outcome, at, .. } = self.life else { return false };
        let is_long = at.saturating_duration_since(started) >= LONG;
        is_long || outcome != Outcome::Ended || !matches!(self.note, Note::None)
    }

    /// Itself, to be read.
    #[inline]
    fn settled(&mut self) -> &Self {
        self.columns.settle();
        self
    }

    fn deadline(&self) -> Option<timer::Key> {
        self.rare.as_ref().and_then(|rare| rare.deadline)
    }

    #[cold]
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    #[cold]
    fn truncations(&mut self) -> &mut Truncations {
        &mut self.rare().truncations
    }
}
