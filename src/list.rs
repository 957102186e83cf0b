//! ProcList: who is running.
//!
//! The only file that names `DashMap`. A `Ref` of it held while the map is
//! touched again would deadlock, so none leaves this file: what goes out is a
//! clone of the `Arc`.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use ahash::RandomState;
use compact_str::{CompactString, format_compact};
use dashmap::DashMap;

use crate::entry::{Entry, Verdict};
use crate::escape;
use crate::killed::KillError;
use crate::proc::Proc;

/// The longest id, in bytes.
const ID: usize = 256;

/// The columns that every table has.
pub(crate) const BUILT_IN: [&str; 3] = ["id", "status", "time"];

/// Many more than the map's own default: a listing holds one of them at a
/// time, so the more there are the shorter a task waits for it.
const SHARDS: usize = 512;

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

/// A hold on the roster, shared by the guards that some of the threads made.
/// Alone on its cache lines.
#[repr(align(128))]
pub(crate) struct Stripe(Arc<Roster>);

/// What the clones of a list share.
pub(crate) struct Roster {
    running: DashMap<ById, (), RandomState>,
    columns: RwLock<Arc<[String]>>,
    forbid_kill: AtomicBool,
    /// Numbers for the ids that a task cannot have as they are.
    unnamed: AtomicU64,
    repeated: AtomicU64,
}

