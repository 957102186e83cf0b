//! ProcList: who is running.
//!
//! The only file that names `DashMap`. A `Ref` of it held while the map is
//! touched again would deadlock, so none leaves this file: what goes out is a
//! clone of the `Arc`.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use ahash::RandomState;
use compact_str::CompactString;
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::audit::Audit;
use crate::clock::Tick;
use crate::entry::{Cause, Entry, Facts, Held, Id, Verdict};
use crate::escape;
use crate::finished::Finished;
use crate::key::{AsItIs, ById, Named};
use crate::killed::KillError;
use crate::limits::{self, ID};
use crate::numbers::{Blocks, Numbers};
use crate::proc::Proc;
use crate::spare;

/// Names that mean something else than a column of the program's.
const RESERVED: [&str; 4] = ["id", "status", "time", "in_status"];

/// Many more than the map's own default: a listing holds one of them at a
/// time, so the more there are the shorter a task waits for it.
const SHARDS: usize = 512;

/// How many entries are fetched from memory, and held, at the same time.
const TOGETHER: usize = 16;

/// How many names of secrets a stripe remembers: a program has a few.
const NAMES: usize = 64;

/// More than there are threads that start tasks at the same moment, mostly.
const STRIPES: usize = 32;

/// The list of the tasks that are running.
///
/// Cheap to clone; all clones are the same list. The process-wide one is
/// [`global`](crate::global), and the free functions of this crate work on
/// it; a list of one's own serves tests, and programs that want several.
///
/// ```
/// let list = pm::ProcList::new();
/// let task = list.start("req1");
/// assert_eq!(list.len(), 1);
/// drop(task);
/// assert!(list.is_empty());
/// ```
#[derive(Clone)]
pub struct ProcList {
    pub(crate) roster: Arc<Roster>,
    /// What the guards hold instead of a clone of `roster`: a reference count
    /// that all threads touch costs more than all the rest of a start.
    stripes: Arc<[Arc<Stripe>]>,
}

/// A hold on the roster, shared by the guards that some of the threads made,
/// and what these have left behind. Alone on its cache lines.
#[repr(align(128))]
pub(crate) struct Stripe {
    roster: Arc<Roster>,
    /// Where it puts what it has ended.
    shelf: usize,
    /// The names of columns that were set as secrets.
    secrets: Mutex<BTreeSet<CompactString>>,
    numbers: Blocks,
}

/// What the clones of a list share.
pub(crate) struct Roster {
    running: DashMap<ById, (), AsItIs>,
    /// Hashes the ids, keyed at random.
    hasher: RandomState,
    columns: RwLock<Arc<[String]>>,
    forbid_kill: AtomicBool,
    /// The last kills that somebody asked for at a port.
    audit: Audit,
    finished: Finished,
    numbers: Numbers,
    /// Numbers for the ids that a task cannot have as they are.
    unnamed: AtomicU64,
    repeated: AtomicU64,
}

impl ProcList {
    /// An empty list, with no columns but the built-in `id`, `status` and `time`.
    pub fn new() -> Self {
        let roster = Arc::new(Roster {
            running: DashMap::with_capacity_and_hasher_and_shard_amount(0, AsItIs::default(), SHARDS),
            hasher: RandomState::new(),
            columns: RwLock::new(Arc::new([])),
            forbid_kill: AtomicBool::new(false),
            audit: Audit::default(),
            finished: Finished::new(STRIPES),
            numbers: Numbers::default(),
            unnamed: AtomicU64::new(1),
            repeated: AtomicU64::new(10),
        });
        // Calibrates the clock, so that it is not for the first request to do.
        let _ = Tick::now();
        let stripe = |shelf| Stripe {
            roster: Arc::clone(&roster),
            shelf,
            secrets: Mutex::default(),
            numbers: Blocks::default(),
        };
        let stripes = (0..STRIPES).map(|shelf| Arc::new(stripe(shelf))).collect();
        ProcList { roster, stripes }
    }

    /// Names the columns of the table that come after `id`, `status` and
    /// `time`, from left to right. It may be called at any time, and replaces
    /// the columns named before.
    ///
    /// The reserved names (those three and `in_status`), repeated and blank ones are dropped. A task may set columns
    /// that are not named here: they are kept, and not printed.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.set_cols(["host", "method", "uri"]);
    /// assert_eq!(list.contents(), "id  status  time  host  method  uri\n");
    /// ```
    pub fn set_cols(&self, names: impl IntoIterator<Item: AsRef<str>>) {
        let mut known: HashSet<String> = RESERVED.map(String::from).into();
        let mut columns: Vec<String> = Vec::new();
        for name in names {
            let name = limits::name(name.as_ref());
            if !name.trim().is_empty() && known.insert(name.to_string()) {
                columns.push(name.to_string());
            }
        }
        *self.roster.columns.write().unwrap_or_else(PoisonError::into_inner) = columns.into();
    }

