//! Killed: what a task learns of its kill. KillError: what the killer learns.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::escape;
use crate::proc::Outcome;

/// One kill, from the request to the outcome: shared by the victim and by all
/// who wait to hear what became of it. There is at most one a task.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) message: String,
    /// Who asked, unless it was the program itself.
    pub(crate) by: Option<Arc<str>>,
    pub(crate) at: Instant,
    /// Set once, when the task has left the list.
    ending: OnceLock<Ending>,
    /// Told when it is set.
    ended: Notify,
}

impl Kill {
    pub(crate) fn new(id: String, message: String, by: Option<Arc<str>>) -> Self {
        Kill { id, message, by, at: Instant::now(), ending: OnceLock::new(), ended: Notify::new() }
    }

    pub(crate) fn announce(&self, ending: Ending) {
        let first = self.ending.set(ending);
        debug_assert!(first.is_ok(), "a task ends once");
        self.ended.notify_waiters();
    }

    /// How the task ended, if it has left the list.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// Waits until the task has left the list.
    pub(crate) async fn wait(&self) -> &Ending {
        loop {
            let ended = self.ended.notified();
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            ended.await;
        }
    }
}

/// How a killed task ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) after: Duration,
    pub(crate) status: Cow<'static, str>,
    /// How many kill points it passed after it had seen the kill.
    pub(crate) passed: u32,
}

/// `38 kill points after it saw the kill`: what is said of a task that saw its kill and went on.
pub(crate) fn passed(kill_points: u32) -> String {
    let points = if kill_points == 1 { "kill point" } else { "kill points" };
    format!("{kill_points} {points} after it saw the kill")
}

/// A task was killed: the error that its kill points return, and the payload
/// of the unwinding that [`Handle::status`](crate::Handle::status) starts.
///
/// It carries the operator's reason to the code that dies of it. Log it, so
/// that the reason stands in the program's log:
///
/// ```
/// # let list = pm::ProcList::new();
/// let task = list.start("proc2");
/// list.kill("proc2", "houston, we have a problem")?;
///
/// let killed = task.try_status("merging").unwrap_err();
/// assert_eq!(killed.to_string(), r#"process killed: "houston, we have a problem""#);
/// assert_eq!(killed.message(), "houston, we have a problem");
/// assert_eq!((killed.id(), killed.status()), ("proc2", "merging"));
/// # Ok::<(), pm::KillError>(())
/// ```
///
/// Where the unwinding ends a thread or a tokio task, it is the payload of
/// the panic. It is no bug, so no panic hook runs; who joins finds it like this:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let list = pm::ProcList::new();
/// let task = list.start("job7");
/// list.kill("job7", "too slow").unwrap();
///
/// let error = tokio::spawn(async move { task.status("sorting")() }).await.unwrap_err();
/// match error.try_into_panic().map(|payload| payload.downcast::<pm::Killed>()) {
///     Ok(Ok(killed)) => assert_eq!(killed.message(), "too slow"), // log it
///     Ok(Err(panic)) => std::panic::resume_unwind(panic),         // a bug: not ours
///     Err(cancelled) => panic!("{cancelled}"),
/// }
/// # }
/// ```
///
/// In code that is not async, [`catch`](crate::catch) does this.
#[derive(Clone)]
pub struct Killed(Arc<Sighting>);

/// The place where a kill was seen.
struct Sighting {
    kill: Arc<Kill>,
    status: Cow<'static, str>,
    location: &'static Location<'static>,
}

impl Killed {
    pub(crate) fn new(kill: Arc<Kill>, status: Cow<'static, str>, location: &'static Location<'static>) -> Self {
        Killed(Arc::new(Sighting { kill, status, location }))
    }

    pub(crate) fn kill(&self) -> &Arc<Kill> {
        &self.0.kill
    }

    pub(crate) fn is_of(&self, kill: &Arc<Kill>) -> bool {
        Arc::ptr_eq(&self.0.kill, kill)
    }

    /// The id of the killed task.
    pub fn id(&self) -> &str {
        &self.0.kill.id
    }

    /// The operator's reason, as it was given; empty if there was none.
    ///
    /// It is somebody's words: [`Display`](fmt::Display) escapes it for a log or a terminal.
    pub fn message(&self) -> &str {
        &self.0.kill.message
    }

    /// The status of the task when it saw the kill.
    pub fn status(&self) -> &str {
        &self.0.status
    }

    /// Where the task saw the kill: the call of `status`, `try_status`,
    /// `check`, `run` or `killed`.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => f.write_str("process killed"),
            message => write!(f, "process killed: {}", escape::quoted(message)),
        }
    }
}

impl fmt::Debug for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Killed")
            .field("id", &self.id())
            .field("message", &self.message())
            .field("status", &self.status())
            .field("location", &self.location())
            .finish()
    }
}

impl Error for Killed {}

/// The same kill: that of the same task.
impl PartialEq for Killed {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(&other.0.kill)
    }
}

impl Eq for Killed {}

/// For `task.check()?` in a function that returns an `io::Result`.
///
/// Its kind is [`Other`](io::ErrorKind::Other): `Interrupted` would be tried again. The [`Killed`]
/// is found by [`io::Error::get_ref`] and `downcast_ref`.
///
/// ```
/// use std::io;
///
/// fn copy(task: &pm::Task) -> io::Result<()> {
///     task.check()?;
///     Ok(())
/// }
///
/// let list = pm::ProcList::new();
/// let task = list.start("copy1");
/// list.kill("copy1", "disk is full").unwrap();
/// let error = copy(&task).unwrap_err();
/// assert_eq!(error.to_string(), r#"process killed: "disk is full""#);
/// assert!(error.get_ref().is_some_and(|error| error.is::<pm::Killed>()));
/// ```
impl From<Killed> for io::Error {
    fn from(killed: Killed) -> Self {
        io::Error::other(killed)
    }
}

