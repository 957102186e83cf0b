//! ProcList: the tasks that are running.
//!
//! The only file that names `DashMap`. A `Ref` of it held while the map is
//! touched again would deadlock, so none leaves this file: what goes out is a
//! clone of the `Arc`.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::RandomState;
use compact_str::CompactString;
use dashmap::DashMap;

use crate::audit::Audit;
use crate::clock::Tick;
use crate::columns::{Clearance, Printed};
use crate::entry::{End, Entry, EntryRef, Extra, Fresh, Id, KillReply, List, Name, Start};
use crate::escape;
use crate::finished::Finished;
use crate::key::{ById, IdentityHasher, Named};
use crate::kill::Kill;
use crate::kinds::{self, Kinds};
use crate::limits::{self, ID};
use crate::numbers::{Blocks, Numbers};
use crate::peer::Peer;
use crate::proc::Proc;
use crate::request;
use crate::slots::{Look, Slots};
use crate::spare;
use crate::timer;

/// Names that mean something else than a column of the program's.
const RESERVED: [&str; 4] = ["id", "status", "time", "in_status"];

/// Many more than the map's own default: a listing holds one of them at a
/// time, so the more there are the shorter a task waits for it.
const SHARDS: usize = 512;

/// How many names of secrets a stripe remembers: a program has a few.
const NAMES: usize = 64;

/// How long what is known of the kinds is used again: to sum it up looks at each of them on each stripe.
const KINDS_FOR: Duration = Duration::from_secs(1);

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
///
/// # Overview
///
/// | to | call |
/// |---|---|
/// | list a task | [`start`](Self::start), [`start_numbered`](Self::start_numbered) |
/// | report on one by its id | [`status`](Self::status), [`set_status`](Self::set_status), [`try_status`](Self::try_status), [`check`](Self::check), [`done`](Self::done) |
/// | kill one | [`request_kill`](Self::request_kill), [`kill`](Self::kill), [`forbid_kill`](Self::forbid_kill) |
/// | look | [`procs`](Self::procs), [`get`](Self::get), [`len`](Self::len), [`stats`](Self::stats), [`contents`](Self::contents), [`table`](Self::table) |
/// | end | [`drain`](Self::drain), [`drain_blocking`](Self::drain_blocking), [`idle`](Self::idle) |
/// | set it up | [`set_cols`](Self::set_cols), [`kind`](Self::kind), [`keep_done`](Self::keep_done), [`keep_done_bytes`](Self::keep_done_bytes) |
/// | serve it | [`spawn`](Self::spawn), [`listen_and_serve`](Self::listen_and_serve), [`serve`](Self::serve), [`server`](Self::server) |
#[derive(Clone)]
pub struct ProcList {
    pub(crate) shared: Arc<Shared>,
    /// What the guards hold instead of a clone of `shared`: a reference count that all threads touch
    /// costs more than all the rest of a start.
    stripes: Arc<[Arc<Stripe>]>,
}

/// A reference to what the list shares, held by the guards that some of the threads made, and what
/// these threads keep for themselves. Alone on its cache lines.
#[repr(align(128))]
pub(crate) struct Stripe {
    shared: Arc<Shared>,
    /// Which shelf of the finished is its own.
    shelf: usize,
    /// The names of columns that were set as secrets.
    secrets: Mutex<BTreeSet<CompactString>>,
    numbers: Blocks,
    requests: Slots,
}

/// What the clones of a list share.
pub(crate) struct Shared {
    running: DashMap<ById, (), IdentityHasher>,
    /// Hashes the ids, keyed at random.
    hasher: RandomState,
    columns: RwLock<Arc<[String]>>,
    forbid_kill: AtomicBool,
    audit: Audit,
    finished: Finished,
    numbers: Numbers,
    /// There are requests in slots, or were. From then on an id that looks like theirs is searched for.
    has_requests: AtomicBool,
    /// Some task has chosen an id that looks like that of a request. From then on requests are in the map.
    has_lookalikes: AtomicBool,
    /// Numbers for the ids that a task cannot have as they are.
    unnamed: AtomicU64,
    repeated: AtomicU64,
    /// The most that are known to have been started.
    most_started: AtomicU64,
    /// The column that says what kind of work a task is.
    kind: OnceLock<Box<str>>,
    /// What is known of the kinds, for as long as it is young.
    kinds: Mutex<Option<Arc<Kinds>>>,
}