    pub(crate) fn columns(&self) -> Arc<[String]> {
        Arc::clone(&self.roster.columns.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A snapshot of each running task: longest running first, ties by id.
    pub fn procs(&self) -> Vec<Proc> {
        let mut tasks = self.entries();
        tasks.sort_unstable_by(|a, b| a.by_age(b));
        tasks.iter().map(|entry| entry.proc(false)).filter(|proc| proc.outcome.is_none()).collect()
    }

    /// A snapshot of the task that runs under `id`.
    pub fn get(&self, id: &str) -> Option<Proc> {
        self.find(id).map(|entry| entry.proc(false)).filter(|proc| proc.outcome.is_none())
    }

    /// How many tasks are running.
    pub fn len(&self) -> usize {
        self.roster.running.len()
    }

    /// Whether no task is running.
    pub fn is_empty(&self) -> bool {
        self.roster.running.is_empty()
    }

    /// Whether tasks that start from now on refuse to be killed. Those that
    /// are running keep what they have. See also
    /// [`Task::forbid_kill`](crate::Task::forbid_kill).
    pub fn forbid_kill(&self, yes: bool) {
        self.roster.forbid_kill.store(yes, Ordering::Relaxed);
    }

    /// How many of the tasks that ended last are kept, for `done` at the port:
    /// 256 unless changed, 1,024 at most. Each thread that ends tasks keeps so many
    /// of its own. What is over goes at once; with 0 the slowest are not kept either.
    pub fn keep_done(&self, tasks: usize) {
        self.roster.finished.keep(tasks);
    }

    /// How many bytes the finished tasks that are kept may hold, all threads' together: 8 MiB unless
    /// changed. When it is too much, those go that ended first, and a quarter of it is for the slowest.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.keep_done_bytes(1 << 20);
    /// ```
    pub fn keep_done_bytes(&self, bytes: usize) {
        self.roster.finished.keep_bytes(bytes);
    }

    /// Asks for the death of the task that runs under `id`, and returns at
    /// once: the task ends at its next kill point or await, and stays in the
    /// list until then.
    ///
    /// `message` is the reason, for [`Killed::message`](crate::Killed::message)
    /// and the program's log; it may be empty, and is cut at 512 bytes with `…`.
    ///
    /// # Errors
    ///
    /// [`NoSuchProcess`](KillError::NoSuchProcess), [`Forbidden`](KillError::Forbidden),
    /// or [`AlreadyKilled`](KillError::AlreadyKilled): the first of several kills stands.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// list.kill("req1", "too slow")?;
    /// assert_eq!(list.kill("req1", "me too").unwrap_err().to_string(), r#"already killing req1: "too slow""#);
    ///
    /// assert!(task.check().is_err()); // now it knows
    /// assert_eq!(task.done().outcome, Some(pm::Outcome::Killed));
    /// assert_eq!(list.kill("req1", "").unwrap_err().to_string(), "no such process 'req1'");
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn kill(&self, id: &str, message: impl Into<String>) -> Result<(), KillError> {
        let entry = self.find(id);
        let id = || id.to_string();
        match entry.as_ref().map_or(Verdict::Ended, |entry| entry.kill(message.into(), None)) {
            Verdict::Killing(..) => Ok(()),
            Verdict::Already(kill) => Err(KillError::AlreadyKilled { id: id(), message: kill.message.clone() }),
            Verdict::Forbidden => Err(KillError::Forbidden { id: id() }),
            Verdict::Ended => Err(KillError::NoSuchProcess { id: id() }),
        }
    }

    /// Adds a task under `id`, or under the next best id, and returns its entry.
    pub(crate) fn insert(&self, id: &str) -> Arc<Entry> {
        let started = Instant::now();
        let forbidden = self.roster.forbid_kill.load(Ordering::Relaxed);
        let enter = |id: &str| self.roster.enter(spare::entry(self.roster.key(id), started, forbidden));
        if !id.is_empty()
            && id.len() <= ID
            && let Some(entry) = enter(id)
        {
            return entry;
        }
        self.insert_next_best(id, enter)
    }

    /// Enters a task under the next best id.
    #[cold]
    fn insert_next_best(&self, id: &str, enter: impl Fn(&str) -> Option<Arc<Entry>>) -> Arc<Entry> {
        if id.is_empty() {
            loop {
                let n = self.roster.unnamed.fetch_add(1, Ordering::Relaxed);
                if let Some(entry) = enter(&format!("task{n}")) {
                    return entry;
                }
            }
        }
        let entry = self.insert_with_suffix(id, enter);
        if id.len() > ID {
            entry.id_was_cut();
        }
        entry
    }

    fn insert_with_suffix(&self, id: &str, enter: impl Fn(&str) -> Option<Arc<Entry>>) -> Arc<Entry> {
        if id.len() > ID
            && let Some(entry) = enter(&within(id, ""))
        {
            return entry;
        }
        for n in 2..=9 {
            if let Some(entry) = enter(&within(id, &format!("+{n}"))) {
                return entry;
            }
        }
        // Clients choose ids: a number that is never used twice is found at
        // once, however many tasks have this one.
        loop {
            let n = self.roster.repeated.fetch_add(1, Ordering::Relaxed);
            if let Some(entry) = enter(&within(id, &format!("+{n}"))) {
                return entry;
            }
        }
    }

    /// The next number of `prefix`.
    pub(crate) fn next_number(&self, prefix: &str) -> u64 {
        self.stripes[lane()].numbers.next(prefix, &self.roster.numbers)
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Entry>> {
        self.roster.running.get(&self.roster.key(id) as &dyn Named).map(|found| Arc::clone(&found.key().entry))
    }

    /// The stripe of the calling thread.
    pub(crate) fn stripe(&self) -> Arc<Stripe> {
        Arc::clone(&self.stripes[lane()])
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.roster.audit
    }

    /// Whether tasks have set a column of this name as a secret.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.stripes.iter().any(|stripe| stripe.secrets().contains(name))
    }

    /// All entries, in no order. Takes one shard's lock at a time, for as long
    /// as it takes to clone its `Arc`s; the vector has room before that.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::with_capacity(self.roster.running.len() + SHARDS);
        entries.extend(self.roster.running.iter().map(|found| Arc::clone(&found.key().entry)));
        entries
    }

    /// What `look` makes of each running task, in no order. If it `is_quick`,
    /// it runs under the lock of the shard (of several, at most as many as are
    /// held at a time, where shards have few entries).
    ///
    /// To look at a task is to wait for memory: for its lock, then for its
    /// columns. So some are approached, held and looked at together, and their
    /// waits overlap. To clone an `Arc` first would be one wait more.
    pub(crate) fn pick<T>(&self, is_quick: bool, look: impl Fn(&Arc<Entry>, &Facts<'_>) -> Option<T>) -> Vec<T> {
        let look_alone = |entry: &Arc<Entry>| entry.look(|facts| look(entry, facts)).flatten();
        if !is_quick {
            return self.entries().iter().filter_map(look_alone).collect();
        }
        let mut entries = self.roster.running.iter();
        let mut next = Vec::with_capacity(TOGETHER);
        let mut picked = Vec::new();
        loop {
            next.extend(entries.by_ref().take(TOGETHER));
            if next.is_empty() {
                return picked;
            }
            next.iter().for_each(|found| found.key().entry.approach());
            // The lock of an entry is a leaf, and nobody is waited for with one in hand.
            let held: SmallVec<[_; TOGETHER]> = next.iter().map(|found| found.key().entry.try_hold()).collect();
            held.iter().flatten().for_each(Held::approach);
            let mut busy: SmallVec<[_; TOGETHER]> = SmallVec::new();
            for (found, held) in next.iter().zip(held) {
                let entry = &found.key().entry;
                match held {
                    Some(held) => picked.extend(held.look(|facts| look(entry, facts)).flatten()),
                    None => busy.push(entry),
                }
            }
            picked.extend(busy.into_iter().filter_map(look_alone));
            next.clear();
        }
    }

    /// The bytes that the list itself takes, but for its entries: its shards,
    /// and a place in them for each.
    pub(crate) fn overhead(&self) -> usize {
        let places = self.roster.running.capacity() * (size_of::<ById>() + 1);
        places + SHARDS * 128 + STRIPES * size_of::<Stripe>() + self.roster.finished.overhead()
    }

    /// The tasks that have ended.
    pub(crate) fn finished(&self) -> &Finished {
        &self.roster.finished
    }
}

impl Roster {
    #[inline]
    fn key<'a>(&self, id: &'a str) -> Id<'a> {
        Id { hash: self.hasher.hash_one(id), id }
    }

