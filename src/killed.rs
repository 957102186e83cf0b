//! Killed: what a task learns of its kill. KillError: what the killer learns.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::escape;
use crate::kill::Kill;

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
pub struct Killed(pub(crate) Arc<Sighting>);

/// A kill, and the place where it was seen.
pub(crate) struct Sighting {
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

    /// Whether somebody asked for both at once, by the kill of a task that is above theirs.
    pub(crate) fn is_of_family(&self, kill: &Kill) -> bool {
        self.0.kill.is_of_family(kill)
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

    /// Where the task saw the kill: the call of `status`, `try_status` or `check`. For `run` and `killed`, the call
    /// that set the last status, if that was later: it is nearer to where the task was.
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