/// An entry, known by its id.
struct ById(Arc<Entry>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl ProcList {
    /// An empty list, with no columns but the built-in `id`, `status` and `time`.
    pub fn new() -> Self {
        let roster = Arc::new(Roster {
            running: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), SHARDS),
            columns: RwLock::new(Arc::new([])),
            forbid_kill: AtomicBool::new(false),
            unnamed: AtomicU64::new(1),
            repeated: AtomicU64::new(10),
        });
        let stripes = (0..STRIPES).map(|_| Arc::new(Stripe(Arc::clone(&roster)))).collect();
        ProcList { roster, stripes }
    }

    /// Names the columns of the table that come after `id`, `status` and
    /// `time`, from left to right. It may be called at any time, and replaces
    /// the columns named before.
    ///
    /// Reserved, repeated and empty names are dropped. A task may set columns
    /// that are not named here: they are kept, and not printed.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.set_cols(["host", "method", "uri"]);
    /// assert_eq!(list.contents(), "id  status  time  host  method  uri\n");
    /// ```
    pub fn set_cols(&self, names: impl IntoIterator<Item: AsRef<str>>) {
        let mut columns: Vec<String> = Vec::new();
        for name in names {
            let name = name.as_ref();
            let is_taken = BUILT_IN.contains(&name) || columns.iter().any(|known| known == name);
            if !name.is_empty() && !is_taken {
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
        let Oldest { tasks, .. } = self.oldest(usize::MAX);
        tasks.iter().map(|entry| entry.proc()).filter(|proc| proc.outcome.is_none()).collect()
    }

    /// A snapshot of the task that runs under `id`.
    pub fn get(&self, id: &str) -> Option<Proc> {
        self.find(id).map(|entry| entry.proc()).filter(|proc| proc.outcome.is_none())
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
    pub fn kill(&self, id: impl AsRef<str>, message: impl Into<String>) -> Result<(), KillError> {
        let entry = self.find(id.as_ref());
        let id = || id.as_ref().to_string();
        match entry.as_ref().map_or(Verdict::Ended, |entry| entry.kill(message.into())) {
            Verdict::Killing(..) => Ok(()),
            Verdict::Already(kill) => Err(KillError::AlreadyKilled { id: id(), message: kill.message.clone() }),
            Verdict::Forbidden => Err(KillError::Forbidden { id: id() }),
            Verdict::Ended => Err(KillError::NoSuchProcess { id: id() }),
        }
    }

    /// Adds a task under `id`, or under the next best id, and returns its entry.
    pub(crate) fn insert(&self, id: String) -> Arc<Entry> {
        let started = Instant::now();
        let forbidden = self.roster.forbid_kill.load(Ordering::Relaxed);
        let enter = |id| self.roster.enter(Arc::new(Entry::new(id, started, forbidden)));
        if id.is_empty() {
            loop {
                let n = self.roster.unnamed.fetch_add(1, Ordering::Relaxed);
                if let Some(entry) = enter(format_compact!("task{n}")) {
                    return entry;
                }
            }
        }
        let mut id = CompactString::from(id);
        if id.len() > ID {
            id = within(&id, "");
        }
        if let Some(entry) = enter(id.clone()) {
            return entry;
        }
        for n in 2..=9 {
            if let Some(entry) = enter(within(&id, &format!("+{n}"))) {
                return entry;
            }
        }
        // Clients choose ids: a number that is never used twice is found at
        // once, however many tasks have this one.
        loop {
            let n = self.roster.repeated.fetch_add(1, Ordering::Relaxed);
            if let Some(entry) = enter(within(&id, &format!("+{n}"))) {
                return entry;
            }
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Entry>> {
        self.roster.running.get(id).map(|found| Arc::clone(&found.key().0))
    }

    /// The stripe of the calling thread.
    pub(crate) fn stripe(&self) -> Arc<Stripe> {
        Arc::clone(&self.stripes[lane()])
    }

    /// The `limit` longest running tasks, longest first, ties by id.
    pub(crate) fn oldest(&self, limit: usize) -> Oldest {
        let mut tasks = self.roster.entries();
        let total = tasks.len();
        let by_age = |a: &Arc<Entry>, b: &Arc<Entry>| (a.started(), a.id()).cmp(&(b.started(), b.id()));
        if limit < total {
            if limit > 0 {
                tasks.select_nth_unstable_by(limit - 1, by_age);
            }
            tasks.truncate(limit);
        }
        tasks.sort_unstable_by(by_age);
        Oldest { tasks, total }
    }
}

/// The oldest tasks of a list.
pub(crate) struct Oldest {
    /// Longest running first.
    pub(crate) tasks: Vec<Arc<Entry>>,
    /// How many there are in the whole list.
    pub(crate) total: usize,
}

impl Roster {
    /// Adds `entry` if its id is free.
    fn enter(&self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        match self.running.entry(ById(Arc::clone(&entry))) {
            dashmap::Entry::Vacant(free) => {
                free.insert(());
                Some(entry)
            }
            dashmap::Entry::Occupied(_) => None,
        }
    }

    /// All entries, in no order. Takes one shard's lock at a time, for as long
    /// as it takes to clone its `Arc`s; the vector has room before that.
    fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::with_capacity(self.running.len() + SHARDS);
        entries.extend(self.running.iter().map(|found| Arc::clone(&found.key().0)));
        entries
    }

    /// Ends a task and takes it off the list, unless that has been done. `at`
    /// is the time, if a snapshot is going to ask for it.
    pub(crate) fn end(&self, entry: &Arc<Entry>, panicking: bool, at: Option<Instant>) -> bool {
        let Some(kill) = entry.end(panicking, at) else { return false };
        // Its id may be another task's by now only if this one left before.
        self.running.remove_if(entry.id(), |found, ()| Arc::ptr_eq(&found.0, entry));
        if let Some((kill, ending)) = kill {
            kill.announce(ending);
        }
        true
    }
}

impl std::ops::Deref for Stripe {
    type Target = Roster;

    fn deref(&self) -> &Roster {
        &self.0
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
fn within(id: &str, suffix: &str) -> CompactString {
    let mut base = id.to_string();
    escape::shorten(&mut base, ID - suffix.len());
    format_compact!("{base}{suffix}")
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
        let ids: Vec<_> = (0..12).map(|_| list.insert("a".into()).id().to_string()).collect();
        assert_eq!(ids[..3], ["a", "a+2", "a+3"]);
        assert_eq!(ids[8..], ["a+9", "a+10", "a+11", "a+12"]);
    }

    #[test]
    fn a_long_id_is_cut_and_known_by_what_is_left() {
        let list = ProcList::new();
        let long = "x".repeat(1000);
        let cut = list.insert(long.clone());
        assert_eq!((cut.id().len(), cut.id().ends_with("xx…")), (256, true));
        assert!(list.find(&long).is_none(), "many have this beginning");
        assert!(list.find(cut.id()).is_some());
        let second = list.insert(long);
        assert_eq!((second.id().len(), second.id().ends_with("…+2")), (256, true));
    }

    #[test]
    fn an_empty_id_becomes_a_numbered_one() {
        let list = ProcList::new();
        let taken = list.insert("task2".into());
        assert_eq!(list.insert(String::new()).id(), "task1");
        assert_eq!(list.insert(String::new()).id(), "task3");
        assert_eq!(taken.id(), "task2");
    }

    #[test]
    fn the_oldest_are_chosen_and_ordered() {
        let list = ProcList::new();
        for n in 0..100 {
            list.insert(format!("t{n}"));
        }
        let ids = |limit| -> Vec<String> { list.oldest(limit).tasks.iter().map(|t| t.id().to_string()).collect() };
        assert_eq!(ids(3), ["t0", "t1", "t2"]);
        assert_eq!(ids(1000), (0..100).map(|n| format!("t{n}")).collect::<Vec<_>>());
        assert_eq!((ids(0).len(), list.oldest(0).total), (0, 100));
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
        let entry = list.insert("a".into());
        let Verdict::Killing(kill, _) = entry.kill(String::new()) else { panic!("is running") };
        let length = Arc::new(Length(list.clone(), AtomicUsize::new(usize::MAX)));
        let mut outcome = std::pin::pin!(kill.ending.wait());
        let waker = Arc::clone(&length).into();
        assert!(outcome.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        list.roster.end(&entry, false, None);
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