    /// Adds `entry` if its id is free.
    fn enter(&self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        match self.running.entry(ById::new(Arc::clone(&entry))) {
            dashmap::Entry::Vacant(free) => {
                free.insert(());
                Some(entry)
            }
            dashmap::Entry::Occupied(_) => None,
        }
    }
}

impl Stripe {
    fn secrets(&self) -> MutexGuard<'_, BTreeSet<CompactString>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `name` the name of a secret. Past the [`NAMES`]th it is not
    /// remembered; the values are hidden all the same.
    pub(crate) fn has_secret(&self, name: &str) {
        let mut secrets = self.secrets();
        if secrets.len() < NAMES && !secrets.contains(name) {
            secrets.insert(name.into());
        }
    }

    /// Ends a task and takes it off the list, unless that has been done.
    pub(crate) fn end(&self, entry: &Arc<Entry>, cause: Cause) -> bool {
        let Some(end) = entry.end(cause) else { return false };
        let key = Id { hash: entry.hash(), id: entry.id() };
        // Its id may be another task's by now only if this one left before.
        let removed = self.roster.running.remove_if(&key as &dyn Named, |found, ()| Arc::ptr_eq(&found.entry, entry));
        if let Some((ById { entry, .. }, ())) = removed
            && let Some(evicted) = self.roster.finished.record(self.shelf, entry, &end)
        {
            spare::put(evicted);
        }
        if let Some(extra) = end.extra {
            extra.woken.wake();
            if let Some((kill, ending)) = extra.kill {
                kill.announce(ending);
            }
        }
        true
    }
}