impl ProcList {
    /// An empty list, with no columns but the built-in `id`, `status` and `time`.
    pub fn new() -> Self {
        let shared = Arc::new(Shared {
            running: DashMap::with_capacity_and_hasher_and_shard_amount(0, IdentityHasher::default(), SHARDS),
            hasher: RandomState::new(),
            columns: RwLock::new(Arc::new([])),
            forbid_kill: AtomicBool::new(false),
            audit: Audit::default(),
            finished: Finished::new(STRIPES),
            numbers: Numbers::default(),
            has_requests: AtomicBool::new(false),
            has_lookalikes: AtomicBool::new(false),
            unnamed: AtomicU64::new(1),
            repeated: AtomicU64::new(10),
            most_started: AtomicU64::new(0),
            kind: OnceLock::new(),
            kinds: Mutex::default(),
        });
        // Calibrates the clock, so that it is not for the first request to do.
        let _ = Tick::now();
        let stripe = |shelf| Stripe {
            shared: Arc::clone(&shared),
            shelf,
            secrets: Mutex::default(),
            numbers: Blocks::default(),
            requests: Slots::default(),
        };
        let stripes = (0..STRIPES).map(|shelf| Arc::new(stripe(shelf))).collect();
        ProcList { shared, stripes }
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
        *self.shared.columns.write().unwrap_or_else(PoisonError::into_inner) = columns.into();
    }

    /// [`set_cols`](Self::set_cols), unless there are columns already.
    #[cfg(feature = "tower")]
    pub(crate) fn set_cols_if_none(&self, names: impl IntoIterator<Item: AsRef<str>>) {
        if self.columns().is_empty() {
            self.set_cols(names);
        }
    }

