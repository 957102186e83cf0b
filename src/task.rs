//! Task: the guard of an entry, and its handles. Adds `ProcList::{start, status, set_status, done}`.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;

#[cfg(feature = "tower")]
use crate::entry::Fresh;
use crate::entry::{Cause, Entry, Guards};
use crate::killed::Killed;
use crate::limits;
use crate::list::ProcList;
use crate::proc::Proc;
use crate::unwinding;
#[cfg(feature = "tower")]
use crate::unwinding::Unwound;
use crate::value::Text;

/// The guard of a running task: as long as it lives, the task is in the list.
///
/// Dropping it ends the task, so it belongs where the work is: in the function
/// that does it, moved into the future or the thread that goes on with it. Code
/// further down that only reports what it does takes a [`Handle`], which has
/// all the same verbs but the ending; a `Task` derefs to one.
///
/// ```
/// fn serve(list: &pm::ProcList, peer: &str, uri: &str) -> Result<(), pm::Killed> {
///     let task = list.start("req1").col("host", peer).col("method", "GET").col("uri", uri);
///     task.try_status("authenticating")?;
///     task.try_status("querying")?;
///     Ok(())
/// } // the task is done here, whichever way it went
///
/// let list = pm::ProcList::new();
/// serve(&list, "127.0.0.1:18364", "/users/")?;
/// assert!(list.is_empty());
/// # Ok::<(), pm::Killed>(())
/// ```
///
/// # Kill points
///
/// A kill takes effect where the task looks whether it has been killed. There
/// is one for each kind of code:
///
/// | in code that | write | when killed |
/// |---|---|---|
/// | is async | [`task.scope(future)`](Self::scope), [`task.run(future).await`](Handle::run) | returns `Err(Killed)`, also while the future is parked at an await |
/// | is async, with a `select!` of its own | [`task.killed()`](Handle::killed) | resolves to `Killed` |
/// | returns `Result` | [`task.try_status("querying")?`](Handle::try_status), [`task.check()?`](Handle::check) | returns `Err(Killed)` |
/// | does neither | [`task.status("querying")()`](Handle::status) | unwinds with `Killed` |
///
/// Once a kill is accepted, every kill point of every handle reports it, even after the task has ended: a
/// helper may check late. After an end without a kill they do nothing.
///
/// # When it ends
///
/// Drop the guard last: the row leaves the list with it. In a struct the fields are dropped in the
/// order of their declaration, so it is the last one.
///
/// Bind it to a name. `let _ = list.start("req1")` drops it, and so ends the task, in the same statement;
/// `let _task = ..` keeps it. `tokio::spawn(list.start("job").run(work()))` drops it before the work
/// begins; [`scope`](Self::scope) takes it along.
///
/// # Comparison
///
/// - `tokio::task::JoinHandle::abort` ends a tokio task at its next await, without a reason, and does not
///   tell what the task was doing. A task here is a unit of your work: several tokio tasks, a part of one,
///   or none.
/// - A `CancellationToken` asks to stop as well, but does not tell which work has stopped. [`killed`](Handle::killed)
///   is awaited in the same way.
/// - A `tracing` span tells afterwards what has happened; a task is listed while it happens.
#[must_use = "the task is done as soon as this guard is dropped"]
pub struct Task {
    handle: Handle,
    /// Not once it is detached or given up. Two words in all, so that it travels in registers.
    is_guard: bool,
}

/// A reference to a task, with all its verbs but the ending.
///
/// Cheap to clone, and harmless to keep: after the task's end its verbs change
/// nothing, and report a kill if there was one. Two handles of the same task are equal. See [`Task`] for which kill point to use where.
#[derive(Clone)]
pub struct Handle {
    pub(crate) entry: Arc<Entry>,
}