// Nothing of it changes.
impl UnwindSafe for Killed {}
impl RefUnwindSafe for Killed {}

/// A kill was refused. The texts are those that a client at netcat reads.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KillError {
    /// No running task has this id. It may have ended a moment ago.
    NoSuchProcess {
        /// The id that was asked for.
        id: String,
    },
    /// The task, or the list when it started, [forbids](crate::ProcList::forbid_kill) to be killed.
    Forbidden {
        /// The id of the task.
        id: String,
    },
    /// Somebody else was first, and the first reason stands.
    AlreadyKilled {
        /// The id of the task.
        id: String,
        /// The reason of the first kill; empty if there was none.
        message: String,
    },
}

impl fmt::Display for KillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KillError::NoSuchProcess { id } => write!(f, "no such process '{}'", escape::id(id)),
            KillError::Forbidden { id } => write!(f, "forbidden: {} may not be killed", escape::id(id)),
            KillError::AlreadyKilled { id, message } => {
                write!(f, "already killing {}", escape::id(id))?;
                match message.as_str() {
                    "" => Ok(()),
                    message => write!(f, ": {}", escape::quoted(message)),
                }
            }
        }
    }
}

impl Error for KillError {}

/// Runs `f`, and stops the unwinding of a kill here.
///
/// For threads, and for a `main` that would die of it. It stops the kill of
/// whatever task was seen inside `f`; any other panic goes on.
///
/// In a program built with `panic = "abort"` nothing unwinds, and this is a
/// plain call.
///
/// # Errors
///
/// The [`Killed`] that a [`status(..)()`](crate::Handle::status) inside `f` unwound with.
///
/// ```
/// let list = pm::ProcList::new();
/// let task = list.start("job7");
/// list.kill("job7", "too slow")?;
///
/// match pm::catch(|| task.status("sorting")()) {
///     Ok(()) => unreachable!(),
///     Err(killed) => eprintln!("{:?}: {killed}", killed.id()), // ids come from clients: `{:?}` escapes
/// }
/// # Ok::<(), pm::KillError>(())
/// ```
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Killed> {
    // Whether what `f` left behind is still whole is for its author to say,
    // as it is for one who calls `std::thread::spawn`.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Killed>() {
        Ok(killed) => {
            clear_mark();
            *killed
        }
        Err(panic) => panic::resume_unwind(panic),
    })
}

/// What a kill does to the calling thread at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    /// It unwinds with the kill in [`MARKED`], unless somebody has caught that meanwhile.
    Unwinds,
    /// It drops the future of a task that has been killed by the one in [`MARKED`].
    Drops,
}

thread_local! {
    static MARK: Cell<Mark> = const { Cell::new(Mark::None) };
    /// The kill, known as long as its payload is there.
    static MARKED: RefCell<Weak<Sighting>> = const { RefCell::new(Weak::new()) };
}

impl Killed {
    /// Unwinds with this kill. Tasks that are dropped on the way are [told apart](in_progress) from
    /// those that a panic ends.
    pub(crate) fn unwind(self) -> ! {
        let _caught_or_over = self.set_mark(Mark::Unwinds);
        panic::resume_unwind(Box::new(self))
    }

    /// Calls `f`, which drops what this kill has ended.
    pub(crate) fn dropping<T>(&self, f: impl FnOnce() -> T) -> T {
        let _outer = Restore(self.set_mark(Mark::Drops));
        f()
    }

    /// Returns the mark that it replaces.
    fn set_mark(&self, mark: Mark) -> (Mark, Weak<Sighting>) {
        // A thread that is being torn down has no marks, and no tasks to tell apart.
        let marked = MARKED.try_with(|marked| marked.replace(Arc::downgrade(&self.0)));
        (MARK.try_with(|known| known.replace(mark)).unwrap_or(Mark::None), marked.unwrap_or_default())
    }
}

/// Puts back the mark that was there before.
struct Restore((Mark, Weak<Sighting>));

impl Drop for Restore {
    fn drop(&mut self) {
        let (mark, marked) = std::mem::replace(&mut self.0, (Mark::None, Weak::new()));
        let _ = MARKED.try_with(|known| known.replace(marked));
        let _ = MARK.try_with(|known| known.set(mark));
    }
}

/// Forgets a kill that somebody has caught.
#[inline]
pub(crate) fn clear_mark() {
    if MARK.try_with(Cell::get) == Ok(Mark::Unwinds) && !thread::panicking() {
        let _ = MARK.try_with(|known| known.set(Mark::None));
    }
}

/// The kill that is ending things on the calling thread right now.
#[inline]
pub(crate) fn in_progress() -> Option<Killed> {
    match MARK.try_with(Cell::get) {
        Ok(Mark::Unwinds) if thread::panicking() => marked(),
        Ok(Mark::Drops) => marked(),
        _ => None,
    }
}

#[cold]
fn marked() -> Option<Killed> {
    MARKED.try_with(|marked| marked.borrow().upgrade()).ok().flatten().map(Killed)
}