/// Which stripe the calling thread uses.
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static LANE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    // A thread that is being torn down may still start a task.
    LANE.try_with(|lane| *lane).unwrap_or(0)
}

/// `id` with `suffix`, cut to the longest id there may be.
fn within(id: &str, suffix: &str) -> String {
    // What is cut is not copied first.
    let mut base = id[..id.floor_char_boundary(ID + 4)].to_string();
    escape::shorten(&mut base, ID - suffix.len());
    base + suffix
}

// A panic leaves nothing half done here: see the invariants of an entry.
impl UnwindSafe for ProcList {}
impl RefUnwindSafe for ProcList {}

impl Default for ProcList {
    fn default() -> Self {
        ProcList::new()
    }
}

impl fmt::Debug for ProcList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcList").field("len", &self.len()).field("columns", &self.columns()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_running_gets_a_suffix() {
        let list = ProcList::new();
        let ids: Vec<_> = (0..12).map(|_| list.insert("a").id().to_string()).collect();
        assert_eq!(ids[..3], ["a", "a+2", "a+3"]);
        assert_eq!(ids[8..], ["a+9", "a+10", "a+11", "a+12"]);
    }

    #[test]
    fn a_long_id_is_cut_and_known_by_what_is_left() {
        let list = ProcList::new();
        let long = "x".repeat(1000);
        let cut = list.insert(&long);
        assert_eq!((cut.id().len(), cut.id().ends_with("xx…")), (256, true));
        assert!(list.find(&long).is_none(), "many have this beginning");
        assert!(list.find(cut.id()).is_some());
        let second = list.insert(&long);
        assert_eq!((second.id().len(), second.id().ends_with("…+2")), (256, true));
    }

    #[test]
    fn an_empty_id_becomes_a_numbered_one() {
        let list = ProcList::new();
        let taken = list.insert("task2");
        assert_eq!(list.insert("").id(), "task1");
        assert_eq!(list.insert("").id(), "task3");
        assert_eq!(taken.id(), "task2");
    }

    /// Notes how long the list is when it is woken.
    struct Length(ProcList, AtomicUsize);

    impl std::task::Wake for Length {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.len(), Ordering::Relaxed);
        }
    }

    #[test]
    fn an_outcome_is_announced_when_the_row_has_left() {
        let list = ProcList::new();
        let entry = list.insert("a");
        let Verdict::Killing(kill, _) = entry.kill(String::new(), None) else { panic!("is running") };
        let length = Arc::new(Length(list.clone(), AtomicUsize::new(usize::MAX)));
        let mut outcome = std::pin::pin!(kill.wait());
        let waker = Arc::clone(&length).into();
        assert!(outcome.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        list.stripe().end(&entry, Cause::Done);
        assert_eq!(length.1.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_list_dies_with_its_last_holder() {
        let list = ProcList::new();
        let roster = Arc::downgrade(&list.roster);
        let stripe = list.stripe();
        drop(list);
        assert!(roster.upgrade().is_some(), "a guard keeps it");
        drop(stripe);
        assert!(roster.upgrade().is_none());
    }
}
