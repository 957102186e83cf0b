//! Killed: what a task learns of its kill. KillError: what the killer learns.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::SetOnce;

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
    pub(crate) ending: SetOnce<Ending>,
}

impl Kill {
    pub(crate) fn announce(&self, ending: Ending) {
        let first = self.ending.set(ending);
        debug_assert!(first.is_ok(), "a task ends once");
    }
}

/// How a killed task ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) after: Duration,
    pub(crate) status: Cow<'static, str>,
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

// Nothing of it changes.
impl UnwindSafe for Killed {}
impl RefUnwindSafe for Killed {}

/// A kill was refused. The texts are those that a client at netcat reads.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
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
///     Err(killed) => eprintln!("{}: {killed}", killed.id()),
/// }
/// # Ok::<(), pm::KillError>(())
/// ```
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Killed> {
    // Whether what `f` left behind is still whole is for its author to say,
    // as it is for one who calls `std::thread::spawn`.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Killed>() {
        Ok(killed) => *killed,
        Err(panic) => panic::resume_unwind(panic),
    })
}