impl ProcList {
    /// Starts a task, whose status is `init`.
    ///
    /// An `id` that is running is not disturbed: the new task is listed as
    /// `id+2`, `id+3`, .., and [`Handle::id`] tells. An id is cut at 256 bytes
    /// with `…`, and an empty one becomes `task1`, `task2`, ..
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let first = list.start("req1");
    /// let second = list.start("req1");
    /// assert_eq!((first.id(), second.id()), ("req1", "req1+2"));
    /// ```
    pub fn start(&self, id: impl Into<String>) -> Task {
        // Code that starts a task has caught what unwound before.
        unwinding::clear_mark();
        let entry = self.insert(&id.into());
        Task::new(entry)
    }

    /// Starts a task under the next number of `prefix`: `conn1`, `conn2`, ..
    ///
    /// Numbers are unique for a list and a prefix. Each thread takes them in blocks, so from
    /// several threads they are neither in order nor without gaps.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let (first, second) = (list.start_numbered("conn"), list.start_numbered("conn"));
    /// assert_eq!((first.id(), second.id()), ("conn1", "conn2"));
    /// ```
    pub fn start_numbered(&self, prefix: &str) -> Task {
        unwinding::clear_mark();
        Task::new(self.insert(&self.next_id(prefix)))
    }

    /// Starts the task of a request, with what `describe` sets before anybody sees it: under `id`, or the next of
    /// `req1`, `req2`, ..
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn start_request(&self, id: Option<&str>, describe: impl Fn(Fresh<'_>)) -> Task {
        unwinding::clear_mark();
        let entry = match id {
            Some(id) => self.insert_described(id, describe),
            None => self.insert_request(describe),
        };
        Task::new(entry)
    }

    /// Sets the status of the task that runs under `id`, and returns a kill
    /// point: call it, and it unwinds if the task has been killed. An unknown
    /// id is no error, and its kill point does nothing.
    ///
    /// The same as [`Handle::status`] for code that has only the id; it costs
    /// a look-up more.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let _task = list.start("req1");
    /// list.status("req1", "querying")();
    /// assert_eq!(list.get("req1").unwrap().status, "querying");
    /// ```
    #[track_caller]
    pub fn status<S: Into<Cow<'static, str>>>(&self, id: &str, status: S) -> impl FnOnce() + use<S> {
        let location = Location::caller();
        let entry = self.find(id);
        if let Some(entry) = &entry {
            entry.set_status(status.into(), Some(location));
        }
        move || {
            if let Some(entry) = entry {
                unwind_if_killed(&entry, location);
            }
        }
    }

    /// Sets the status of the task that runs under `id`; no kill point. An
    /// unknown id is no error.
    #[track_caller]
    pub fn set_status(&self, id: &str, status: impl Into<Cow<'static, str>>) {
        if let Some(entry) = self.find(id) {
            entry.set_status(status.into(), Some(Location::caller()));
        }
    }

    /// Sets the status of the task that runs under `id`, and is a kill point for code that returns
    /// `Result`: [`Handle::try_status`] for code that has only the id. In a program built with
    /// `panic = "abort"` this and [`check`](Self::check) are the only kill points by id.
    ///
    /// An unknown id is no error, and no kill.
    ///
    /// # Errors
    ///
    /// [`Killed`] if the task has been killed.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let _task = list.start("req1");
    /// list.try_status("req1", "querying")?;
    /// list.kill("req1", "too slow").unwrap();
    /// assert!(list.try_status("req1", "merging").is_err());
    /// # Ok::<(), pm::Killed>(())
    /// ```
    #[track_caller]
    pub fn try_status(&self, id: &str, status: impl Into<Cow<'static, str>>) -> Result<(), Killed> {
        let location = Location::caller();
        let Some(entry) = self.find(id) else { return Ok(()) };
        entry.set_status(status.into(), Some(location));
        entry.kill_point(location).map_or(Ok(()), Err)
    }

    /// A kill point for the task that runs under `id`, which leaves its status alone. An unknown
    /// id is no error, and no kill.
    ///
    /// # Errors
    ///
    /// [`Killed`] if the task has been killed.
    #[track_caller]
    pub fn check(&self, id: &str) -> Result<(), Killed> {
        let location = Location::caller();
        self.find(id).and_then(|entry| entry.kill_point(location)).map_or(Ok(()), Err)
    }

