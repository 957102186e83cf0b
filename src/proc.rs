//! What a reader sees of a task: a row of the list, taken at one moment.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, SystemTime};

use crate::peer::Peer;
use crate::progress::Progress;

/// A snapshot of one task, as readers see it: a row of the list.
///
/// It is a copy: it does not follow the task, and holding it disturbs no other code.
///
/// ```
/// let list = pm::ProcList::new();
/// let task = list.start("req1").col("method", "GET");
/// task.set_status("querying");
///
/// let row = list.get("req1").unwrap();
/// assert_eq!(row.status, "querying");
/// assert_eq!(row.cols, [("method".to_string(), "GET".to_string())]);
/// assert!(row.killing.is_none() && row.outcome.is_none());
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    /// The name of the task in the list.
    pub id: String,
    /// What it is doing: `init` until it says otherwise.
    pub status: String,
    /// The call that last set the status; `None` while it is the first one.
    pub site: Option<Site>,
    /// The columns that were set, in the order in which they were set first,
    /// whether or not the table has a column of that name. A
    /// [secret](crate::Task::secret_col) is `***` here too, so that a snapshot
    /// may be logged.
    pub cols: Vec<(String, String)>,
    /// When it started, by the wall clock: computed at the first snapshot of
    /// the task, and the same in each later one.
    pub started: SystemTime,
    /// How long it has been running, or ran, by the monotonic clock.
    pub elapsed: Duration,
    /// How long it has been in this status, or was at its end.
    pub in_status: Duration,
    /// How far it has come, if it [says so](crate::Handle::progress).
    pub progress: Option<Progress>,
    /// The last 32 statuses, oldest first; the last one is the current one.
    pub history: Vec<Step>,
    /// The time spent in each distinct status, in the order in which they
    /// were first seen. At most 33: what came after the 32nd is summed up
    /// under `…`.
    pub profile: Vec<(String, Duration)>,
    /// Set from the moment a kill was accepted.
    pub killing: Option<Killing>,
    /// How it ended; `None` while it is running.
    pub outcome: Option<Outcome>,
    /// How it ended, beyond the outcome: what [`Task::done_with`](crate::Task::done_with) said, else
    /// `abandoned` if its [`run`](crate::Handle::run) was dropped before it was ready (also while the
    /// task is still listed), `unwound by the kill of outer`, or `38 kill points after it saw the kill`.
    pub note: Option<String>,
    /// The id of the task that it is a [child](crate::Handle::child) of.
    pub parent: Option<String>,
    /// The ids of its children that are running, in the order in which they were started.
    pub children: Vec<String>,
}

impl Proc {
    /// When its status was set, by the wall clock.
    pub(crate) fn status_time(&self) -> SystemTime {
        self.started + self.elapsed.saturating_sub(self.in_status)
    }

    /// When its kill was asked for, by the wall clock.
    pub(crate) fn time_of(&self, killing: &Killing) -> SystemTime {
        self.started + self.elapsed.saturating_sub(killing.since)
    }
}

/// A place in the source code of the program.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Site {
    /// The path of the file, as the compiler was given it.
    pub file: Cow<'static, str>,
    /// The line, from 1.
    pub line: u32,
}

impl From<&'static Location<'static>> for Site {
    fn from(location: &'static Location<'static>) -> Self {
        Site { file: location.file().into(), line: location.line() }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", crate::escape::plain(&self.file), self.line)
    }
}

/// A status and when it was entered.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The status.
    pub status: String,
    /// When it was entered, counted from the start of the task.
    pub at: Duration,
}

/// A kill that is under way.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killing {
    /// The operator's reason; empty if none was given.
    pub message: String,
    /// The operator who asked for it at the [port](crate::ProcList::serve); `None` if the program
    /// itself did.
    pub by: Option<Peer>,
    /// How long ago the kill was asked for.
    pub since: Duration,
}

/// How a task ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// By itself. If there was a kill, the task never saw it.
    Ended,
    /// By a kill: one of its kill points, [`run`](crate::Handle::run) or
    /// [`killed`](crate::Handle::killed) reported it before the end.
    Killed,
    /// Its guard was dropped while its thread was panicking. The unwinding of another task's
    /// kill is no panic.
    Panicked,
}

impl Outcome {
    /// `ended`, `killed` or `panicked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ended => "ended",
            Outcome::Killed => "killed",
            Outcome::Panicked => "panicked",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
