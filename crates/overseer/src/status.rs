//! Status: what is known of a program, and what came of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::signal;

/// What a program is doing.
///
/// ```text
/// initial -> waiting -> starting -> running -> stopping -> finished | interrupted
///                       starting -> fatal
/// ```
///
/// `waiting` and `stopping` are passed over where there is nothing to wait for, and nothing to stop. A final state never
/// changes: what comes after it belongs to the next generation.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not been started in this generation.
    Initial,
    /// It will be started: when its parent is ready, or its backoff is over.
    Waiting,
    /// The system has been asked to start it.
    Starting,
    /// It runs.
    Running,
    /// It, or what is left of its process group, is being stopped.
    Stopping,
    /// It has exited, with whatever code, and nothing of its group is left.
    Finished,
    /// It died of a signal, and nothing of its group is left.
    Interrupted,
    /// It could not be started.
    Fatal,
}

impl State {
    /// The word for it, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Initial => "initial",
            State::Waiting => "waiting",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Finished => "finished",
            State::Interrupted => "interrupted",
            State::Fatal => "fatal",
        }
    }

    /// Whether it is the last state of its generation.
    pub fn is_final(self) -> bool {
        matches!(self, State::Finished | State::Interrupted | State::Fatal)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a program: [`Overseer::status`](crate::Overseer::status).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The name that it was added under.
    pub id: String,
    /// Its [group](crate::Program::group).
    pub group: Option<String>,
    /// The command and its arguments. Those that are secret are `***`.
    pub command: Vec<String>,
    /// The directory in which it runs, if one was set.
    pub dir: Option<PathBuf>,
    /// While it runs: from its start until its exit has been seen.
    pub pid: Option<u32>,
    /// How many attempts to run it there have been, this one included.
    pub generation: u64,
    /// What it is doing.
    pub state: State,
    /// How the last run ended, if it exited. `None` from the next start on.
    pub exit_code: Option<i32>,
    /// The signal that the last run died of.
    pub signal: Option<i32>,
    /// Why it could not be started, or was stopped by its supervisor.
    pub error: Option<String>,
    /// When the last run started.
    pub started: Option<SystemTime>,
    /// How often it has been started again since its supervision began.
    pub restarts: u32,
    /// How long it is until the next start, if that waits for a time.
    pub next_start: Option<Duration>,
    /// While it is being stopped: how long it is until what is left gets KILL.
    pub kill_in: Option<Duration>,
    /// It runs, or will by itself: nobody has stopped it.
    pub supervised: bool,
    /// It runs, and its probe has succeeded.
    pub ready: bool,
    /// Lines that a file did not take, since it was added.
    pub lines_dropped: u64,
}

/// How a supervision, or a single run, ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code of the last run, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that the last run died of.
    pub signal: Option<i32>,
    /// Why it could not be started, or was stopped by its supervisor.
    pub error: Option<String>,
    /// Why the supervision ended.
    pub reason: Reason,
    /// Processes that KILL has not ended after 5 s. Empty but for that.
    pub left: Vec<u32>,
    /// Its exit code is one of those that mean success.
    pub(crate) has_good_code: bool,
}

/// Why a supervision ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It ended by itself, and its policy does not start it again.
    Finished,
    /// Somebody stopped it: the program, or an operator by `stop`.
    Stopped,
    /// Somebody killed its row in the list, with this message, which may be empty.
    Killed(String),
    /// It failed more often than its retries.
    GaveUp,
}

impl Outcome {
    /// Whether its last run ended well: with one of its [success codes](crate::Program::success_codes), or because it
    /// was stopped or killed on purpose.
    pub fn is_success(&self) -> bool {
        let is_stopped = matches!(self.reason, Reason::Stopped | Reason::Killed(_));
        self.error.is_none() && self.reason != Reason::GaveUp && (self.has_good_code || is_stopped)
    }
}

/// `exit code 3`, `SIGTERM`, or why it did not start.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, self.exit_code, self.signal) {
            (Some(error), ..) => f.write_str(error),
            (None, Some(code), _) => write!(f, "exit code {code}"),
            (None, None, Some(number)) => f.write_str(&signal::name(number)),
            (None, None, None) => f.write_str("it did not run"),
        }
    }
}

/// A program has changed its state: [`Overseer::watch_state`](crate::Overseer::watch_state).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The program.
    pub id: Arc<str>,
    /// Which attempt to run it.
    pub generation: u64,
    /// What it does now.
    pub state: State,
    /// When.
    pub at: SystemTime,
    /// While it runs.
    pub pid: Option<u32>,
    /// How this run ended, or the one before it, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that it died of.
    pub signal: Option<i32>,
    /// Why it could not be started, or was stopped by its supervisor.
    pub error: Option<String>,
    /// Who ends its supervision, if that has been asked for.
    pub reason: Option<Reason>,
    /// How long it is until the next start, if that waits for a time.
    pub next_start: Option<Duration>,
}

/// A line that a program has printed: [`Overseer::watch_logs`](crate::Overseer::watch_logs).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The program.
    pub id: Arc<str>,
    /// Which attempt to run it.
    pub generation: u64,
    /// Which of its outputs.
    pub stream: OutputStream,
    /// The line, without the LF or CRLF at its end. It may be anything, and no text at all.
    pub text: Vec<u8>,
    /// The line ends here. `false` for the pieces of one that is too long, and for one that the program has not ended.
    pub complete: bool,
}

/// One of the two outputs of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum OutputStream {
    Stdout,
    Stderr,
}