    /// Ends the task that runs under `id` and returns its last snapshot;
    /// `None` if there is none.
    ///
    /// For tasks whose guard was [detached](Task::detach). One that has a
    /// guard ends too.
    pub fn done(&self, id: &str) -> Option<Proc> {
        let entry = self.find(id)?;
        let proc = entry.give_up(Guards::All, Cause::Done, None).then(|| entry.proc());
        entry.forget_past();
        proc
    }
}

impl Task {
    /// The first guard of a task that has just been listed.
    #[inline]
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Task { handle: Handle { entry }, is_guard: true }
    }

    /// Sets a column: chained right after `start`. See [`Handle::set_col`].
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1").col("method", "GET").col("bytes", 17);
    /// ```
    pub fn col(self, name: impl AsRef<str>, value: impl Display) -> Self {
        self.set_col(name, value);
        self
    }

    /// Sets a column that is compared and sorted by one value and shows another: see
    /// [`Handle::set_col_as`].
    pub fn col_as(self, name: impl AsRef<str>, value: impl Display, shown: impl Display) -> Self {
        self.set_col_as(name, value, shown);
        self
    }

    /// Sets a column for clients that may kill. Others are shown `***`, and can neither filter nor sort by
    /// it. It stays a secret when its value is changed, until it
    /// is removed.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.set_cols(["user", "session"]);
    /// let task = list.start("req1").col("user", "amy").secret_col("session", "8e2b77");
    /// assert!(list.contents().ends_with("  amy   ***\n"));
    /// ```
    pub fn secret_col(self, name: impl AsRef<str>, value: impl Display) -> Self {
        self.set_secret_col(name, value);
        self
    }

    /// Makes this task refuse to be killed: `forbidden: req1 may not be killed`.
    /// A kill that was accepted before stands.
    pub fn forbid_kill(self) -> Self {
        self.entry.refuse_kills();
        self
    }

    /// A handle, for code that reports on this task and does not end it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the task and returns its last snapshot. Dropping the guard ends it as well.
    ///
    /// If [`ProcList::done`] was first, this is the snapshot of that end.
    pub fn done(self) -> Proc {
        self.end(None)
    }

    /// Ends the task as [`done`](Self::done) does, with a note on how it ended: for
    /// [`Proc::note`], `done` at the port, and the reply to a kill. It is cut at 256 bytes with `…`.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("web");
    /// let pending = list.request_kill("web", "restart")?;
    /// task.check().unwrap_err();
    /// task.done_with("SIGTERM"); // the operator reads: killed web after 0.3s in "running": SIGTERM
    /// assert_eq!(pending.try_outcome().unwrap().note.as_deref(), Some("SIGTERM"));
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn done_with(self, note: impl Into<String>) -> Proc {
        self.end(Some(note.into()))
    }

    /// Ends it as the work of a task that has unwound, whoever has caught that.
    #[cfg(feature = "tower")]
    pub(crate) fn unwound(mut self, unwound: &Unwound) {
        let cause = match unwound {
            Unwound::Kill(killed) => Cause::Kill(killed.clone()),
            Unwound::Panic(_) => Cause::Panic,
        };
        self.is_guard = false;
        if self.entry.give_up(Guards::One, cause, None) {
            self.entry.forget_past();
        }
    }

    fn end(mut self, note: Option<String>) -> Proc {
        let cause = match cause_of_drop() {
            Cause::Dropped => Cause::Done,
            cause => cause,
        };
        self.is_guard = false;
        let has_ended = self.entry.give_up(Guards::One, cause, note);
        let proc = self.entry.proc();
        if has_ended {
            self.entry.forget_past();
        }
        proc
    }

    /// Gives up the guard and leaves the task running, until
    /// [`done`](ProcList::done) is called with the id that this returns. For
    /// work that ends where no guard can be carried to, such as a callback.
    ///
    /// A task that is never ended stays in the list for ever.
    #[must_use = "only `done` with this id ends the task"]
    pub fn detach(mut self) -> String {
        self.is_guard = false;
        self.entry.detach();
        self.id().to_string()
    }
}