    pub(crate) fn columns(&self) -> Arc<[String]> {
        Arc::clone(&self.shared.columns.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A snapshot of each running task: longest running first, ties by id. A task that starts or ends meanwhile may be
    /// in it or not.
    pub fn procs(&self) -> Vec<Proc> {
        let mut tasks = self.entries();
        tasks.sort_unstable_by(|a, b| a.by_age(b));
        tasks.iter().map(|entry| entry.proc()).filter(|proc| proc.outcome.is_none()).collect()
    }

    /// A snapshot of the task that runs under `id`.
    pub fn get(&self, id: &str) -> Option<Proc> {
        self.find(id).map(|entry| entry.proc()).filter(|proc| proc.outcome.is_none())
    }

    /// How many tasks are running. While some start and others end, it is about right.
    pub fn len(&self) -> usize {
        self.shared.running.len() + self.slots().map(Slots::len).sum::<usize>()
    }

    /// Whether no task is running. True only if there was a moment without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.is_empty_at_once()
    }

    /// The same of one moment. The counts of the shards are not: work that starts the next task before it ends the last
    /// one may go from a shard that has not been counted to one that has.
    fn is_empty_at_once(&self) -> bool {
        let shards: Vec<_> = self.shared.running.shards().iter().map(|shard| shard.read()).collect();
        let slots: Vec<_> = self.slots().map(Slots::look).collect();
        shards.iter().all(|shard| shard.is_empty()) && slots.iter().all(Look::is_empty)
    }

    /// Whether tasks that start from now on refuse to be killed. Those that
    /// are running keep what they have. See also
    /// [`Task::forbid_kill`](crate::Task::forbid_kill).
    pub fn forbid_kill(&self, yes: bool) {
        self.shared.forbid_kill.store(yes, Ordering::Relaxed);
    }

    /// How many of the tasks that ended last are kept, for `done` at the port:
    /// 256 unless changed, 1,024 at most. The limit applies per thread. Lowering it drops the excess at once.
    /// With 0 the slowest are not kept either.
    pub fn keep_done(&self, tasks: usize) {
        self.shared.finished.keep(tasks);
    }

    /// How many bytes the finished tasks that are kept may hold, all threads' together: 8 MiB unless
    /// changed. When it is too much, those go that ended first, and a quarter of it is for the slowest.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.keep_done_bytes(1 << 20);
    /// ```
    pub fn keep_done_bytes(&self, bytes: usize) {
        self.shared.finished.keep_bytes(bytes);
    }

    /// Adds a task under `id`, or under the next best id, and returns its entry.
    pub(crate) fn insert(&self, id: &str) -> Arc<Entry> {
        self.insert_described(id, |_| {})
    }

    /// The same, with what `describe` sets before anybody sees it.
    #[inline]
    pub(crate) fn insert_described(&self, id: &str, describe: impl Fn(Fresh<'_>)) -> Arc<Entry> {
        let started = Instant::now();
        let forbidden = self.shared.forbid_kill.load(Ordering::Relaxed);
        let stripe = &self.stripes[stripe_index()];
        let enter = |id: &str| {
            if request::number(id).is_some_and(|number| self.is_request(number)) {
                return None;
            }
            let (name, list) = (Name::Id(self.shared.key(id)), Arc::clone(stripe) as _);
            self.shared.enter(spare::entry(Start { name, started, forbidden, list }, &describe))
        };
        if let Some(entry) = enter_within(id, enter) {
            return entry;
        }
        self.shared.insert_next_best(id, enter)
    }

    /// Adds a request, under the next of their ids.
    #[cfg_attr(not(feature = "tower"), allow(dead_code))]
    #[inline]
    pub(crate) fn insert_request(&self, describe: impl Fn(Fresh<'_>)) -> Arc<Entry> {
        let shared = &*self.shared;
        if !shared.has_requests.load(Ordering::Relaxed) {
            shared.has_requests.store(true, Ordering::SeqCst);
        }
        let started = Instant::now();
        let forbidden = shared.forbid_kill.load(Ordering::Relaxed);
        let stripe = &self.stripes[stripe_index()];
        let make = |number, slot| {
            let (name, list) = (Name::Request { number, slot }, Arc::clone(stripe) as _);
            spare::entry(Start { name, started, forbidden, list }, &describe)
        };
        let is_closed = || shared.has_lookalikes.load(Ordering::SeqCst);
        match stripe.requests.insert(&shared.numbers, is_closed, make) {
            Some(entry) => entry,
            None => self.insert_described(&self.next_id(request::PREFIX), describe),
        }
    }

    /// Whether a request in a slot has this number. From now on requests that start go into the map: those of
    /// a stripe either were there when it was searched, or see that.
    #[cold]
    fn is_request(&self, number: u64) -> bool {
        self.shared.has_lookalikes.store(true, Ordering::SeqCst);
        self.find_request(number).is_some()
    }

    /// The id with the next number of `prefix`.
    #[inline]
    pub(crate) fn next_id(&self, prefix: &str) -> CompactString {
        let number = self.stripes[stripe_index()].numbers.next(prefix, &self.shared.numbers);
        let mut id = CompactString::new(prefix);
        id.push_str(itoa::Buffer::new().format(number));
        id
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Entry>> {
        let in_map = self.shared.running.get(&self.shared.key(id) as &dyn Named);
        in_map.map(|found| Arc::clone(&found.key().entry)).or_else(|| self.find_request(request::number(id)?))
    }

    /// The request with this number.
    fn find_request(&self, number: u64) -> Option<Arc<Entry>> {
        let is_it = |entry: &Arc<Entry>| (entry.hash() == number).then(|| Arc::clone(entry));
        self.slots().find_map(|slots| slots.find_map(is_it))
    }

    /// The slots of all stripes, if there is anything in them.
    fn slots(&self) -> impl Iterator<Item = &Slots> {
        let has_requests = self.shared.has_requests.load(Ordering::SeqCst);
        self.stripes.iter().filter(move |_| has_requests).map(|stripe| &stripe.requests)
    }

    /// The stripe of the calling thread.
    #[cfg(test)]
    pub(crate) fn stripe(&self) -> Arc<Stripe> {
        Arc::clone(&self.stripes[stripe_index()])
    }

    pub(crate) fn audit(&self) -> &Audit {
        self.shared.audit()
    }

    /// Whether tasks have set a column of this name as a secret.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.stripes.iter().any(|stripe| stripe.secrets().contains(name))
    }

    /// All entries, in no order. Takes one shard's lock at a time, for as long
    /// as it takes to clone its `Arc`s; the vector has room before that.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::with_capacity(self.len() + SHARDS);
        entries.extend(self.shared.running.iter().map(|found| Arc::clone(&found.key().entry)));
        for slots in self.slots() {
            slots.find_map(|entry| {
                entries.push(Arc::clone(entry));
                None::<()>
            });
        }
        entries
    }

    /// What `read` makes of each running task, in no order. If it `is_quick`, it runs under the lock
    /// of the shard: to clone each `Arc` first would double the time of a filter.
    pub(crate) fn filter_map<T>(
        &self,
        is_quick: bool,
        read: impl Fn(&Arc<Entry>, &EntryRef<'_>) -> Option<T>,
    ) -> Vec<T> {
        let read = |entry: &Arc<Entry>| entry.with_live(|row| read(entry, row)).flatten();
        match is_quick {
            true => {
                let mut found: Vec<T> =
                    self.shared.running.iter().filter_map(|found| read(&found.key().entry)).collect();
                for slots in self.slots() {
                    slots.find_map(|entry| {
                        found.extend(read(entry));
                        None::<()>
                    });
                }
                found
            }
            false => self.entries().iter().filter_map(read).collect(),
        }
    }

    /// Whether `holds` for some running task.
    pub(crate) fn any(&self, holds: impl Fn(&EntryRef<'_>) -> bool) -> bool {
        let holds = |entry: &Arc<Entry>| entry.with_live(&holds).unwrap_or(false);
        let in_slot = |slots: &Slots| slots.find_map(|entry| holds(entry).then_some(())).is_some();
        self.shared.running.iter().any(|found| holds(&found.key().entry)) || self.slots().any(in_slot)
    }

    /// The bytes that the list itself takes, but for its entries: its shards,
    /// and a place in them for each.
    pub(crate) fn overhead(&self) -> usize {
        let places = self.shared.running.capacity() * (size_of::<ById>() + 1);
        let slots: usize = self.slots().map(Slots::overhead).sum();
        places + slots + SHARDS * 128 + STRIPES * size_of::<Stripe>() + self.shared.finished.overhead()
    }

    /// How many tasks have been started, if that many are known. Who ends while it is counted is not.
    pub(crate) fn at_least_started(&self, tasks: u64) -> u64 {
        self.shared.most_started.fetch_max(tasks, Ordering::Relaxed).max(tasks)
    }

    pub(crate) fn name_kind(&self, column: &str) {
        _ = self.shared.kind.set(limits::name(column).into());
    }

    /// What is known of the kinds of work, if there is a column that tells, a second ago at most.
    pub(crate) fn kinds(&self) -> Option<Arc<Kinds>> {
        let column = self.shared.kind.get()?;
        let mut kinds = self.shared.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let young = kinds.take().filter(|kinds| kinds.made.elapsed() < KINDS_FOR);
        let fresh = young.unwrap_or_else(|| Arc::new(self.shared.finished.kinds(column)));
        *kinds = Some(Arc::clone(&fresh));
        Some(fresh)
    }

    /// The tasks that have ended.
    pub(crate) fn finished(&self) -> &Finished {
        &self.shared.finished
    }
}

impl Shared {
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What the table prints of a task, but for secrets.
    pub(crate) fn printed(&self, entry: &Entry) -> Printed {
        let columns = Arc::clone(&self.columns.read().unwrap_or_else(PoisonError::into_inner));
        let shown = |row: &EntryRef<'_>| {
            let value = |name: &String| row.columns.get(name).map(|value| value.shown(Clearance::Public).to_string());
            columns.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect::<Vec<_>>()
        };
        Printed::of(entry.with(shown))
    }

    #[inline]
    fn key<'a>(&self, id: &'a str) -> Id<'a> {
        Id { hash: self.hasher.hash_one(id), id }
    }

    /// Its id may be another task's by now only if this one left before.
    fn remove(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let key = Id { hash: entry.hash(), id: entry.id() };
        let removed = self.running.remove_if(&key as &dyn Named, |found, ()| Arc::ptr_eq(&found.entry, entry));
        removed.map(|(by_id, ())| by_id.entry)
    }

    /// Enters a task under the next best id.
    #[cold]
    fn insert_next_best(&self, id: &str, enter: impl Fn(&str) -> Option<Arc<Entry>>) -> Arc<Entry> {
        if id.is_empty() {
            loop {
                let n = self.unnamed.fetch_add(1, Ordering::Relaxed);
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
            let n = self.repeated.fetch_add(1, Ordering::Relaxed);
            if let Some(entry) = enter(&within(id, &format!("+{n}"))) {
                return entry;
            }
        }
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
}

impl Stripe {
    #[cold]
    fn announce(&self, extra: Extra) {
        if let Some((kill, ending)) = extra.announce() {
            self.shared.audit.kill_ended(&kill, &ending);
        }
    }
}

impl List for Stripe {
    /// The one place where a task leaves the list.
    fn leave(&self, entry: &Arc<Entry>, end: End) {
        let removed = match entry.slot() {
            Some(slot) => self.requests.remove(slot),
            None => self.shared.remove(entry),
        };
        let column = self.shared.kind.get();
        let kind = column.and_then(|column| entry.with(|row| kinds::name(row, column)));
        if let Some(entry) = removed
            && let Some(evicted) = self.shared.finished.record(self.shelf, entry, &end, kind)
        {
            spare::put(evicted);
        }
        if let Some(extra) = end.extra {
            self.announce(*extra);
        }
    }

    fn start(self: Arc<Self>, id: &str, describe: &dyn Fn(Fresh<'_>)) -> Arc<Entry> {
        let started = Instant::now();
        let forbidden = self.shared.forbid_kill.load(Ordering::Relaxed);
        let enter = |id: &str| {
            let (name, list) = (Name::Id(self.shared.key(id)), Arc::clone(&self) as _);
            self.shared.enter(spare::entry(Start { name, started, forbidden, list }, describe))
        };
        enter_within(id, enter).unwrap_or_else(|| self.shared.insert_next_best(id, enter))
    }

    fn kill(&self, entry: &Entry, message: String, by: Option<Arc<Peer>>) -> KillReply {
        self.shared.request(entry, message, by)
    }

    fn kill_at_deadline(&self, entry: &Entry, message: String, key: timer::Key) -> KillReply {
        self.shared.request_at_deadline(entry, message, key)
    }

    fn inherit(&self, entry: &Entry, kill: Arc<Kill>) {
        self.shared.inherit(entry, kill);
    }

    /// For [`NAMES`] names. The values are hidden either way.
    fn register_secret(&self, name: &str) {
        let mut secrets = self.secrets();
        if secrets.len() < NAMES && !secrets.contains(name) {
            secrets.insert(name.into());
        }
    }
}

/// Enters a task under its own id, if that is one and is free.
#[inline]
fn enter_within(id: &str, enter: impl Fn(&str) -> Option<Arc<Entry>>) -> Option<Arc<Entry>> {
    if id.is_empty() || id.len() > ID { None } else { enter(id) }
}

/// Which stripe the calling thread uses.
fn stripe_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    // A thread that is being torn down may still start a task.
    INDEX.try_with(|stripe_index| *stripe_index).unwrap_or(0)
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
    use crate::entry::{Cause, Guards};

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
    fn a_detached_task_does_not_keep_its_list() {
        let list = ProcList::new();
        let shared = Arc::downgrade(&list.shared);
        let task = list.start("a");
        let handle = task.handle();
        _ = task.detach();
        drop(list);
        assert!(shared.upgrade().is_none() && !handle.is_ended());
    }

    #[test]
    fn an_outcome_is_announced_when_the_row_has_left() {
        let list = ProcList::new();
        let entry = list.insert("a");
        let pending = list.request_kill("a", "").expect("is running");
        let length = Arc::new(Length(list.clone(), AtomicUsize::new(usize::MAX)));
        let mut outcome = std::pin::pin!(pending.outcome());
        let waker = Arc::clone(&length).into();
        assert!(outcome.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        entry.give_up(Guards::All, Cause::Done, None);
        assert_eq!(length.1.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_list_dies_with_its_last_holder() {
        let list = ProcList::new();
        let shared = Arc::downgrade(&list.shared);
        let stripe = list.stripe();
        drop(list);
        assert!(shared.upgrade().is_some(), "a guard keeps it");
        drop(stripe);
        assert!(shared.upgrade().is_none());
    }
}