// A panic leaves nothing half done here: see the invariants of an entry.
impl UnwindSafe for Task {}
impl RefUnwindSafe for Task {}
impl UnwindSafe for Handle {}
impl RefUnwindSafe for Handle {}

impl Deref for Task {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.is_guard && self.entry.give_up(Guards::One, cause_of_drop(), None) {
            // It is kept for a while, for `done`: without its history.
            self.entry.forget_past();
        }
    }
}

/// What drops a guard right now.
#[inline]
fn cause_of_drop() -> Cause {
    match unwinding::in_progress() {
        Some(killed) => Cause::Kill(killed),
        None if thread::panicking() => Cause::Panic,
        None => Cause::Dropped,
    }
}

impl Handle {
    /// The name of the task in the list. It may differ from the one that was
    /// asked for: see [`ProcList::start`]. The verbs by id take this name.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// Sets a column, or replaces its value. The table prints it if the list
    /// has [a column of that name](ProcList::set_cols).
    ///
    /// `value` is formatted here and now, before any lock is taken: its
    /// `Display` may panic, or use this crate.
    ///
    /// A value is cut at 1,024 bytes with `…`, and a 33rd column is left out: `stats`
    /// at the port counts them.
    pub fn set_col(&self, name: impl AsRef<str>, value: impl Display) {
        self.put_col(name.as_ref(), value, false);
    }

    /// Sets a column that `where` and `sort` compare by `value`, usually a number, and that prints
    /// as `shown`: a size that reads well and sorts well. `=` and `~` take either.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.set_cols(["size"]);
    /// let task = list.start("export1").col_as("size", 3_435_973_836_u64, "3.2 GB");
    /// assert!(list.contents().ends_with("  3.2 GB\n")); // and `where size>1000000000` finds it
    /// task.set_col_as("size", 4_294_967_296_u64, "4 GB");
    /// ```
    pub fn set_col_as(&self, name: impl AsRef<str>, value: impl Display, shown: impl Display) {
        self.entry.set_col_as(name.as_ref(), Text::new().format(value), Text::new().format(shown));
    }

    /// Sets a column for clients that may kill: see [`Task::secret_col`]. For what is known only later, such as
    /// who the user is.
    pub fn set_secret_col(&self, name: impl AsRef<str>, value: impl Display) {
        let name = limits::name(name.as_ref());
        if let Some(list) = self.entry.list() {
            list.register_secret(name);
        }
        self.put_col(name, value, true);
    }

    fn put_col(&self, name: &str, value: impl Display, is_secret: bool) {
        self.entry.set_col(name, Text::new().format(value), is_secret);
    }

    /// Removes a column; nothing happens if it is not set.
    pub fn remove_col(&self, name: impl AsRef<str>) {
        self.entry.remove_col(name.as_ref());
    }

    /// Sets the status, and returns a kill point: call it, and it unwinds if
    /// the task has been killed.
    ///
    /// A literal is not copied; `format!(..)` works too. It is cut at 256 bytes
    /// with `…`. To set the status that
    /// the task is in already changes nothing.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// task.status("authenticating")();
    /// task.status(format!("merging {} of {}", 1, 7))();
    /// ```
    ///
    /// # Panics
    ///
    /// The closure unwinds with a [`Killed`] if the task has been killed, by
    /// [`resume_unwind`](std::panic::resume_unwind): no panic hook runs, because a
    /// kill is no bug. It does not while the thread is already panicking, nor
    /// in a program built with `panic = "abort"`, where it does nothing.
    ///
    /// It unwinds, so it does not fit everywhere: [what a kill cannot do](crate::_documentation::kill)
    /// has the list, each with the remedy.
    ///
    /// The model is `pm.Status` of the Go package VividCortex/pm. There a kill
    /// that comes between the two calls is seen at the next status only.
    #[track_caller]
    pub fn status(&self, status: impl Into<Cow<'static, str>>) -> impl FnOnce() {
        let location = Location::caller();
        self.entry.set_status(status.into(), Some(location));
        move || unwind_if_killed(&self.entry, location)
    }

    /// Sets the status; no kill point.
    #[track_caller]
    pub fn set_status(&self, status: impl Into<Cow<'static, str>>) {
        self.entry.set_status(status.into(), Some(Location::caller()));
    }

    /// Sets the status, and is a kill point for code that returns `Result`.
    ///
    /// # Errors
    ///
    /// [`Killed`] if the task has been killed.
    #[track_caller]
    pub fn try_status(&self, status: impl Into<Cow<'static, str>>) -> Result<(), Killed> {
        self.entry.set_status(status.into(), Some(Location::caller()));
        self.check()
    }

    /// Says how far the task has come: `16` of `50`. The table prints it behind the status, `exporting 16/50`.
    ///
    /// It is kept apart from the status, so the history and `by status` know `exporting` only. It stays when the
    /// status changes, until it is said again; a `total` of 0 takes it back. `show` at the port adds the pace and the time to
    /// go; `progress` is a column for `where`, `sort` and `cols`, in percent: `where progress<50 and time>1m`.
    ///
    /// It allocates nothing, and reads a clock only when it begins, with the first word or by going back. So it may be said
    /// for each row of an export. No kill point.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("export1");
    /// task.set_status("exporting");
    /// for row in 0..50 {
    ///     task.progress(row, 50);
    /// }
    /// assert!(list.contents().contains("  exporting 49/50  "));
    /// ```
    pub fn progress(&self, done: u64, total: u64) {
        self.entry.set_progress(done, total);
    }

    /// A kill point that leaves the status alone.
    ///
    /// # Errors
    ///
    /// [`Killed`] if the task has been killed.
    #[track_caller]
    pub fn check(&self) -> Result<(), Killed> {
        match self.entry.kill_point(Location::caller()) {
            None => Ok(()),
            Some(killed) => Err(killed),
        }
    }

    /// Whether a kill of this task has been accepted. It stays so after the end.
    ///
    /// A look that is no kill point: it does not make the kill seen, so it is for code that
    /// watches and does not stop, such as metrics.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// list.kill("req1", "too slow").unwrap();
    /// assert!(task.is_being_killed());
    /// assert_eq!(task.done().outcome, Some(pm::Outcome::Ended)); // it never saw the kill
    /// ```
    pub fn is_being_killed(&self) -> bool {
        self.entry.is_killed()
    }

    /// Another guard of the same task, for work that goes on elsewhere: a websocket after its response, a
    /// thread, a callback. `None` if the task has ended.
    ///
    /// The task ends with the last of its guards. [`done`](Task::done), [`done_with`](Task::done_with) and
    /// drop give up one: an earlier `done` returns the task as it is, the last note stands, and a panic in
    /// any of them is what the task ended with. One that is [detached](Task::detach) keeps it running.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("conn1");
    /// let kept = task.keep().unwrap();
    /// let handle = task.handle();
    /// assert_eq!(task.done().outcome, None);
    /// assert_eq!(kept.done_with("closed by the peer").outcome, Some(pm::Outcome::Ended));
    /// assert!(handle.keep().is_none());
    /// ```
    #[must_use = "it is a guard: dropping it at once changes nothing"]
    pub fn keep(&self) -> Option<Task> {
        self.entry.add_guard()?;
        Some(Task { handle: self.clone(), is_guard: true })
    }

    /// Whether it stands for no task: what [`current`](crate::current) returns outside of any.
    pub fn is_none(&self) -> bool {
        self.entry.is_nobody()
    }

    /// Whether the task has ended, killed or not.
    pub fn is_ended(&self) -> bool {
        self.entry.has_ended()
    }
}

/// The same task.
impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) || self.is_none() && other.is_none()
    }
}

impl Eq for Handle {}

fn unwind_if_killed(entry: &Entry, location: &'static Location<'static>) {
    // A second unwinding would abort the program, and with `panic = "abort"`
    // the first one would.
    if cfg!(panic = "abort") || thread::panicking() || entry.is_quiet() {
        return;
    }
    if let Some(killed) = entry.kill_point(location) {
        killed.resume_unwind();
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id()).finish_non_exhaustive()
    }
}
